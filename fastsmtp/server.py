"""The composition root: from a configuration to a running server.

mode one    this process has all roles
mode split  this process supervises: it owns the sockets and the metrics endpoint,
            and `fastsmtp.worker` runs each receiver and the keeper
"""

from __future__ import annotations

import socket
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

import uvloop

from fastsmtp import metrics, roles
from fastsmtp.config import Config
from fastsmtp.ending import Ending
from fastsmtp.errors import StoreUnavailable
from fastsmtp.net.listener import bind
from fastsmtp.owner import as_owner
from fastsmtp.pages import Pages
from fastsmtp.pulse import RESTARTS
from fastsmtp.roles import Process
from fastsmtp.store.lmdb import LmdbStore, Lock, lock, next_epoch
from fastsmtp.store.lmdb.index import Index
from fastsmtp.supervisor import Supervisor, Worker

PAGES: Final = "counters"  # file in the run directory
GRACE: Final = 30.0  # seconds a transaction under way may still take
FIRST_WORKER: Final = 2  # slot of the keeper; receivers follow
PATIENCE: Final = 3.0  # seconds to wait for the workers of a killed supervisor
BROKEN: Final = 1  # exit status when a role ended by itself


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises `OSError` when an address cannot be listened on, `StoreUnavailable` when
    another server has the data directory or the disk fails, `FormatTooNew`.
    """
    with ExitStack() as stack:
        one = config.processes.mode == "one"
        doors = Doors(config, 1 if one else config.processes.receivers)
        stack.callback(doors.close)
        stack.enter_context(as_owner(config.data))
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        config.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = stack.enter_context(claim(config.data))
        run = serve_one(config, doors) if one else supervise(config, doors, held)
        return uvloop.run(run)


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


class Doors:
    """The listening sockets, bound before anything else can fail.

    smtp  one list of sockets for each receiver
    """

    def __init__(self, config: Config, receivers: int) -> None:
        self.smtp: list[list[socket.socket]] = []
        self.watch: list[socket.socket] = []
        try:
            for _ in range(receivers):
                self.smtp.append([])
                for address in config.smtp.listen:
                    self.smtp[-1] += bind(address, share=receivers > 1)
            if config.metrics.listen:
                self.watch += bind(config.metrics.listen)
        except OSError:
            self.close()
            raise

    @property
    def addresses(self) -> str:
        """Where mail is taken, for people: host:port, comma separated."""
        names = []
        for sock in self.smtp[0]:
            host, port = sock.getsockname()[:2]
            names.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        return ", ".join(names)

    def close(self) -> None:
        for sock in (*self.watch, *(s for some in self.smtp for s in some)):
            sock.close()


async def serve_one(config: Config, doors: Doors) -> int:
    """All roles in this process."""
    epoch = next_epoch(config.data, config.store)
    pages = Pages.create(config.run / PAGES, metrics.CELLS, 1)
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
        smtpd = await enter(roles.receiving(process, store, people, doors.smtp[0]))

        def ready() -> str | None:
            return "draining" if ending.asked else store.healthy()

        await enter(roles.watching(process, doors.watch, store, ready))
        pages.tell(process.slot, "serving")
        process.report.server("serving", doors.addresses)
        await ending.wait()
        process.report.server("draining")
        pages.tell(process.slot, "draining")
        await smtpd.drain(GRACE)
    return ending.status


async def supervise(config: Config, doors: Doors, held: Lock) -> int:
    """Receivers and a keeper as processes of their own."""
    epoch = next_epoch(config.data, config.store)
    receivers = len(doors.smtp)
    pages = Pages.create(config.run / PAGES, metrics.CELLS, FIRST_WORKER + receivers)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            roles.living(config, "supervise", 1, epoch, pages)
        )
        # LMDB opens once in a process: what commits epochs and what reads share it.
        index = Index(config.data, config.store, readonly=False)
        store = LmdbStore(config.data, config.store, index)
        stack.push_async_callback(store.close)
        workers = [Worker("keep", 0)] + [
            Worker("receive", number, tuple(sockets))
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
        status = 1
    slot = FIRST_WORKER + worker.slot
    process.pages.fold(slot, metrics.GAUGES)
    metrics.PULSE.of(process.cells)[RESTARTS.place(worker.role)] += 1
    pid = worker.process.pid if worker.process is not None else 0
    process.report.worker_died(worker.role, worker.slot, pid, status)


def unready(process: Process, ending: Ending, workers: int) -> str | None:
    """Why mail is not taken; None when all workers serve and the store is well."""
    if ending.asked:
        return "draining"
    states = [page.state for page in process.pages.live() if page.slot > 1]
    serving = states.count("serving")
    if serving < workers:
        return f"{serving} of {workers} processes serve"
    return None
