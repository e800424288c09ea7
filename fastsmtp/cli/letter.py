"""A message outside the store: what mbox and Maildir can say of it."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from fastsmtp.mailbox.values import Flag

CHUNK: Final = 256 * 1024  # octets read or written at once

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class Letter(NamedTuple):
    """One message with what a mailbox keeps beside it.

    body      octets with CRLF line ends
    date      internal date, milliseconds of the wall clock
    flags     `mailbox.values.Flag`s, as a number
    deleted   marked \\Deleted
    keywords  flags that have no bit
    """

    body: bytes
    date: int
    flags: int = 0
    deleted: bool = False
    keywords: tuple[str, ...] = ()


KEYWORDS: Final = {
    "$Forwarded": Flag.FORWARDED,
    "$MDNSent": Flag.MDN_SENT,
    "$Junk": Flag.JUNK,
    "$NotJunk": Flag.NOT_JUNK,
    "$Phishing": Flag.PHISHING,
}
"""Flags with a bit that files know as keywords."""


def private(path: str, flags: int) -> int:
    """An opener of files that only their owner may read: they hold mail."""
    return os.open(path, flags, 0o600)


def words(flags: int, keywords: tuple[str, ...]) -> tuple[str, ...]:
    """All that is a keyword in a file."""
    return (*(word for word, flag in KEYWORDS.items() if flags & flag), *keywords)


def bits(found: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """The reverse of `words`."""
    flags = 0
    keywords = []
    for word in found:
        if word in KEYWORDS:
            flags |= KEYWORDS[word]
        else:
            keywords.append(word)
    return int(flags), tuple(keywords)


def with_crlf(body: bytes) -> bytes:
    """LF becomes CRLF where it is not one already; the last line gets its end."""
    if not body.endswith(b"\n"):
        body += b"\n"
    return _BARE_LF.sub(b"\r\n", body)


def with_lf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """CRLF becomes LF, wherever the pieces are cut; a lone CR or LF stays."""
    held = b""
    for piece in pieces:
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        yield piece[: len(piece) - len(held)].replace(b"\r\n", b"\n")
    if held:
        yield held
