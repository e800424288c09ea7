"""The door of an SMTP listener: decides with the policy, hands mail to the store.

Where responsibility passes: `Guest.settle` is called by the store when a message is
durable, and only then does the session say 250. Before that call anything may be lost
without harm; after it the mail survives whatever happens to this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from fastsmtp.errors import Refused
from fastsmtp.net.clock import Clock
from fastsmtp.policy.recipients import Foreign, Unknown, Verdict
from fastsmtp.queue import intake
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope, queue_id
from fastsmtp.report import Report
from fastsmtp.smtp.door import PENDING, Answer, Stream
from fastsmtp.smtp.session import Body, Session
from fastsmtp.store.base import Kind, Spool, Store
from fastsmtp.wire import header

if TYPE_CHECKING:
    from fastsmtp.serve.smtpd import Guest

UNKNOWN: Final = Refused(
    550, "5.1.1", "No such user here", "unknown_recipient", "no account"
)
RELAY: Final = Refused(550, "5.7.1", "Relay access denied", "relay", "foreign domain")
REMEMBER: Final = 1.0  # seconds, by a clock that ticks once a second
FOUND_MOST: Final = 20_000  # addresses remembered
_QUIET: Final = frozenset({"syntax", "sequence"})  # refusals that are only counted


def unavailable(cause: str) -> Refused:
    """Our own trouble is temporary for the sender, and says nothing of our insides."""
    return Refused(
        452, "4.3.1", "Cannot store mail now, try again later", "store_error", cause
    )


class Reception:
    """`smtp.door.Door` over a store and a policy; one for all sessions.

    resolve   `policy.recipients.Recipients.resolve`; may be replaced at a reload

    Addresses that were found are remembered for about a second, because mail comes in
    bursts for the same people; what was not found is asked for each time, so that a
    new account receives at once.
    """

    __slots__ = (
        "_clock",
        "_found",
        "_found_at",
        "_hostname",
        "_report",
        "_store",
        "resolve",
    )

    def __init__(
        self,
        hostname: str,
        store: Store,
        resolve: Callable[[str], Verdict],
        report: Report,
        clock: Clock,
    ) -> None:
        self._hostname = hostname
        self._store = store
        self.resolve = resolve
        self._report = report
        self._clock = clock
        self._found: set[str] = set()
        self._found_at = clock.now

    def hello(self, session: Session) -> Answer:
        guest = cast("Guest", session.peer)
        guest.origin = header.origin(session.helo, guest.address)
        return None

    def mail(self, session: Session) -> Answer:
        trouble = self._store.healthy()
        if trouble is not None:
            return unavailable(trouble)
        session.id = id = self._store.next_id()
        session.queue_id = queue_id(id)
        session.arrived = time.time_ns() // 1_000_000
        return None

    def recipient(self, session: Session, address: str) -> Answer:
        if self._clock.now - self._found_at >= REMEMBER:
            self._found.clear()
            self._found_at = self._clock.now
        elif address in self._found:
            return None
        verdict = self.resolve(address)
        if isinstance(verdict, Unknown):
            refused = UNKNOWN
        elif isinstance(verdict, Foreign):
            refused = RELAY
        else:
            if len(self._found) < FOUND_MOST:
                self._found.add(address)
            return None
        guest = cast("Guest", session.peer)
        self._report.recipient_refused(guest.who, session.queue_id, address, refused)
        return refused

    def data(self, session: Session) -> Answer:
        """Fix the head now: nothing in front of the body can be moved later."""
        guest = cast("Guest", session.peer)
        path = header.return_path(session.reverse_path)
        recipients = session.recipients
        session.skip = len(path)
        session.head = path + header.received(
            guest.origin,
            self._hostname,
            "ESMTP" if session.extended else "SMTP",
            session.queue_id,
            recipients[0] if len(recipients) == 1 else "",
            header.date(session.arrived // 1000),
        )
        return None

    def stream(self, session: Session) -> Stream:
        return self._store.spool(session.id, session.head)

    def message(self, session: Session, body: Body) -> Answer:
        guest = cast("Guest", session.peer)
        envelope = Envelope(
            session.reverse_path,
            tuple([Recipient(address) for address in session.recipients]),
            session.arrived,
            session.skip,
            "8BITMIME" if session.eight_bit else "7BIT",
            guest.address,
            session.helo,
        )
        if session.stream is None:
            octets = memoryview(body)
            intake.accept(
                self._store, session.id, envelope, session.head, octets, guest.settle
            )
        else:
            spool = cast(Spool, session.stream)
            spool.finish(Kind.MAIL, encode_envelope(envelope), guest.settle)
        return PENDING

    def refused(self, session: Session, stage: str, refused: Refused) -> None:
        if stage != "rcpt" and refused.reason not in _QUIET and session.queue_id:
            guest = cast("Guest", session.peer)
            self._report.message_refused(
                guest.who, session.queue_id, session.reverse_path, refused
            )

    def aborted(self, session: Session) -> None:
        """Nothing was promised and nothing is kept."""
