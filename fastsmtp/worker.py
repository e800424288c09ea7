"""A process that the supervisor started: `python -m fastsmtp.worker PIPE`.

It reads its orders, opens the objects of its role, and serves until it is told to end
or the pipe closes, which means that the supervisor is dead.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from fastsmtp import metrics, roles
from fastsmtp.config import Config
from fastsmtp.ending import Ending
from fastsmtp.pages import Pages
from fastsmtp.roles import Process
from fastsmtp.server import FIRST_WORKER, GRACE, PAGES
from fastsmtp.supervisor import Orders, read_orders

BROKEN: Final = 70  # exit status: a part of the role ended by itself (EX_SOFTWARE)


def slot_of(number: int) -> int:
    """Place of a worker among the pages; the supervisor has slot 1."""
    return FIRST_WORKER + number


async def work(orders: Orders, lifeline: int) -> int:
    config = Config.from_json(orders.config.encode())
    pages = Pages.open(config.run / PAGES, metrics.CELLS)
    slot = slot_of(orders.slot)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            roles.living(config, orders.role, slot, orders.epoch, pages)
        )
        ending = Ending(terminal=False)
        asyncio.get_running_loop().add_reader(lifeline, orphaned, lifeline, ending)
        if orders.role == "keep":
            await keep(process, ending, stack)
        else:
            sockets = [socket.socket(fileno=fd) for fd in orders.sockets]
            await receive(process, ending, stack, (orders.slot, sockets))
        return ending.status


def orphaned(lifeline: int, ending: Ending) -> None:
    """The pipe was closed: the supervisor is gone, whatever the reason."""
    asyncio.get_running_loop().remove_reader(lifeline)
    ending.ask()


async def keep(process: Process, ending: Ending, stack: AsyncExitStack) -> None:
    def broken(what: str, error: BaseException) -> None:
        process.report.fault(what, error)
        ending.ask(BROKEN)

    store = await stack.enter_async_context(roles.storing(process, 0, shared=True))
    store.on_fatal(lambda reason: broken("the index", OSError(reason)))
    people = roles.People(process.config, store)
    await stack.enter_async_context(roles.keeping(process, store, people, broken))
    process.pages.tell(process.slot, "serving")
    await ending.wait()
    process.pages.tell(process.slot, "draining")


async def receive(
    process: Process,
    ending: Ending,
    stack: AsyncExitStack,
    place: tuple[int, list[socket.socket]],
) -> None:
    series, sockets = place
    store = await stack.enter_async_context(roles.storing(process, series, shared=True))
    people = roles.People(process.config, store)
    smtpd = await stack.enter_async_context(
        roles.receiving(process, store, people, sockets)
    )
    process.pages.tell(process.slot, "serving")
    await ending.wait()
    process.pages.tell(process.slot, "draining")
    await smtpd.drain(GRACE)


def main() -> int:
    lifeline = int(sys.argv[1])
    try:
        orders = read_orders(lifeline)
    except EOFError:
        return 0
    os.set_blocking(lifeline, False)
    return uvloop.run(work(orders, lifeline))


if __name__ == "__main__":
    sys.exit(main())
