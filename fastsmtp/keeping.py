"""What the keeper builds: it applies the logs, works off the queue, answers commands;
see `fastsmtp.roles`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncIterator,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import Final

from fastsmtp import blocks, queueing
from fastsmtp.delivery.dispatch import Dispatcher
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.delivery.record import Cells
from fastsmtp.delivery.route import reason as reason_of
from fastsmtp.delivery.telling import Telling
from fastsmtp.errors import StoreUnavailable
from fastsmtp.mailbox import account
from fastsmtp.people import People
from fastsmtp.queue import layout
from fastsmtp.queue.message import queue_id
from fastsmtp.queueing import now_ms
from fastsmtp.report import Report
from fastsmtp.roles import (
    Broken,
    Process,
    running,
)
from fastsmtp.serve.control import ControlServer
from fastsmtp.serve.operations import Operations
from fastsmtp.serve.operations_queue import QueueOperations
from fastsmtp.store.lmdb import LmdbStore

UNDER_WAY: Final = 1.5  # seconds that operations of commands may still take


@asynccontextmanager
async def keeping(
    process: Process,
    store: LmdbStore,
    people: People,
    broken: Broken,
) -> AsyncIterator[Dispatcher]:
    config, report = process.config, process.report
    loop = asyncio.get_running_loop()
    cells = Cells(blocks.DELIVERY.of(process.cells), blocks.QUEUE.of(process.cells))
    told = queueing.Told(report, process.trace)

    def deferred(id: int, address: str, error: Exception) -> None:
        due = time.time() + config.delivery.retry[0]
        report.delivery_deferred(queue_id(id), address, reason_of(error), 1, due)
        process.trace.moved(id, "deferred", f"{address}: {reason_of(error)}")

    def failed_in_thread(id: int, address: str, error: Exception) -> None:
        loop.call_soon_threadsafe(deferred, id, address, error)

    apply = LocalDelivery(
        people.route,
        cells.deliveries,
        cells.queue,
        steps=config.delivery.retry,
        failed=failed_in_thread,
        trace=process.trace,
    )
    telling = queueing.notices(config, store, told)
    dispatcher = queueing.dispatcher(config, store, people, cells, told, telling)

    def entered(names: Mapping[str, int]) -> None:
        loop.call_soon_threadsafe(dispatcher.schedule.noted, names)

    apply.entered = entered
    control = commanded(process, store, people, (dispatcher, telling))
    async with contextlib.AsyncExitStack() as stack:
        await layout.upgrade(store, now_ms())
        await stack.enter_async_context(
            running(store.follow(apply), lambda e: broken("following the logs", e))
        )
        await stack.enter_async_context(
            running(dispatcher.run(), lambda e: broken("delivering the queue", e))
        )
        await stack.enter_async_context(
            running(
                queueing.tell_active(dispatcher.schedule, cells.queue),
                lambda e: broken("telling what is active", e),
            )
        )
        tidying = tidy(store, report)
        await stack.enter_async_context(
            running(tidying, lambda e: broken("removing accounts", e))
        )
        await control.start()
        stack.push_async_callback(control.close, UNDER_WAY)
        yield dispatcher


def commanded(
    process: Process,
    store: LmdbStore,
    people: People,
    working: tuple[Dispatcher, Telling],
) -> ControlServer:
    """The socket for commands; `working` on the queue are those beside them."""
    operations = Operations(store, people.domains, store.backup, people.changed)
    cells = blocks.QUEUE.of(process.cells)
    hands = queueing.hands(people, *working, cells, process.trace)
    table = operations.table() | QueueOperations(store, hands).table()
    return ControlServer(process.config.run, table, process.report.fault)


async def tidy(store: LmdbStore, report: Report) -> None:
    """Finish removing accounts where a crash cut it off; then there is no more to do.

    If the store cannot now, the next start will."""
    try:
        await account.finish_removals(store)
    except StoreUnavailable as error:
        report.store_trouble("removal of accounts left for later", str(error))
    await asyncio.get_running_loop().create_future()
