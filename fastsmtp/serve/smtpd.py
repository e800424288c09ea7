"""The SMTP server: who may connect, how long everything may take, how it ends.

    smtpd = Smtpd(Terms(hostname, options, cells), store, recipients.resolve, report)
    await smtpd.open(sockets)
    ...
    await smtpd.drain(grace)      # 421 to new and idle ones; transactions may finish
    smtpd.close()

Deadlines are kept coarsely by `net.clock` (a second or two late, never early):

    waiting for a command        command_timeout since the last whole command
    inside a body                data_timeout since the last octet
    inside a transaction         transaction_timeout since MAIL
    the peer does not read       reply_timeout since the transport was full
    the door has not answered    none: that is our turn
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from fastsmtp.cells import fresh
from fastsmtp.net import counts as net
from fastsmtp.net.certificates import Certificates
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import shared_buffer
from fastsmtp.net.counts import FULL, HANDSHAKES, RESUMED
from fastsmtp.net.descriptors import connections_most, highest
from fastsmtp.net.listener import Listener
from fastsmtp.net.proxied import Entrance
from fastsmtp.net.tls import Tls, TlsTransport
from fastsmtp.policy.options import PolicyOptions
from fastsmtp.policy.recipients import Verdict
from fastsmtp.report import Report
from fastsmtp.serve.checks import NONE, Checks
from fastsmtp.serve.fairness import Fairness
from fastsmtp.serve.guest import Client, Crowd
from fastsmtp.serve.login import Logins
from fastsmtp.serve.porch import Porch
from fastsmtp.serve.reception import Reception
from fastsmtp.serve.refusals import LEAVING
from fastsmtp.serve.standing import Dns
from fastsmtp.serve.strangers import Strangers
from fastsmtp.serve.submission import Submission
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.smtp.session import Service
from fastsmtp.store.base import Store
from fastsmtp.trace.ring import Trace

FIRST_MESSAGE: Final = 5.0  # seconds for a client that has just come to send one
RETRY: Final = 0.005  # seconds until connections that wait for the disk are looked at
RETRY_EACH: Final = 0.00001  # seconds more for each of them, so that it stays cheap


@dataclass(frozen=True, slots=True)
class Terms:
    """What one listener is told: its name, its limits, its counters.

    private     AUTH is offered without TLS to clients on this machine
    logins      who answers AUTH where `offers` has mechanisms
    submission  what is done with the mail of those who have logged in
    policy      for clients that nobody knows; it counts for the listener smtp only
    dns         for looking up clients of the listener smtp; None: nobody is
    behind      how far the store is behind; at 1.0 it takes no mail
    trace       told what becomes of mail
    whose       the login that a connection has from the start; None: none
    """

    hostname: str
    options: SmtpOptions
    cells: memoryview[int]
    listener: str = "smtp"
    checks: Checks = NONE
    certificates: Certificates | None = None
    offers: Offers = Offers()
    private: bool = False
    logins: Logins | None = None
    submission: Submission | None = None
    handshakes: memoryview[int] = field(default_factory=lambda: fresh(net.CELLS))
    policy: PolicyOptions = PolicyOptions()
    behind: Callable[[], float] = lambda: 0.0
    dns: Dns | None = None
    trace: Trace = Trace()
    whose: Callable[[asyncio.BaseTransport], str] | None = None

    @property
    def implicit(self) -> bool:
        """Whether TLS begins with the connection (RFC 8314 3)."""
        return self.listener == "submissions"

    @property
    def asked(self) -> PolicyOptions:
        """What the policy asks of clients here: of those who log in, or whom we trust,
        nothing."""
        return self.policy if self.listener == "smtp" else self.policy.for_friends()

    @property
    def offered(self) -> Offers:
        """STARTTLS where there is a certificate, what the options switch on; who may
        log in and must is as `offers` has it."""
        able = self.certificates is not None and not self.implicit
        options = self.options
        return replace(
            self.offers,
            starttls=able and options.starttls,
            chunking=options.chunking,
            smtputf8=options.smtputf8,
            dsn=options.dsn,
            limits=options.limits,
            requiretls=options.requiretls,
            priorities=options.priorities,
            future_release=options.future_release,
            deliver_by=options.deliver_by,
            wall=time.time,
            xclient=bool(options.xclient),
            lmtp=self.listener == "lmtp",
        )


class Guest(Client, asyncio.BufferedProtocol):
    """A client as the event loop knows it."""

    __slots__ = ()


class Smtpd:
    """All connections of one listener; see the head of the file.

    Connections and partings are counted here; sessions count what is said in them.
    """

    def __init__(
        self,
        terms: Terms,
        store: Store,
        resolve: Callable[[str], Verdict],
        report: Report,
        clock: Clock | None = None,
    ) -> None:
        self.clock = Clock() if clock is None else clock
        dns = terms.dns if terms.listener == "smtp" else None
        strangers = self._strangers = Strangers(terms.asked, self.clock, dns)
        checks = strangers.checks + terms.checks
        self.reception = Reception(
            *(terms.hostname, store, resolve, report, self.clock, terms.cells)
        )
        self.reception.checks = checks
        self.reception.logins = terms.logins
        self.reception.submission = terms.submission
        self.reception.longest_hold = int(terms.options.max_future_release * 1000)
        self.reception.trace = terms.trace
        service = Service(
            *(terms.options, terms.hostname, self.reception, terms.cells),
            time.monotonic if clock is None else clock.read,
            lambda error: report.fault("smtp", error),
            terms.offered,
        )
        most = connections_most(terms.options.max_connections)
        self.crowd = Crowd(terms, service, report, self.clock, shared_buffer(), most)
        self._porch = Porch(strangers.delay) if strangers.delay else None
        self.crowd.heed(strangers, self._porch)
        about = (self.crowd, self.reception, terms.behind, self.clock)
        self._fairness = Fairness(*about)
        self._tls: Tls | None = None
        if terms.certificates is not None:
            self._tls = terms.certificates.serve(self.clock, self._shaken)
            self.crowd.tls = self._tls
        self._empty = asyncio.Event()
        self.crowd.late = self._look_again
        self.crowd.emptied = self._empty.set
        self.crowd.highest = highest()
        self._late: set[Client] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._listener: Listener | None = None
        self._entrance: Entrance | None = None
        self._own_clock = clock is None

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these sockets, which stay the caller's."""
        if self._own_clock:
            self.clock.start(asyncio.get_running_loop())
        make: Callable[[], asyncio.BaseProtocol] = self.guest
        if self.crowd.terms.implicit:
            assert self._tls is not None, "a listener of TLS without a certificate"
            make = self._tls.accept(self.guest)
        terms, report = self.crowd.terms, self.crowd.report
        if terms.options.proxy_protocol:
            self._entrance = Entrance(
                *(terms.options.proxy_protocol, make, self.clock),
                lambda address, why: report.not_from_a_proxy(address, why),
            )
            make = self._entrance
        self._listener = Listener(
            *(sockets, make), trouble=lambda why: report.accepting(terms.listener, why)
        )
        await self._listener.open()

    def guest(self) -> Guest:
        return Guest(self.crowd)

    @property
    def connections(self) -> int:
        return len(self.crowd.guests)

    async def drain(self, grace: float) -> None:
        """Send idle clients away, let transactions finish within `grace` seconds.

        New connections are told 421 until `close`. Returns when all are gone."""
        self.crowd.gently = False
        if not await self._part(grace):
            self._send_away()
            await asyncio.sleep(0)

    async def retire(self, grace: float) -> None:
        """Stop accepting: another process or object does that on the same sockets.
        Who came just now may still send a message, then as `drain`."""
        if self._listener is not None:
            self._listener.close()
        self.crowd.gently = True
        if not await self._part(min(FIRST_MESSAGE, grace)):
            await self.drain(grace)

    async def _part(self, seconds: float) -> bool:
        """Whether all have gone within this time."""
        self._empty.clear()
        self.hold(True)
        if not self.crowd.guests:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        return not self.crowd.guests

    def hold(self, on: bool) -> None:
        """Send idle clients and new ones away, transactions may finish; or take mail
        again."""
        self.crowd.draining = on
        for guest in tuple(self.crowd.guests) if on else ():
            guest.steer()

    def _send_away(self) -> None:
        """Time is up: what has no 250 yet was promised nothing."""
        for guest in tuple(self.crowd.guests):
            guest.shut(LEAVING, "shutdown")

    def close(self) -> None:
        """Stop accepting and drop who is still there."""
        if self._listener is not None:
            self._listener.close()
        if self._entrance is not None:
            self._entrance.close()
        for guest in tuple(self.crowd.guests):
            guest.abort()
        self._fairness.close()
        self._strangers.close()
        if self._porch is not None:
            self._porch.close()
        if self._retry is not None:
            self._retry.cancel()
        certificates = self.crowd.terms.certificates
        if self._tls is not None and certificates is not None:
            certificates.leave(self._tls)
            self._tls = None
        if self._own_clock:
            self.clock.stop()

    def _shaken(self, transport: TlsTransport, result: str, cause: str) -> None:
        """A TLS handshake has ended, one way or the other."""
        terms, guest = self.crowd.terms, cast(Client, transport.connection)
        good = result in (FULL, RESUMED)
        version = transport.version if good else "none"
        terms.handshakes[HANDSHAKES.place(version, result)] += 1
        if good:
            guest.secured(version, transport.cipher)
        elif cause:
            told = (guest.address, terms.listener, result, cause)
            self.crowd.report.handshake_failed(*told)

    def _look_again(self, guest: Client) -> None:
        """Steer this connection a little later: the disk or memory is behind."""
        self._late.add(guest)
        if self._retry is None:
            loop = asyncio.get_running_loop()
            delay = max(RETRY, self.connections * RETRY_EACH)
            self._retry = loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._retry = None
        late, self._late = self._late, set()
        for guest in late:
            guest.steer()
