"""Reads the PROXY header of connections from named networks, then steps aside.

    raw transport → Entrance → (header read) → the protocol it makes, TLS or SMTP

A connection from elsewhere is handed on at once and nothing of it is read here. One
from such a network must begin with a whole header in time, or it is dropped without a
word: nobody but a proxy should come from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from fastsmtp.net.clock import Clock
from fastsmtp.net.networks import Networks
from fastsmtp.net.proxy import LONGEST, Header, NotProxy, parse

PATIENCE: Final = 5.0  # seconds for the header to come
AT_ONCE: Final = 256  # octets read at once; what is behind the header is passed on

Make = Callable[[], asyncio.BaseProtocol]


class Entrance:
    """Makes the protocols of a listener that has proxies before it.

    make      the protocol behind the header
    dropped   told of an address whose connection had no header, and why
    """

    def __init__(
        self,
        networks: Sequence[str],
        make: Make,
        clock: Clock,
        dropped: Callable[[str, str], None],
    ) -> None:
        self.networks = Networks(networks)
        self.make = make
        self.clock = clock
        self.dropped = dropped
        self.waiting: set[Reader] = set()

    def __call__(self) -> Reader:
        return Reader(self)

    def close(self) -> None:
        """Drop who has not said yet who it is."""
        for reader in tuple(self.waiting):
            reader.drop("")


class Reader(asyncio.BufferedProtocol):
    """One connection until its header is there. `slot` is the clock's."""

    def __init__(self, entrance: Entrance) -> None:
        self.slot = 0
        self._entrance = entrance
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._data = b""
        self._buffer = bytearray(AT_ONCE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        entrance = self._entrance
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        if self._peer not in entrance.networks:
            self._hand_over(self._transport)
            return
        entrance.waiting.add(self)
        entrance.clock.watch(self, entrance.clock.now + PATIENCE)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._data += self._buffer[:nbytes]
        try:
            header = parse(self._data)
        except NotProxy as error:
            self.drop(str(error))
            return
        if header is not None:
            self._enter(header)
        assert len(self._data) <= LONGEST + AT_ONCE

    def _enter(self, header: Header) -> None:
        assert self._transport is not None
        self._leave()
        rest = memoryview(self._data)[header.size :]
        client = header.client
        self._hand_over(Proxied(self._transport, client), rest)

    def _hand_over(
        self, transport: asyncio.Transport | Proxied, rest: Sequence[int] = b""
    ) -> None:
        """From now on the event loop talks to the next protocol."""
        assert self._transport is not None
        inner = cast(asyncio.BufferedProtocol, self._entrance.make())
        self._transport.set_protocol(inner)
        inner.connection_made(cast(asyncio.Transport, transport))
        left = memoryview(bytes(rest))
        while left and not self._transport.is_closing():
            buffer = memoryview(inner.get_buffer(len(left)))
            size = min(len(left), len(buffer))
            buffer[:size] = left[:size]
            inner.buffer_updated(size)
            left = left[size:]

    def _leave(self) -> None:
        self._entrance.waiting.discard(self)
        self._entrance.clock.forget(self)

    def eof_received(self) -> bool:
        if self._transport is not None:
            self.drop("it closed before the PROXY header was whole")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._leave()

    def check(self, now: float) -> float | None:
        """Called by the clock: the header did not come in time."""
        self.drop("no PROXY header came in time")
        return None

    def drop(self, why: str) -> None:
        self._leave()
        if why:
            self._entrance.dropped(self._peer, why)
        if self._transport is not None:
            self._transport.abort()


class Proxied:
    """A transport whose peer is who the proxy says; all else is the real one's."""

    def __init__(
        self, transport: asyncio.Transport, client: tuple[str, int] | None
    ) -> None:
        self._transport = transport
        self._client = client
        self.write = transport.write

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername" and self._client is not None:
            return self._client
        return self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
