"""What each role of a process builds, as context managers: entered in the order the
objects open, left in the order they close. Here is what all roles share:

    living      the process itself
    storing     the store of this process life

Each role has a module of its own, so that a process loads what it needs and no more:

    people      who has mail here, as this process knows it
    keeping     applies the logs, tries again what was deferred, answers the CLI
    sending     gives mail to other servers
    accepting   receiving takes in mail on listening sockets, reading lets people fetch
                theirs
    watching    /metrics, /healthz, /readyz

`fastsmtp.server` puts them together for one process or for several.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from fastsmtp import blocks
from fastsmtp.config import Config
from fastsmtp.delivery.route import reason as reason_of
from fastsmtp.ending import Ending
from fastsmtp.options import split_address, unix_path
from fastsmtp.pages import Pages
from fastsmtp.pulse import Pulse
from fastsmtp.queue.message import queue_id
from fastsmtp.report import Report
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.trace import keeping as traces
from fastsmtp.trace.ring import Trace

T = TypeVar("T")
Sockets = Mapping[str, Sequence[socket.socket]]
"""Listening sockets by kind of listener (`doors.KINDS`)."""
Broken = Callable[[str, BaseException], None]
"""Told when a part of a process ended by itself: the process cannot go on."""
LOOK: Final = 0.25  # seconds between looks at the store's health
CALM: Final = 20  # looks without trouble until it is over


@dataclass(frozen=True, slots=True)
class Process:
    """What a process has whatever its roles.

    slot   its place in `pages`
    cells  its page: one block for each package that counts, see `metrics`
    trace  what becomes of messages, for `fastsmtp why`
    """

    config: Config
    epoch: int
    slot: int
    report: Report
    pages: Pages
    cells: memoryview[int]
    trace: Trace = Trace()


@asynccontextmanager
async def living(
    config: Config, role: str, slot: int, epoch: int, pages: Pages
) -> AsyncIterator[Process]:
    """Claim the page, beat the pulse, write the log out at the end."""
    name = f"{role}-{slot - 2}" if role in ("receive", "send", "read") else role
    report = Report(level=config.log.level, process=name)
    cells = pages.claim(slot, role, epoch)
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: report.fault(
            context.get("message", ""), context.get("exception") or RuntimeError()
        )
    )
    pulse = Pulse(blocks.PULSE.of(cells), role)
    try:
        if role in ("supervise", "all"):
            traces.tidy(config.data, config.why)
        with traces.kept(config.data, name, config.why, report.server) as trace:
            yield Process(config, epoch, slot, report, pages, cells, trace)
    finally:
        pulse.stop()
        report.flush(patience=1.0)


@asynccontextmanager
async def storing(
    process: Process, series: int, broken: Broken, *, shared: bool
) -> AsyncIterator[LmdbStore]:
    """shared: other processes of this server use the store as well."""
    config, report = process.config, process.report
    store = await LmdbStore.open(
        config.data,
        config.run if shared else None,
        config.store,
        epoch=process.epoch,
        series=series,
        cells=blocks.STORE.of(process.cells),
    )
    if store.keeper is not None:
        store.keeper.on_aside = lambda record, error: report.store_trouble(
            f"record {queue_id(record.id)} was set aside", reason_of(error)
        )
        store.keeper.on_damaged = lambda where, why: report.store_trouble(where, why)
    telling = tell_trouble(process, store)
    try:
        async with running(telling, lambda e: broken("telling of trouble", e)):
            yield store
    finally:
        await store.close()


async def tell_trouble(process: Process, store: LmdbStore) -> None:
    """Keep in the page why the store takes no mail: the supervisor's /readyz asks. The
    log has it too: when it begins, and when it has been over for `CALM`."""
    well, calm = True, 0
    while True:
        excuse = store.healthy()
        reason = excuse.text if excuse else ""
        process.pages.excuse(process.slot, reason)
        calm = 0 if reason else calm + 1
        if reason and well:
            process.report.store_trouble("no mail is taken", reason)
            well = False
        elif not well and calm >= CALM:
            process.report.store_recovered("mail is taken again", "")
            well = True
        await asyncio.sleep(LOOK)


async def settled(store: LmdbStore, patience: float) -> None:
    """Wait until what this process accepted is applied, so that after a clean end
    readers see all of it; what is left after `patience` seconds the next start applies.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await store.applied(0)


def breaking(process: Process, ending: Ending, status: int) -> Broken:
    """Says what ended by itself, and ends the process with this exit status."""

    def broken(what: str, error: BaseException) -> None:
        process.report.fault(what, error)
        ending.ask(status)

    return broken


@asynccontextmanager
async def running(
    work: Coroutine[Any, Any, None], failed: Callable[[BaseException], None]
) -> AsyncIterator[None]:
    """Run `work` beside what is inside; `failed` is told if it ends by itself."""
    task = asyncio.ensure_future(work)

    def ended(task: asyncio.Future[None]) -> None:
        if not task.cancelled():
            failed(task.exception() or RuntimeError("it returned"))

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


class Serving(Protocol):
    """All connections of one listener: `Smtpd`, `Pop3d`."""

    async def drain(self, grace: float) -> None: ...
    async def retire(self, grace: float) -> None: ...
    def hold(self, on: bool) -> None: ...


def listening(config: Config) -> list[tuple[str, int]]:
    """Where this server takes mail, so that it does not turn to itself."""
    addresses = [
        address
        for listener in ("smtp", "submission", "submissions")
        for address in config.listeners.get(listener, ())
    ]
    return [split_address(address) for address in addresses if not unix_path(address)]


async def drain(doors: Iterable[Serving], grace: float) -> None:
    """What is under way may finish within `grace` seconds; the rest is sent away."""
    await asyncio.gather(*(door.drain(grace) for door in doors))


async def leave(doors: Iterable[Serving], grace: float) -> None:
    """Others accept on these sockets now: what is here has `grace` seconds more."""
    await asyncio.gather(*(door.retire(grace) for door in doors))
