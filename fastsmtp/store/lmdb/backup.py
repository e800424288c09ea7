"""A copy of the store while it serves.

The index is copied first, in one snapshot, then the segments in the order of their
numbers, then the large bodies. Nothing is unlinked meanwhile, so every place in the
copied index is in the copied files: what the index knows was durable before, and a
record's large body is there before the record. What goes all the same is a file that
neither refers to: the body of a client that left, or one that was dead before. What was
acknowledged and is not in the snapshot lies in the log and is applied when the copy is
opened; a record that was being written ends the log there like any torn one.

Until all of that is on disk the index has the name `UNFINISHED`, with which nobody
opens it: a copy that a crash cut short could hold a whole index and half of a log.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import lmdb

from fastsmtp.errors import StoreUnavailable
from fastsmtp.store.lmdb.index import UNFINISHED, Index
from fastsmtp.store.record import parse_name


def copy_to(index: Index, data: Path, target: Path) -> None:
    """Blocking; the caller keeps segments from being unlinked until it returns. What
    was copied before something failed is removed."""
    if target.resolve().is_relative_to(data.resolve()):
        raise StoreUnavailable(f"{target} lies in {data}: a backup goes elsewhere")
    try:
        if target.exists() and any(target.iterdir()):
            raise StoreUnavailable(f"{target} is not empty")
        try:
            copy_all(index, data, target)
        except BaseException:
            for name in (UNFINISHED, "log"):
                shutil.rmtree(target / name, ignore_errors=True)
            raise
    except OSError as error:
        raise StoreUnavailable(f"backup to {target}: {error.strerror}") from error
    except lmdb.Error as error:
        raise StoreUnavailable(f"backup to {target}: {error}") from error


def copy_all(index: Index, data: Path, target: Path) -> None:
    (target / UNFINISHED).mkdir(parents=True, mode=0o700)
    (target / "log").mkdir(mode=0o700)
    sync(target)
    index.env.copy(str(target / UNFINISHED), compact=False)
    sync(target / UNFINISHED / "data.mdb")
    copy_segments(data / "log", target / "log", big=False)
    copy_segments(data / "log", target / "log", big=True)
    for directory in (target / "log", target / UNFINISHED):
        sync(directory)
    (target / UNFINISHED).rename(target / "index")
    sync(target)


def copy_segments(log: Path, target: Path, *, big: bool) -> None:
    for name in sorted(os.listdir(log)):
        parsed = parse_name(name)
        if parsed is not None and parsed[2] == big:
            with suppress(FileNotFoundError):
                copy(log / name, target / name)


def copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync(target)


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
