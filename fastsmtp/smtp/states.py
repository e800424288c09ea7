"""The states of a receiving session and every move between them.

    GREETED   connected; neither HELO nor EHLO yet
    READY     introduced; no transaction
    MAIL      a reverse-path was taken, no recipient yet
    RCPT      at least one recipient was taken
    BODY      354 was given: octets are the message until CRLF.CRLF
    COMMIT    the message is complete and the door has not answered yet
    CLOSED    the last reply was given, or the peer is gone: nothing moves any more

A command moves as its row in `commands` says, and only when it was answered 2xx or
354; refused, it changes nothing. What no command causes is here:

    BODY  → COMMIT   the end of the data was found
    BODY  → READY    … and the message is refused by its content
    COMMIT → READY   the door answered, yes or no
    any   → CLOSED   421, QUIT, too many errors, or the connection is lost

Whoever leaves MAIL, RCPT, BODY or COMMIT without a 250 for the message leaves nothing
behind (RFC 5321 4.1.1.5, 4.1.4): the transaction's fields are cleared in one place.
"""

from enum import IntEnum
from typing import Final


class State(IntEnum):
    GREETED = 0
    READY = 1
    MAIL = 2
    RCPT = 3
    BODY = 4
    COMMIT = 5
    CLOSED = 6


GREETED, READY, MAIL, RCPT, BODY, COMMIT, CLOSED = State

ANY: Final = frozenset({GREETED, READY, MAIL, RCPT})
"""The states in which octets are command lines."""

TRANSACTION: Final = frozenset({MAIL, RCPT, BODY, COMMIT})

MOVES: Final = {
    GREETED: frozenset({GREETED, READY, CLOSED}),
    READY: frozenset({READY, MAIL, CLOSED}),
    MAIL: frozenset({READY, MAIL, RCPT, CLOSED}),
    RCPT: frozenset({READY, RCPT, BODY, CLOSED}),
    BODY: frozenset({READY, COMMIT, CLOSED}),
    COMMIT: frozenset({READY, CLOSED}),
    CLOSED: frozenset({CLOSED}),
}
"""All moves there are; a test walks sessions at random and compares."""
