"""How deep the queue is, for whoever watches the server: read from the store, which
never suspends on one machine."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from fastsmtp import blocks
from fastsmtp.pages import Pages
from fastsmtp.queue import actives, listing
from fastsmtp.queue.message import State
from fastsmtp.store.lmdb import LmdbStore

T = TypeVar("T")
FULLEST: Final = 20  # destinations that have a metric of their own
COUNTERS: Final = 10_000  # of destinations that a scrape reads: some 4 ms


class Crowded:
    """Where most messages wait, for each scrape: it reads a bounded number of counters,
    so with very many destinations it tells for some scrapes what it found before."""

    def __init__(self, store: LmdbStore) -> None:
        self._store = store
        self._reading = listing.TopReading(store, FULLEST)
        self._last: list[tuple[str, int]] = []

    def fullest(self) -> list[tuple[str, int]]:
        """Names and messages; the last is of all others ("other")."""
        if not at_once(self._reading.read(COUNTERS)):
            found, others = self._reading.found()
            self._last = [(one.name, one.messages) for one in (*found, others)]
            self._reading = listing.TopReading(self._store, FULLEST)
        return self._last


def depths_of(pages: Pages, store: LmdbStore) -> dict[State, listing.Depth]:
    """The queue by state, as all processes of this server know it."""
    depths = at_once(listing.gauges(store, time.time_ns() // 1_000_000))
    first = blocks.QUEUE.first
    for page in pages.live():
        actives.move(depths, pages.read(page.slot)[first:])
    return depths


def at_once(reading: Coroutine[Any, Any, T]) -> T:
    """The result of reads of a local store, which never suspend (see `store.base`)."""
    try:
        reading.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    reading.close()
    raise RuntimeError("a read of a local store suspended")
