"""What is done with the mail of users who have logged in (RFC 6409).

    mail      the reverse-path must be theirs; the null one may be used by anybody, for
              read receipts have it (RFC 8098 3)
    message   the From field must be theirs; Date and Message-ID are added when they
              are missing (8.1, 8.2); Bcc and Resent-Bcc are taken out
    stream    the same for a body that outgrows memory: what comes first is held back
              until the header is whole

Nothing else is changed, and Sender is never touched. The header ends with the first
empty line; a message without one is a header as a whole (RFC 5322 2.1).
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from fastsmtp.errors import Refused
from fastsmtp.smtp.door import Stream
from fastsmtp.smtp.session import Body, Session
from fastsmtp.store.base import Spool
from fastsmtp.wire import header as fields
from fastsmtp.wire.originator import HEADER_MOST, mailboxes, read_header, without

NOT_YOURS: Final = Refused(
    553, "5.7.1", "You may not send from this address", "auth", "not the login's sender"
)
LONG: Final = Refused(552, "5.3.4", "Header is larger than we take", "size")


class Mended(NamedTuple):
    """What is stored of a message: `head` behind our own trace fields, then `body`; or
    a spool that has all of it."""

    head: bytes
    body: Body | memoryview | Spool


class Allowing(Protocol):
    """`policy.senders.Senders`, and who else decides this."""

    def allows(self, login: str, address: str) -> bool: ...


class Submission:
    """The rules for one server; all sessions share it.

    hostname    for the Message-ID
    senders     the addresses of each login
    check_from  whether the From field is looked at
    """

    def __init__(self, hostname: str, senders: Allowing, check_from: bool) -> None:
        self._hostname = hostname
        self._senders = senders
        self._check_from = check_from

    def mail(self, session: Session) -> Refused | None:
        """May this login use this reverse-path?"""
        path = session.reverse_path
        if path and not self._senders.allows(session.login, path):
            return NOT_YOURS
        return None

    def message(self, session: Session, body: Body) -> Mended | Refused:
        """A whole message."""
        stream = session.stream
        if isinstance(stream, HeaderFirst):
            return stream.end() or Mended(b"", stream.spool)
        view = memoryview(body)
        end = body.header_end if body.header_end >= 0 else len(view)
        if end > HEADER_MOST:
            return LONG
        mended = self.mend(session, bytes(view[:end]))
        if isinstance(mended, Refused):
            return mended
        added, header = mended
        if len(header) == end:
            return Mended(added, body)
        return Mended(added + header, view[end:])

    def stream(self, session: Session, spool: Spool) -> HeaderFirst:
        """`spool` has the trace fields already."""
        return HeaderFirst(self, session, spool)

    def mend(self, session: Session, header: bytes) -> tuple[bytes, bytes] | Refused:
        """Fields to put in front, and the header as it is kept."""
        found = read_header(header)
        if self._check_from:
            refused = self._not_from(session.login, found.froms)
            if refused is not None:
                return refused
        added = b""
        if not found.date:
            added += f"Date: {fields.date(session.arrived // 1000)}\r\n".encode()
        if not found.message_id:
            added += f"Message-ID: <{session.queue_id}@{self._hostname}>\r\n".encode()
        return added, without(header, found.blind) if found.blind else header

    def _not_from(self, login: str, froms: tuple[bytes, ...]) -> Refused | None:
        """Why these From fields are not taken. Two of them are read in one way here
        and in another there (CVE-2024-49040 and its kin)."""
        if not froms:
            return None
        if len(froms) > 1:
            return _bad_from("stands twice")
        try:
            addresses = mailboxes(froms[0])
        except ValueError as fault:
            return _bad_from(str(fault))
        if not addresses:
            return _bad_from("names nobody")
        if not all(self._senders.allows(login, address) for address in addresses):
            return _bad_from("holds an address that is not yours")
        return None


def _bad_from(why: str) -> Refused:
    """`why` holds nothing of the message."""
    return Refused(550, "5.7.1", f"The From field: {why}", "auth", f"From: {why}")


class HeaderFirst(Stream):
    """Holds octets back until the header is whole and mended; then all go to `spool`.

    A message that is refused is written no further; `end` says why it was."""

    def __init__(self, submission: Submission, session: Session, spool: Spool) -> None:
        self._submission = submission
        self._session = session
        self.spool = spool
        self._held: bytearray | None = bytearray()  # None: the header is behind us
        self._refused: Refused | None = None

    def write(self, data: bytes | memoryview) -> None:
        held = self._held
        if self._refused is not None:
            return
        if held is None:
            self.spool.write(data)
            return
        seen = max(len(held) - 3, 0)
        held += data
        end = 0 if held[:2] == b"\r\n" else held.find(b"\r\n\r\n", seen)
        if end < 0 and len(held) <= HEADER_MOST:
            return
        self._let_go(end + 4 if end > 0 else end and len(held))

    def _let_go(self, end: int) -> None:
        """The header is the first `end` octets of what is held."""
        held, self._held = self._held, None
        assert held is not None
        mended: tuple[bytes, bytes] | Refused = LONG
        if end <= HEADER_MOST:
            mended = self._submission.mend(self._session, bytes(held[:end]))
        if isinstance(mended, Refused):
            self._refused = mended
            return
        added, header = mended
        self.spool.write(added + header + held[end:])

    def end(self) -> Refused | None:
        """There is no more; why the message is refused."""
        if self._held is not None:
            self._let_go(len(self._held))
        return self._refused

    def backlog(self) -> int:
        return self.spool.backlog()

    def abort(self) -> None:
        self.spool.abort()
