"""Root acts as the owner of the data directory, so that no file in it is root's."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner(data: Path) -> Iterator[None]:
    """Root acts as the owner of the data directory meanwhile; others as themselves."""
    user, group = os.geteuid(), os.getegid()
    owner = _owner(data)
    if user != 0 or owner is None or owner[0] == 0:
        yield
        return
    os.setegid(owner[1])
    os.seteuid(owner[0])
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)


def become_owner(data: Path) -> None:
    """As `as_owner`, for good: root cannot be had again, not by a bug either.

    The groups become the owner's. `OSError` when the kernel does not allow it."""
    owner = _owner(data)
    if os.geteuid() != 0 or owner is None or owner[0] == 0:
        return
    user, group = owner
    try:
        os.initgroups(pwd.getpwuid(user).pw_name, group)
    except KeyError:  # a number without a name
        os.setgroups([group])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def _owner(data: Path) -> tuple[int, int] | None:
    """(user, group) of the directory, or None when it is not there."""
    try:
        status = data.stat()
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid
