"""Whose fault it is decides the class: theirs, ours, the caller's, or the disk's.

`Refused` is the only one a peer hears of. It carries the answer (code, enhanced
code, public text) and, for the log alone, the cause.
"""

from enum import Enum
from typing import Final, Literal, NamedTuple

Reason = Literal[
    "unknown_recipient",
    "relay",
    "size",
    "quota",
    "syntax",
    "sequence",
    "limit",
    "content",
    "loop",
    "rate",
    "banned",
    "early_talker",
    "dnsbl",
    "overload",
    "store_error",
    "policy_hook",
    "auth",
]

Trouble = Literal["disk", "index", "log", "unapplied"]
"""Why a store takes no mail. disk: nearly full. index, log: it is full or failed.
unapplied: too much waits to be applied to the index."""


class Excuse(NamedTuple):
    """Why a store takes no mail: what it is, and in words."""

    kind: Trouble
    text: str


class Refused(Exception):
    """What a peer asked for is not done; the reply says so.

    code      three digits, 4xx (try again) or 5xx (never)
    enhanced  RFC 3463 status, its first digit equal to the code's
    text      one line for the peer; names no internals
    reason    the bounded label of `fastsmtp_rejects_total`
    cause     for the log only
    """

    def __init__(
        self,
        code: int,
        enhanced: str,
        text: str,
        reason: Reason,
        cause: str = "",
    ) -> None:
        super().__init__(f"{code} {enhanced} {text}")
        self.code = code
        self.enhanced = enhanced
        self.text = text
        self.reason = reason
        self.cause = cause


class Wait(Enum):
    PENDING = "pending"


PENDING: Final = Wait.PENDING
"""In place of an answer: it comes later."""


class StoreUnavailable(Exception):
    """Our own trouble: the disk is full, a sync failed, the keeper is too far behind.

    A session turns it into 452 4.3.1; nothing that was acknowledged is touched by it.
    """


class NoRecord(Exception):
    """The DNS says for certain that there is no such thing; see the two below."""


class NoSuchName(NoRecord):
    """The name does not exist (NXDOMAIN)."""


class NoData(NoRecord):
    """The name exists and has no record of this kind."""


class DnsTrouble(Exception):
    """The DNS gave no answer: no server, no time, or a failure of theirs. Says nothing
    of the name: who asked goes on without, or tries later."""


class Conflict(Exception):
    """A check of `Store.commit` did not hold; nothing was written: read again."""


class Damaged(Exception):
    """Stored bytes fail their checksum or do not decode; says which and where."""


class FormatTooNew(Exception):
    """The data directory was written by a newer fastsmtp; it is left untouched."""


class Misused(Exception):
    """The caller broke an interface's rules: a bug in fastsmtp."""
