"""Whether the wall clock can be trusted with the age of a message.

Due times and ages are of the wall clock, which may jump: set by hand, by a time server
after a start with a flat battery, by a virtual machine that was asleep. The monotonic
clock tells.
"""

from typing import Final

STEADY: Final = 900.0
"""Seconds without a jump after which the clock is believed: nothing expires before."""

JUMP: Final = 60_000
"""Milliseconds: a smaller difference is the clock being disciplined."""


class Steadiness:
    """Looks at both clocks now and then, at least once for each thing it is asked.

    wall  milliseconds, may jump; steady: seconds, monotonic
    """

    def __init__(self, wall: int, steady: float) -> None:
        self._difference = wall - int(steady * 1000)
        self._since = steady

    def look(self, wall: int, steady: float) -> int:
        """How far the wall clock has jumped since the last look, in milliseconds;
        0 when it has not."""
        difference = wall - int(steady * 1000)
        jump = difference - self._difference
        self._difference = difference
        if abs(jump) < JUMP:
            return 0
        self._since = steady
        return jump

    def trusted(self, steady: float) -> bool:
        """Whether it has run for so long, since the start or the last jump, that a
        message may expire by it."""
        return steady - self._since >= STEADY
