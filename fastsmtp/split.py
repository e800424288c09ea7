"""A server in several processes: a supervisor, receivers, readers and a keeper.

This process owns the sockets, the counters and the metrics endpoint; it parses nothing
a stranger sent. `fastsmtp.supervisor` has the laws of replacing workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from contextlib import AsyncExitStack
from typing import Final

from fastsmtp import blocks, metrics, roles
from fastsmtp.config import Config
from fastsmtp.doors import Doors, why_not
from fastsmtp.ending import Ending
from fastsmtp.net.listener import CannotListen
from fastsmtp.outset import FIRST_WORKER, Outset, counting
from fastsmtp.pages import Pages
from fastsmtp.pulse import LAG, RESTARTS
from fastsmtp.roles import Process
from fastsmtp.serve.control import ControlServer, Declined
from fastsmtp.steering import SOCKET, Knowledge, Steering
from fastsmtp.store.lmdb import LmdbStore, Lock, next_epoch
from fastsmtp.store.lmdb.index import Index
from fastsmtp.supervisor import LOOK, NotReplaced, Supervisor, Worker
from fastsmtp.watching import watched

NOT_STARTED: Final = 127  # reported as the exit status of a worker that never was
FIXED: Final = (
    *("data", "run", "user", "processes.mode", "processes.senders"),
    *("metrics.listen", "store.map_size"),
)
"""Settings that a reload cannot change."""
SPARE: Final = 16  # slots at least; those that still drain after a reload keep theirs
STARTING: Final = 30.0  # seconds a new worker may take until it serves
LEAVING: Final = 60.0  # seconds the old keeper may take until it has ended


async def supervise(outset: Outset, doors: Doors, held: Lock) -> int:
    """Receivers, readers and a keeper as processes of their own."""
    config = outset.config
    epoch = next_epoch(config.data, config.store)
    accepting = config.processes.receivers + config.readers
    count = max(SPARE, 4 * accepting) + config.processes.senders
    pages = counting(config, FIRST_WORKER + count)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        process = await enter(roles.living(config, "supervise", 1, epoch, pages))
        # LMDB opens once in a process: what commits epochs shares it with what reads.
        index = Index(config.data, config.store, readonly=False)
        store = LmdbStore(config.data, config.store, index)
        stack.push_async_callback(store.close)
        split = Split(process, doors, held.fd)
        ending = Ending(split.supervisor.stop_now)
        scrape = await enter(
            watched(process, doors.watch, store, lambda: split.unready(ending))
        )
        known = Knowledge(pages, store, scrape, process.report)
        steering = Steering(split, outset, known, lambda: ending.asked)
        control = ControlServer(
            config.run, steering.table(), process.report.fault, SOCKET
        )
        split.start()
        await control.start()
        stack.push_async_callback(control.close)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, steering.hang_up)
        pages.tell(process.slot, "serving")
        process.report.server("serving", doors.addresses)
        looking = asyncio.ensure_future(
            steering.watch(lambda: split.unready(ending), split.serving, split.well)
        )
        await ending.wait()
        process.report.server("draining")
        outset.notifier.stopping()
        pages.tell(process.slot, "draining")
        await split.supervisor.stop(("receive", "read", "send"), ("keep",))
        looking.cancel()
    return ending.status


class Split:
    """The workers of a server and how they change; see `steering.Steered`."""

    fixed: tuple[str, ...] = FIXED

    def __init__(self, process: Process, doors: Doors, lock: int) -> None:
        self.config = config = process.config
        self._process = process
        self._doors = doors
        self.supervisor = Supervisor(
            config.to_json().decode(),
            lambda: next_epoch(config.data, config.store),
            lock,
            self,
        )
        self._keeper = Worker("keep", 0)
        self._senders = self._sending(config.processes.senders)
        self._beats: dict[int, int] = {}

    # supervisor.Watch

    def started(self, worker: Worker, epoch: int) -> None:
        role, slot, pid = worker.role, worker.slot, worker.pid
        self._process.report.worker_started(role, slot, pid, epoch)

    def died(self, worker: Worker, status: int | Exception) -> None:
        """Keep its counters, drop its gauges, say so."""
        process = self._process
        if isinstance(status, Exception):
            process.report.fault(f"starting {worker.role}", status)
            status = NOT_STARTED
        self._fold(worker)
        blocks.PULSE.of(process.cells)[RESTARTS.place(worker.role)] += 1
        process.report.worker_died(worker.role, worker.slot, worker.pid, status)

    def left(self, worker: Worker) -> None:
        self._fold(worker)

    def _fold(self, worker: Worker) -> None:
        self._process.pages.fold(FIRST_WORKER + worker.slot, metrics.GAUGES)

    def serves(self, worker: Worker) -> bool:
        return any(
            page.pid == worker.pid and page.state != "starting"
            for page in self._process.pages.live()
        )

    # the life of the server

    def start(self) -> None:
        self.supervisor.start(self._keeper)
        for worker in self._accepting(self.config):
            self.supervisor.start(worker)
        self._later = asyncio.ensure_future(self._start_senders())

    async def _start_senders(self) -> None:
        """When the others serve: mail that comes in is not to wait for a processor."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STARTING):
                while not all(  # noqa: ASYNC110
                    map(self.serves, self.supervisor.workers)
                ):
                    await asyncio.sleep(LOOK)
        if not self.supervisor.stopping:
            for worker in self._senders:
                self.supervisor.start(worker)

    def _sending(self, count: int) -> list[Worker]:
        """Their places are the last ones: those of receivers come and go."""
        last = self._process.pages.slots - FIRST_WORKER
        return [Worker("send", last - n) for n in range(count)]

    def _accepting(self, config: Config) -> list[Worker]:
        """New places for receivers and readers, beside those that are taken. Raises
        `Declined`."""
        counts = {"receive": config.processes.receivers, "read": config.readers}
        count = sum(counts.values())
        taken = {worker.slot for worker in self.supervisor.workers}
        last = self._process.pages.slots - FIRST_WORKER
        free = [slot for slot in range(1, last + 1) if slot not in taken]
        if len(free) < count:
            raise Declined(
                "too many receivers still drain after the last reload; wait a minute"
                " (or restart, if processes.receivers has grown)"
            )
        slots = iter(free)
        return [
            Worker(role, next(slots), place)
            for role, number in counts.items()
            for place in self._doors.places(config, number, role)
        ]

    @property
    def holding(self) -> bool:
        return self.supervisor.holding

    def hold(self, on: bool) -> None:
        self.supervisor.hold(on)

    async def apply(self, config: Config) -> None:
        """First the keeper, so that it knows every domain the receivers take mail
        for; then the receivers and readers. When one does not come, all is put back."""
        try:
            opened = self._doors.open_more(config)
        except CannotListen as error:
            raise Declined(why_not(error)) from None
        old, supervisor = self.config, self.supervisor
        self._process.pages.name(config.hooks)
        try:
            new = self._accepting(config)
            supervisor.config = config.to_json().decode()
            await supervisor.renew(self._keeper, LEAVING)
            before = supervisor.of("receive") + supervisor.of("read")
            await supervisor.replace(before, new, STARTING)
            for worker in self._senders:
                await supervisor.renew(worker, LEAVING)
        except (NotReplaced, Declined) as error:
            if isinstance(error, NotReplaced):
                supervisor.config = old.to_json().decode()
                await self._put_back()
            self._doors.shut(opened)
            raise Declined(f"{error}; the configuration in use stays") from None
        self.config = config
        self._doors.shut_others(config)
        self._process.report.set_level(config.log.level)

    async def _put_back(self) -> None:
        """The keeper, with the configuration from before."""
        try:
            await self.supervisor.renew(self._keeper, LEAVING)
        except NotReplaced as error:
            self._process.report.fault("putting the keeper back", error)

    def serving(self) -> bool:
        """Whether every worker has come to serve."""
        return all(map(self.serves, self._workers()))

    def well(self) -> bool:
        """Whether the loop of every worker has turned since this was asked last."""
        before, self._beats = self._beats, beats(self._process.pages)
        mine = [worker.pid for worker in self._workers() if self.serves(worker)]
        return all(self._beats.get(pid) != before.get(pid, -1) for pid in mine)

    def _workers(self) -> list[Worker]:
        """Those that are to be there; senders come last, and are missed until then."""
        mine = [w for w in self.supervisor.workers if not w.leaving]
        return mine + [w for w in self._senders if w not in mine]

    def unready(self, ending: Ending) -> str | None:
        """Why mail is not taken; None when all workers serve and the store is well."""
        if ending.asked or self.holding:
            return "draining"
        pages = {page.pid: page for page in self._process.pages.live()}
        mine = [pages.get(worker.pid) for worker in self._workers()]
        serving = [
            page for page in mine if page is not None and page.state == "serving"
        ]
        if len(serving) < len(mine):
            return f"{len(serving)} of {len(mine)} processes serve"
        return next((f"{p.role}: {p.excuse}" for p in serving if p.excuse), None)


def beats(pages: Pages) -> dict[int, int]:
    """How often each process has beaten, by its id; see `fastsmtp.pulse`."""
    first = blocks.PULSE.first + LAG.first
    last = first + len(LAG.edges) + 1
    return {page.pid: sum(pages.read(page.slot)[first:last]) for page in pages.live()}
