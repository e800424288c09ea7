"""A question to a next hop as a target: any octets as what it says."""

import asyncio
from typing import Any

from fastsmtp.serve.question import LINE_MOST, Line, Said

LOOP = asyncio.new_event_loop()  # never runs: all octets are there, nothing waits


class Nobody:
    """Takes what is said."""

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\r\n")
        assert data.count(b"\n") == 1

    def close(self) -> None:
        pass


def asked(data: bytes, address: str) -> Said | None:
    """What is known when it has said this and gone; None: it was of no use."""
    reader = asyncio.StreamReader(LINE_MOST, LOOP)
    reader.feed_data(data)
    reader.feed_eof()
    writer: Any = Nobody()
    line = Line(reader, writer)
    try:
        _run(line._greet("EHLO", "mx.test"))
        return _run(line.has("", address))
    except (OSError, ValueError, EOFError):
        return None


def _run(work: Any) -> Any:
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")
