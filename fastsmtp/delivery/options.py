"""What an operator may set about delivery. Times are seconds."""

from dataclasses import dataclass

from fastsmtp.options import (
    COUNT,
    DURATION,
    DURATIONS,
    KIB,
    MAILBOX,
    SIZE,
    option,
)
from fastsmtp.queue.backoff import STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOptions:
    """The `[delivery]` table."""

    retry: tuple[float, ...] = option(
        STEPS,
        "pauses before the second, third and later attempts; the last one goes on",
        DURATIONS,
        low=1,
    )
    give_up: float = option(
        432_000.0,
        "age at which a message that cannot be delivered goes back to its sender "
        "(RFC 5321 4.5.4.1: at least 4 to 5 days)",
        DURATION,
        low=60,
    )
    delay_warning: float = option(
        14_400.0,
        "age at which its sender is told that a message is late; 0: never",
        DURATION,
        low=0,
    )
    bounce_size_limit: int = option(
        100 * KIB,
        "largest message that goes back whole with the notice that it failed; of a "
        "larger one goes the header",
        SIZE,
    )
    postmaster_copy: str = option(
        "",
        'who gets a notice of all mail that failed, the header alone; "" is nobody',
        MAILBOX,
    )
    active: int = option(
        10_000, "queued messages that are being worked on at a time", COUNT, low=1
    )
    hop_active: int = option(1_000, "how many of these for one next hop", COUNT, low=1)
    hop_pause: float = option(
        60.0,
        "pause before a next hop that could not be reached is tried again; doubled "
        "each time",
        DURATION,
        low=1,
    )
    hop_pause_most: float = option(1800.0, "the longest such pause", DURATION, low=1)
