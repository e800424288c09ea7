"""What people see: tables, JSON lines, questions, and the bar of long work."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TextIO

from fastsmtp.cli import MISUSED, Failure

PATIENCE: Final = 2.0  # seconds before a bar appears
REDRAW: Final = 0.1  # seconds between two drawings
WIDTH: Final = 30  # characters of the bar


def config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", help="the configuration")


def json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, for programs"
    )


def above_zero(name: str, value: int | None) -> None:
    """`Failure` when a number that was given, as --`name`, is not."""
    if value is not None and value < 1:
        raise Failure(f"--{name} {value} is not a number above 0", code=MISUSED)


def plain(text: str) -> str:
    """Without what could command a terminal: mail is written by strangers."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def moment(milliseconds: int) -> str:
    """A time of the wall clock as RFC 3339 has it, in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds // 1000))


def listing(
    rows: Iterable[Mapping[str, Any]],
    as_json: bool,
    columns: Mapping[str, str],
    empty: str,
) -> None:
    """Print rows as JSON lines, or the named columns of them as a table.

    columns  key -> heading; a number stands to the right
    empty    what to say when there is none (not in JSON)
    """
    if as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    table = [[row.get(key, "") for key in columns] for row in rows]
    if not table:
        print(empty)
        return
    lines = [list(columns.values())]
    lines += [[plain(str(value)) for value in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = [isinstance(value, int) for value in table[0]]
    for line in lines:
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        )
        print("  ".join(cells).rstrip())


def ask_password(from_stdin: bool, about: str) -> str:
    """Twice from a terminal, or the first line of standard input; never from argv."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Failure(
            "there is no terminal to ask for a password",
            "give it as a line on standard input with --password-stdin",
            MISUSED,
        )
    import getpass

    for _ in range(3):
        password = getpass.getpass(f"New password for {about}: ")
        if password == getpass.getpass("The same again: "):
            return password
        print("They differ.", file=sys.stderr)
    raise Failure("three times two different passwords; nothing was changed")


def confirm(question: str) -> bool:
    """Ask for a yes; without a terminal the answer is no, in so many words."""
    if not sys.stdin.isatty():
        raise Failure(f"{question} Not done.", "say --yes to do it", MISUSED)
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


class Progress:
    """A bar on standard error: only on a terminal, only for work that takes long.

    total   how much there is, or 0 when nobody knows
    unit    what is counted, or "B" for octets
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str = "messages",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        self.started = clock()
        self.due = self.started + PATIENCE
        self.drawn = 0
        self.done = 0
        self.shown = self.stream.isatty()

    def add(self, count: int = 1) -> None:
        self.done += count
        if self.shown and self.clock() >= self.due:
            self.due = self.clock() + REDRAW
            self._draw()

    def _draw(self) -> None:
        seconds = max(self.clock() - self.started, 0.001)
        rate = self.done / seconds
        text = f"{self.what} {amount(self.done, self.unit)}"
        if self.total:
            share = min(self.done / self.total, 1.0)
            full = round(share * WIDTH)
            bar = "#" * full + "." * (WIDTH - full)
            left = (self.total - self.done) / rate if rate else 0
            text = f"{text} [{bar}] {share:4.0%}, {left:.0f} s left"
        text = f"{text}, {amount(round(rate), self.unit)}/s"
        self.stream.write("\r" + text.ljust(self.drawn))
        self.stream.flush()
        self.drawn = len(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.drawn:
            self._draw()
            self.stream.write("\n")


def amount(count: int, unit: str = "B") -> str:
    """Octets in the unit that fits, other things counted."""
    if unit != "B":
        return f"{count} {unit}"
    size, name = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, name = size / 1024, larger
    return f"{size:.1f} {name}" if name != "B" else f"{count} B"
