"""The socket between the keeper, which has the queue, and the processes that send.

    Senders    the keeper's end: `dispatch.Sender`, listens
    Clerk      a sender's end: the `relay.Sink` of its relay, connects, and again

What they say is in `delivery.jobs`. A sender that has lost the keeper finishes what is
inside its connections and keeps the outcomes until somebody acknowledges them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from zlib import crc32

import msgspec

from fastsmtp.delivery import jobs
from fastsmtp.delivery.jobs import Hello, Job, Key, Outcome

if TYPE_CHECKING:  # a process has one of the two
    from fastsmtp.delivery.dispatch import Dispatcher
    from fastsmtp.delivery.relay import Relay

SOCKET: Final = "send.sock"
_RETRY: Final = 0.05  # seconds between attempts to connect, doubled up to a second
_LASTING: Final = 5.0  # seconds that a connection lasted if it was a good one


class Line(asyncio.Protocol):
    """One end. What is said in one turn of the loop is one write."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self._frames = jobs.Frames()
        self._said: dict[int, list[object]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, what in self._frames.feed(data):
                self.heard(kind, what)
        except (msgspec.MsgspecError, ValueError) as error:
            self.misheard(error)
            if self.transport is not None:
                self.transport.abort()

    def heard(self, kind: int, what: Any) -> None:
        raise NotImplementedError

    def misheard(self, error: Exception) -> None:
        raise NotImplementedError

    def say(self, kind: int, what: object) -> None:
        if not self._said:
            asyncio.get_running_loop().call_soon(self._write)
        self._said.setdefault(kind, []).append(what)

    def _write(self) -> None:
        said, self._said = self._said, {}
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(
                b"".join(jobs.frame(k, what) for k, what in said.items())
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


class _Desk(Line):
    """The keeper's end of one connection; `given` are jobs without an outcome."""

    def __init__(self, senders: Senders) -> None:
        super().__init__()
        self.given: dict[Key, str] = {}
        self.greeted = False
        self._senders = senders

    def heard(self, kind: int, what: Any) -> None:
        dispatcher = self._senders.dispatcher
        if kind == jobs.HELLO:
            self._hello(what)
        elif kind == jobs.DONE:
            for outcome in what:
                self._done(Key(outcome.id, outcome.destination), outcome)
        elif kind == jobs.BACK:
            for id, destination, hop in what:
                if self.given.pop(Key(id, destination), None) is not None:
                    dispatcher.returned(id, destination, hop)

    def _hello(self, hello: Hello) -> None:
        dispatcher = self._senders.dispatcher
        for key, hop in hello.active:
            if dispatcher.resumed(key, hop):
                self.given[key] = hop
        for outcome in hello.outcomes:
            key = Key(outcome.id, outcome.destination)
            if dispatcher.resumed(key, outcome.hop):
                self.given[key] = outcome.hop
            self._done(key, outcome)
        self.greeted = True
        self._senders.changed()

    def _done(self, key: Key, outcome: Outcome) -> None:
        """What is not given is no business of this sender any more: it has left the
        queue, or its outcome is known already, or another sender has it."""
        if self.given.pop(key, None) is not None:
            self._senders.dispatcher.finished(outcome.attempt())
        else:
            self.say(jobs.RECORDED, key)

    def misheard(self, error: Exception) -> None:
        self._senders.fault("what a sender said", error)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        given, self.given = self.given, {}
        self._senders.gone(self)
        for key, hop in given.items():
            self._senders.dispatcher.returned(key.id, key.destination, hop)
        self._senders.changed()


class Senders:
    """The processes that send, as the keeper has them: all mail for one next hop goes
    through one of them, so that limits hold.

    fault  told of what no sender should say
    """

    def __init__(
        self,
        path: Path,
        dispatcher: Dispatcher,
        fault: Callable[[str, BaseException], None],
    ) -> None:
        self.dispatcher = dispatcher
        self.fault = fault
        self._path = path
        self._desks: list[_Desk] = []
        self._server: asyncio.AbstractServer | None = None
        self._owners: dict[Key, _Desk] = {}

    async def open(self) -> None:
        """Listen; a socket that a dead process left behind is replaced. The caller has
        the lock of the data directory."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(os.fspath(self._path))
        self._path.chmod(0o600)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._desk, sock=bound)

    def _desk(self) -> _Desk:
        desk = _Desk(self)
        self._desks.append(desk)
        return desk

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for desk in self._desks:
            if desk.transport is not None:
                desk.transport.abort()
        self._path.unlink(missing_ok=True)

    def give(self, job: Job) -> bool:
        ready = [desk for desk in self._desks if desk.greeted]
        if not ready:
            return False
        desk = ready[crc32(job.hop.key.encode()) % len(ready)]
        desk.given[job.key] = job.hop.key
        self._owners[job.key] = desk
        desk.say(jobs.GIVE, job)
        return True

    def recorded(self, key: Key) -> None:
        desk = self._owners.pop(key, None)
        for one in (desk,) if desk is not None else self._desks:
            one.say(jobs.RECORDED, key)

    def changed(self) -> None:
        """There is one more, or one less: what waited may go to others."""
        if any(desk.greeted for desk in self._desks):
            self.dispatcher.connected()

    def gone(self, desk: _Desk) -> None:
        with contextlib.suppress(ValueError):
            self._desks.remove(desk)
        for key in [key for key, owner in self._owners.items() if owner is desk]:
            del self._owners[key]


class Outcomes:
    """Those that are not known to be durable."""

    def __init__(self) -> None:
        super().__init__()
        self._outcomes: dict[Key, Outcome] = {}
        self._written = asyncio.Event()

    def keep(self, outcome: Outcome) -> None:
        self._outcomes[Key(outcome.id, outcome.destination)] = outcome

    def written(self, key: Key) -> None:
        self._outcomes.pop(key, None)
        self._written.set()

    async def settled(self, patience: float) -> None:
        """Wait until every outcome is written down, for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._outcomes:
                    self._written.clear()
                    await self._written.wait()


class Clerk(Outcomes, Line):
    """A sender's end; made once, it lives through any number of connections.

    relay  set by who makes both, before `run`
    """

    relay: Relay

    def __init__(self, path: Path, fault: Callable[[str, BaseException], None]) -> None:
        super().__init__()
        self._path = path
        self._fault = fault
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Connect whenever there is no connection, until cancelled."""
        loop, pause = asyncio.get_running_loop(), _RETRY
        while True:
            began = loop.time()
            with contextlib.suppress(OSError):
                await loop.create_unix_connection(lambda: self, os.fspath(self._path))
                await self._lost.wait()
            if loop.time() - began > _LASTING:
                pause = _RETRY
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._lost.clear()
        self._frames = jobs.Frames()
        self._said = {}
        active = tuple((k, w.job.hop.key) for k, w in self.relay.active.items())
        hello = Hello(active, tuple(self._outcomes.values()))
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.write(jobs.frame(jobs.HELLO, hello))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.relay.forget_waiting()
        self._lost.set()

    def heard(self, kind: int, what: Any) -> None:
        if kind == jobs.GIVE:
            for job in what:
                self.relay.give(job)
        elif kind == jobs.RECORDED:
            for key in what:
                self.written(key)
                self.relay.recorded(key)

    def misheard(self, error: Exception) -> None:
        self._fault("what the keeper said", error)

    # relay.Sink

    def finished(self, outcome: Outcome) -> None:
        self.keep(outcome)
        if self.transport is not None:
            self.say(jobs.DONE, outcome)

    def returned(self, job: Job) -> None:
        if self.transport is not None:
            self.say(jobs.BACK, (job.id, job.destination, job.hop.key))


class Direct(Outcomes):
    """Keeper and sender in one process: `dispatch.Sender` and `relay.Sink`.

    relay  set by who makes both
    """

    relay: Relay

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    def give(self, job: Job) -> bool:
        self.relay.give(job)
        return True

    def recorded(self, key: Key) -> None:
        self.written(key)
        self.relay.recorded(key)

    def finished(self, outcome: Outcome) -> None:
        self.keep(outcome)
        self._dispatcher.finished(outcome.attempt())

    def returned(self, job: Job) -> None:
        self._dispatcher.returned(job.id, job.destination, job.hop.key)
