"""Coarse time and the deadlines of many connections on one timer.

A connection does not start a timer for each command. It notes when it last did
something, and the wheel asks it now and then when it wants to be asked again: an idle
connection costs one call in minutes, a busy one nothing per command.

    check(now) -> when to ask next (seconds, same clock), or None: forget me

`check` is never called before the time it gave and at most `TICK` after it. Whoever's
allowance can shrink while it waits must ask for a visit that is early enough for the
shortest one (see `serve.smtpd`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

TICK: Final = 1.0  # seconds between two looks at the wheel


class Timed(Protocol):
    """Something with deadlines. `slot` belongs to the clock: 0 when not filed."""

    slot: int

    def check(self, now: float) -> float | None: ...


class Clock:
    """Monotonic seconds that stand still within a tick, and the wheel.

    now   as of the last tick: good enough for deadlines of seconds, free to read
    """

    __slots__ = ("_reached", "_slots", "_timer", "now", "read")

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self.read = read
        self.now = read()
        self._reached = int(self.now)  # slots up to this one were visited
        self._slots: dict[int, set[Timed]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tick on this loop until `stop`."""
        self.advance()
        self._timer = loop.call_later(TICK, self.start, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def watch(self, timed: Timed, at: float) -> None:
        """Have `timed.check` called at `at`; what was asked before is forgotten."""
        self.forget(timed)
        slot = max(int(at) + 1, self._reached + 1)
        timed.slot = slot
        slots = self._slots
        if slot in slots:
            slots[slot].add(timed)
        else:
            slots[slot] = {timed}

    def forget(self, timed: Timed) -> None:
        if timed.slot:
            filed = self._slots[timed.slot]
            filed.discard(timed)
            if not filed:
                del self._slots[timed.slot]
            timed.slot = 0

    def advance(self) -> None:
        """Read the time and visit whoever is due."""
        self.now = now = self.read()
        while self._reached < int(now):
            self._reached += 1
            for timed in self._slots.pop(self._reached, ()):
                timed.slot = 0
                again = timed.check(now)
                if again is not None:
                    self.watch(timed, again)
