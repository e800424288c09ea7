"""The Unix socket between the keeper and the processes that write logs.

Frames of 24 octets: type, a number, two more; behind COMMIT and ANSWER so many octets
as the number says.

    writer -> keeper   HELLO    series, first segment of this life
                       DURABLE  segment, offset: durable up to there
                       WATCH    partition: tell when it changes
                       COMMIT   octets, ticket: see `request`
    keeper -> writer   APPLIED  segment, offset: applied up to there
                       CHANGED  partition
                       ANSWER   octets, ticket, version: the octets are a status and a
                                text

A writer connects again by itself and begins with HELLO and DURABLE. The end of a
connection may be the end of its process: the keeper looks at the lock of the segment.
What was asked for and not answered when a connection ends may have been done or not.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Final, Protocol, cast

from fastsmtp.errors import StoreUnavailable
from fastsmtp.store.lmdb import request
from fastsmtp.store.lmdb.work import Change

HELLO: Final = 1
DURABLE: Final = 2
WATCH: Final = 3
APPLIED: Final = 4
CHANGED: Final = 5
COMMIT: Final = 6
ANSWER: Final = 7
_LOADED: Final = (COMMIT, ANSWER)

_FRAME: Final = Struct("<BxxxIQQ")
_PAUSE: Final = 0.005  # seconds between two DURABLE frames under load
_RETRY: Final = 0.05  # seconds between attempts to connect, doubled up to a second
_OPEN: Final = 64  # commits of one peer that are under way; then it is not read
_PATIENCE: Final = 5.0  # seconds to wait for a keeper that is being replaced

Place = tuple[int, int]


class Frames(asyncio.Protocol):
    """Cuts the stream into frames; `on_frame` gets (type, number, first, second), and
    `on_load` gets the octets behind one that has some."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._rest.clear()

    def data_received(self, data: bytes) -> None:
        held, at = self._rest, 0
        held += data
        while len(held) - at >= _FRAME.size:
            kind, number, first, second = _FRAME.unpack_from(held, at)
            if kind not in _LOADED:
                at += _FRAME.size
                self.on_frame(kind, number, first, second)
                continue
            end = at + _FRAME.size + number
            if number > request.LARGEST:
                self.abort()
                return
            if len(held) < end:
                break
            load = bytes(memoryview(held)[at + _FRAME.size : end])
            at = end
            self.on_load(kind, first, second, load)
        del held[:at]

    def on_frame(self, kind: int, number: int, first: int, second: int) -> None:
        raise NotImplementedError

    def on_load(self, kind: int, first: int, second: int, load: bytes) -> None:
        raise NotImplementedError

    def send(self, kind: int, number: int, first: int = 0, second: int = 0) -> None:
        if self.transport is not None:
            self.transport.write(_FRAME.pack(kind, number, first, second))

    def send_load(self, kind: int, first: int, second: int, load: bytes) -> None:
        if self.transport is not None:
            head = _FRAME.pack(kind, len(load), first, second)
            self.transport.writelines((head, load))

    def abort(self) -> None:
        """The peer does not speak as agreed."""
        self._rest.clear()
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


class Hub(Protocol):
    """What the keeper does with what writers say."""

    def tell(self, series: int, place: Place, first: int) -> None: ...

    def gone(self, series: int) -> None: ...

    def commit(self, asked: bytes) -> asyncio.Future[int]:
        """What a reader asks for; the version, or why not."""
        ...


class Peer(Frames):
    """The keeper's end of one connection."""

    def __init__(self, server: "LinkServer") -> None:
        super().__init__()
        self.series = 0  # 0: no HELLO yet; it is the keeper's own, which has no link
        self._first = 0
        self._server = server
        self.watched: set[int] = set()
        self._open = 0  # commits under way

    def on_frame(self, kind: int, number: int, first: int, second: int) -> None:
        if kind == HELLO:
            self.series, self._first = number, first
            self._server.peers[number] = self
        elif kind == DURABLE and self.series:
            self._server.hub.tell(self.series, (number, first), self._first)
        elif kind == WATCH:
            self.watched.add(first)

    def on_load(self, kind: int, first: int, second: int, load: bytes) -> None:
        if kind != COMMIT:
            self.abort()
            return
        self._open += 1
        if self._open == _OPEN and self.transport is not None:
            self.transport.pause_reading()
        asked = self._server.hub.commit(load)
        asked.add_done_callback(partial(self._answer, first))

    def _answer(self, ticket: int, asked: asyncio.Future[int]) -> None:
        error = None if asked.cancelled() else asked.exception()
        version, status, text = 0, request.Status.UNAVAILABLE, b"the keeper ends"
        if error is not None:
            status, text = request.status_of(error)
        elif not asked.cancelled():
            version, status, text = asked.result(), request.Status.DONE, b""
        self.send_load(ANSWER, ticket, version, bytes((status,)) + text)
        self._open -= 1
        if self._open == _OPEN - 1 and self.transport is not None:
            self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.connected.add(self)
        if self._server.closed:  # it was being accepted then
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.connected.discard(self)
        if self._server.peers.get(self.series) is self:
            del self._server.peers[self.series]
            self._server.hub.gone(self.series)


class LinkServer:
    """The keeper's socket."""

    def __init__(self, path: Path, hub: Hub) -> None:
        self.path = path
        self.hub = hub
        self.peers: dict[int, Peer] = {}
        self.connected: set[Peer] = set()
        self.closed = False
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Take the place of a dead keeper's socket."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        mask = os.umask(0o177)
        try:
            self._server = await loop.create_unix_server(
                lambda: Peer(self), str(self.path)
            )
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error
        finally:
            os.umask(mask)

    def applied(self, series: int, place: Place) -> None:
        peer = self.peers.get(series)
        if peer is not None:
            peer.send(APPLIED, place[0], place[1])

    def changed(self, parts: set[int]) -> None:
        for peer in self.connected:
            for part in peer.watched & parts:
                peer.send(CHANGED, 0, part)

    async def close(self) -> None:
        self.closed = True
        if self._server is not None:
            self._server.close()
        for peer in tuple(self.connected):
            if peer.transport is not None:
                peer.transport.abort()
        self.path.unlink(missing_ok=True)


class LinkClient(Frames):
    """A writer's end: keeps itself connected until `close`.

    applied(place)   the keeper has applied this series up to there
    changed(part)    a watched partition changed, or may have while disconnected
    """

    def __init__(
        self,
        path: Path,
        series: int,
        first: int,
        durable: Place,
        applied: Callable[[Place], None],
        changed: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.path = path
        self._series = series
        self._first = first
        self._durable = durable
        self._applied = applied
        self._changed = changed
        self._watched: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._next = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()
        self._there = asyncio.Event()
        self._tickets = 0
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._task = self._loop.create_task(self._stay_connected())

    @property
    def connected(self) -> bool:
        return self.transport is not None

    def tell(self, place: Place) -> None:
        """Everything before `place` is durable; frames are sparse under load."""
        self._durable = place
        if self._later is not None or self.transport is None:
            return
        pause = self._next - self._loop.time()
        if pause <= 0:
            self._send_durable()
        else:
            self._later = self._loop.call_later(pause, self._send_durable)

    def watch(self, part: int) -> None:
        if part not in self._watched:
            self._watched.add(part)
            self.send(WATCH, 0, part)

    async def commit(self, change: Change) -> int:
        """As `Store.commit`. `StoreUnavailable` when the keeper is away; when it went
        meanwhile, the commit may be done all the same."""
        load = request.encode(change)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._there.wait()
        except TimeoutError:
            raise StoreUnavailable("the keeper is away") from None
        self._tickets += 1
        ticket = self._tickets
        answer: asyncio.Future[int] = self._loop.create_future()
        self._asked[ticket] = answer
        self.send_load(COMMIT, ticket, 0, load)
        try:
            return await answer
        finally:
            self._asked.pop(ticket, None)

    def on_load(self, kind: int, first: int, second: int, load: bytes) -> None:
        answer = self._asked.get(first)
        if answer is None or answer.done():
            return
        if load[0] == request.Status.DONE:
            answer.set_result(second)
        else:
            answer.set_exception(request.error_of(load[0], load[1:]))

    def _send_durable(self) -> None:
        self._later = None
        self._next = self._loop.time() + _PAUSE
        self.send(DURABLE, *self._durable)

    def on_frame(self, kind: int, number: int, first: int, second: int) -> None:
        if kind == APPLIED:
            self._applied((number, first))
        elif kind == CHANGED:
            self._changed(first)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._there.set()
        self.send(HELLO, self._series, self._first)
        self._send_durable()
        for part in self._watched:
            self.send(WATCH, 0, part)
            self._changed(part)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost.set()
        self._there.clear()
        for answer in self._asked.values():
            if not answer.done():
                error = StoreUnavailable("the keeper went before it answered")
                answer.set_exception(error)

    async def _stay_connected(self) -> None:
        pause = _RETRY
        while True:
            self._lost.clear()
            try:
                await self._loop.create_unix_connection(lambda: self, str(self.path))
            except OSError:
                await asyncio.sleep(pause)
                pause = min(1.0, 2 * pause)
                continue
            pause = _RETRY
            await self._lost.wait()

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._later is not None:
            self._later.cancel()
        if self.transport is not None:
            self.transport.close()
