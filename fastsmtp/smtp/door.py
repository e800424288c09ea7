"""Whom a session asks: the one interface between the SMTP engine and the server.

Each question is answered at once with None (yes), a `Refused` (no), or PENDING: the
answer comes later through `Session.answer`, and until then the session takes no more
input. A method that raises is our own trouble: the peer hears 451 4.3.0, the session
goes on, and `Service.trouble` is called with the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from fastsmtp.errors import PENDING as PENDING
from fastsmtp.errors import Refused, Wait

if TYPE_CHECKING:
    from fastsmtp.smtp.session import Body, Session


Answer = Refused | Literal[Wait.PENDING] | None
Challenge = Answer | bytes
Outcome = Answer | list[Refused | None]


class Stream(Protocol):
    """Where a body goes that has outgrown memory."""

    def write(self, data: bytes | memoryview) -> None:
        """Copies before it returns; raises `StoreUnavailable`."""
        ...

    def backlog(self) -> int:
        """Octets that were taken and are not put away yet."""
        ...

    def abort(self) -> None: ...


class Door(Protocol):
    """One object for all sessions; what belongs to one is found in `session`.

    The fields of a transaction are set before the question that needs them:
    `reverse_path`, `declared_size` and other parameters at `mail`, `recipients` and
    `options` at `data`.
    """

    def hello(self, session: Session) -> Answer:
        """HELO or EHLO was said; `session.helo` has the name."""
        ...

    def mail(self, session: Session) -> Answer:
        """May this transaction begin? Sets `session.queue_id` when it may."""
        ...

    def recipient(self, session: Session, address: str) -> Answer:
        """`address` as it was given, without brackets and source route."""
        ...

    def data(self, session: Session) -> Answer:
        """All recipients are known; yes gives the 354, or takes the first chunk of
        BDAT. Sets `session.head`."""
        ...

    def stream(self, session: Session) -> Stream:
        """The body outgrows memory: where to write it. Raises `StoreUnavailable`."""
        ...

    def message(self, session: Session, body: Body) -> Outcome:
        """Complete and acceptable. None only when it is durable already; with LMTP also
        a list with an answer for each recipient (RFC 2033 4.2).

        `body` is a read-only buffer, empty when `session.stream` has the octets. The
        stream is the door's when this returns anything but a `Refused`."""
        ...

    def refused(self, session: Session, stage: str, refused: Refused) -> None:
        """A command or the message was answered 4xx or 5xx; for the log.

        `stage` is one of `counts.STAGES`. The transaction's fields still stand."""
        ...

    def aborted(self, session: Session) -> None:
        """A transaction ended without its message: RSET, EHLO, QUIT, a lost connection.

        A stream that was not handed to the store was aborted before. The fields still
        stand."""
        ...


class Doorkeeper(Door, Protocol):
    """A door that also asks who it is: needed where AUTH or XCLIENT is offered."""

    def auth(
        self, session: Session, mechanism: str, response: bytes | None
    ) -> Challenge:
        """AUTH: first with the initial response or None, then with each line that the
        client answers to a challenge, decoded.

        Octets are the next challenge, empty ones too; None says that it succeeded and
        that `session.login` is set. What comes last from a server whose mechanism says
        so (SCRAM) is a challenge, too, and its empty answer then succeeds."""
        ...

    def auth_cancelled(self, session: Session) -> None:
        """The exchange that waits for an answer ends: by `*`, by nonsense, by a lost
        connection."""
        ...

    def xclient(self, session: Session, attributes: dict[str, str]) -> Answer:
        """XCLIENT from a session that is trusted; see `smtp.xclient.attributes`. A no
        ends the session."""
        ...
