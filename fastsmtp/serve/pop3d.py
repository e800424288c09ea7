"""The POP3 server: who may connect, log in and remove, how long everything may take.

    pop3d = Pop3d(Terms(options, cells), store, report)
    await pop3d.open(sockets)
    ...
    await pop3d.drain(grace)      # idle clients go; what was asked for may go out
    pop3d.close()

Deadlines are kept coarsely by `net.clock` (a second or two late, never early):

    before the login             login_timeout since the last command
    after it                     idle_timeout (RFC 1939 3); nothing is removed
    the client does not read     reply_timeout since something last went out
    we have not answered         none: that is our turn

A login is that of submission (`serve.login`): the same accounts, limits and counted
failures, in clear only where that is allowed. There is no lock on a maildrop: each
session has a snapshot, and removing takes what is still there, in one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from fastsmtp.auth.accounts import Account
from fastsmtp.cells import fresh
from fastsmtp.errors import PENDING, Conflict, Damaged, Refused, StoreUnavailable
from fastsmtp.mailbox import account, fetched
from fastsmtp.mailbox.drop import Drops
from fastsmtp.net import counts as net
from fastsmtp.net.certificates import Certificates
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import shared_buffer
from fastsmtp.net.counts import FULL, HANDSHAKES, RESUMED
from fastsmtp.net.descriptors import connections_most, highest
from fastsmtp.net.listener import Listener
from fastsmtp.net.tls import Tls, TlsTransport
from fastsmtp.pop3 import counts, replies
from fastsmtp.pop3.door import Answer, Challenge
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.pop3.session import Service, Session
from fastsmtp.report import Peer, Report
from fastsmtp.serve.fetcher import Desk, Fetcher
from fastsmtp.serve.login import Logins
from fastsmtp.serve.networks import is_loopback, network_of
from fastsmtp.store.base import Store

DAY: Final = 86_400
PATIENCE: Final = 5.0  # seconds to go on trying to remove while the keeper is replaced
AGAIN: Final = 0.1  # seconds between two attempts
UNREADABLE: Final = Refused(
    451, "4.3.0", "Your mailbox cannot be read now, try again", "store_error"
)
UNREMOVED: Final = Refused(
    451, "4.3.0", "Nothing was removed for certain, look again", "store_error"
)

BUSY: Final = Refused(
    451, "4.3.0", "Your mailbox changes too fast, nothing was removed", "store_error"
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What one listener is told.

    private     a password is taken without TLS from clients on this machine
    logins      who answers USER and AUTH; shared with submission
    lookup      the account of a name that has logged in
    """

    options: Pop3Options
    cells: memoryview[int]
    logins: Logins
    lookup: Callable[[str], Account | None]
    listener: str = "pop3"
    mechanisms: tuple[str, ...] = ()
    certificates: Certificates | None = None
    private: bool = False
    handshakes: memoryview[int] = field(default_factory=lambda: fresh(net.CELLS))

    @property
    def implicit(self) -> bool:
        """Whether TLS begins with the connection (RFC 8314 3)."""
        return self.listener == "pop3s"

    @property
    def offered(self) -> Offers:
        able = self.certificates is not None and not self.implicit
        expire = self.options.keep_days
        return Offers(stls=able, mechanisms=self.mechanisms, expire=expire)


class Guest(Fetcher, asyncio.BufferedProtocol):
    """A client as the event loop knows it."""

    __slots__ = ()


class Pop3d:
    """All connections of one listener, and the door of their sessions."""

    def __init__(
        self, terms: Terms, store: Store, report: Report, clock: Clock | None = None
    ) -> None:
        self.terms = terms
        self.clock = Clock() if clock is None else clock
        self._own_clock = clock is None
        self.wall: Callable[[], float] = time.time
        self._store = store
        self._drops = Drops(store, lambda: asyncio.sleep(0))
        self._report = report
        service = Service(
            *(terms.options, self, terms.cells),
            time.monotonic if clock is None else clock.read,
            lambda error: report.fault("pop3", error),
            terms.offered,
        )
        self.desk = Desk(
            *(self, service, terms.options, self.clock, shared_buffer(), store)
        )
        self.desk.later = self._later
        self._tls: Tls | None = None
        if terms.certificates is not None:
            self._tls = terms.certificates.serve(self.clock, self._shaken)
            self.desk.tls = self._tls
        self.guests: set[Fetcher] = set()
        self._networks: Counter[str | bytes] = Counter()
        self._most = connections_most(terms.options.max_connections)
        self._highest = highest()
        self._number = 0
        self._draining = False
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None

    # its life

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these sockets, which stay the caller's."""
        if self._own_clock:
            self.clock.start(asyncio.get_running_loop())
        make: Callable[[], asyncio.BaseProtocol] = self.guest
        if self.terms.implicit:
            assert self._tls is not None, "a listener of TLS without a certificate"
            make = self._tls.accept(self.guest)
        listener, report = self.terms.listener, self._report
        self._listener = Listener(
            *(sockets, make), trouble=lambda why: report.accepting(listener, why)
        )
        await self._listener.open()

    def guest(self) -> Guest:
        return Guest(self.desk)

    @property
    def connections(self) -> int:
        return len(self.guests)

    def hold(self, on: bool) -> None:
        """Reading goes on while no mail is taken."""

    async def drain(self, grace: float) -> None:
        """Send idle clients away; what was asked for may go out, and what was marked
        at QUIT is removed, within `grace` seconds."""
        self._draining = True
        for guest in tuple(self.guests):
            if not guest.busy:
                guest.shut(replies.LEAVING, "shutdown")
        await self._gone(grace)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for guest in tuple(self.guests):
            guest.shut(replies.LEAVING, "shutdown")
        await asyncio.sleep(0)

    async def retire(self, grace: float) -> None:
        """Stop accepting, another process or object does; sessions may go on for
        `grace` seconds, then as `drain`."""
        if self._listener is not None:
            self._listener.close()
        await self._gone(grace)
        await self.drain(grace)

    async def _gone(self, seconds: float) -> None:
        """Until all have gone, or this time is over."""
        self._empty.clear()
        if self.guests:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()

    def close(self) -> None:
        """Stop accepting and drop who is still there."""
        if self._listener is not None:
            self._listener.close()
        for guest in tuple(self.guests):
            guest.abort()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tls is not None and self.terms.certificates is not None:
            self.terms.certificates.leave(self._tls)
            self._tls = None
        if self._own_clock:
            self.clock.stop()

    def _later(self, guest: Fetcher, delay: float) -> None:
        loop = asyncio.get_running_loop()
        if delay > 0:
            loop.call_later(delay, guest.go_on)
        else:
            loop.call_soon(guest.go_on)

    # who comes and goes

    def private(self, address: str) -> bool:
        return self.terms.private and is_loopback(address)

    def admit(self, guest: Fetcher) -> bytes | None:
        """Count it in; or what it is told when it may not stay."""
        guest.family, guest.network = network_of(guest.address)
        options, cells = self.terms.options, self.terms.cells
        here = self._networks[guest.network]
        result, no = "accepted", None
        if self._draining:
            result, no = "overload", replies.LEAVING
        elif (
            len(self.guests) >= self._most
            or here >= options.max_connections_per_network
            or guest.number >= self._highest
        ):
            result, no = "limit", replies.FULL
        cells[counts.CONNECTIONS.place(guest.family, result)] += 1
        if no is not None:
            self._report.connection_refused(guest.address, result)
            return no
        self._number += 1
        guest.who = Peer(self._number, guest.address)
        self._networks[guest.network] = here + 1
        self.guests.add(guest)
        cells[counts.OPEN] += 1
        self._report.session_opened(guest.who)
        return None

    def left(self, guest: Fetcher) -> None:
        cells = self.terms.cells
        self.guests.discard(guest)
        self._networks[guest.network] -= 1
        if not self._networks[guest.network]:
            del self._networks[guest.network]
        cells[counts.OPEN] -= 1
        cells[counts.DISCONNECTS.place(guest.session.parting)] += 1
        self._report.session_closed(guest.who, guest.session.parting)
        if not self.guests:
            self._empty.set()

    def _shaken(self, transport: TlsTransport, result: str, cause: str) -> None:
        """A TLS handshake has ended, one way or the other."""
        terms, guest = self.terms, cast(Fetcher, transport.connection)
        good = result in (FULL, RESUMED)
        version = transport.version if good else "none"
        terms.handshakes[HANDSHAKES.place(version, result)] += 1
        if good:
            guest.who = Peer(guest.who.session, guest.who.client, version)
            guest.secured(version)
        elif cause:
            told = (guest.address, terms.listener, result, cause)
            self._report.handshake_failed(*told)

    # the door of sessions

    def password(self, session: Session, name: bytes, password: bytes) -> Answer:
        answer = self.terms.logins.password(session, name, password, "pop3")
        return cast(Answer, self._known(session, answer))

    def auth(
        self, session: Session, mechanism: str, response: bytes | None
    ) -> Challenge:
        answer = self.terms.logins.auth(session, mechanism, response, "pop3")
        return self._known(session, answer)

    def auth_cancelled(self, session: Session) -> None:
        self.terms.logins.cancelled(session)

    def _known(self, session: Session, answer: Challenge) -> Challenge:
        """Who has logged in waits for the maildrop."""
        if answer is not None:
            return answer
        self.enter(cast(Fetcher, session.peer))
        return PENDING

    def enter(self, guest: Fetcher) -> None:
        """Read the maildrop of who has logged in, then say so."""
        self._start(self._enter(guest))

    async def _enter(self, guest: Fetcher) -> None:
        session = guest.session
        answer: Refused | None = None
        try:
            found = self.terms.lookup(session.login)
            if found is None:
                raise KeyError(session.login)
            guest.drop = session.drop = await self._drops.open(found.id)
        except (KeyError, StoreUnavailable, Damaged) as error:
            self._report.fault("opening a maildrop", error)
            session.login = ""
            answer = UNREADABLE
        guest.answer(answer)

    def update(self, session: Session, marked: Sequence[int]) -> Answer:
        """The guest asks for `remove` when all it was asked for has gone out."""
        cast(Fetcher, session.peer).marked = marked
        return PENDING

    def remove(self, guest: Fetcher, marked: Sequence[int]) -> None:
        self._start(self._remove(guest, marked))

    async def _remove(self, guest: Fetcher, marked: Sequence[int]) -> None:
        """Goes on when the client hangs up: QUIT was said."""
        answer: Refused | None = None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                await self._expunge(guest, marked, deadline)
            except KeyError:
                self._report.store_trouble("a maildrop", "its account is gone")
                answer = UNREMOVED
            except Conflict:
                self._report.store_trouble("a maildrop", "it changes all the time")
                answer = BUSY
            except (StoreUnavailable, Damaged) as error:
                if isinstance(error, StoreUnavailable) and time.monotonic() < deadline:
                    await asyncio.sleep(AGAIN)  # removed already or not: it sees that
                    continue
                self._report.fault("removing from a maildrop", error)
                answer = UNREMOVED
            break
        guest.marked = None
        guest.answer(answer)

    async def _expunge(
        self, guest: Fetcher, marked: Sequence[int], deadline: float
    ) -> None:
        """What is marked, and what was fetched long ago, in one commit."""
        drop, login = guest.drop, guest.session.login
        place = self._store, drop.part, drop.mailbox
        days, now = self.terms.options.keep_days, int(self.wall())
        rows = await fetched.times(*place) if days else {}
        told = set(drop.uids) if rows else set()
        due = {u for u, at in rows.items() if at + days * DAY <= now and u in told}
        due.difference_update(marked)
        gone = [*marked, *sorted(due)]
        if gone:
            await account.expunge(
                *(*place, gone),
                at_once=True,
                weary=lambda: time.monotonic() >= deadline,
            )
            self._report.mail_removed(guest.who, login, len(gone))
            self.terms.cells[counts.MESSAGES.place("expired")] += len(due)
        if days:
            last = max(told, default=0)  # above are those that came since
            stale = due | {uid for uid in rows if uid <= last and uid not in told}
            new = (guest.retrieved or set()).difference(rows, gone)
            with contextlib.suppress(
                Conflict
            ):  # its days begin when it is next fetched
                await fetched.note(
                    *place, new=new, gone=stale.union(marked) & rows.keys(), second=now
                )

    def spoiled(self, why: str, blob: int) -> None:
        """A message could not be given."""
        self._report.store_trouble(f"body {blob:x}", why)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report.fault("a maildrop", error)
