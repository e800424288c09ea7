"""What a listener may offer, and what of it a session is offered right now.

`Offers` is the same for all sessions of a listener. What stands in the answer to EHLO
also follows from the session (`Standing`): STARTTLS in clear only, AUTH where nobody
listens in and once, REQUIRETLS over TLS, XCLIENT to whom we trust. What is not shown
is not taken either.

What is for users alone is shown to those who have logged in. Where everybody has to,
it is shown before: a client that logs in need not say EHLO again (RFC 4954 4).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from fastsmtp.smtp.options import SmtpOptions

ATTRIBUTES: Final = "NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"
"""Of XCLIENT, in the order of its documentation; LOGIN joins them where there is AUTH,
as in Postfix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """Extensions of one listener; none of them unless it is said here.

    starttls       RFC 3207
    mechanisms     of AUTH, upper case, as EHLO shows them; none: no AUTH (RFC 4954)
    auth_required  MAIL only after AUTH (RFC 6409 4.3)
    chunking       BDAT (RFC 3030), without BINARYMIME
    smtputf8       RFC 6531; not where 8-bit bodies are refused (3.1 item 8)
    dsn            RET, ENVID, NOTIFY, ORCPT (RFC 3461)
    limits         say how many recipients are taken (RFC 9422)
    requiretls     RFC 8689
    priorities     MT-PRIORITY (RFC 6710), for users alone
    future_release HOLDFOR, HOLDUNTIL (RFC 4865), for users alone
    deliver_by     BY (RFC 2852); of anybody, for mail with BY=...;R may not be relayed
                   to a server without it (4.2)
    wall           seconds since 1970, for the latest HOLDUNTIL that EHLO shows
    xclient        for sessions that are `trusted`
    lmtp           LHLO instead of HELO and EHLO, one reply per recipient (RFC 2033)
    """

    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    auth_required: bool = False
    chunking: bool = False
    smtputf8: bool = False
    dsn: bool = False
    limits: bool = False
    requiretls: bool = False
    priorities: bool = False
    future_release: bool = False
    deliver_by: bool = False
    wall: Callable[[], float] = field(default=lambda: 0.0, compare=False)
    xclient: bool = False
    lmtp: bool = False

    @property
    def verbs(self) -> frozenset[str]:
        """Commands that this listener has beyond those that any has."""
        hello = ("LHLO",) if self.lmtp else ("HELO", "EHLO")
        optional = {
            "STARTTLS": self.starttls,
            "AUTH": bool(self.mechanisms),
            "BDAT": self.chunking,
            "XCLIENT": self.xclient,
        }
        return frozenset((*hello, *(verb for verb, on in optional.items() if on)))


class Standing(NamedTuple):
    """What a session has reached.

    secured  TLS is on
    private  the way to the client needs no TLS for AUTH (our own machine)
    known    it has logged in
    trusted  it may use XCLIENT
    """

    secured: bool = False
    private: bool = False
    known: bool = False
    trusted: bool = False


STANDINGS: Final = tuple(
    Standing(*(bool(n >> bit & 1) for bit in range(len(Standing._fields))))
    for n in range(1 << len(Standing._fields))
)
"""Each standing by its number: the fields are bits, the first is the lowest."""


def keywords(
    offers: Offers, options: SmtpOptions, standing: Standing
) -> tuple[str, ...]:
    """The lines behind the host name in the answer to EHLO (RFC 5321 4.1.1.1)."""
    user = standing.known or offers.auth_required
    may_login = not standing.known and (standing.secured or standing.private)
    limits = f"LIMITS RCPTMAX={options.max_recipients}"
    attributes = f"{ATTRIBUTES} LOGIN" if offers.mechanisms else ATTRIBUTES
    soonest = f" {options.min_deliver_by:.0f}" if options.min_deliver_by else ""
    lines = (
        ("PIPELINING", True),
        (f"SIZE {options.max_message_size}", True),
        ("8BITMIME", options.eight_bit != "reject"),
        ("STARTTLS", offers.starttls and not standing.secured and not standing.known),
        (" ".join(("AUTH", *offers.mechanisms)), offers.mechanisms and may_login),
        ("CHUNKING", offers.chunking),
        ("SMTPUTF8", offers.smtputf8 and options.eight_bit != "reject"),
        ("DSN", offers.dsn),
        (limits, offers.limits),
        ("REQUIRETLS", offers.requiretls and standing.secured),
        ("MT-PRIORITY", offers.priorities and user),
        (_future_release(offers, options), offers.future_release and user),
        (f"DELIVERBY{soonest}", offers.deliver_by),
        (f"XCLIENT {attributes}", offers.xclient and standing.trusted),
        ("ENHANCEDSTATUSCODES", True),
    )
    return tuple(line for line, on in lines if on)


def _future_release(offers: Offers, options: SmtpOptions) -> str:
    """How long mail may be held, and until when that is from now (RFC 4865 3)."""
    seconds = int(options.max_future_release)
    latest = datetime.fromtimestamp(offers.wall(), UTC) + timedelta(seconds=seconds)
    return f"FUTURERELEASE {seconds} {latest:%Y-%m-%dT%H:%M:%SZ}"
