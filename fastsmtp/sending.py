"""What sends mail to other servers, as context managers; see `fastsmtp.roles`.

desk       of the keeper: hands jobs to the processes that send
directly   keeper and sender in one process
clerk      of a process that sends
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastsmtp import blocks
from fastsmtp.delivery.post import SOCKET, Clerk, Direct, Senders
from fastsmtp.depths import at_once
from fastsmtp.outset import LAST, SETTLING
from fastsmtp.policy.relaying import Relaying
from fastsmtp.roles import Broken, Process, listening, running
from fastsmtp.store.base import Blob
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.ways import relaying

if TYPE_CHECKING:
    from fastsmtp.delivery.dispatch import Dispatcher
    from fastsmtp.delivery.relay import Relay, Sink

Table = Callable[[], Relaying]
"""The relay table that is in use."""


class StoredBodies:
    """`relay.Bodies` of a local store, whose reads never suspend."""

    def __init__(self, store: LmdbStore) -> None:
        self._store = store

    def open(self, id: int) -> Blob:
        return at_once(self._store.blob_open(id))


@asynccontextmanager
async def relay(
    process: Process, table: Table, store: LmdbStore, sink: Sink
) -> AsyncIterator[Relay]:
    """The sending part of this process; what is under way is finished when it ends."""
    from fastsmtp.delivery.conversation import Switchboard
    from fastsmtp.delivery.fitting import fitted
    from fastsmtp.delivery.relay import Relay
    from fastsmtp.net.dns import Resolver
    from fastsmtp.net.exchangers import HostsFile, Ours, Search

    config = process.config
    resolver = Resolver(config.dns, blocks.DNS.of(process.cells))

    def trouble(error: Exception) -> None:
        process.report.fault("sending", error)

    board = Switchboard(
        config.hostname,
        config.send,
        cells=blocks.OUTBOUND.of(process.cells),
        handshakes=blocks.TLS["outbound"].of(process.cells),
        trouble=trouble,
    )
    names = (config.hostname,)
    search = Search(resolver, names, Ours(listening(config)), HostsFile())
    made = Relay(board, search, table, StoredBodies(store), sink, fitted)
    made.open()
    try:
        yield made
    finally:
        await made.close(LAST)
        await resolver.close()


@asynccontextmanager
async def directly(
    process: Process, table: Table, store: LmdbStore, dispatcher: Dispatcher
) -> AsyncIterator[Relay]:
    """Keeper and sender are this process."""
    direct = Direct(dispatcher)
    async with relay(process, table, store, direct) as made:
        direct.relay = made
        dispatcher.sender = direct
        dispatcher.connected()
        yield made
    await direct.settled(SETTLING)
    dispatcher.sender = None


@asynccontextmanager
async def desk(process: Process, dispatcher: Dispatcher) -> AsyncIterator[None]:
    """The keeper's end: processes that send connect to it."""
    senders = Senders(process.config.run / SOCKET, dispatcher, process.report.fault)
    await senders.open()
    dispatcher.sender = senders
    try:
        yield
    finally:
        dispatcher.sender = None
        await senders.close()


@asynccontextmanager
async def clerk(
    process: Process, store: LmdbStore, broken: Broken
) -> AsyncIterator[Relay]:
    """All of a process that sends."""
    config = process.config
    clerk = Clerk(config.run / SOCKET, process.report.fault)
    table = relaying(config)
    async with AsyncExitStack() as line:  # it outlives the relay: the last outcomes
        async with relay(process, lambda: table, store, clerk) as made:
            clerk.relay = made
            talking = running(clerk.run(), lambda e: broken("talking to the keeper", e))
            await line.enter_async_context(talking)
            yield made
        await clerk.settled(SETTLING)
