"""The commands, one row each: the session reads them at import and has no other switch.

states    where the command may be given; elsewhere `misplaced` says the answer
next      the state after a positive answer; None leaves it as it is
last      must be the last of a pipelined group (RFC 2920 3.1): what had already
          arrived behind it when it was answered is refused with 503
argument  whether it takes one: NONE and NEEDED are checked (501), FREE is not
idle      moves no transaction: too many of these in a row end the session
handler   the function in ext/smtp/session.pyx

A command that a listener does not offer (`OFFERED`) is refused with 502 before any of
this.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from fastsmtp.errors import Refused
from fastsmtp.smtp.states import ANY, BODY, CLOSED, GREETED, MAIL, RCPT, READY, State


class Argument(IntEnum):
    NONE = 0
    FREE = 1
    NEEDED = 2


NONE, FREE, NEEDED = Argument


class Row(NamedTuple):
    verb: str
    states: frozenset[State]
    next: State | None
    last: bool
    argument: Argument
    idle: bool
    handler: str


_ROW: Final = Row("", ANY, None, False, FREE, True, "")


def _row(verb: str, handler: str, **more: object) -> Row:
    return _ROW._replace(verb=verb, handler=handler, **more)  # type: ignore[arg-type]


ROWS: Final = (
    _row("HELO", "hello", next=READY),
    _row("EHLO", "hello", next=READY, last=True, argument=NEEDED),
    _row("MAIL", "mail", states={READY}, next=MAIL, idle=False, argument=NEEDED),
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
    _row("RSET", "rset", next=READY, argument=NONE),
    _row("NOOP", "noop"),
    _row("VRFY", "vrfy", argument=NEEDED),
    _row("EXPN", "off", argument=NEEDED),
    _row("HELP", "help"),
    _row("QUIT", "quit", next=CLOSED, argument=NONE),
    _row("STARTTLS", "starttls", states={READY}, last=True, argument=NONE),
    _row("AUTH", "off", last=True),
    _row("BDAT", "off"),
)

OFFERED: Final = frozenset({"STARTTLS"})
"""Commands that are on only where `Service.offer` says so."""

VERBS: Final = tuple(row.verb for row in ROWS)

HELLO_FIRST: Final = Refused(503, "5.5.1", "Say HELO or EHLO first", "sequence")
NESTED: Final = Refused(503, "5.5.1", "A transaction is already open", "sequence")
MAIL_FIRST: Final = Refused(503, "5.5.1", "MAIL comes first", "sequence")
NO_RECIPIENT: Final = Refused(554, "5.5.1", "No valid recipients", "sequence")


def misplaced(row: Row, state: State) -> Refused:
    """The answer to a command in a state its row does not have."""
    if state == GREETED:
        return HELLO_FIRST
    if row.verb in ("MAIL", "STARTTLS"):
        return NESTED
    if row.verb == "DATA" and state == MAIL:
        return NO_RECIPIENT
    return MAIL_FIRST
