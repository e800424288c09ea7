"""A small disk of our own that can lose its power or be full; needs root."""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crash.kill_rig import until

SHUTDOWN: Final = 0x8004587D  # FS_IOC_SHUTDOWN, the same number for ext4 and xfs
NO_LOG_FLUSH: Final = 2  # what the journal has not written yet is lost too
MAKERS: Final = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "ext4 without journal": ["mkfs.ext4", "-q", "-F", "-O", "^has_journal"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}


def missing(kind: str) -> str:
    """Why a disk of this kind cannot be had here; "" when it can."""
    if os.geteuid():
        return "needs root to mount a loop device"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    maker = MAKERS[kind][0]
    return "" if shutil.which(maker, path=path) else f"needs {maker}"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system in a file, mounted at `place`."""

    image: Path
    place: Path

    def lose_power(self) -> None:
        """From now on every call fails; what was not synced is gone for ever."""
        top = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(top, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(top)

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.place))

    def unmount(self) -> None:
        """The kernel lets go of a killed process's files a moment after its end."""
        until(self._unmounted, f"{self.place} is still in use")

    def _unmounted(self) -> bool:
        try:
            _run("umount", str(self.place))
        except OSError as error:
            if "busy" in str(error):
                return False
            raise
        return True

    def restart(self) -> None:
        """What is left after the power came back. Nobody may have a file open."""
        self.unmount()
        self.mount()


@contextmanager
def disk(folder: Path, kind: str, octets: int) -> Iterator[Disk]:
    """A fresh disk of this kind and size, taken away at the end."""
    made = Disk(folder / "disk.image", folder / "disk")
    made.place.mkdir()
    with made.image.open("wb") as image:
        image.truncate(octets)
    _run(*MAKERS[kind], str(made.image))
    made.mount()
    try:
        yield made
    finally:
        made.unmount()
        made.image.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
