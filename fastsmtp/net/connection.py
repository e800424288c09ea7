"""One connection: the buffer it reads into, flow control both ways, and its end.

    connection_made → opened()
    buffer_updated  → the subclass: it overrides this one, there is no call in between
    pause/resume_writing → steer()
    connection_lost → ended()

Laws
- All connections of a loop read into one buffer. What a protocol needs of it when
  `buffer_updated` returns, it has copied; an idle connection owns no buffer.
- `full` is true while the peer does not read what we wrote: then nothing more is read
  from it, so that one who never reads costs at most the transport's limit (64 KiB).
- `close` lets the last reply go out; `check` of the subclass bounds how long that may
  take. `transport` is None once the connection is lost.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

SHARED: Final = 256 * 1024  # octets read at once, at most


def shared_buffer() -> bytearray:
    """The buffer that all connections of one loop are given."""
    return bytearray(SHARED)


class Connection(asyncio.BufferedProtocol):
    """What a protocol's connection inherits; see the laws above."""

    __slots__ = ("closing", "full", "paused", "shared", "slot", "transport")

    def __init__(self, shared: bytearray) -> None:
        self.shared = shared
        self.transport: asyncio.Transport | None = None
        self.full = False  # the peer does not read
        self.paused = False  # we do not read
        self.closing = False
        self.slot = 0  # net.clock's

    # for the subclass to fill in

    def opened(self) -> None:
        """The connection is there; write the greeting."""

    def steer(self) -> None:
        """`full` has changed: look at flow control again."""

    def ended(self) -> None:
        """The connection is gone; called once."""

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.opened()

    def get_buffer(self, sizehint: int) -> bytearray | memoryview:
        return self.shared

    def eof_received(self) -> bool:
        """The peer has finished: nothing it could still be told would matter."""
        return False

    def pause_writing(self) -> None:
        self.full = True
        self.steer()

    def resume_writing(self) -> None:
        self.full = False
        self.steer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.closing = True
        self.ended()

    # what the subclass uses

    def read(self, on: bool) -> None:
        """Begin or stop reading from the peer."""
        if self.paused == on and self.transport is not None and not self.closing:
            self.paused = not on
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def close(self) -> None:
        """After what was written has gone out."""
        if self.transport is not None and not self.closing:
            self.closing = True
            self.transport.close()

    def abort(self) -> None:
        """Now; what was written may be lost."""
        if self.transport is not None:
            self.closing = True
            self.transport.abort()
