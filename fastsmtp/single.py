"""A server in one process, which has all roles."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from fastsmtp import roles, sending
from fastsmtp.config import Config
from fastsmtp.doors import Doors, why_not
from fastsmtp.ending import Ending
from fastsmtp.net.listener import CannotListen
from fastsmtp.outset import GRACE, SETTLING, Outset, counting
from fastsmtp.roles import People, Process
from fastsmtp.serve.control import ControlServer, Declined
from fastsmtp.serve.smtpd import Smtpd
from fastsmtp.steering import SOCKET, Knowledge, Steering
from fastsmtp.store.lmdb import LmdbStore, next_epoch

BROKEN: Final = 1  # exit status when a role ended by itself
FIXED: Final = (
    *("data", "run", "user", "processes.mode", "metrics.listen"),
    *("store", "delivery", "why"),
)
"""Settings that a reload cannot change."""


async def serve_one(outset: Outset, doors: Doors) -> int:
    config = outset.config
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
        people = People(config, store, process.report.fault)
        dispatcher = await enter(roles.keeping(process, store, people, broken))
        await enter(
            sending.directly(process, lambda: people.relaying, store, dispatcher)
        )
        single = Single(process, doors, store, people)
        await single.open()
        stack.push_async_callback(single.close)

        def unready() -> str | None:
            return "draining" if ending.asked or single.holding else store.healthy()

        scrape = await enter(roles.watching(process, doors.watch, store, unready))
        known = Knowledge(pages, store, scrape, process.report)
        steering = Steering(single, outset, known, lambda: ending.asked)
        control = ControlServer(
            config.run, steering.table(), process.report.fault, SOCKET
        )
        await control.start()
        stack.push_async_callback(control.close)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, steering.hang_up)
        pages.tell(process.slot, "serving")
        process.report.server("serving", doors.addresses)
        watching = asyncio.ensure_future(
            steering.watch(unready, lambda: True, lambda: True)
        )
        await ending.wait()
        process.report.server("draining")
        outset.notifier.stopping()
        pages.tell(process.slot, "draining")
        await roles.drain(single.smtpds, GRACE)
        watching.cancel()
        if not ending.status:
            await roles.settled(store, SETTLING)
    return ending.status


class Single:
    """What takes in mail, and how it changes; see `steering.Steered`.

    smtpds  all that have connections: those in use, and those of before a reload
    """

    fixed: tuple[str, ...] = FIXED

    def __init__(
        self, process: Process, doors: Doors, store: LmdbStore, people: People
    ) -> None:
        self.config = process.config
        self.holding = False
        self.smtpds: list[Smtpd] = []
        self._process = process
        self._doors = doors
        self._store = store
        self._people = people
        self._receiving = AsyncExitStack()
        self._leaving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._receiving, smtpds = await self._receive(self.config)
        self.smtpds += smtpds

    async def _receive(self, config: Config) -> tuple[AsyncExitStack, list[Smtpd]]:
        process = replace(self._process, config=config)
        people = People(config, self._store, process.report.fault)
        sockets = self._doors.places(config, 1)[0]
        stack = AsyncExitStack()
        stack.callback(people.forget)
        try:
            smtpds = await stack.enter_async_context(
                roles.receiving(process, self._store, people, sockets)
            )
        except BaseException:
            await stack.aclose()
            raise
        return stack, smtpds

    async def close(self) -> None:
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._receiving.aclose()

    def hold(self, on: bool) -> None:
        self.holding = on
        state = "draining" if on else "serving"
        self._process.pages.tell(self._process.slot, state)
        for smtpd in self.smtpds:
            smtpd.hold(on)

    async def apply(self, config: Config) -> None:
        """A new door beside the old one, on the same sockets; the old one closes when
        its sessions are over."""
        try:
            opened = self._doors.open_more(config)
        except CannotListen as error:
            raise Declined(why_not(error)) from None
        self._process.pages.name(config.hooks)
        try:
            stack, smtpds = await self._receive(config)
        except OSError as error:
            self._doors.shut(opened)
            raise Declined(f"{error}; the configuration in use stays") from None
        self._people.change(config)
        self._process.report.set_level(config.log.level)
        old, self._receiving = self._receiving, stack
        task = asyncio.ensure_future(self._leave(old, list(self.smtpds)))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self.smtpds += smtpds
        for smtpd in smtpds:
            smtpd.hold(self.holding)
        self.config = config
        self._doors.shut_others(config)

    async def _leave(self, stack: AsyncExitStack, smtpds: list[Smtpd]) -> None:
        try:
            await roles.leave(smtpds, GRACE)
        finally:
            await stack.aclose()
            self.smtpds = [smtpd for smtpd in self.smtpds if smtpd not in smtpds]
