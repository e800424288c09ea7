"""When to try again."""

from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0

STEPS: Final = (
    *(5 * MINUTE, 15 * MINUTE),
    *(30 * MINUTE,) * 6,
    *(HOUR, 2 * HOUR, 4 * HOUR),
)
"""Seconds before the second, third and every later attempt (RFC 5321 4.5.4.1 asks for
at least 30 minutes, and for fewer early on); the last one goes on."""

SPREAD: Final = 0.1
"""A pause varies by this share, so that what failed together is not tried together."""


def pause(attempts: int, chance: float, steps: tuple[float, ...] = STEPS) -> int:
    """Milliseconds until the next attempt, after `attempts` (≥ 1) that failed.

    chance    a number in [0, 1): random, or of the message id where it must repeat
    """
    step = steps[min(attempts, len(steps)) - 1]
    return int(1000 * step * (1 + SPREAD * (2 * chance - 1)))


def longest(steps: tuple[float, ...]) -> int:
    """Milliseconds: no pause is longer."""
    return int(1000 * max(steps) * (1 + SPREAD))


def chance_of(id: int) -> float:
    """A number in [0, 1) that looks random and is always the same for an id."""
    return (id * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) / 2**64
