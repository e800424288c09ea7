"""The composition root: from a configuration to a running server.

mode one    this process has all roles
mode split  this process supervises: it owns the sockets and the metrics endpoint,
            and `fastsmtp.worker` runs each receiver and the keeper
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import chain
from pathlib import Path
from typing import Final

import uvloop

from fastsmtp import metrics, roles
from fastsmtp.config import Config
from fastsmtp.ending import Ending
from fastsmtp.errors import StoreUnavailable
from fastsmtp.net.listener import bind
from fastsmtp.owner import as_owner, become_owner
from fastsmtp.pages import Pages
from fastsmtp.pulse import RESTARTS
from fastsmtp.roles import Process
from fastsmtp.serve.control import SOCKET
from fastsmtp.store.lmdb import LmdbStore, Lock, lock, next_epoch
from fastsmtp.store.lmdb.index import Index
from fastsmtp.supervisor import Supervisor, Worker

PAGES: Final = "counters"  # file in the run directory
GRACE: Final = 30.0  # seconds a transaction under way may still take
SETTLING: Final = 5.0  # seconds after that until all that was accepted is applied
LONGEST_SOCKET: Final = 107  # octets of a path in sockaddr_un
FIRST_WORKER: Final = 2  # slot of the keeper; receivers follow
PATIENCE: Final = 3.0  # seconds to wait for the workers of a killed supervisor
NOT_STARTED: Final = 127  # reported as the exit status of a worker that never was
MOMENT: Final = 0.1  # seconds to wait for their ports after that
BROKEN: Final = 1  # exit status when a role ended by itself


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises `OSError` when an address cannot be listened on or a folder cannot be used,
    `StoreUnavailable` when another server has the data directory or the disk fails,
    `FormatTooNew`.
    """
    one = config.processes.mode == "one"
    with ExitStack() as stack:
        with as_owner(config.data):
            prepare(config)
            held = stack.enter_context(claim(config.data))
        # Not before the claim: until then a killed server's workers have the ports.
        doors = open_doors(config, 1 if one else config.processes.receivers)
        stack.callback(doors.close)
        become_owner(config.data)
        if not one and not os.access(sys.executable, os.X_OK):
            text = "the owner of the data directory may not run it"
            raise OSError(errno.EACCES, text, sys.executable)
        run = serve_one(config, doors) if one else supervise(config, doors, held)
        return uvloop.run(run)


def prepare(config: Config) -> None:
    """Make the folders. `OSError` when that cannot be, with the path."""
    for folder in (config.data, config.run):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "is not ours to write to", str(folder))
    socket_path = str(config.run / SOCKET)
    if len(os.fsencode(socket_path)) > LONGEST_SOCKET:
        text = f"too long for a socket's name ({LONGEST_SOCKET} octets): set `run`"
        raise OSError(errno.ENAMETOOLONG, text, socket_path)


def claim(data: Path) -> Lock:
    """The lock of the data directory. Workers whose supervisor was killed hold it for
    the moment they need to end, so this waits a little."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return lock(data)
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def open_doors(config: Config, receivers: int) -> Doors:
    """A process that ends lets go of its lock a moment before its sockets."""
    deadline = time.monotonic() + MOMENT
    while True:
        try:
            return Doors(config, receivers)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


class Doors:
    """The listening sockets, bound before a worker or a store is opened.

    smtp  for each receiver, the sockets of each kind of listener
    """

    def __init__(self, config: Config, receivers: int) -> None:
        self.smtp: list[dict[str, list[socket.socket]]] = []
        self.watch: list[socket.socket] = []
        try:
            for _ in range(receivers):
                self.smtp.append({listener: [] for listener in config.listeners})
                self._bind(config.listeners, share=receivers > 1)
            if config.metrics.listen:
                self.watch += bind(config.metrics.listen)
        except OSError:
            self.close()
            raise

    def _bind(self, listeners: Mapping[str, Sequence[str]], share: bool) -> None:
        for listener, addresses in listeners.items():
            for address in addresses:
                self.smtp[-1][listener] += bind(address, share=share)

    @property
    def addresses(self) -> str:
        """Where mail is taken, for people: host:port, comma separated."""
        names = []
        for listener, sockets in self.smtp[0].items():
            for sock in sockets:
                host, port = sock.getsockname()[:2]
                name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                names.append(name if listener == "smtp" else f"{name} ({listener})")
        return ", ".join(names)

    def close(self) -> None:
        for sock in self.watch:
            sock.close()
        for sockets in self.smtp:
            for sock in chain(*sockets.values()):
                sock.close()


def counting(config: Config, slots: int) -> Pages:
    """The file of counters, made new. Raises `OSError` with its path."""
    path = config.run / PAGES
    try:
        return Pages.create(path, metrics.CELLS, slots)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


async def serve_one(config: Config, doors: Doors) -> int:
    """All roles in this process."""
    epoch = next_epoch(config.data, config.store)
    pages = counting(config, 1)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        process = await enter(roles.living(config, "all", 1, epoch, pages))
        ending = Ending()

        def broken(what: str, error: BaseException) -> None:
            process.report.fault(what, error)
            ending.ask(BROKEN)

        store = await enter(roles.storing(process, 0, shared=False))
        store.on_fatal(lambda reason: broken("the index", OSError(reason)))
        people = roles.People(config, store)
        await enter(roles.keeping(process, store, people, broken))
        smtpds = await enter(roles.receiving(process, store, people, doors.smtp[0]))

        def ready() -> str | None:
            return "draining" if ending.asked else store.healthy()

        await enter(roles.watching(process, doors.watch, store, ready))
        pages.tell(process.slot, "serving")
        process.report.server("serving", doors.addresses)
        await ending.wait()
        process.report.server("draining")
        pages.tell(process.slot, "draining")
        await roles.drain(smtpds, GRACE)
        if not ending.status:
            await roles.settled(store, SETTLING)
    return ending.status


async def supervise(config: Config, doors: Doors, held: Lock) -> int:
    """Receivers and a keeper as processes of their own."""
    epoch = next_epoch(config.data, config.store)
    receivers = len(doors.smtp)
    pages = counting(config, FIRST_WORKER + receivers)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            roles.living(config, "supervise", 1, epoch, pages)
        )
        # LMDB opens once in a process: what commits epochs shares it with what reads.
        index = Index(config.data, config.store, readonly=False)
        store = LmdbStore(config.data, config.store, index)
        stack.push_async_callback(store.close)
        workers = [Worker("keep", 0)] + [
            Worker("receive", number, sockets)
            for number, sockets in enumerate(doors.smtp, 1)
        ]
        supervisor = Supervisor(
            workers,
            config.to_json().decode(),
            lambda: next_epoch(config.data, config.store),
            held.fd,
            lambda worker, status: replaced(process, worker, status),
        )
        ending = Ending(supervisor.stop_now)
        await stack.enter_async_context(
            roles.watching(
                *(process, doors.watch, store),
                lambda: unready(process, ending, 1 + receivers),
            )
        )
        supervisor.start()
        pages.tell(process.slot, "serving")
        process.report.server("serving", doors.addresses)
        await ending.wait()
        process.report.server("draining")
        pages.tell(process.slot, "draining")
        await supervisor.stop(("receive", "keep"))
    return ending.status


def replaced(process: Process, worker: Worker, status: int | Exception) -> None:
    """A worker died: keep its counters, drop its gauges, say so."""
    if isinstance(status, Exception):
        process.report.fault(f"starting {worker.role}", status)
        status = NOT_STARTED
    slot = FIRST_WORKER + worker.slot
    process.pages.fold(slot, metrics.GAUGES)
    metrics.PULSE.of(process.cells)[RESTARTS.place(worker.role)] += 1
    pid = worker.process.pid if worker.process is not None else 0
    process.report.worker_died(worker.role, worker.slot, pid, status)


def unready(process: Process, ending: Ending, workers: int) -> str | None:
    """Why mail is not taken; None when all workers serve and the store is well."""
    if ending.asked:
        return "draining"
    pages = [page for page in process.pages.live() if page.slot >= FIRST_WORKER]
    serving = sum(page.state == "serving" for page in pages)
    if serving < workers:
        return f"{serving} of {workers} processes serve"
    return next((f"{page.role}: {page.excuse}" for page in pages if page.excuse), None)
