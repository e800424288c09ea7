"""Starts, watches and replaces the processes of a server that runs in several.

The supervisor binds every listening socket once and never closes it while serving, so
that what waits in an accept queue survives a receiver that dies. It parses nothing a
stranger sent.

What a worker inherits: its sockets, the lock of the data directory (it is free again
only when the last process of this server is gone), and the read end of a pipe, its
lifeline. That brings its orders and stays open; one more octet, END, tells it to drain.
When it closes without it the supervisor is dead, and the worker ends within a moment,
so there are never two keepers. Draining is not told by a signal: `systemctl stop` sends
SIGTERM to every process of a service, and a keeper must outlive the receivers.
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
from typing import Any, Final

import msgspec

STABLE: Final = 10.0  # seconds after which a worker that dies counts as the first again
SLOWEST: Final = 10.0  # seconds: the longest pause before a worker is replaced
FIRST_PAUSE: Final = 0.05  # seconds before the second try in a row; then doubled
END: Final = b"."  # on a lifeline behind the orders: drain, then end
COMMAND: Final = (sys.executable, "-m", "fastsmtp.worker")


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


@dataclass(slots=True)
class Worker:
    """A place for a process: the role and slot stay, the processes come and go.

    process  None before the first start, and after one that failed
    started  monotonic time of the last start, or of the attempt
    """

    role: str
    slot: int
    sockets: Mapping[str, Sequence[socket.socket]] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    lifeline: int = -1
    started: float = 0.0
    failures: int = 0
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def pause(self, now: float) -> float:
        """Seconds to wait before the next try, after a death at `now` (monotonic)."""
        self.failures = 0 if now - self.started > STABLE else self.failures + 1
        if self.failures < 2:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** (self.failures - 2), SLOWEST)

    def tell_end(self) -> None:
        """Drain and end; said again it does no harm."""
        if self.lifeline >= 0:
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self.lifeline, END)

    def kill(self) -> None:
        if self.process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def close_lifeline(self) -> None:
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1


class Supervisor:
    """Laws: a worker is replaced exactly while nobody has asked for the end; each life
    of a worker has its own epoch, committed before it starts.

    next_epoch  commits and returns the epoch of the next life
    lock        descriptor of the data directory's lock, inherited by every worker
    died        told of every death before it is replaced: the worker, and its exit
                status or why it could not be started
    command     what runs a worker; its pipe, role and slot are added
    """

    def __init__(
        self,
        workers: list[Worker],
        config: str,
        next_epoch: Callable[[], int],
        lock: int,
        died: Callable[[Worker, int | Exception], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.workers = workers
        self._config = config
        self._next_epoch = next_epoch
        self._lock = lock
        self._died = died
        self._command = tuple(command)
        self._stopping = asyncio.Event()
        self._at_once = False

    def start(self) -> None:
        for worker in self.workers:
            worker.watcher = asyncio.create_task(self._keep_running(worker))

    async def _keep_running(self, worker: Worker) -> None:
        while not self._stopping.is_set():
            status = await self._one_life(worker)
            worker.close_lifeline()
            if self._stopping.is_set():
                return
            self._died(worker, status)
            with contextlib.suppress(TimeoutError):
                pause = worker.pause(time.monotonic())
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _one_life(self, worker: Worker) -> int | Exception:
        """The exit status, or why there was none: the disk is full, a limit, …"""
        worker.process = None
        worker.started = time.monotonic()
        try:
            epoch = await asyncio.to_thread(self._next_epoch)
            if self._stopping.is_set():
                return 0
            worker.process = await self._spawn(worker, epoch)
        except Exception as error:
            return error
        if self._at_once:
            worker.kill()
        elif self._stopping.is_set():
            worker.tell_end()
        return await worker.process.wait()

    async def _spawn(self, worker: Worker, epoch: int) -> asyncio.subprocess.Process:
        fds = {
            listener: tuple(sock.fileno() for sock in sockets)
            for listener, sockets in worker.sockets.items()
        }
        orders = Orders(worker.role, worker.slot, epoch, self._config, fds)
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

    async def stop(self, order: tuple[str, ...]) -> None:
        """Drain role by role: the next in `order` is told when the last is gone."""
        self._stopping.set()
        for role in order:
            mine = [w for w in self.workers if w.role == role]
            for worker in mine:
                if worker.alive:
                    worker.tell_end()
            await asyncio.gather(*(w.watcher for w in mine if w.watcher is not None))

    def stop_now(self) -> None:
        """End every worker at once; what was acknowledged is durable already."""
        self._at_once = True
        self._stopping.set()
        for worker in self.workers:
            worker.kill()

    def describe(self) -> list[dict[str, Any]]:
        """Role, slot, process id and uptime in seconds of every worker."""
        now = time.monotonic()
        return [
            {
                "role": w.role,
                "slot": w.slot,
                "pid": w.process.pid if w.process and w.alive else None,
                "uptime": round(now - w.started, 3) if w.alive else 0.0,
            }
            for w in self.workers
        ]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
