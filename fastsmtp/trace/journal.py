"""Reads the ring files of all processes: while they write them, and when none does.

A message is looked for by its queue id, by its Message-ID, by a recipient (a part of
the address, or `@domain`), or by the address of the client. Two passes: which messages
are meant, then all that is known of them.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from fastsmtp.errors import Damaged
from fastsmtp.trace import story
from fastsmtp.trace.keeping import FOLDER
from fastsmtp.trace.ring import Row, scan


class Question(NamedTuple):
    """What is looked for. Lower case; empty and 0: not by that."""

    id: int = 0
    text: str = ""

    def means(self, row: Row) -> bool:
        if not story.sound(row):
            return False
        if self.id and row[2] == self.id:
            return True
        text = self.text
        if not text:
            return False
        if text == story.client(row) or text == bare(story.message_id(row)):
            return True
        whom = (to.lower() for to in story.recipients(row))
        if text.startswith("@"):
            return any(to.endswith(text) for to in whom)
        return any(text in to for to in whom)


def bare(message_id: str) -> str:
    """Without its brackets, in lower case: people leave them out."""
    return message_id.strip("<>").lower()


class Answer(NamedTuple):
    """`messages`: rows of each that was found, the latest last. `oldest`: when the
    oldest record of all was made, in milliseconds; 0: there is none."""

    messages: list[list[Row]]
    oldest: int


def ask(data: Path, question: Question, since: int = 0) -> Answer:
    """Raises `OSError`, `Damaged`, `FormatTooNew`.

    since  milliseconds; what is older is passed over"""
    rows, oldest = _read(data, (question.text,) if question.text else (), (), since)
    meant = [row for row in rows if question.means(row)]
    ids = {row[2] for row in meant if row[2]}
    if question.id:
        ids.add(question.id)
    found: dict[object, list[Row]] = {}
    for row in meant:
        if not row[2]:  # it came to no message: a story of its own
            found[row] = [row]
    rows, _ = _read(data, (), ids, since) if ids else ([], 0)
    for row in rows:
        if story.sound(row):
            found.setdefault(row[2], []).append(row)
    messages = [sorted(rows, key=story.when) for rows in found.values()]
    messages.sort(key=lambda rows: rows[0][0])
    return Answer(messages, oldest)


def _read(
    data: Path, needles: tuple[str, ...], ids: Collection[int], since: int
) -> tuple[list[Row], int]:
    found: list[Row] = []
    begins: list[int] = []
    octets = tuple(needle.encode() for needle in needles)
    for path in files(data):
        try:
            rows, oldest = scan(path.read_bytes(), octets, ids, since)
        except FileNotFoundError:
            continue  # of a process that is no more
        except Damaged:
            continue  # it is being made
        found += rows
        begins += [oldest] if oldest else []
    return found, min(begins, default=0)


def files(data: Path) -> Iterator[Path]:
    folder = data / FOLDER
    for pattern in ("*.mail", "*.refused"):
        yield from sorted(folder.glob(pattern))


def question_of(text: str, own_id: int = 0) -> Question:
    """own_id: the number, when the text is a queue id or holds one of ours"""
    plain = bare(text.strip().removeprefix("Message-ID:").strip())
    with contextlib.suppress(ValueError):  # an address has many spellings
        plain = str(ipaddress.ip_address(plain.strip("[]")))
    return Question(own_id, plain)
