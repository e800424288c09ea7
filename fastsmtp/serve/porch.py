"""Where clients wait for the greeting: one timer for all, because all wait as long."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Visitor(Protocol):
    def welcome(self) -> None:
        """Its time on the porch is over; called once, also when it has left."""
        ...


class Porch:
    """Whoever comes is welcomed `delay` seconds later, in order."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._waiting: deque[tuple[float, Visitor]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, visitor: Visitor) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.delay
        self._waiting.append((due, visitor))
        if self._timer is None:
            self._timer = loop.call_at(due, self._open)

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, now = self._waiting, loop.time()
        while waiting and waiting[0][0] <= now:
            waiting.popleft()[1].welcome()
        self._timer = loop.call_at(waiting[0][0], self._open) if waiting else None

    def close(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
