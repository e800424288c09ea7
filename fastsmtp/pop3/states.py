"""The states of a session and every move between them (RFC 1939 3).

    AUTHORIZATION  connected; nobody knows who it is
    NAMED          USER was given, PASS may follow
    TRANSACTION    logged in: the maildrop is a snapshot, its numbers stay as they are
    UPDATE         QUIT was given, and what was marked is being removed
    CLOSED         the last reply was given, or the peer is gone: nothing moves any more

A command moves as its row in `commands` says, and only when it was answered +OK. What
no command causes is here:

    NAMED → AUTHORIZATION  PASS was wrong, or TLS is on: what was said before is void
    any   → CLOSED         the time is over, too many errors, the connection is lost

From TRANSACTION to CLOSED nothing is removed: only UPDATE removes (RFC 1939 6).
"""

from enum import IntEnum
from typing import Final


class State(IntEnum):
    AUTHORIZATION = 0
    NAMED = 1
    TRANSACTION = 2
    UPDATE = 3
    CLOSED = 4


AUTHORIZATION, NAMED, TRANSACTION, UPDATE, CLOSED = State

STRANGER: Final = frozenset({AUTHORIZATION, NAMED})
"""Nobody has logged in yet."""

ANY: Final = frozenset({AUTHORIZATION, NAMED, TRANSACTION})
"""The states in which octets are command lines."""

MOVES: Final = {
    AUTHORIZATION: frozenset({AUTHORIZATION, NAMED, TRANSACTION, CLOSED}),
    NAMED: frozenset({AUTHORIZATION, NAMED, TRANSACTION, CLOSED}),
    TRANSACTION: frozenset({TRANSACTION, UPDATE, CLOSED}),
    UPDATE: frozenset({UPDATE, CLOSED}),
    CLOSED: frozenset({CLOSED}),
}
"""All moves there are; a test walks sessions at random and compares."""
