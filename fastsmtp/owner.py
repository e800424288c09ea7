"""Whose the files are, and who a server that root started becomes.

A command that root runs acts as the owner of the data directory, so that no file in it
is root's. A server becomes the configured user, or the same owner, for good.
"""

import contextlib
import ctypes
import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

NO_NEW_PRIVS: Final = 38  # prctl(2): no program we start can gain anything


class Identity(NamedTuple):
    user: int
    group: int


@contextmanager
def as_owner(data: Path) -> Iterator[None]:
    """Root acts as the owner of the data directory meanwhile; others as themselves."""
    with acting(_owner(data)):
        yield


def identity(user: str, data: Path) -> Identity | None:
    """Who a server becomes: `user`, or when that is empty the owner of `data`. None
    when it stays who it is.

    Raises `OSError` when there is no such user, or we are neither that user nor root.
    """
    if not user:
        return _owner(data)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise OSError(errno.ENOENT, "there is no such user", user) from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise PermissionError(errno.EPERM, "only root can become this user", user)
    return Identity(entry.pw_uid, entry.pw_gid)


@contextmanager
def acting(who: Identity | None) -> Iterator[None]:
    """As `who` meanwhile, if we are root."""
    user, group = os.geteuid(), os.getegid()
    if user != 0 or who is None or who.user == 0:
        yield
        return
    os.setegid(who.group)
    os.seteuid(who.user)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)


def become(who: Identity | None) -> None:
    """As `acting`, for good: root cannot be had again, not by a bug either.

    The groups become the user's. `OSError` when the kernel does not allow it."""
    if os.geteuid() != 0 or who is None or who.user == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(who.user).pw_name, who.group)
    except KeyError:  # a number without a name
        os.setgroups([who.group])
    os.setresgid(who.group, who.group, who.group)
    os.setresuid(who.user, who.user, who.user)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(NO_NEW_PRIVS, 1, 0, 0, 0)


def make_folder(folder: Path, who: Identity | None) -> None:
    """Make it, and what is above it, for `who` alone."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if who is not None and os.geteuid() == 0:
        os.chown(folder, *who)


def _owner(data: Path) -> Identity | None:
    """Of the directory, or None when it is not there."""
    try:
        status = data.stat()
    except FileNotFoundError:
        return None
    return Identity(status.st_uid, status.st_gid)
