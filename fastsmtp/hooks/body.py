"""The message as a hook sees it: a view that reads only what is asked for.

A message up to `smtp.memory_per_message` is in memory, a larger one in its file, where
it waits for the verdict; a hook sees no difference. It is what the client sent, without
transparency dots and without the Received line that we put above it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

if TYPE_CHECKING:
    from email.message import EmailMessage

PIECE: Final = 64 * 1024  # octets
HEADER_MOST: Final = 1024 * 1024  # octets of a header that is looked for its end


class Written(Protocol):
    """As `store.base.Written`."""

    length: int

    def read(self, offset: int, size: int) -> bytes: ...


class Body:
    """Laws: reading changes nothing; two readers do not disturb each other; it stays
    readable as long as somebody has it.

    `len(body)` is its size in octets; `bytes(body)` copies all of it.
    """

    __slots__ = ("_file", "_memory", "_skip", "size")

    def __init__(
        self,
        memory: bytes | bytearray | memoryview | None,
        file: Written | None = None,
        skip: int = 0,
    ) -> None:
        """`Body(b"Subject: …")` is what a test of a hook needs.

        skip  octets of `file` that are in front of the message"""
        self._memory = memoryview(b"" if memory is None else memory).toreadonly()
        self._file, self._skip = file, skip
        self.size: int = len(self._memory) if file is None else file.length - skip

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` octets from `offset`; fewer only at the end."""
        if offset < 0 or size < 0:
            raise ValueError("neither offset nor size may be negative")
        if self._file is None:
            return bytes(self._memory[offset : offset + size])
        size = max(0, min(size, self.size - offset))
        return self._file.read(self._skip + offset, size)

    def pieces(self, size: int = PIECE) -> Iterator[memoryview]:
        """All of it in pieces of at most `size` octets; in memory without a copy."""
        if size < 1:
            raise ValueError("a piece has at least one octet")
        for offset in range(0, self.size, size):
            if self._file is None:
                yield self._memory[offset : offset + size]
            else:
                yield memoryview(self.read(offset, size))

    def header(self) -> bytes:
        """The header with the empty line behind it; of a message without that line
        all, at most 1 MiB."""
        found = bytearray()
        for piece in self.pieces():
            seen = max(0, len(found) - 3)
            found += piece
            end = found.find(b"\r\n\r\n", seen)
            if found.startswith(b"\r\n"):
                return b"\r\n"  # RFC 5322 3.5: the header may be empty
            if end >= 0:
                return bytes(found[: end + 4])
            if len(found) >= HEADER_MOST:
                break
        return bytes(found[:HEADER_MOST])

    def fields(self) -> EmailMessage:
        """The header, parsed: `body.fields()["Subject"]`."""
        parser = _parser()
        parser.feed(self.header())
        return cast("EmailMessage", parser.close())

    def parse(self) -> EmailMessage:
        """All of it by the `email` package. That takes milliseconds for each hundred
        KiB, and more for what was made to hurt: use it in functions that are not
        async."""
        parser = _parser()
        for piece in self.pieces():
            parser.feed(bytes(piece))
        return cast("EmailMessage", parser.close())

    def open(self) -> io.BufferedReader:
        """A binary file that reads it, for libraries that want one."""
        return io.BufferedReader(_Raw(self))


class _Raw(io.RawIOBase):
    def __init__(self, body: Body) -> None:
        self._body, self._at = body, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        octets = self._body.read(self._at, len(room))
        room[: len(octets)] = octets
        self._at += len(octets)
        return len(octets)


def _parser() -> Any:
    """Of the `email` package, which takes a megabyte: it is loaded for who wants it."""
    from email.parser import BytesFeedParser
    from email.policy import SMTPUTF8

    return BytesFeedParser(policy=SMTPUTF8)
