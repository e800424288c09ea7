"""The parts that `fastsmtp.metrics` is made of: families, their series, their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal, NamedTuple

from fastsmtp.blocks import Block
from fastsmtp.cells import Histogram, Labelled, Seen

Kind = Literal["counter", "gauge", "histogram"]
Labels = dict[str, str]


class Series(NamedTuple):
    """One combination of labels and the cell of a page that has its value.

    scale      the metric is this many times the cell
    histogram  its edges when it is one
    seen       the first cell of its exemplars (`cells.Seen`); -1: it has none
    """

    labels: Labels
    place: int
    scale: float = 1.0
    histogram: Histogram | None = None
    seen: int = -1


class Family(NamedTuple):
    """Series with the same labels are added up: listeners share most families."""

    name: str
    kind: Kind
    doc: str
    series: tuple[Series, ...]


def one(block: Block, place: int, scale: float = 1.0, **labels: str) -> Series:
    return Series(labels, block.first + place, scale)


def each(
    block: Block, cells: Labelled, scale: float = 1.0, **fixed: str
) -> Iterator[Series]:
    """A series for every combination of a `Labelled`."""
    names = [name for name, _ in cells.labels]
    for values in product(*(allowed for _, allowed in cells.labels)):
        labels = fixed | dict(zip(names, values, strict=True))
        yield Series(labels, block.first + cells.place(*values), scale)


def histogram(block: Block, cells: Histogram | Seen, /, **labels: str) -> Series:
    """With exemplars where they are given."""
    if isinstance(cells, Seen):
        seen = block.first + cells.first
        return histogram(block, cells.of, **labels)._replace(seen=seen)
    return Series(labels, block.first + cells.first, cells.scale, cells)


def histograms(
    block: Block, cells: Labelled, make: Callable[..., Histogram | Seen]
) -> Iterator[Series]:
    """A histogram for every combination; `make` gives it for the values."""
    names = [name for name, _ in cells.labels]
    for values in product(*(allowed for _, allowed in cells.labels)):
        yield histogram(block, make(*values), **dict(zip(names, values, strict=True)))


def family(kind: Kind, name: str, doc: str, *series: Series) -> Family:
    return Family(f"fastsmtp_{name}", kind, doc, series)


class Live(NamedTuple):
    """A family read at the scrape: name, kind, meaning, and every set of labels; ()
    where the configuration names them."""

    name: str
    kind: Kind
    doc: str
    labels: tuple[Labels, ...] = ({},)


def by(**allowed: tuple[str, ...]) -> tuple[Labels, ...]:
    return tuple(
        dict(zip(allowed, values, strict=True)) for values in product(*allowed.values())
    )
