"""What a process builds that listens: `receiving` takes in mail, `reading` lets people
fetch theirs; see `fastsmtp.roles`."""

from __future__ import annotations

import contextlib
from collections.abc import (
    AsyncIterator,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial

from fastsmtp import blocks
from fastsmtp.hooks.deciding import Deciding, opened
from fastsmtp.net.certificates import Certificates
from fastsmtp.net.dns import Resolver
from fastsmtp.net.exchangers import HostsFile, Ours, Search
from fastsmtp.people import People
from fastsmtp.policy.senders import Senders
from fastsmtp.pop3.counts import LISTENERS as POP3
from fastsmtp.roles import (
    Process,
    Serving,
    Sockets,
    listening,
    running,
)
from fastsmtp.serve.callahead import Asker, CallAhead
from fastsmtp.serve.checks import NONE, Checks
from fastsmtp.serve.login import Logins, server_secret
from fastsmtp.serve.pop3d import Pop3d
from fastsmtp.serve.pop3d import Terms as Pop3Terms
from fastsmtp.serve.programs import Programs
from fastsmtp.serve.smtpd import Smtpd, Terms
from fastsmtp.serve.standing import Dns
from fastsmtp.serve.submission import Submission
from fastsmtp.serve.way import Way
from fastsmtp.smtp.offers import Offers
from fastsmtp.store.lmdb import LmdbStore


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
                blocks.POP3[listener].of(process.cells),
                users.logins,
                people.directory.lookup,
                listener,
                mechanisms=tuple(config.auth.mechanisms),
                certificates=certificates,
                private=config.auth.without_tls_on_loopback,
                handshakes=blocks.TLS[listener].of(process.cells),
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
        return blocks.HOOKS[places[name]].of(process.cells)

    return opened(process.config.hooks, cells, process.report)


@asynccontextmanager
async def looking_up(process: Process) -> AsyncIterator[Dns | None]:
    """What names and lists of clients need; None when nobody asks for them."""
    config = process.config
    if not config.dnsbl and not config.policy.reverse_dns:
        yield None
        return
    resolver = Resolver(config.dns, blocks.DNS.of(process.cells))
    try:
        cells = blocks.CHECKS.of(process.cells)
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
    resolver = Resolver(config.dns, blocks.DNS.of(process.cells))
    ours = Ours(listening(config))
    search = Search(resolver, (config.hostname,), ours, HostsFile())
    cells = blocks.CHECKS.of(process.cells)
    asker = Asker(config.hostname, cells, process.report, config.send.ca_file)
    ahead = CallAhead(config.call_ahead, asker, people, search)
    try:
        yield Checks(rcpt=(ahead,))
    finally:
        ahead.close()
        await resolver.close()


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
            blocks.AUTH.of(process.cells),
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
            blocks.SMTP[listener].of(process.cells),
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
        blocks.SMTP[listener].of(process.cells),
        listener,
        certificates=certificates,
        offers=Offers(mechanisms=mechanisms, auth_required=for_users),
        handshakes=blocks.TLS[listener].of(process.cells),
        private=config.auth.without_tls_on_loopback,
        logins=users.logins,
        submission=users.submission if login else None,
        policy=config.policy,
        trace=process.trace,
    )
