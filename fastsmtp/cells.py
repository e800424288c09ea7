"""Counters as cells of 64-bit integers that an owner increments and a scrape reads.

A package that counts has a `counts.py` with the places of its cells; its objects are
given a writable `memoryview` of format "q" and do `cells[N] += 1` (compiled code: a
`long long[::1]`). In production that view is a slice of the process's page in the run
directory; in tests it is `cells.fresh(SIZE)`. `fastsmtp.metrics` gives them names.
"""

from array import array
from bisect import bisect_left
from math import prod
from typing import NamedTuple


def fresh(size: int) -> "memoryview[int]":
    """Private cells, all 0: for tests and tools."""
    return memoryview(array("q", bytes(8 * size)))


class Histogram(NamedTuple):
    """A histogram in cells: one cell per edge, one above the last, one for the sum.

    first   place of its first cell
    edges   upper bounds, ascending, in the unit of the metric
    scale   the sum's cell counts multiples of this (1e-6: microseconds)
    """

    first: int
    edges: tuple[float, ...]
    scale: float = 1.0

    @property
    def size(self) -> int:
        return len(self.edges) + 2

    def observe(self, cells: "memoryview[int]", value: float, times: int = 1) -> None:
        cells[self.first + bisect_left(self.edges, value)] += times
        sum = int(value / self.scale + 0.5)
        cells[self.first + len(self.edges) + 1] += sum * times


class Seen(NamedTuple):
    """The last message in each bucket of a histogram, in three cells each: its id (0:
    none yet), the observed value in multiples of the histogram's scale, and when it
    was, in microseconds of the monotonic clock, which all processes share. Whoever
    reads them while they are written sees at worst a value outside of its bucket.

    first  place of the first bucket's cells
    of     the histogram
    """

    first: int
    of: Histogram

    @property
    def end(self) -> int:
        """The first place behind them."""
        return self.first + (len(self.of.edges) + 1) * 3

    def note(self, cells: "memoryview[int]", value: float, id: int, now: float) -> None:
        """`now` in seconds of the monotonic clock. The value is rounded up: rounded
        down it might leave its bucket."""
        at = self.first + bisect_left(self.of.edges, value) * 3
        cells[at] = id
        cells[at + 1] = int(value / self.of.scale + 0.999999)
        cells[at + 2] = int(now * 1e6)

    def observe(
        self, cells: "memoryview[int]", value: float, id: int, now: float
    ) -> None:
        """Count it, and note whose it was; id 0: nobody's."""
        self.of.observe(cells, value)
        if id:
            self.note(cells, value, id, now)


SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
OCTETS = tuple(float(4**n * 1024) for n in range(-1, 9))  # 256 B … 64 MiB
"""Edges for durations and sizes."""


class Labelled(NamedTuple):
    """Counters with labels: a place for every combination of their values, in order.

    first   place of the first combination
    labels  names and their values; the last name varies fastest
    width   cells of one combination (a histogram's size)
    """

    first: int
    labels: tuple[tuple[str, tuple[str, ...]], ...]
    width: int = 1

    def place(self, *values: str) -> int:
        number = 0
        for (_, allowed), value in zip(self.labels, values, strict=True):
            number = number * len(allowed) + allowed.index(value)
        return self.first + number * self.width

    @property
    def end(self) -> int:
        """The first place behind them."""
        return self.first + prod(len(v) for _, v in self.labels) * self.width
