"""A page of metrics, read: values by name and labels."""

import re
import urllib.request
from dataclasses import dataclass
from typing import Final

LINE: Final = re.compile(
    r'^([a-zA-Z_:][\w:]*)(?:\{((?:[^}"]|"(?:[^"\\]|\\.)*")*)\})? (\S+)', re.MULTILINE
)
LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Page:
    """One scrape: (name, labels) -> value."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def parse(cls, text: str) -> "Page":
        """Of the text format of Prometheus; exemplars behind values are left out."""
        return cls(
            {
                (name, frozenset(LABEL.findall(labels or ""))): float(value)
                for name, labels, value in LINE.findall(text)
            }
        )

    @classmethod
    def fetch(cls, url: str) -> "Page":
        """Raises OSError when nobody answers."""
        with urllib.request.urlopen(url, timeout=5) as reply:
            return cls.parse(reply.read().decode())

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of this name that have these labels."""
        wanted = labels.items()
        return sum(
            value
            for (found, has), value in self.values.items()
            if found == name and has.issuperset(wanted)
        )

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Sums by the values of one label, in the order of the page."""
        sums: dict[str, float] = {}
        for (found, has), value in self.values.items():
            if found == name and has.issuperset(labels.items()):
                key = dict(has).get(label, "")
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def buckets(self, name: str, **labels: str) -> dict[str, float]:
        """Of a histogram: upper edge -> how many are in this bucket alone."""
        edges = self.by(f"{name}_bucket", "le", **labels)
        alone, below = {}, 0.0
        for edge in sorted(edges, key=float):
            alone[edge] = edges[edge] - below
            below = edges[edge]
        return alone
