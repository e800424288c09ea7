"""Whom a session asks, and what it is given: the interface of the engine to the server.

Each question is answered at once with None (yes), a `Refused` (no), or PENDING: the
answer comes later through `Session.answer`, and until then the session takes no more
input. A method that raises is our own trouble: the peer hears [SYS/TEMP], the session
goes on, and `Service.trouble` is called with the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from fastsmtp.errors import Refused, Wait

if TYPE_CHECKING:
    from fastsmtp.pop3.session import Session

Answer = Refused | Literal[Wait.PENDING] | None
Challenge = Answer | bytes


class Maildrop(Protocol):
    """What a session is told of, as it was when it logged in; it never changes.

    uids      of its messages, ascending; unsigned, 4 octets each (a buffer)
    sizes     octets of each; unsigned, 8 octets each (a buffer)
    validity  UIDVALIDITY of the mailbox: with a UID it is unique for ever (RFC 3501
              2.3.1.1)
    """

    validity: int

    @property
    def uids(self) -> Sequence[int]: ...

    @property
    def sizes(self) -> Sequence[int]: ...


class Door(Protocol):
    """One object for all sessions; what belongs to one is found in `session`.

    A login that succeeds has set `session.login` and `session.drop`."""

    def password(self, session: Session, name: bytes, password: bytes) -> Answer:
        """USER and PASS."""
        ...

    def auth(
        self, session: Session, mechanism: str, response: bytes | None
    ) -> Challenge:
        """AUTH: first with the initial response or None, then with each line that the
        client answers to a challenge, decoded. Octets are the next challenge."""
        ...

    def auth_cancelled(self, session: Session) -> None:
        """The exchange that waits for an answer ends."""
        ...

    def update(self, session: Session, marked: Sequence[int]) -> Answer:
        """QUIT: remove the messages with these UIDs, all of them or none. Asked with
        none where mail does not stay for ever."""
        ...
