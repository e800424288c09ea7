"""The commands, one row each: the session reads them at import and has no other switch.

states    where the command may be given; elsewhere `misplaced` says the answer
next      the state after a positive answer; None leaves it as it is
last      must be the last of a pipelined group (RFC 2920 3.1): what had already
          arrived behind it when it was answered is refused with 503
argument  whether it takes one: NONE and NEEDED are checked (501), FREE is not
idle      moves no transaction: too many of these in a row end the session
handler   the function in ext/smtp/session.pyx
known     only after AUTH where that is required: 530 (RFC 4954 6)

A command that a listener does not offer (`OFFERED`) is refused before any of this:
with 502, or with 500 when it is the greeting of the other protocol.
"""

from typing import Final, NamedTuple

from fastsmtp.errors import Refused
from fastsmtp.smtp.states import (
    ANY,
    BODY,
    CHUNKS,
    CLOSED,
    GREETED,
    MAIL,
    RCPT,
    READY,
    State,
)
from fastsmtp.wire.argument import FREE, NEEDED, NONE, Argument


class Row(NamedTuple):
    verb: str
    states: frozenset[State]
    next: State | None
    last: bool
    argument: Argument
    idle: bool
    handler: str
    known: bool = False


_ROW: Final = Row("", ANY, None, False, FREE, True, "")


def _row(verb: str, handler: str, **more: object) -> Row:
    return _ROW._replace(verb=verb, handler=handler, **more)  # type: ignore[arg-type]


ROWS: Final = (
    _row("HELO", "hello", next=READY),
    _row("EHLO", "hello", next=READY, last=True, argument=NEEDED),
    _row("LHLO", "hello", next=READY, last=True, argument=NEEDED),
    _row(
        *("MAIL", "mail"),
        states={READY},
        next=MAIL,
        idle=False,
        argument=NEEDED,
        known=True,
    ),
    _row("RCPT", "rcpt", states={MAIL, RCPT}, next=RCPT, idle=False, argument=NEEDED),
    _row(
        "DATA",
        "data",
        states={RCPT},
        next=BODY,
        last=True,
        argument=NONE,
        idle=False,
    ),
    _row("BDAT", "bdat", states={RCPT, CHUNKS}, argument=NEEDED, idle=False),
    _row("RSET", "rset", next=READY, argument=NONE),
    _row("NOOP", "noop"),
    _row("VRFY", "vrfy", argument=NEEDED, known=True),
    _row("EXPN", "off", argument=NEEDED, known=True),
    _row("HELP", "help"),
    _row("QUIT", "quit", next=CLOSED, argument=NONE),
    _row("STARTTLS", "starttls", states={READY}, last=True, argument=NONE),
    _row("AUTH", "auth", states={READY}, last=True, argument=NEEDED),
    _row(
        *("XCLIENT", "xclient"),
        states={GREETED, READY},
        next=GREETED,
        last=True,
        argument=NEEDED,
    ),
)
"""A chunk's octets follow BDAT: its handler makes the moves, see `states`."""

OFFERED: Final = frozenset(
    {"HELO", "EHLO", "LHLO", "BDAT", "STARTTLS", "AUTH", "XCLIENT"}
)
"""Commands that are on only where `Offers.verbs` has them."""

VERBS: Final = tuple(row.verb for row in ROWS)

HELLO_FIRST: Final = Refused(503, "5.5.1", "Say HELO or EHLO first", "sequence")
NESTED: Final = Refused(503, "5.5.1", "A transaction is already open", "sequence")
MAIL_FIRST: Final = Refused(503, "5.5.1", "MAIL comes first", "sequence")
NO_RECIPIENT: Final = Refused(554, "5.5.1", "No valid recipients", "sequence")
CHUNKED: Final = Refused(503, "5.5.1", "The message comes in chunks now", "sequence")
LHLO_FIRST: Final = Refused(503, "5.5.1", "Say LHLO first", "sequence")
NOBODY: Final = Refused(503, "5.5.1", "No valid recipients", "sequence")
"""RFC 2033 4.2 wants 503."""


def misplaced(row: Row, state: State, lmtp: bool = False) -> Refused:
    """The answer to a command in a state its row does not have."""
    if state == GREETED:
        return LHLO_FIRST if lmtp else HELLO_FIRST
    if row.verb in ("MAIL", "STARTTLS", "AUTH", "XCLIENT"):
        return NESTED
    if state == CHUNKS:
        return CHUNKED
    if row.verb in ("DATA", "BDAT") and state == MAIL:
        return NOBODY if lmtp else NO_RECIPIENT
    return MAIL_FIRST
