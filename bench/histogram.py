"""Latencies as load.c counts them: the buckets of histogram.h, added and asked."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

PARTS: Final = 128  # buckets per power of two, as in histogram.h


def value(bucket: int) -> float:
    """The middle of a bucket, in nanoseconds."""
    if bucket < 2 * PARTS:
        return float(bucket)
    power = bucket // PARTS - 1
    return float((bucket - power * PARTS + 0.5) * (1 << power))


@dataclass(slots=True)
class Histogram:
    """How often each bucket was hit."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Takes [bucket, count] pairs as load.c prints them."""
        for bucket, count in pairs:
            self.counts[bucket] += count

    def merge(self, other: "Histogram") -> None:
        self.counts.update(other.counts)

    @property
    def total(self) -> int:
        return self.counts.total()

    def quantile(self, part: float) -> float:
        """Seconds that this part of all values does not exceed; 0 without a value."""
        seen, wanted = 0, part * self.total
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return value(bucket) / 1e9
        return 0.0

    def pairs(self) -> list[tuple[int, int]]:
        return sorted(self.counts.items())
