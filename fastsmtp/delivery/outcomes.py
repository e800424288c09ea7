"""What became of the recipients of a message: values that delivery tells notices by."""

from enum import StrEnum
from typing import NamedTuple

from fastsmtp.delivery.reasons import OURS, Reason
from fastsmtp.wire.report import clean


class Fate(StrEnum):
    """How a recipient stands: the Action of RFC 3464 2.3.3, and PASSED."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"  # to a server that does not offer DSN
    EXPANDED = "expanded"
    PASSED = "passed"  # to one that does: it will tell


class Outcome(NamedTuple):
    """How one recipient of a message stands, as its sender may be told.

    address  as RCPT said it: what an alias made of it is nobody else's business
    notify, orcpt   of `queue.message.Recipient`
    code     of the reply, 0 when none came; enhanced: "5.1.1" or ""
    text     of the reply, or what happened instead
    remote   the host that was asked, "" when none was
    reason   what we found out ourselves; None: the reply says it
    attempts so far, the `last` at this time (milliseconds, wall clock; 0: none)
    until    when it will be given up, of what is delayed
    warned   a delay was told already
    """

    address: str
    fate: Fate
    notify: str = ""
    orcpt: str = ""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    remote: str = ""
    reason: Reason | None = None
    attempts: int = 0
    last: int = 0
    until: int = 0
    warned: bool = False


def status(outcome: Outcome) -> str:
    """The Status field: our own reason, else the enhanced code of the reply, else what
    its code tells (RFC 3464 2.3.4)."""
    digit, enhanced = outcome.enhanced[:1], outcome.enhanced
    if outcome.fate not in (Fate.FAILED, Fate.DELAYED):
        return enhanced if digit == "2" else "2.0.0"
    failed = outcome.fate is Fate.FAILED
    if outcome.reason is Reason.EXPIRED and digit == "4":
        return enhanced  # RFC 3463 3.5: the actual problem rather than x.4.7
    if outcome.reason:
        row = OURS[outcome.reason]
        return row.failed if failed else row.delayed
    if digit == "4" or (digit == "5" and failed):
        return enhanced
    if not outcome.code:
        return OURS[Reason.UNREACHABLE].failed
    return "5.0.0" if failed and outcome.code >= 500 else "4.0.0"


def diagnostic(one: Outcome) -> str:
    """What the other server said, or else what we say (RFC 3464 2.3.6)."""
    if one.code:
        enhanced = f" {one.enhanced}" if one.enhanced else ""
        return f"smtp; {one.code}{enhanced} {one.text}"
    text = clean(one.text)
    return f"x-fastsmtp; {text}" if text else ""
