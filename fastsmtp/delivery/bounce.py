"""Notices about mail: who is owed which, and the message that tells it.

    clerk = Clerk("mx.example.test", options)
    for notice in clerk.notices(original, outcomes, now, store.next_id):
        # append notice.envelope with notice.pieces(original.body) under notice.id

Pure: whoever delivers says how the recipients of a message stand, and gets messages to
be put into the queue like any other. The rules are RFC 3461 (who is told), RFC 3464
(how) and RFC 5321 6.1 (never about a notice):

    fate        NOTIFY  ""   FAILURE  DELAY  SUCCESS  NEVER
    failed              yes  yes      -      -        -
    delayed             yes  -        yes    -        -       once; not to a machine
    delivered           -    -        -      yes      -
    expanded            -    -        -      yes      -
    relayed             -    -        -      yes      -       the next hop has no DSN
    passed              -    -        -      -        -       the next hop tells itself

Mail that was refused in its session is none of ours: the client tells its user.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

from fastsmtp.delivery import wording
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.outcomes import Fate, Outcome, diagnostic, status
from fastsmtp.queue.message import Envelope, Recipient, queue_id
from fastsmtp.wire import report
from fastsmtp.wire.gist import Gist, gist
from fastsmtp.wire.header import date, return_path
from fastsmtp.wire.mime import Octets

HEADER_MOST: Final = 64 * 1024  # octets of a header that go back
PIECE: Final = 256 * 1024  # octets of a body in memory at a time


class Kind(Enum):
    """A notice is of one kind."""

    FAILURE = "failure"
    DELAY = "delay"
    SUCCESS = "success"


KINDS: Final = {
    Fate.FAILED: Kind.FAILURE,
    Fate.DELAYED: Kind.DELAY,
    Fate.DELIVERED: Kind.SUCCESS,
    Fate.EXPANDED: Kind.SUCCESS,
    Fate.RELAYED: Kind.SUCCESS,
}


class Owed(NamedTuple):
    """A notice that is to be written; copy: for the postmaster, not the sender."""

    kind: Kind
    to: str
    outcomes: tuple[Outcome, ...]
    copy: bool = False


class Original(NamedTuple):
    """The message a notice is about; `body` begins with its Return-Path line, as
    `envelope.skip` says."""

    id: int
    envelope: Envelope
    body: Octets


class Notice(NamedTuple):
    """A message of ours: `head`, octets begin to end of the original body, `tail`."""

    id: int
    kind: Kind
    envelope: Envelope
    head: bytes
    begin: int
    end: int
    tail: bytes

    @property
    def length(self) -> int:
        return len(self.head) + self.end - self.begin + len(self.tail)

    def pieces(self, body: Octets, size: int = PIECE) -> Iterator[bytes]:
        """All its octets in order; `body` is the original's."""
        yield self.head
        for at in range(self.begin, self.end, size):
            yield body.read(at, min(size, self.end - at))
        yield self.tail


def owed(
    envelope: Envelope, outcomes: Sequence[Outcome], postmaster: str = ""
) -> tuple[Owed, ...]:
    """Which notices these outcomes call for, each of them to be said once.

    postmaster  gets a copy of each failure, and is the only one to hear of those
                nobody else may be told (NEVER, the null reverse-path)
    """
    to = envelope.reverse_path
    found = []
    for kind in Kind:
        mine = tuple(o for o in outcomes if _wanted(o, envelope) is kind)
        if to and mine:
            found.append(Owed(kind, to, mine))
    # What cannot reach the postmaster is not told the postmaster: no loop.
    lost = [o for o in outcomes if o.fate is Fate.FAILED and o.address != postmaster]
    if postmaster and lost and postmaster != to:
        found.append(Owed(Kind.FAILURE, postmaster, tuple(lost), True))
    return tuple(found)


def _wanted(outcome: Outcome, envelope: Envelope) -> Kind | None:
    """The notice that the sender asked for, or did not decline."""
    words, fate = outcome.notify.split(","), outcome.fate
    if fate in (Fate.PASSED, Fate.RELAYED) and "T" in envelope.by_mode:
        return None if words == ["NEVER"] else Kind.SUCCESS  # RFC 2852 4.1.4.2
    kind = KINDS.get(fate)
    if kind is None or (kind is Kind.DELAY and outcome.warned):
        return None
    if not outcome.notify:  # RFC 3461 4.1: FAILURE, and DELAY if we like
        return None if kind is Kind.SUCCESS else kind
    return kind if kind.name in words else None


class Clerk:
    """Writes notices; one for each process that delivers.

    hostname  ours, as it is seen from outside
    token     something nobody can guess: a part of the boundaries, so that no message
              that goes back can end its part early
    """

    def __init__(
        self,
        hostname: str,
        options: DeliveryOptions,
        token: Callable[[], str] = lambda: secrets.token_hex(12),
    ) -> None:
        self._hostname = hostname
        self._limit = options.bounce_size_limit
        self._postmaster = options.postmaster_copy
        self._token = token

    def owes(self, envelope: Envelope, outcomes: Sequence[Outcome]) -> bool:
        """Whether there may be something to send: mostly there is not."""
        return bool(owed(envelope, outcomes, self._postmaster))

    def notices(
        self,
        original: Original,
        outcomes: Sequence[Outcome],
        now: int,
        next_id: Callable[[], int],
    ) -> list[Notice]:
        """What is to be sent because of these outcomes.

        now      milliseconds, wall clock
        next_id  `Store.next_id`
        """
        due = owed(original.envelope, outcomes, self._postmaster)
        if not due:
            return []
        header = _header(original)
        about = gist(header)
        if about.automatic:
            due = tuple(filter(None, map(_for_a_machine, due)))
        return [
            _Draft(self._hostname, self._limit, original, now, one).notice(
                next_id(), self._token(), header, about
            )
            for one in due
        ]


def _for_a_machine(owed: Owed) -> Owed | None:
    """Programs that send mail take a warning for a failure: they only get what they
    have asked for."""
    if owed.kind is not Kind.DELAY:
        return owed
    asked = tuple(o for o in owed.outcomes if o.notify)
    return owed._replace(outcomes=asked) if asked else None


def _header(original: Original) -> bytes:
    """The header without the empty line, or as much of it as may go back."""
    octets = original.body.read(original.envelope.skip, HEADER_MOST)
    if octets.startswith(b"\r\n"):
        return b""
    end = octets.find(b"\r\n\r\n")
    lines, line_end, _ = octets.rpartition(b"\r\n")
    return octets[: end + 2] if end >= 0 else lines + line_end


def _is_ascii(original: Original) -> bool:
    """Whether all that would go back is 7 bits; what BODY= said may be wrong."""
    body = original.body
    at = range(original.envelope.skip, body.length, PIECE)
    return all(body.read(begin, PIECE).isascii() for begin in at)


class _Draft(NamedTuple):
    """One notice that is being written."""

    hostname: str
    limit: int
    original: Original
    now: int
    owed: Owed

    @property
    def utf8(self) -> bool:
        """Only where it must be: most servers that take it take any (RFC 6533 6)."""
        return not self.owed.to.isascii()

    @property
    def whole(self) -> bool:
        """Whether the message goes back with all its body (RFC 3461 4.3)."""
        envelope, body = self.original.envelope, self.original.body
        if self.owed.kind is not Kind.FAILURE or self.owed.copy:
            return False  # RFC 3461 4.3: what has not failed is not returned
        if envelope.ret == "HDRS" or envelope.requiretls:
            return False  # RFC 8689 5
        return 0 <= body.length - envelope.skip <= self.limit

    def notice(self, id: int, token: str, header: bytes, about: Gist) -> Notice:
        original, envelope, whole = self.original, self.original.envelope, self.whole
        eight_bit = self.utf8 or (whole and not _is_ascii(original))
        boundary = f"=_{queue_id(id)}_{token}"
        begin, end = (envelope.skip, original.body.length) if whole else (0, 0)
        text = report.words(self._words(about, whole))
        trace = return_path("")
        head = [
            trace,
            self._head(id, boundary, about, eight_bit),
            report.begin(text, boundary),
            text.octets,
            self._status(boundary),
            self._returned(boundary, header, whole, eight_bit),
        ]
        made = Envelope(
            "",
            (Recipient(self.owed.to, "NEVER"),),  # RFC 3461 6.1
            self.now,
            len(trace),
            "8BITMIME" if eight_bit else "7BIT",
            smtputf8=self.utf8,
            requiretls=envelope.requiretls,  # RFC 8689 5
            priority=envelope.priority,
        )
        tail = report.end(boundary)
        return Notice(id, self.owed.kind, made, b"".join(head), begin, end, tail)

    def _words(self, about: Gist, whole: bool) -> str:
        return wording.letter(
            wording.Setting(
                self.hostname,
                self.original.envelope.reverse_path,
                about.subject,
                date(self.original.envelope.arrived // 1000),
                self.owed.copy,
                whole,
            ),
            self.owed.outcomes,
        )

    def _head(self, id: int, boundary: str, about: Gist, eight_bit: bool) -> bytes:
        """The fields in front; RFC 3834 5 and RFC 3464 2 name those of a notice."""
        host, now = self.hostname, date(self.now // 1000)
        subject = wording.subject(
            self.owed.outcomes, self.original.envelope.reverse_path, self.owed.copy
        )
        id_ = queue_id(id)
        values = (
            ("Received", f"by {host} with local id {id_}; {now}"),
            ("Date", now),
            ("From", f"Mail Delivery System <MAILER-DAEMON@{host}>"),
            ("To", f"<{self.owed.to}>"),
            ("Message-ID", f"<{id_}@{host}>"),
            ("In-Reply-To", about.message_id),
            ("References", about.message_id),
            ("Subject", subject),
            ("Auto-Submitted", "auto-replied"),
            ("MIME-Version", "1.0"),
            (
                "Content-Type",
                f'multipart/report; report-type=delivery-status; boundary="{boundary}"',
            ),
            ("Content-Transfer-Encoding", "8bit" if eight_bit else ""),
        )
        return report.fields(values, self.utf8)

    def _status(self, boundary: str) -> bytes:
        original, utf8 = self.original, self.utf8
        message = (
            ("Original-Envelope-Id", original.envelope.envid),
            ("Reporting-MTA", f"dns; {self.hostname}"),
            ("Arrival-Date", date(original.envelope.arrived // 1000)),
        )
        groups = [self._recipient(one) for one in self.owed.outcomes]
        if utf8:
            octets = report.global_status(message, groups)
            part = report.Part("message/global-delivery-status", "8bit", octets)
        else:
            octets = report.status(message, groups)
            part = report.Part("message/delivery-status", "7bit", octets)
        return report.begin(part, boundary) + octets

    def _recipient(self, one: Outcome) -> tuple[report.Field, ...]:
        """The fields of RFC 3464 2.3, in the order of its grammar."""
        kind, _, orcpt = one.orcpt.partition(";")
        action = Fate.RELAYED if one.fate is Fate.PASSED else one.fate
        delayed = one.until if one.fate is Fate.DELAYED else 0
        remote = report.clean(one.remote, self.utf8)
        return (
            (
                "Original-Recipient",
                report.typed(orcpt, self.utf8, kind) if kind else "",
            ),
            ("Final-Recipient", report.typed(one.address, self.utf8)),
            ("Action", action.value),
            ("Status", status(one)),
            ("Remote-MTA", f"dns; {remote}" if remote else ""),
            ("Diagnostic-Code", diagnostic(one)),
            ("Last-Attempt-Date", date(one.last // 1000) if one.last else ""),
            ("Final-Log-ID", queue_id(self.original.id)),
            ("Will-Retry-Until", date(delayed // 1000) if delayed else ""),
        )

    def _returned(
        self, boundary: str, header: bytes, whole: bool, eight_bit: bool
    ) -> bytes:
        """What stands in front of the message, or its header."""
        kind = "global" if self.utf8 else "rfc822"
        if whole:
            if not header.isascii() and self.original.envelope.smtputf8:
                kind = "global"  # RFC 6532 3.7
            encoding = "8bit" if eight_bit else "7bit"
            part = report.Part(f"message/{kind}", encoding, b"")
        else:
            part = report.header_part(header, self.utf8)
        return report.begin(part, boundary) + part.octets
