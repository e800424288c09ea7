"""How a command gets at the store for operations that write; see `cli.reading`.

Writing goes over the control socket while a server runs; else the command takes the
lock of the data directory and is the keeper itself for a moment. Root acts as the owner
of the data directory, so that no file in it ever belongs to root.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401  as the owner it may be out of reach
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastsmtp import queueing, ways
from fastsmtp.cells import fresh
from fastsmtp.cli import Failure
from fastsmtp.cli.reading import demand_data
from fastsmtp.cli.remote import Local, Remote
from fastsmtp.config import Config
from fastsmtp.delivery import counts as deliveries
from fastsmtp.delivery.alarm import LoopAlarm
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.owner import as_owner
from fastsmtp.people import People
from fastsmtp.queue import counts as events
from fastsmtp.queue import layout
from fastsmtp.queue.schedule import Schedule
from fastsmtp.serve.control import SOCKET
from fastsmtp.serve.operations import Operations
from fastsmtp.serve.operations_queue import Hands, QueueOperations
from fastsmtp.store import counts as cells
from fastsmtp.store.lmdb import LmdbStore, lock, next_epoch


@asynccontextmanager
async def operations(config: Config) -> AsyncIterator[Remote | Local]:
    """The operations, run by the server if there is one, else here."""
    demand_data(config)
    try:
        remote = await Remote.connect(config.run)
    except PermissionError:
        raise Failure(
            f"{config.run / SOCKET} is not yours to use",
            "run this as the user that serves, or as root",
        ) from None
    if remote is not None:
        try:
            yield remote
        finally:
            await remote.close()
        return
    with as_owner(config.data), lock(config.data):
        async with keeping(config) as store:
            table = Operations(store, config.domains, store.backup).table()
            yield Local(table | QueueOperations(store, hands(config, store)).table())


def hands(config: Config, store: LmdbStore) -> Hands:
    """For work on the queue while nobody else does any."""
    return Hands(
        Schedule(store, queueing.now_ms, LoopAlarm()),
        queueing.notices(config, store).bounce,
        fresh(events.CELLS),
        ways.hop_of(ways.relaying(config)),
    )


@asynccontextmanager
async def keeping(config: Config) -> AsyncIterator[LmdbStore]:
    """The store with its keeper; the caller has the lock. What an earlier process
    accepted and did not apply is applied now."""
    epoch = next_epoch(config.data, config.store)
    own = fresh(cells.SIZE)
    store = await LmdbStore.open(
        config.data, None, config.store, epoch=epoch, series=0, cells=own
    )
    try:
        await layout.upgrade(store, queueing.now_ms())
        keeper = asyncio.create_task(store.follow(delivery(config, store)))
        try:
            yield store
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
    finally:
        await store.close()


def delivery(config: Config, store: LmdbStore) -> LocalDelivery:
    """What the keeper does with mail: as the server would."""
    return LocalDelivery(
        People(config, store).route,
        fresh(deliveries.CELLS),
        fresh(events.CELLS),
        steps=config.delivery.retry,
    )
