"""A server in one process, which has all roles."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from fastsmtp import accepting, keeping, roles, sending
from fastsmtp.config import Config
from fastsmtp.doors import KINDS, Doors, why_not
from fastsmtp.ending import Ending
from fastsmtp.net.listener import CannotListen
from fastsmtp.outset import GRACE, LAST, SETTLING, Outset, counting
from fastsmtp.people import People
from fastsmtp.roles import Process, Serving
from fastsmtp.serve.control import ControlServer, Declined
from fastsmtp.steering import SOCKET, Knowledge, Steering
from fastsmtp.store.lmdb import LmdbStore, next_epoch
from fastsmtp.watching import watched

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
        broken = roles.breaking(process, ending, BROKEN)
        store = await enter(roles.storing(process, 0, broken, shared=False))
        store.on_fatal(lambda reason: broken("the index", OSError(reason)))
        people = People(config, store, process.report.fault)
        dispatcher = await enter(keeping.keeping(process, store, people, broken))
        relay = await enter(
            sending.directly(process, lambda: people.relaying, store, dispatcher)
        )
        single = Single(process, doors, store, people)
        await single.open()
        stack.push_async_callback(single.close)

        def unready() -> str | None:
            if ending.asked or single.holding:
                return "draining"
            excuse = store.healthy()
            return excuse.text if excuse else None

        scrape = await enter(watched(process, doors.watch, store, unready))
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
        looking = asyncio.ensure_future(
            steering.watch(unready, lambda: True, lambda: True)
        )
        await ending.wait()
        process.report.server("draining")
        outset.notifier.stopping()
        pages.tell(process.slot, "draining")
        await asyncio.gather(roles.drain(single.accepting, LAST), relay.close(LAST))
        looking.cancel()
        if not ending.status:
            await roles.settled(store, SETTLING)
    return ending.status


class Single:
    """What takes in mail, and how it changes; see `steering.Steered`.

    accepting  all that have connections: those in use, and those of before a reload
    """

    fixed: tuple[str, ...] = FIXED

    def __init__(
        self, process: Process, doors: Doors, store: LmdbStore, people: People
    ) -> None:
        self.config = process.config
        self.holding = False
        self.accepting: list[Serving] = []
        self._process = process
        self._doors = doors
        self._store = store
        self._people = people
        self._receiving = AsyncExitStack()
        self._leaving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._receiving, doors = await self._receive(self.config)
        self.accepting += doors

    async def _receive(self, config: Config) -> tuple[AsyncExitStack, list[Serving]]:
        process = replace(self._process, config=config)
        people = People(config, self._store, process.report.fault)
        sockets = {
            kind: mine
            for role in KINDS
            for kind, mine in self._doors.places(config, 1, role)[0].items()
        }
        stack = AsyncExitStack()
        stack.callback(people.forget)
        try:
            doors = await stack.enter_async_context(
                accepting.serving(process, self._store, people, sockets)
            )
        except BaseException:
            await stack.aclose()
            raise
        return stack, doors

    async def close(self) -> None:
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._receiving.aclose()

    def hold(self, on: bool) -> None:
        self.holding = on
        state = "draining" if on else "serving"
        self._process.pages.tell(self._process.slot, state)
        for door in self.accepting:
            door.hold(on)

    async def apply(self, config: Config) -> None:
        """A new door beside the old one, on the same sockets; the old one closes when
        its sessions are over."""
        try:
            opened = self._doors.open_more(config)
        except CannotListen as error:
            raise Declined(why_not(error)) from None
        self._process.pages.name(config.hooks)
        try:
            stack, doors = await self._receive(config)
        except OSError as error:
            self._doors.shut(opened)
            raise Declined(f"{error}; the configuration in use stays") from None
        self._people.change(config)
        self._process.report.set_level(config.log.level)
        old, self._receiving = self._receiving, stack
        task = asyncio.ensure_future(self._leave(old, list(self.accepting)))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self.accepting += doors
        for door in doors:
            door.hold(self.holding)
        self.config = config
        self._doors.shut_others(config)

    async def _leave(self, stack: AsyncExitStack, doors: list[Serving]) -> None:
        try:
            await roles.leave(doors, GRACE)
        finally:
            await stack.aclose()
            self.accepting = [door for door in self.accepting if door not in doors]
