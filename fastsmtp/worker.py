"""A process that the supervisor started: `python -m fastsmtp.worker PIPE`.

It reads its orders, opens the objects of its role, and serves until the pipe tells it
to end, or closes, which means that the supervisor is dead. What a role needs is loaded
when the orders name it: that is what most of its memory and of its start is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import uvloop

from fastsmtp import blocks, roles
from fastsmtp.config import Config
from fastsmtp.ending import AT_ONCE, Ending
from fastsmtp.errors import FormatTooNew, StoreUnavailable
from fastsmtp.outset import FIRST_WORKER, GRACE, LAST, PAGES, SETTLING
from fastsmtp.pages import Pages
from fastsmtp.roles import Process, Serving
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.supervisor import END, HOLD, LEAVE, TAKE, Orders, read_orders

BROKEN: Final = 70  # exit status: a part of the role ended by itself (EX_SOFTWARE)
ORPHAN_GRACE: Final = 1.0  # seconds transactions may still take without a supervisor
ORPHAN_END: Final = 2.0  # seconds until an orphan ends at once; see `server.PATIENCE`

NICENESS: Final = {"read": 10}
"""Mail that comes in goes before mail that is read, when both want the processor."""


def slot_of(number: int) -> int:
    """Place of a worker among the pages; the supervisor has slot 1."""
    return FIRST_WORKER + number


class Lifeline:
    """The pipe behind the orders. Law: without a supervisor this process is gone
    within `ORPHAN_END`, so that the next server has the data directory soon.

    leaving  another process accepts on our sockets
    ended    the server ends, whatever else was said before
    holding  take no new mail; `held` is called when that changes
    """

    def __init__(self, pipe: int, ending: Ending) -> None:
        os.set_blocking(pipe, False)
        self.orphaned = asyncio.Event()
        self.ended = asyncio.Event()
        self.leaving = False
        self.holding = False
        self.held: Callable[[bool], None] = lambda on: None
        self._pipe = pipe
        self._ending = ending
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pipe, self._heard)

    def _heard(self) -> None:
        words = os.read(self._pipe, 64)
        for word in words:
            self._obey(bytes((word,)))
        if words:
            return
        self._loop.remove_reader(self._pipe)
        self.orphaned.set()
        self.ended.set()
        self._ending.ask()
        # What hangs is cut off: all that was acknowledged is durable.
        self._loop.call_later(ORPHAN_END, os._exit, AT_ONCE)

    def _obey(self, word: bytes) -> None:
        if word in (HOLD, TAKE):
            self.hold(word == HOLD)
        elif word == LEAVE:
            self.leaving = True
            self._ending.ask()
        elif word == END:
            if self.leaving:
                self.hold(True)  # there is no other process any more
            self.ended.set()
            self._ending.ask()

    def hold(self, on: bool) -> None:
        self.holding = on
        self.held(on)


async def work(orders: Orders, pipe: int) -> int:
    config = Config.from_json(orders.config.encode())
    os.nice(NICENESS.get(orders.role, 0))
    pages = Pages.open(config.run / PAGES, blocks.CELLS)
    slot = slot_of(orders.slot)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            roles.living(config, orders.role, slot, orders.epoch, pages)
        )
        ending = Ending(signals=False)
        lifeline = Lifeline(pipe, ending)
        try:
            if orders.role == "keep":
                await keep(process, ending)
            elif orders.role == "send":
                await send(process, ending)
            else:
                sockets = {
                    listener: [socket.socket(fileno=fd) for fd in descriptors]
                    for listener, descriptors in orders.sockets.items()
                }
                place = (orders.role, orders.slot, sockets)
                await accept(process, ending, lifeline, place)
        except (OSError, StoreUnavailable, FormatTooNew) as error:
            process.report.fault(f"{orders.role} could not start or end", error)
            ending.ask(BROKEN)
    return ending.status


async def keep(process: Process, ending: Ending) -> None:
    from fastsmtp import keeping, sending
    from fastsmtp.people import People

    broken = roles.breaking(process, ending, BROKEN)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        store = await enter(roles.storing(process, 0, broken, shared=True))
        store.on_fatal(lambda reason: broken("the index", OSError(reason)))
        people = People(process.config, store, process.report.fault)
        dispatcher = await enter(keeping.keeping(process, store, people, broken))
        await enter(sending.desk(process, dispatcher))
        process.pages.tell(process.slot, "serving")
        await ending.wait()
        process.pages.tell(process.slot, "draining")
        if not ending.status:
            await roles.settled(store, SETTLING)


async def send(process: Process, ending: Ending) -> None:
    from fastsmtp import sending

    config = process.config
    store = LmdbStore.read(config.data, config.store)
    try:
        broken = roles.breaking(process, ending, BROKEN)
        async with sending.clerk(process, store, broken):
            process.pages.tell(process.slot, "serving")
            await ending.wait()
            process.pages.tell(process.slot, "draining")
    finally:
        await store.close()


async def accept(
    process: Process,
    ending: Ending,
    lifeline: Lifeline,
    place: tuple[str, int, roles.Sockets],
) -> None:
    """A receiver or a reader; its place is its role, its series and its sockets."""
    from fastsmtp import accepting
    from fastsmtp.people import People

    role, series, sockets = place
    opening = accepting.reading if role == "read" else accepting.receiving
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        broken = roles.breaking(process, ending, BROKEN)
        store = await enter(roles.storing(process, series, broken, shared=True))
        people = People(process.config, store, process.report.fault)
        doors: Sequence[Serving] = await enter(opening(process, store, people, sockets))

        def hold(on: bool) -> None:
            process.pages.tell(process.slot, "draining" if on else "serving")
            for door in doors:
                door.hold(on)

        lifeline.held = hold
        hold(lifeline.holding)
        await ending.wait()
        process.pages.tell(process.slot, "draining")
        if lifeline.leaving:
            await unless(lifeline.ended, roles.leave(doors, GRACE))
        await unless(lifeline.orphaned, drain(doors, store))
        if lifeline.orphaned.is_set():
            await roles.drain(doors, ORPHAN_GRACE)


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Returns when the work is done, or with it cut off when the event is set."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    working.cancel()


async def drain(doors: Sequence[Serving], store: LmdbStore) -> None:
    """Finish what is in flight, then wait until the keeper has applied it."""
    await roles.drain(doors, LAST)
    await roles.settled(store, SETTLING)


def main() -> int:
    pipe = int(sys.argv[1])
    try:
        orders = read_orders(pipe)
    except EOFError:
        return 0
    return uvloop.run(work(orders, pipe))


if __name__ == "__main__":
    sys.exit(main())
