"""The commands, one row each: the session reads them at import and has no other switch.

states    where the command may be given; elsewhere it is answered -ERR
next      the state after +OK; None leaves it as it is
argument  NONE: it takes none; FREE: it may; NEEDED: it must
secret    a password follows: not without TLS
handler   the function in ext/pop3/session.pyx
"""

from typing import Final, NamedTuple

from fastsmtp.pop3.states import (
    ANY,
    AUTHORIZATION,
    NAMED,
    STRANGER,
    TRANSACTION,
    UPDATE,
    State,
)
from fastsmtp.wire.argument import FREE, NEEDED, NONE, Argument


class Row(NamedTuple):
    verb: str
    states: frozenset[State]
    handler: str
    next: State | None = None
    argument: Argument = NONE
    secret: bool = False


_IN: Final = frozenset({TRANSACTION})

ROWS: Final = (
    Row("USER", STRANGER, "user", NAMED, NEEDED, secret=True),
    Row("PASS", frozenset({NAMED}), "password", TRANSACTION, NEEDED, secret=True),
    Row("AUTH", STRANGER, "auth", TRANSACTION, NEEDED, secret=True),
    Row("STLS", STRANGER, "stls", AUTHORIZATION),
    Row("UTF8", STRANGER, "utf8"),
    Row("CAPA", ANY, "capa"),
    Row("STAT", _IN, "stat"),
    Row("LIST", _IN, "list", argument=FREE),
    Row("UIDL", _IN, "uidl", argument=FREE),
    Row("RETR", _IN, "retr", argument=NEEDED),
    Row("TOP", _IN, "top", argument=NEEDED),
    Row("DELE", _IN, "dele", argument=NEEDED),
    Row("RSET", _IN, "rset"),
    Row("NOOP", _IN, "noop"),
    Row("QUIT", ANY, "quit", UPDATE),
)
"""APOP is off: it needs the password itself, and MD5 (RFC 1939 7). LAST is of RFC 1460.
QUIT of somebody who has not logged in ends in CLOSED (RFC 1939 6)."""

VERBS: Final = tuple(row.verb for row in ROWS)
BODIES: Final = ("RETR", "TOP")
"""Their replies are given by the driver, who has the octets."""
