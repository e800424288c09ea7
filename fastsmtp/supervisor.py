"""Starts, watches and replaces the processes of a server that runs in several.

The supervisor binds every listening socket once and never closes it while serving, so
that what waits in an accept queue survives a receiver that dies. It parses nothing a
stranger sent.

What a worker inherits: its sockets, the lock of the data directory (it is free again
only when the last process of this server is gone), and the read end of a pipe, its
lifeline. That brings its orders and stays open; each further octet is a word to it:

    END    the server ends: tell clients 421, finish what is in flight, end
    LEAVE  another process has your sockets: stop accepting, finish, end
    HOLD   take no new mail and tell clients 421, but stay
    TAKE   take mail again

When it closes the supervisor is dead, and the worker ends within a moment, so there are
never two keepers. Words do not come as signals: `systemctl stop` sends SIGTERM to every
process of a service, and a keeper must outlive the receivers.

A new configuration needs new processes. A receiver is replaced while it serves: its
successor opens everything and accepts on the same sockets, then it is told to leave;
nobody who connects meets a closed port. The keeper is one of its kind, so the old one
ends before the next begins; the receivers go on meanwhile, for mail that is durable can
wait for the index.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Protocol

import msgspec

STABLE: Final = 10.0  # seconds after which a worker that dies counts as the first again
SLOWEST: Final = 10.0  # seconds: the longest pause before a worker is replaced
FIRST_PAUSE: Final = 0.05  # seconds before the second try in a row; then doubled
LOOK: Final = 0.01  # seconds between looks whether a new worker serves
END: Final = b"."
LEAVE: Final = b"-"
HOLD: Final = b"~"
TAKE: Final = b"+"
COMMAND: Final = (sys.executable, "-P", "-m", "fastsmtp.worker")
"""-P: nothing is imported from the folder that the server was started in."""


class Orders(msgspec.Struct, frozen=True):
    """What a worker is told at its start, one JSON object on its pipe.

    config   the checked configuration as `Config.to_json` gives it
    sockets  inherited descriptors of listening sockets, by kind of listener
    """

    role: str
    slot: int
    epoch: int
    config: str
    sockets: dict[str, tuple[int, ...]] = {}


def read_orders(pipe: int) -> Orders:
    """A worker's first act: the orders, length first. `EOFError` without them."""
    with io.FileIO(pipe, closefd=False) as stream:
        size = int.from_bytes(_read_exactly(stream, 8), "big")
        data = _read_exactly(stream, size)
    return msgspec.json.decode(data, type=Orders)


def _read_exactly(stream: io.RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(size - len(data))
        if not piece:
            raise EOFError("the supervisor ended before it gave any orders")
        data += piece
    return data


@dataclass(slots=True, eq=False)
class Worker:
    """A place for a process: the role and slot stay, the processes come and go.

    process  None before the first start, and after one that failed
    started  monotonic time of the last start, or of the attempt
    leaving  it was told to leave and has no successor in this place
    asked    its next end was asked for: it is not a death
    round    of reloading, whose configuration its process was told
    """

    role: str
    slot: int
    sockets: Mapping[str, Sequence[socket.socket]] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    lifeline: int = -1
    started: float = 0.0
    failures: int = 0
    leaving: bool = False
    asked: bool = False
    round: int = 0
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        """0 without a process."""
        return self.process.pid if self.process is not None else 0

    def pause(self, now: float) -> float:
        """Seconds to wait before the next try, after a death at `now` (monotonic)."""
        self.failures = 0 if now - self.started > STABLE else self.failures + 1
        if self.failures < 2:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** (self.failures - 2), SLOWEST)

    def tell(self, word: bytes) -> None:
        """Said again it does no harm."""
        if self.lifeline >= 0:
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self.lifeline, word)

    def kill(self) -> None:
        if self.process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def close_lifeline(self) -> None:
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1


class NotReplaced(Exception):
    """A new process did not come to serve; the old ones stay. The text says why."""


class Watch(Protocol):
    """Who knows what became of workers."""

    def started(self, worker: Worker, epoch: int) -> None:
        """There is a process, and this life of it has this epoch."""

    def died(self, worker: Worker, status: int | Exception) -> None:
        """It will be replaced; the exit status, or why it could not be started."""

    def left(self, worker: Worker) -> None:
        """It ended as it was told to."""

    def serves(self, worker: Worker) -> bool:
        """Whether this process has opened everything and does its work."""


class Supervisor:
    """Laws: a worker is replaced exactly while nobody has asked for the end; each life
    of a worker has its own epoch, committed before it starts.

    config      what the next process is told, JSON; each change is a new `round`
    holding     receivers take no new mail
    next_epoch  commits and returns the epoch of the next life
    lock        descriptor of the data directory's lock, inherited by every worker
    command     what runs a worker; its pipe, role and slot are added
    """

    def __init__(
        self,
        config: str,
        next_epoch: Callable[[], int],
        lock: int,
        watch: Watch,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._config = config
        self._round = 0
        self.workers: list[Worker] = []
        self.holding = False
        self._next_epoch = next_epoch
        self._lock = lock
        self._watch = watch
        self._command = tuple(command)
        self._stopping = asyncio.Event()
        self._at_once = False

    @property
    def stopping(self) -> bool:
        """Nothing is started any more."""
        return self._stopping.is_set()

    @property
    def config(self) -> str:
        return self._config

    @config.setter
    def config(self, config: str) -> None:
        self._config = config
        self._round += 1

    def start(self, worker: Worker) -> None:
        """From now on there is a process in this place."""
        self.workers.append(worker)
        worker.watcher = asyncio.create_task(self._keep_running(worker))

    async def _keep_running(self, worker: Worker) -> None:
        while not self._stopping.is_set() and not worker.leaving:
            status = await self._one_life(worker)
            worker.close_lifeline()
            if worker.leaving or worker.asked or self._stopping.is_set():
                worker.asked = False
                self._watch.left(worker)
                continue
            self._watch.died(worker, status)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(worker.pause(time.monotonic())):
                    await self._stopping.wait()
        if not self._stopping.is_set():
            self.workers.remove(worker)

    async def _one_life(self, worker: Worker) -> int | Exception:
        """The exit status, or why there was none: the disk is full, a limit, …"""
        worker.process = None
        worker.started = time.monotonic()
        try:
            epoch = await asyncio.to_thread(self._next_epoch)
            if self._stopping.is_set() or worker.leaving:
                return 0
            worker.process = await self._spawn(worker, epoch)
            self._watch.started(worker, epoch)
        except Exception as error:
            return error
        if self._at_once:
            worker.kill()
        elif self._stopping.is_set() or worker.leaving:
            worker.tell(END)
        elif self.holding:
            worker.tell(HOLD)
        return await worker.process.wait()

    async def _spawn(self, worker: Worker, epoch: int) -> asyncio.subprocess.Process:
        fds = {
            listener: tuple(sock.fileno() for sock in sockets)
            for listener, sockets in worker.sockets.items()
        }
        orders = Orders(worker.role, worker.slot, epoch, self._config, fds)
        worker.round = self._round
        data = msgspec.json.encode(orders)
        theirs, worker.lifeline = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(*self._command, str(theirs)),
                *(worker.role, str(worker.slot)),  # for who reads the process list
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs, self._lock, *chain(*fds.values())),
            )
        finally:
            os.close(theirs)
        with contextlib.suppress(BrokenPipeError):  # it died: its status says more
            framed = len(data).to_bytes(8, "big") + data
            await asyncio.to_thread(_write_all, worker.lifeline, framed)
        os.set_blocking(worker.lifeline, False)
        return process

    def of(self, role: str) -> list[Worker]:
        """The places of a role that are to stay."""
        return [w for w in self.workers if w.role == role and not w.leaving]

    async def replace(self, old: list[Worker], new: list[Worker], wait: float) -> None:
        """Start `new`; when all of them serve, `old` leave.

        Raises `NotReplaced` when that takes more than `wait` seconds or one of them
        dies before: then the old ones stay."""
        for worker in new:
            self.start(worker)
        try:
            await self._serving(new, wait)
        except NotReplaced:
            for worker in new:
                worker.leaving = True
                worker.kill()
            await asyncio.gather(*(w.watcher for w in new if w.watcher is not None))
            raise
        for worker in old:
            worker.leaving = True
            worker.tell(LEAVE)

    async def renew(self, worker: Worker, wait: float) -> None:
        """End this worker, unless it knows the configuration already, and start its
        successor in the same place.

        Raises `NotReplaced` when that takes more than `wait` seconds; the supervisor
        goes on trying."""
        worker.failures = 0
        told: asyncio.subprocess.Process | None = None
        deadline = time.monotonic() + wait
        while worker.round != self._round or not self._serves(worker):
            if worker.alive and worker.round != self._round and worker.process != told:
                told = worker.process
                worker.asked = True
                worker.tell(END)
            await self._look(worker, deadline)

    async def _serving(self, workers: list[Worker], wait: float) -> None:
        deadline = time.monotonic() + wait
        for worker in workers:
            while not self._serves(worker):
                await self._look(worker, deadline)

    def _serves(self, worker: Worker) -> bool:
        return worker.alive and self._watch.serves(worker)

    async def _look(self, worker: Worker, deadline: float) -> None:
        """Wait a little for this worker. Raises `NotReplaced` when that is no use."""
        name = f"the new {worker.role} process"
        if self._stopping.is_set():
            raise NotReplaced("the server is ending")
        if worker.failures:
            raise NotReplaced(f"{name} died at once; its log says why")
        if time.monotonic() > deadline:
            raise NotReplaced(f"{name} did not come to serve in time")
        await asyncio.sleep(LOOK)

    def hold(self, on: bool) -> None:
        """Receivers take no new mail, or take it again."""
        self.holding = on
        for worker in self.of("receive"):
            worker.tell(HOLD if on else TAKE)

    async def stop(self, *order: tuple[str, ...]) -> None:
        """Drain: some roles together, and the next when they are gone."""
        self._stopping.set()
        for together in order:
            mine = [w for w in self.workers if w.role in together]
            for worker in mine:
                if worker.alive:
                    worker.tell(END)
            await asyncio.gather(*(w.watcher for w in mine if w.watcher is not None))

    def stop_now(self) -> None:
        """End every worker at once; what was acknowledged is durable already."""
        self._at_once = True
        self._stopping.set()
        for worker in self.workers:
            worker.kill()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
