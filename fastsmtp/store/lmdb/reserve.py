"""Disk space held back, so that mail can still be deleted when the disk is full.

Deleting writes too: LMDB copies the pages it changes. A file of real blocks is given
up for the first delete that finds no room, and made again when there is space.
"""

import os
from pathlib import Path


class Reserve:
    """Laws: holds `size` octets that are really allocated, or none."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.held = path.exists() and path.stat().st_blocks * 512 >= size > 0

    def release(self) -> bool:
        """Give the space up; False when there was none to give."""
        if not self.held:
            return False
        self.held = False
        self.path.unlink(missing_ok=True)
        return True

    def restore(self, free: int, floor: int) -> None:
        """Make it again when that leaves more than `floor` of `free` octets.

        Blocking: call it off the loop. A disk that says no is not an error."""
        if self.held or self.size == 0 or free - self.size <= floor:
            return
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self.size)
            self.held = True
        except OSError:
            self.path.unlink(missing_ok=True)
        finally:
            os.close(fd)
