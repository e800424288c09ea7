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
import resource
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastsmtp.errors import Refused
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import Connection, shared_buffer
from fastsmtp.net.listener import Listener
from fastsmtp.policy.recipients import Verdict
from fastsmtp.report import Peer, Report
from fastsmtp.serve.reception import Reception, unavailable
from fastsmtp.smtp import counts, replies
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.smtp.session import Service, Session
from fastsmtp.smtp.states import BODY, CLOSED
from fastsmtp.store.base import Store

SPARE_DESCRIPTORS: Final = 256  # for segments, the index, metrics and what comes
BACKLOG_MOST: Final = 1024 * 1024  # octets of one body on their way to the disk
COMMANDS_MOST: Final = 16 * 1024  # octets of commands read at once
RETRY: Final = 0.005  # seconds until connections that wait for the disk are looked at
RETRY_EACH: Final = 0.00001  # seconds more for each of them, so that it stays cheap
_OPEN: Final = int(counts.OPEN)
_BODY: Final = int(BODY)
_CLOSED: Final = int(CLOSED)

_ARRIVED: Final = {
    (family, result): counts.CONNECTIONS.place(family, result)
    for family in counts.FAMILIES
    for result in counts.ARRIVALS
}
_PARTED: Final = {why: counts.DISCONNECTS.place(why) for why in counts.PARTINGS}

TIMEOUT: Final = Refused(421, "4.4.2", "Timeout, closing connection", "limit")
FULL: Final = Refused(421, "4.7.0", "Too many connections", "limit")
LEAVING: Final = Refused(421, "4.3.2", "Shutting down, try again", "overload")


@dataclass(frozen=True, slots=True)
class Terms:
    """What one listener is told: its name, its limits, its counters."""

    hostname: str
    options: SmtpOptions
    cells: memoryview[int]
    listener: str = "smtp"


class Guest(Connection):
    """One client: moves octets between the transport and its session."""

    __slots__ = (
        *("active", "address", "finished", "network", "origin"),
        *("server", "session", "who"),
    )

    session: Session
    who: Peer

    def __init__(self, server: Smtpd) -> None:
        super().__init__(server.shared)
        self.server = server
        self.address = ""
        self.network: str | bytes = ""
        self.origin = ""  # the From clause of Received
        self.active = server.clock.now
        self.finished = False  # the client will send no more

    def opened(self) -> None:
        assert self.transport is not None
        peer = self.transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else "unix"
        refused = self.server.admit(self)
        if refused is None:
            self.session = Session(self.server.service, self)
            self.transport.write(self.session.greet())
        else:
            self.network = ""
            self.transport.write(replies.refusal(refused))
            self.close()
        self.server.clock.watch(self, self.active + self.server.shortest)

    def get_buffer(self, sizehint: int) -> bytearray | memoryview:
        """Only a body is read in large pieces: commands may have to be held."""
        if self.network and self.session.state == _BODY:
            return self.shared
        return self.server.small

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing:
            return
        session = self.session
        self._write(session.receive(self.shared, nbytes))
        if session.busy or self.paused:
            self.steer()

    def _write(self, out: bytes | None) -> None:
        """What is not a whole command gets no reply, and so gains no time."""
        if out is not None:
            self.active = self.server.clock.now
            if self.transport is not None:
                self.transport.write(out)
        elif self.session.state == _BODY:
            self.active = self.server.clock.now

    def eof_received(self) -> bool:
        """Who pipes a dialogue into a socket still hears what became of its mail."""
        self.finished = True
        return not self.closing and self.session.pending

    def settle(self, error: Exception | None) -> None:
        """The store's word on the message: durable, or never will be."""
        session = self.session
        if error is None:
            self.server.report.message_accepted(
                self.who,
                session.queue_id,
                session.reverse_path,
                len(session.recipients),
                session.size,
                int((time.monotonic() - session.opened) * 1e6),
            )
            self._write(session.answer(None))
        else:
            self._write(session.answer(unavailable(str(error))))
        if session.busy or self.paused or self.finished or self.server.draining:
            self.steer()

    def steer(self) -> None:
        """Go on with held input if we may, read if we may, leave if we should."""
        if self.closing:
            return
        session = self.session
        while session.holding and not session.pending and not self.full:
            self._write(session.resume())
        if self.server.draining and not session.in_transaction:
            self._write(session.shut(LEAVING, "shutdown"))
        if session.state == _CLOSED or (self.finished and not session.pending):
            self.close()
            return
        late = self._must_wait(session)
        if late:
            self.server.look_again(self)
        self.read(not (late or self.full or session.holding))

    def _must_wait(self, session: Session) -> bool:
        """Whether what this session collects goes faster than it can be put away."""
        if session.state != _BODY:
            return False
        stream = session.stream
        backlogged = stream is not None and stream.backlog() > BACKLOG_MOST
        return backlogged or self.server.service.crowded

    def check(self, now: float) -> float | None:
        """Called by the clock; see the table above."""
        if self.closing:
            self.abort()
            return None
        due = self._deadline()
        if due > now:
            return min(due, now + self.server.shortest)
        self._write(self.session.shut(TIMEOUT, "timeout"))
        if self.full:
            self.abort()
            return None
        self.close()
        return now + self.server.shortest

    def _deadline(self) -> float:
        options = self.server.options
        session = self.session
        if self.full:
            return self.active + options.reply_timeout
        if session.pending:
            return float("inf")
        if session.state == _BODY:
            due = self.active + options.data_timeout
        else:
            due = self.active + options.command_timeout
        if session.in_transaction:
            due = min(due, session.opened + options.transaction_timeout)
        return due

    def ended(self) -> None:
        self.server.clock.forget(self)
        if self.network:
            self.session.lost()
            self.server.leave(self)


class Smtpd:
    """All connections of one listener; see the head of the file.

    Counts connections and partings; sessions count what is said in them.
    """

    def __init__(
        self,
        terms: Terms,
        store: Store,
        resolve: Callable[[str], Verdict],
        report: Report,
        clock: Clock | None = None,
    ) -> None:
        self.options = options = terms.options
        self.report = report
        self.clock = Clock() if clock is None else clock
        self.reception = Reception(terms.hostname, store, resolve, report, self.clock)
        self.service = Service(
            options,
            terms.hostname,
            self.reception,
            terms.cells,
            time.monotonic if clock is None else clock.read,
            lambda error: report.fault("smtp", error),
        )
        self.shared = shared_buffer()
        self.small = memoryview(self.shared)[:COMMANDS_MOST]
        self.draining = False
        self.shortest = min(
            *(options.command_timeout, options.data_timeout),
            *(options.transaction_timeout, options.reply_timeout),
        )
        self._cells = terms.cells
        self._most = connections_most(options.max_connections)
        self._guests: set[Guest] = set()
        self._networks: dict[str | bytes, int] = {}
        self._number = 0
        self._late: set[Guest] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._listener: Listener | None = None
        self._own_clock = clock is None

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these sockets, which stay the caller's."""
        if self._own_clock:
            self.clock.start(asyncio.get_running_loop())
        self._listener = Listener(sockets, self.guest)
        await self._listener.open()

    def guest(self) -> Guest:
        return Guest(self)

    @property
    def connections(self) -> int:
        return len(self._guests)

    async def drain(self, grace: float) -> None:
        """Send idle clients away, let transactions finish within `grace` seconds.

        New connections are told 421 until `close`. Returns when all are gone."""
        self.draining = True
        self._empty.clear()
        for guest in tuple(self._guests):
            guest.steer()
        if self._guests:
            try:
                await asyncio.wait_for(self._empty.wait(), grace)
            except TimeoutError:
                self._send_away()
            await asyncio.sleep(0)

    def _send_away(self) -> None:
        """Time is up: what has no 250 yet was promised nothing."""
        for guest in tuple(self._guests):
            guest._write(guest.session.shut(LEAVING, "shutdown"))
            guest.close()

    def close(self) -> None:
        """Stop accepting and drop who is still there."""
        if self._listener is not None:
            self._listener.close()
        for guest in tuple(self._guests):
            guest.abort()
        if self._retry is not None:
            self._retry.cancel()
        if self._own_clock:
            self.clock.stop()

    # for the connections

    def admit(self, guest: Guest) -> Refused | None:
        """Count a new connection in, or say why not."""
        family, guest.network = network_of(guest.address)
        here = self._networks.get(guest.network, 0)
        result = "accepted"
        refused = None
        if self.draining:
            result, refused = "overload", LEAVING
        elif (
            len(self._guests) >= self._most
            or here >= self.options.max_connections_per_network
        ):
            result, refused = "limit", FULL
        self._cells[_ARRIVED[family, result]] += 1
        if refused is not None:
            self._cells[counts.REJECTS.place("connect", refused.reason, "4")] += 1
            self.report.connection_refused(guest.address, result)
            return refused
        self._number += 1
        guest.who = Peer(self._number, guest.address)
        self._networks[guest.network] = here + 1
        self._guests.add(guest)
        self._cells[_OPEN] += 1
        self.report.session_opened(guest.who)
        return None

    def leave(self, guest: Guest) -> None:
        self._guests.discard(guest)
        self._late.discard(guest)
        left = self._networks[guest.network] - 1
        if left:
            self._networks[guest.network] = left
        else:
            del self._networks[guest.network]
        self._cells[_OPEN] -= 1
        self._cells[_PARTED[guest.session.parting]] += 1
        if not self._guests:
            self._empty.set()

    def look_again(self, guest: Guest) -> None:
        """Steer this connection a little later: the disk or memory is behind."""
        self._late.add(guest)
        if self._retry is None:
            loop = asyncio.get_running_loop()
            delay = max(RETRY, len(self._guests) * RETRY_EACH)
            self._retry = loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._retry = None
        late, self._late = self._late, set()
        for guest in late:
            guest.steer()


def network_of(address: str) -> tuple[str, str | bytes]:
    """Family, and what counts as one client: an IPv4 address, an IPv6 /64."""
    if ":" in address:
        return "ipv6", socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8]
    return ("ipv4" if "." in address else "other"), address


def connections_most(configured: int) -> int:
    """Below the limit of descriptors, so that a 421 comes before EMFILE."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return configured
    return max(1, min(configured, soft - SPARE_DESCRIPTORS))
