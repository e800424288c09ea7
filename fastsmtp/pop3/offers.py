"""What CAPA shows (RFC 2449), by what a session has reached. What is not shown is not
taken either."""

from dataclasses import dataclass
from typing import NamedTuple

from fastsmtp.pop3.replies import capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """Of one listener.

    stls        RFC 2595
    mechanisms  of AUTH, upper case; none: no AUTH (RFC 5034)
    expire      days for which mail stays after it was fetched; 0: for ever
    """

    stls: bool = False
    mechanisms: tuple[str, ...] = ()
    expire: int = 0


class Standing(NamedTuple):
    """secured  TLS is on
    private  the way to the client needs no TLS for a password
    known    somebody has logged in
    """

    secured: bool = False
    private: bool = False
    known: bool = False


def shown(offers: Offers, standing: Standing) -> bytes:
    """The answer to CAPA."""
    may_login = standing.secured or standing.private
    upgradable = offers.stls and not standing.secured and not standing.known
    lines = (
        ("TOP", True),
        ("UIDL", True),
        ("RESP-CODES", True),
        ("AUTH-RESP-CODE", True),
        ("PIPELINING", True),
        (f"EXPIRE {offers.expire or 'NEVER'}", True),
        ("UTF8 USER", True),
        ("STLS", upgradable),
        ("USER", may_login),
        (" ".join(("SASL", *offers.mechanisms)), may_login and offers.mechanisms),
        ("IMPLEMENTATION fastsmtp", True),
    )
    return capabilities(tuple(line for line, on in lines if on))
