"""What an operator may set about logging in. Times are seconds."""

from dataclasses import dataclass
from typing import Literal

from fastsmtp.options import CHOICES, COUNT, DURATION, SWITCH, option

Mechanism = Literal["SCRAM-SHA-256", "PLAIN", "LOGIN"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthOptions:
    """The `[auth]` table: who logs in, by which means, how often it may fail."""

    mechanisms: list[Mechanism] = option(
        ["SCRAM-SHA-256", "PLAIN", "LOGIN"],
        "what EHLO offers after AUTH (RFC 4954), in this order",
        CHOICES,
    )
    on_smtp: bool = option(
        False,
        "offer AUTH on the addresses of [smtp] too, not only for submission",
        SWITCH,
    )
    without_tls_on_loopback: bool = option(
        False,
        "offer AUTH without TLS to clients on 127.0.0.0/8 and ::1, and to nobody else",
        SWITCH,
    )
    threads: int = option(
        2,
        "passwords verified at once in a process, each 20 MiB and 25 ms",
        COUNT,
        low=1,
        high=64,
    )
    waiting: int = option(
        64, "passwords that may wait for that; above it 454", COUNT, low=1
    )
    remember: float = option(
        300.0,
        "how long a password that was right needs no argon2 again; 0: never",
        DURATION,
    )
    free_failures: int = option(
        5, "failures of a network, or of an account, before it has to wait", COUNT
    )
    max_failures: int = option(
        20, "failures before a network is sent away with 421", COUNT, low=1
    )
    max_delay: float = option(
        10.0, "longest wait for the answer to a login", DURATION, high=120
    )
    forget: float = option(
        60.0, "one failure is forgotten after each such time", DURATION, low=1
    )
