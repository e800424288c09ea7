"""How a running server is steered: `fastsmtp reload`, `drain` and `status`, SIGHUP.

They come over a Unix socket of their own, `server.sock` in the run directory, served by
the process that was started: the supervisor, or the only one. What changes mail and
accounts goes to the keeper's `control.sock` instead (`fastsmtp.serve.operations`); the
two are apart because the keeper may be away for a moment, and because the supervisor
touches no mail.

A reload is all or nothing: the file is read and checked again; when it is wrong, or
asks for what cannot change while serving, the configuration in use stays.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from fastsmtp import __version__, blocks, config
from fastsmtp.config import Config, Problem
from fastsmtp.depths import Crowded, depths_of
from fastsmtp.glance.figures import Figures, figures
from fastsmtp.net.certificates import Expiries
from fastsmtp.outset import Outset
from fastsmtp.pages import Page, Pages
from fastsmtp.pop3 import counts as pop3_counts
from fastsmtp.report import Report
from fastsmtp.scrape import Depth, Scrape
from fastsmtp.serve.control import Declined, Octets, Operation, Summary
from fastsmtp.smtp import counts
from fastsmtp.store.counts import Count
from fastsmtp.store.lmdb import LmdbStore

SOCKET: Final = "server.sock"
LOOK: Final = 0.02  # seconds between looks whether all processes serve
SHOW: Final = 1.0  # seconds between looks at what systemd is told
TOLD: Final = 20  # mistakes of a refused configuration that the log names

Items = AsyncIterator[dict[str, Any]]


class Reload(msgspec.Struct):
    pass


class Drain(msgspec.Struct):
    """undo: take mail again."""

    undo: bool = False


class Status(msgspec.Struct):
    pass


class Steered(Protocol):
    """A server that runs, in one process or in several.

    config  what it runs with
    fixed   dotted names of settings that cannot change while it serves
    """

    config: Config
    fixed: tuple[str, ...]

    @property
    def holding(self) -> bool:
        """Whether it takes no new mail because it was told so."""

    async def apply(self, config: Config) -> None:
        """Run with this configuration from now on. Raises `Declined` when it cannot,
        and then nothing has changed."""

    def hold(self, on: bool) -> None:
        """Take no new mail, or take it again."""


class Steering:
    """The operations of `server.sock`.

    ended  whether the server has been told to end
    """

    def __init__(
        self,
        server: Steered,
        outset: Outset,
        known: Knowledge,
        ended: Callable[[], bool],
    ) -> None:
        self._server = server
        self._path = outset.path
        self._known = known
        self._notifier = outset.notifier
        self._ended = ended
        self._loaded = time.time()
        self._good = True
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def table(self) -> dict[str, Operation]:
        return {
            "reload": Operation(Reload, self._reload),
            "drain": Operation(Drain, self._drain),
            "processes": Operation(Status, self._status),
            "figures": Operation(Status, self._figures),
        }

    async def watch(
        self,
        unready: Callable[[], str | None],
        serving: Callable[[], bool],
        well: Callable[[], bool],
    ) -> None:
        """Tell systemd, if there is one: when all serve, why mail is not taken, and
        within the interval it wants that all is well."""
        notifier = self._notifier
        if not notifier.asked:
            return
        while not serving():  # noqa: ASYNC110  other processes say it in their pages
            await asyncio.sleep(LOOK)
        notifier.ready()
        due = 0.0
        while True:
            if notifier.interval and time.monotonic() >= due and well():
                due = time.monotonic() + notifier.interval / 2
                notifier.alive()
            notifier.status(unready() or "taking mail")
            await asyncio.sleep(min(SHOW, notifier.interval / 4 or SHOW))

    # reload

    def hang_up(self) -> None:
        """SIGHUP: as `fastsmtp reload`, with nobody there to be told."""
        task = asyncio.ensure_future(self._reload_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_quietly(self) -> None:
        try:
            await self.reload()
        except Declined:
            return  # it is in the log
        except Exception as error:
            self._known.report.fault("reload", error)

    async def _reload(self, request: Reload, octets: Octets) -> Items:
        problems: list[Problem] = []
        started = time.monotonic()
        declined: Declined | None = None
        try:
            await self.reload(problems)
        except Declined as error:
            declined = error
        for problem in problems:
            yield problem.to_dict()
        if declined is not None:
            raise declined
        yield Summary(seconds=round(time.monotonic() - started, 3))

    async def reload(self, problems: list[Problem] | None = None) -> None:
        """Read the file again and run with what it says. Raises `Declined`; each
        finding of the check is added to `problems`."""
        async with self._one:
            if self._ended():
                raise Declined("the server is ending")
            self._notifier.reloading()
            try:
                await self._take([] if problems is None else problems)
            except Declined:
                self._good = False
                self._known.scrape.reloaded(False)
                raise
            finally:
                self._notifier.ready()
            self._good, self._loaded = True, time.time()
            self._known.scrape.reloaded(True)
            certificates = self._server.config.tls.certificates
            self._known.scrape.expiries = Expiries(certificates).read
            self._known.report.server("reloaded", str(self._path))

    async def _take(self, problems: list[Problem]) -> None:
        report = self._known.report
        found, all_problems = await asyncio.to_thread(config.check, self._path)
        problems += all_problems
        if found is None:
            errors = [p for p in problems if p.severity == "error"]
            for error in errors[:TOLD]:
                where = f"{error.source}:{error.line}" if error.line else error.source
                report.config_refused(where, f"{error.key}: {error.text}")
            mistakes = "a mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
            raise Declined(f"it has {mistakes}; the configuration in use stays")
        changed = list(differing(self._server.config, found, self._server.fixed))
        try:
            if changed:
                names = ", ".join(changed)
                raise Declined(
                    f"{names} cannot change while serving; restart, or put back what"
                    " it was: the configuration in use stays"
                )
            await self._server.apply(found)
        except Declined as declined:
            report.config_refused(str(self._path), str(declined))
            raise

    # drain and status

    async def _drain(self, request: Drain, octets: Octets) -> Items:
        if self._ended():
            raise Declined("the server is ending")
        hold = not request.undo
        if hold != self._server.holding:
            self._server.hold(hold)
            self._known.report.server("draining" if hold else "taking mail again")
        yield Summary(holding=hold)

    async def _status(self, request: Status, octets: Octets) -> Items:
        rows = list(self._known.rows())
        for row in rows:
            yield row
        if self._ended():
            state = "ending"
        else:
            state = "draining" if self._server.holding else "serving"
        yield Summary(
            version=__version__,
            pid=os.getpid(),
            mode=self._server.config.processes.mode,
            state=state,
            config=str(self._path),
            config_age=round(time.time() - self._loaded, 3),
            config_good=self._good,
            connections=sum(row["connections"] for row in rows),
            queue=self._known.queue(),
        )

    async def _figures(self, request: Status, octets: Octets) -> Items:
        yield Summary(**self._known.figures()._asdict())


class Knowledge:
    """What a server knows about its processes and its queue."""

    def __init__(
        self, pages: Pages, store: LmdbStore, scrape: Scrape, report: Report
    ) -> None:
        self.pages = pages
        self.scrape = scrape
        self.report = report
        self._store = store
        self._crowded = Crowded(store)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One for each process that lives."""
        for page in self.pages.live():
            yield {
                "role": page.role,
                "slot": page.slot,
                "pid": page.pid,
                "uptime": round(max(0.0, time.time() - page.started / 1000), 3),
                "state": page.state,
                "connections": connections(self.pages, page),
                "epoch": page.epoch,
                "trouble": page.excuse,
            }

    def figures(self) -> Figures:
        """Of this moment."""

        def depth() -> dict[str, Depth]:
            depths = depths_of(self.pages, self._store)
            return {state.value: depth for state, depth in depths.items()}

        return figures(self.pages, depth, self._crowded.fullest)

    def queue(self) -> dict[str, int]:
        """Messages by state; `incoming` is durable and not yet in the index."""
        depths = depths_of(self.pages, self._store)
        place = blocks.STORE.first + Count.UNAPPLIED_MESSAGES
        incoming = sum(self.pages.read(page.slot)[place] for page in self.pages.live())
        states = {state.value: depth.messages for state, depth in depths.items()}
        return {"incoming": incoming, **states}


def connections(pages: Pages, page: Page) -> int:
    """Open connections of one process."""
    cells = pages.read(page.slot)
    smtp = sum(cells[block.first + counts.OPEN] for block in blocks.SMTP.values())
    pop3 = sum(cells[block.first + pop3_counts.OPEN] for block in blocks.POP3.values())
    return smtp + pop3


def differing(old: Config, new: Config, names: Iterable[str]) -> Iterator[str]:
    """Which of these dotted settings are not the same."""
    for name in names:
        value = attrgetter(name)
        if value(old) != value(new):
            yield name
