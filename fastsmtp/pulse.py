"""What a process says about itself: every beat it writes a few cells of its own page.

CPU time stands in a cell because a dead process can no longer be asked, and its time
must not leave the sum. The lateness of the beat is the lag of the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final

from fastsmtp.cells import Histogram, Labelled
from fastsmtp.pages import ROLES

BEAT: Final = 0.1  # seconds

CPU: Final = Labelled(0, (("role", ROLES),))
"""Microseconds; each process writes the cell of its role."""
RESTARTS: Final = Labelled(CPU.end, CPU.labels)
"""Written by the supervisor."""
COLLECTIONS: Final = Labelled(RESTARTS.end, (("generation", ("0", "1", "2")),))
LAG: Final = Histogram(
    COLLECTIONS.end, (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5), 1e-6
)
SIZE: Final = LAG.first + LAG.size


class Pulse:
    """Beats on the running loop from construction until `stop`."""

    def __init__(self, cells: memoryview[int], role: str) -> None:
        self._cells = cells
        self._cpu = CPU.place(role)
        self._loop = asyncio.get_running_loop()
        self._plan()

    def _plan(self) -> None:
        self._due = time.monotonic() + BEAT
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        LAG.observe(self._cells, max(0.0, time.monotonic() - self._due))
        self.write()
        self._plan()

    def write(self) -> None:
        """Bring the cells up to date now."""
        self._cells[self._cpu] = time.process_time_ns() // 1000
        for place, generation in enumerate(gc.get_stats(), COLLECTIONS.first):
            self._cells[place] = generation["collections"]

    def stop(self) -> None:
        self._timer.cancel()
        self.write()
