"""Maildir folders, read and written: cur, new, tmp, and flags in the file name.

The part behind `:2,` holds S seen, R answered, F flagged, D draft, T deleted, P
forwarded. The time of the file is the internal date. Keywords have no letter and are
not kept. In a file a line ends with LF; in the store with CRLF.
"""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fastsmtp.cli.letter import Letter, private, with_crlf, with_lf
from fastsmtp.mailbox.values import Flag

_LETTERS: Final = (
    ("D", Flag.DRAFT),
    ("F", Flag.FLAGGED),
    ("P", Flag.FORWARDED),
    ("R", Flag.ANSWERED),
    ("S", Flag.SEEN),
)  # in the order that a name must keep
FOLDERS: Final = ("cur", "new", "tmp")


def info(flags: int, deleted: bool) -> str:
    """The letters behind `:2,`, in ASCII order."""
    letters = "".join(letter for letter, flag in _LETTERS if flags & flag)
    return letters + ("T" if deleted else "")


class Writer:
    """Writes into one Maildir, which may hold mail already.

    started  seconds; the first part of every name
    """

    def __init__(self, folder: Path, started: int) -> None:
        self.folder = folder
        for name in FOLDERS:
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"
        self.name = f"{started}.P{os.getpid()}N{{:010d}}.{host}"

    def write(self, number: int, letter: Letter, body: Iterable[bytes]) -> Path:
        """File one message; numbers ascend in the order that readers shall see.

        `letter.body` is not looked at, `body` is streamed."""
        name = self.name.format(number)
        draft = self.folder / "tmp" / name
        with open(draft, "xb", opener=private) as file:
            file.writelines(with_lf(body))
        time = letter.date * 1_000_000
        os.utime(draft, ns=(time, time))
        flags = info(letter.flags, letter.deleted)
        place = self.folder / "cur" / f"{name}:2,{flags}"
        os.rename(draft, place)
        return place


def names(folder: Path) -> list[Path]:
    """Every message of a Maildir, in the order in which it came.

    Raises `ValueError` when the folder is not one."""
    found = []
    for name in ("cur", "new"):
        if not (folder / name).is_dir():
            raise ValueError(f"not a Maildir: it has no folder {name}")
        with os.scandir(folder / name) as entries:
            found += [
                folder / name / entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file()
            ]
    return sorted(found, key=_order)


def _order(path: Path) -> tuple[int, str]:
    seconds, _, rest = path.name.partition(".")
    return int(seconds) if seconds.isascii() and seconds.isdigit() else 0, rest


def read(paths: Iterable[Path]) -> Iterator[Letter]:
    for path in paths:
        marks = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
        flags = Flag(0)
        for letter, flag in _LETTERS:
            flags |= flag if letter in marks else Flag(0)
        with open(path, "rb") as file:
            date = os.fstat(file.fileno()).st_mtime_ns // 1_000_000
            body = with_crlf(file.read())
        yield Letter(body, date, int(flags), "T" in marks)
