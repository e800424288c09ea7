"""Starts, watches and replaces the processes of a server that runs in several.

The supervisor binds every listening socket once and never closes it while serving, so
that what waits in an accept queue survives a receiver that dies. It parses nothing a
stranger sent.

What a worker inherits: its sockets, the lock of the data directory (it is free again
only when the last process of this server is gone), and the read end of a pipe that
brings its orders and then stays open. When that pipe closes the supervisor is dead and
the worker ends too, so there are never two keepers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fastsmtp.errors import StoreUnavailable

STABLE: Final = 10.0  # seconds after which a worker that dies counts as the first again
SLOWEST: Final = 10.0  # seconds: the longest pause before a worker is replaced
FIRST_PAUSE: Final = 0.05  # seconds before the second try in a row; then doubled


class Orders(msgspec.Struct, frozen=True):
    """What a worker is told at its start, one JSON object on its pipe.

    config   the checked configuration as `Config.to_json` gives it
    sockets  inherited descriptors of listening sockets
    """

    role: str
    slot: int
    epoch: int
    config: str
    sockets: tuple[int, ...] = ()


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
    """A place for a process: the role and slot stay, the processes come and go."""

    role: str
    slot: int
    sockets: tuple[socket.socket, ...] = ()
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

    def signal(self, number: int) -> None:
        if self.process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Laws: a worker runs exactly while `stopping` is false or it still drains; each
    life of a worker has its own epoch, committed before it starts.

    next_epoch  commits and returns the epoch of the next life
    lock        descriptor of the data directory's lock, inherited by every worker
    died        told of every death before it is replaced: the worker, and its exit
                status or why it could not be started
    """

    def __init__(
        self,
        workers: list[Worker],
        config: str,
        next_epoch: Callable[[], int],
        lock: int,
        died: Callable[[Worker, int | Exception], None],
    ) -> None:
        self.workers = workers
        self._config = config
        self._next_epoch = next_epoch
        self._lock = lock
        self._died = died
        self._stopping = False

    def stopping(self) -> bool:
        return self._stopping

    def start(self) -> None:
        for worker in self.workers:
            worker.watcher = asyncio.create_task(self._keep_running(worker))

    async def _keep_running(self, worker: Worker) -> None:
        while not self.stopping():
            try:
                status: int | Exception
                await self._spawn(worker)
                assert worker.process is not None
                if self.stopping():
                    worker.signal(signal.SIGTERM)
                status = await worker.process.wait()
            except Exception as error:  # it could not be started: the disk, a limit
                status = error
            except StoreUnavailable:  # no epoch while the disk is full: try again
                status = errno.ENOSPC
            self._end_lifeline(worker)
            if self.stopping():
                return
            self._died(worker, status)
            await asyncio.sleep(worker.pause(time.monotonic()))

    async def _spawn(self, worker: Worker) -> None:
        epoch = await asyncio.to_thread(self._next_epoch)
        fds = tuple(s.fileno() for s in worker.sockets)
        orders = Orders(worker.role, worker.slot, epoch, self._config, fds)
        data = msgspec.json.encode(orders)
        theirs, ours = os.pipe()
        worker.lifeline = ours
        worker.started = time.monotonic()
        try:
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fastsmtp.worker", str(theirs)),
                *(worker.role, str(worker.slot)),  # for who reads the process list
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs, self._lock, *fds),
            )
        finally:
            os.close(theirs)
        await asyncio.to_thread(_write_all, ours, len(data).to_bytes(8, "big") + data)

    def _end_lifeline(self, worker: Worker) -> None:
        if worker.lifeline >= 0:
            os.close(worker.lifeline)
            worker.lifeline = -1

    async def stop(self, order: tuple[str, ...]) -> None:
        """Drain role by role: the next in `order` is told when the last is gone."""
        self._stopping = True
        for role in order:
            mine = [w for w in self.workers if w.role == role]
            for worker in mine:
                worker.signal(signal.SIGTERM)
            await asyncio.gather(*(self._gone(w) for w in mine))

    async def _gone(self, worker: Worker) -> None:
        if worker.watcher is None:
            return
        if worker.process is not None and not worker.alive:
            worker.watcher.cancel()  # it waits to try again
        with contextlib.suppress(asyncio.CancelledError):
            await worker.watcher

    def stop_now(self) -> None:
        """End every worker at once; what was acknowledged is durable already."""
        self._stopping = True
        for worker in self.workers:
            worker.signal(signal.SIGKILL)

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
