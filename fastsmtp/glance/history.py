"""What was, over the last hours: a moment every ten seconds, some 0.6 MB in all."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from fastsmtp.glance.figures import Between, Figures, between

PAUSE: Final = 10.0  # seconds between two moments
HOURS: Final = 6


class Moment(NamedTuple):
    """`states` and `ages` in the order of `live.STATES_OF_QUEUE` and `live.AGES`."""

    at: float
    states: tuple[int, ...]
    ages: tuple[int, ...]
    rates: Between


class History:
    """Looks by itself on the running loop, from construction until `stop`; first after
    a pause, when a store of an older version has been brought up to date. Law: trouble
    of the store leaves a gap, and ends neither this nor the server.

    look   the figures of now
    """

    def __init__(self, look: Callable[[], Figures]) -> None:
        self.moments: deque[Moment] = deque(maxlen=int(HOURS * 3600 / PAUSE))
        self._look = look
        self._last: Figures | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PAUSE, self._beat)

    def _beat(self) -> None:
        self._timer = self._loop.call_later(PAUSE, self._beat)
        with contextlib.suppress(Exception):  # the store says for itself what it has
            self.add(self._look())

    def add(self, now: Figures) -> None:
        rates = between(self._last or now, now)
        states, ages = tuple(now.states.values()), tuple(now.ages.values())
        self.moments.append(Moment(now.at, states, ages, rates))
        self._last = now

    def since(self, seconds: float, most: int) -> list[Moment]:
        """Moments of the last `seconds`, thinned out to at most `most`."""
        if not self.moments:
            return []
        first = self.moments[-1].at - seconds
        found = [moment for moment in self.moments if moment.at >= first]
        step = -(-len(found) // most)
        return found[::-1][::step][::-1]

    def stop(self) -> None:
        self._timer.cancel()
