"""When a client wants its message to go on, as moments: HOLDFOR, HOLDUNTIL and BY count
from when MAIL came (RFC 4865 4, RFC 2852 4)."""

from __future__ import annotations

from fastsmtp.errors import Refused
from fastsmtp.smtp.replies import HELD_LONG
from fastsmtp.smtp.session import Session

LATE = Refused(501, "5.5.4", "Held for longer than BY allows", "syntax")


def release(session: Session) -> int:
    """Milliseconds, wall clock, before which nothing is tried; 0: at once."""
    at = session.hold_until
    if session.hold_for:
        at = session.arrived + 1000 * session.hold_for
    return at if at > session.arrived else 0


def by(session: Session) -> int:
    """Milliseconds, wall clock, by which it is to be delivered; 0: no such wish."""
    return session.arrived + 1000 * session.by if session.by_mode else 0


def refusal(session: Session, longest: int) -> Refused | None:
    """Why these wishes are not taken; `longest` in milliseconds is how long mail may be
    held. What would be late before it is tried is a mistake of the client."""
    at = release(session)
    if at - session.arrived > longest:
        return HELD_LONG
    if at and session.by_mode and at >= by(session):
        return LATE
    return None
