"""What each role of a process builds, as context managers: entered in the order the
objects open, left in the order they close.

    storing     the store of this process life
    people      who has mail here, as this process knows it
    keeping     applies the logs, tries again what was deferred, answers the CLI
    receiving   takes in mail on listening sockets
    reading     lets people fetch theirs
    watching    /metrics, /healthz, /readyz

`fastsmtp.server` puts them together for one process or for several.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from fastsmtp import metrics, queueing
from fastsmtp.auth.accounts import Directory
from fastsmtp.config import Config
from fastsmtp.config.meaning_relay import passed
from fastsmtp.delivery.dispatch import Dispatcher
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.delivery.local import reason as reason_of
from fastsmtp.delivery.record import Cells
from fastsmtp.delivery.route import Route
from fastsmtp.delivery.telling import Telling
from fastsmtp.errors import StoreUnavailable
from fastsmtp.hooks.deciding import Deciding, opened
from fastsmtp.mailbox import account
from fastsmtp.net.certificates import Certificates
from fastsmtp.net.dns import Resolver
from fastsmtp.net.exchangers import HostsFile, Ours, Search
from fastsmtp.options import split_address, unix_path
from fastsmtp.pages import Pages
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients, Verdict
from fastsmtp.policy.senders import Senders
from fastsmtp.pop3.counts import LISTENERS as POP3
from fastsmtp.pulse import Pulse
from fastsmtp.queue import layout
from fastsmtp.queue.message import queue_id
from fastsmtp.queueing import now_ms
from fastsmtp.report import Report
from fastsmtp.serve.callahead import Asker, CallAhead
from fastsmtp.serve.checks import NONE, Checks
from fastsmtp.serve.control import ControlServer
from fastsmtp.serve.login import Logins, server_secret
from fastsmtp.serve.operations import Operations
from fastsmtp.serve.operations_queue import QueueOperations
from fastsmtp.serve.pop3d import Pop3d
from fastsmtp.serve.pop3d import Terms as Pop3Terms
from fastsmtp.serve.programs import Programs
from fastsmtp.serve.smtpd import Smtpd, Terms
from fastsmtp.serve.standing import Dns
from fastsmtp.serve.submission import Submission
from fastsmtp.serve.way import Way
from fastsmtp.smtp.offers import Offers
from fastsmtp.store import keys
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.trace import keeping as traces
from fastsmtp.trace.ring import Trace
from fastsmtp.ways import relaying

T = TypeVar("T")
Sockets = Mapping[str, Sequence[socket.socket]]
"""Listening sockets by kind of listener (`doors.KINDS`)."""
UNDER_WAY: Final = 30.0  # seconds that operations of commands may still take
LOOK: Final = 0.25  # seconds between looks at the store's health


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
    pulse = Pulse(metrics.PULSE.of(cells), role)
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
    process: Process, series: int, *, shared: bool
) -> AsyncIterator[LmdbStore]:
    """shared: other processes of this server use the store as well."""
    config, report = process.config, process.report
    store = await LmdbStore.open(
        config.data,
        config.run if shared else None,
        config.store,
        epoch=process.epoch,
        series=series,
        cells=metrics.STORE.of(process.cells),
    )
    if store.keeper is not None:
        store.keeper.on_aside = lambda record, error: report.store_trouble(
            f"record {queue_id(record.id)} was set aside", reason_of(error)
        )
        store.keeper.on_damaged = lambda where, why: report.store_trouble(where, why)
    telling = asyncio.ensure_future(tell_trouble(process, store))
    try:
        yield store
    finally:
        telling.cancel()
        await store.close()


async def tell_trouble(process: Process, store: LmdbStore) -> None:
    """Keep in the page why the store takes no mail: the supervisor's /readyz asks."""
    while True:
        process.pages.excuse(process.slot, store.healthy() or "")
        await asyncio.sleep(LOOK)


async def settled(store: LmdbStore, patience: float) -> None:
    """Wait until what this process accepted is applied, so that after a clean end
    readers see all of it; what is left after `patience` seconds the next start applies.
    """
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(store.applied(0), patience)


class People:
    """Accounts and how addresses resolve to them; cached until a change of accounts.

    domains   of this server; stays one object when `change` gives it new ones
    relaying  where mail for others goes
    fault     told when a file of recipients cannot be read
    """

    def __init__(
        self,
        config: Config,
        store: LmdbStore,
        fault: Callable[[str, Exception], None] = lambda what, error: None,
    ) -> None:
        self.directory = Directory(
            lambda name: store.peek(keys.DIRECTORY, keys.account(name))
        )
        self.domains: dict[str, DomainOptions] = {}
        self._fault = fault
        self._set(config)
        self.route = Route(self.resolve, self.directory.lookup)
        self.forget = store.watch(keys.DIRECTORY, self.changed)

    def _set(self, config: Config) -> None:
        lookup = self.directory.lookup
        self.domains.clear()
        self.domains.update(config.domains)
        self.recipients = Recipients(
            self.domains,
            lambda name: lookup(name) is not None,
            passed=passed(config.relay_domains, self._fault),
        )
        self.relaying = relaying(config)
        self.relay_domains = config.relay_domains

    def resolve(self, address: str) -> Verdict:
        """See `policy.recipients.Recipients`."""
        return self.recipients.resolve(address)

    def changed(self) -> None:
        self.directory.changed()
        self.route.changed()

    def change(self, config: Config) -> None:
        """Other domains, aliases or ways to others."""
        self._set(config)
        self.route.changed()


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


@asynccontextmanager
async def keeping(
    process: Process,
    store: LmdbStore,
    people: People,
    broken: Callable[[str, BaseException], None],
) -> AsyncIterator[Dispatcher]:
    """broken: told when a part of the keeper ended by itself; it cannot go on."""
    config, report = process.config, process.report
    loop = asyncio.get_running_loop()
    cells = Cells(metrics.DELIVERY.of(process.cells), metrics.QUEUE.of(process.cells))
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
    cells = metrics.QUEUE.of(process.cells)
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


class Serving(Protocol):
    """All connections of one listener: `Smtpd`, `Pop3d`."""

    async def drain(self, grace: float) -> None: ...
    async def retire(self, grace: float) -> None: ...
    def hold(self, on: bool) -> None: ...


@asynccontextmanager
async def serving(
    process: Process, store: LmdbStore, people: People, sockets: Sockets
) -> AsyncIterator[list[Serving]]:
    """As `receiving` and `reading` in one; logins are counted together."""
    users = Users(process, people)
    place = (process, store, people)
    mail = {kind: mine for kind, mine in sockets.items() if kind not in POP3}
    read = {kind: mine for kind, mine in sockets.items() if kind in POP3}
    async with (
        receiving(*place, mail, users) as smtpds,
        reading(*place, read, users) as pop3ds,
    ):
        yield [*smtpds, *pop3ds]


@asynccontextmanager
async def reading(
    process: Process,
    store: LmdbStore,
    people: People,
    sockets: Sockets,
    users: Users | None = None,
) -> AsyncIterator[list[Pop3d]]:
    """Let people fetch their mail on `sockets`, which stay open when this is left."""
    async with contextlib.AsyncExitStack() as stack:
        certificates = await stack.enter_async_context(certified(process))
        if users is None:
            users = Users(process, people)
            stack.callback(users.logins.close)
        config, pop3ds = process.config, []
        for listener, mine in sockets.items():
            terms = Pop3Terms(
                config.pop3,
                metrics.POP3[listener].of(process.cells),
                users.logins,
                people.directory.lookup,
                listener,
                mechanisms=tuple(config.auth.mechanisms),
                certificates=certificates,
                private=config.auth.without_tls_on_loopback,
                handshakes=metrics.TLS[listener].of(process.cells),
            )
            pop3d = Pop3d(terms, store, process.report)
            pop3ds.append(pop3d)
            stack.callback(pop3d.close)
            await pop3d.open(mine)
        yield pop3ds


@asynccontextmanager
async def receiving(
    process: Process,
    store: LmdbStore,
    people: People,
    sockets: Sockets,
    users: Users | None = None,
) -> AsyncIterator[list[Smtpd]]:
    """Take in mail on `sockets`, which stay open when this is left."""
    async with contextlib.AsyncExitStack() as stack:
        certificates = await stack.enter_async_context(certified(process))
        hooks = await stack.enter_async_context(deciding(process))
        dns = await stack.enter_async_context(looking_up(process))
        ahead = await stack.enter_async_context(calling_ahead(process, people))
        if users is None:
            users = Users(process, people)
        stack.callback(users.logins.close)
        smtpds = []
        for listener, mine in sockets.items():
            terms = terms_for(listener, process, users, certificates)
            checks = hooks.checks(listener)
            if terms.submission is not None:
                checks = Checks(rcpt=(Way(people.relaying),)) + checks
            checks = ahead + checks
            terms = replace(terms, checks=checks, behind=store.behind, dns=dns)
            smtpd = Smtpd(terms, store, people.recipients.resolve, process.report)
            smtpds.append(smtpd)
            stack.callback(smtpd.close)
            await smtpd.open(mine)
        yield smtpds


def deciding(process: Process) -> AbstractAsyncContextManager[Deciding]:
    """The hooks of the configuration; raises `CannotOpen`, an `OSError`."""
    places = {name: n for n, name in enumerate(process.pages.names())}

    def cells(name: str) -> memoryview[int]:
        return metrics.HOOKS[places[name]].of(process.cells)

    return opened(process.config.hooks, cells, process.report)


@asynccontextmanager
async def looking_up(process: Process) -> AsyncIterator[Dns | None]:
    """What names and lists of clients need; None when nobody asks for them."""
    config = process.config
    if not config.dnsbl and not config.policy.reverse_dns:
        yield None
        return
    resolver = Resolver(config.dns, metrics.DNS.of(process.cells))
    try:
        cells = metrics.CHECKS.of(process.cells)
        yield Dns(resolver, config.dnsbl, cells, process.report)
    finally:
        await resolver.close()


@asynccontextmanager
async def calling_ahead(process: Process, people: People) -> AsyncIterator[Checks]:
    """The question to next hops whether they have a recipient; none when no relay
    domain wants it."""
    config = process.config
    if not any(each.call_ahead for each in config.relay_domains.values()):
        yield NONE
        return
    resolver = Resolver(config.dns, metrics.DNS.of(process.cells))
    ours = Ours(listening(config))
    search = Search(resolver, (config.hostname,), ours, HostsFile())
    cells = metrics.CHECKS.of(process.cells)
    asker = Asker(config.hostname, cells, process.report, config.send.ca_file)
    ahead = CallAhead(config.call_ahead, asker, people, search)
    try:
        yield Checks(rcpt=(ahead,))
    finally:
        ahead.close()
        await resolver.close()


def listening(config: Config) -> list[tuple[str, int]]:
    """Where this server takes mail, so that it does not turn to itself."""
    addresses = [
        address
        for listener in ("smtp", "submission", "submissions")
        for address in config.listeners.get(listener, ())
    ]
    return [split_address(address) for address in addresses if not unix_path(address)]


@asynccontextmanager
async def certified(process: Process) -> AsyncIterator[Certificates | None]:
    """The certificates of the configuration, read again when their files change."""
    if not process.config.tls.certificates:
        yield None
        return
    certificates = Certificates(process.config.tls, process.report)
    failed = partial(process.report.fault, "watching certificates")
    async with running(certificates.watch(), failed):
        yield certificates


class Users:
    """What users of this server may do beyond what strangers may: log in, submit."""

    def __init__(self, process: Process, people: People) -> None:
        config, lookup = process.config, people.directory.lookup
        self.logins = Logins(
            config.auth,
            lookup,
            server_secret(config.data),
            metrics.AUTH.of(process.cells),
            process.report,
        )
        more = config.submission.senders
        senders = Senders(config.domains, lambda name: lookup(name) is not None, more)
        check_from = config.submission.check_from
        self.submission = Submission(config.hostname, senders, check_from)
        self.programs = Programs(config.sendmail, config.hostname, senders)
        self.sendmail = Submission(self.programs.domain, self.programs, False)


def terms_for(
    listener: str, process: Process, users: Users, certificates: Certificates | None
) -> Terms:
    config = process.config
    if listener == "sendmail":
        return Terms(
            users.programs.domain,
            config.smtp,
            metrics.SMTP[listener].of(process.cells),
            listener,
            submission=users.sendmail,
            trace=process.trace,
            whose=users.programs.whose,
        )
    for_users = listener in ("submission", "submissions")
    login = for_users or (listener == "smtp" and config.auth.on_smtp)
    mechanisms = tuple(config.auth.mechanisms) if login else ()
    return Terms(
        config.hostname,
        config.smtp,
        metrics.SMTP[listener].of(process.cells),
        listener,
        certificates=certificates,
        offers=Offers(mechanisms=mechanisms, auth_required=for_users),
        handshakes=metrics.TLS[listener].of(process.cells),
        private=config.auth.without_tls_on_loopback,
        logins=users.logins,
        submission=users.submission if login else None,
        policy=config.policy,
        trace=process.trace,
    )


async def drain(doors: Iterable[Serving], grace: float) -> None:
    """What is under way may finish within `grace` seconds; the rest is sent away."""
    await asyncio.gather(*(door.drain(grace) for door in doors))


async def leave(doors: Iterable[Serving], grace: float) -> None:
    """Others accept on these sockets now: what is here has `grace` seconds more."""
    await asyncio.gather(*(door.retire(grace) for door in doors))
