"""The states of a receiving session and every move between them.

    GREETED   connected; neither HELO nor EHLO yet
    READY     introduced; no transaction
    MAIL      a reverse-path was taken, no recipient yet
    RCPT      at least one recipient was taken
    CHUNKS    a part of the message was taken with BDAT, another is awaited (RFC 3030)
    BODY      octets are the message: until CRLF.CRLF, or to the end of the chunk
    COMMIT    the message is complete and the door has not answered yet
    CLOSED    the last reply was given, or the peer is gone: nothing moves any more

A command moves as its row in `commands` says, and only when it was answered 2xx or
354; refused, it changes nothing. What no command causes is here:

    RCPT, CHUNKS → BODY   BDAT: its octets follow, and with them its reply
    BODY  → CHUNKS   the chunk is whole and was not the last
    BODY  → COMMIT   the end of the data was found
    BODY  → READY    … and the message is refused by its content, or a chunk of it
    CHUNKS → READY   a chunk was refused: what follows cannot be the message any more
    COMMIT → READY   the door answered, yes or no
    READY → GREETED  TLS is on (RFC 3207 4.2)
    any   → CLOSED   421, QUIT, too many errors, or the connection is lost

Whoever leaves MAIL, RCPT, CHUNKS, BODY or COMMIT without a 250 for the message leaves
nothing behind (RFC 5321 4.1.1.5, 4.1.4): the transaction's fields are cleared in one
place.
"""

from enum import IntEnum
from typing import Final


class State(IntEnum):
    GREETED = 0
    READY = 1
    MAIL = 2
    RCPT = 3
    CHUNKS = 4
    BODY = 5
    COMMIT = 6
    CLOSED = 7


GREETED, READY, MAIL, RCPT, CHUNKS, BODY, COMMIT, CLOSED = State

ANY: Final = frozenset({GREETED, READY, MAIL, RCPT, CHUNKS})
"""The states in which octets are command lines."""

TRANSACTION: Final = frozenset({MAIL, RCPT, CHUNKS, BODY, COMMIT})

MOVES: Final = {
    GREETED: frozenset({GREETED, READY, CLOSED}),
    READY: frozenset({GREETED, READY, MAIL, CLOSED}),
    MAIL: frozenset({READY, MAIL, RCPT, CLOSED}),
    RCPT: frozenset({READY, RCPT, CHUNKS, BODY, COMMIT, CLOSED}),
    CHUNKS: frozenset({READY, CHUNKS, BODY, COMMIT, CLOSED}),
    BODY: frozenset({READY, CHUNKS, COMMIT, CLOSED}),
    COMMIT: frozenset({READY, CLOSED}),
    CLOSED: frozenset({CLOSED}),
}
"""All moves there are, an empty chunk's two in one; a test walks sessions at random
and compares."""
