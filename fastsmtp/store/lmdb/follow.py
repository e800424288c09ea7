"""The keeper applies the logs: from durable records to what readers see.

`Follower` is the writer thread's feed. A step reads a portion of every series that has
something, applies it to a batch and puts the batch into the open transaction, together
with the positions that were reached; so what was applied and how far are one commit.

The loop only tells: `Series.tell` and `Series.gone` set plain values that the next
step reads.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import lmdb

from fastsmtp.options import MIB
from fastsmtp.store.base import Apply, Record
from fastsmtp.store.counts import Count
from fastsmtp.store.lmdb.batch import Batch
from fastsmtp.store.lmdb.index import Index, Position
from fastsmtp.store.lmdb.places import Dead
from fastsmtp.store.lmdb.series import Series, Stretch
from fastsmtp.store.record import Found, Rotten, recover, scan, segment_name

_RECORDS: Final = 4096  # in one transaction
_TIME: Final = 0.2  # seconds of applying in one transaction


@dataclass(frozen=True, slots=True)
class Reports:
    """Who is told of trouble; called on the writer thread, must return at once.

    aside(record, error)     a record could not be applied and was set aside
    damaged(where, reason)   a stretch of the log below a durable position is rotten
    """

    aside: Callable[[Record, Exception], None]
    damaged: Callable[[str, str], None]


@dataclass(slots=True)
class Progress:
    """What a committed step means to the loop.

    applied   series -> the place up to which it is applied now
    dead      segments to unlink
    read      (series, below): dead lives were read, orphans below can be removed
    """

    applied: dict[int, tuple[int, int]]
    dead: list[Dead]
    read: list[tuple[int, int]]


class Follower:
    """Laws: each record is applied once, in the order of its log; nothing that a
    transaction did not commit counts as read."""

    def __init__(
        self,
        index: Index,
        apply: Apply,
        series: dict[int, Series],
        reports: Reports,
        cells: "memoryview[int]",
    ) -> None:
        self.index = index
        self.apply = apply
        self.series = series
        self.progress: Callable[[Progress], None] = lambda _: None
        self._told: Callable[[], None] | None = getattr(apply, "committed", None)
        self._reports = reports
        self._cells = cells
        self._buffer = bytearray(MIB)
        self._batch: Batch | None = None
        self._before: dict[int, Position] = {}  # what is committed
        self._turn = 0  # which series is read first, in turn

    # `writer.Feed`

    def step(self, txn: lmdb.Transaction) -> bool:
        batch = self._batch = Batch(self.index, txn, self.apply, self._reports.aside)
        deadline = time.monotonic() + _TIME
        turns = list(self.series.values())
        self._before = {series.number: series.applied for series in turns}
        self._turn += 1
        first = self._turn % max(1, len(turns))
        more = False
        for series in turns[first:] + turns[:first]:
            while (stretch := series.current()) is not None:
                if batch.records >= _RECORDS or time.monotonic() > deadline:
                    more = True
                    break
                self._portion(batch, series, stretch)
        batch.write()
        return more

    def committed(self) -> tuple[Callable[[], None] | None, set[int], int]:
        batch, self._batch = self._batch, None
        if batch is None:
            return None, set(), 0
        cells = self._cells
        cells[Count.RECORDS_APPLIED] += batch.records
        cells[Count.RECORDS_ASIDE] += batch.asides
        if self._told is not None:
            self._told()
        progress = Progress(
            {n: at[:2] for n, at in batch.positions.items()},
            batch.dead,
            [read for s in self.series.values() if (read := s.take_orphans())],
        )
        return lambda: self.progress(progress), batch.parts, batch.records

    def aborted(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        for series in self.series.values():
            series.reset(self._before.get(series.number, series.applied))

    def close(self) -> None:
        for series in self.series.values():
            series.close()

    # reading

    def _portion(self, batch: Batch, series: Series, stretch: Stretch) -> None:
        """Apply what one read gives; ends the stretch when it is at its end."""
        ended = True
        if stretch.offset < stretch.limit:
            read = self._read_dead if stretch.dead else self._read_living
            ended = read(batch, series, stretch)
        series.at(stretch, batch.highest.get(series.number, 0))
        batch.read_to(series.number, stretch.number, stretch.offset)
        if ended and stretch.final:
            batch.ended(series.number, stretch.number, stretch.offset)
            series.finish()
        batch.reached(series.number, series.applied)

    def _read_living(self, batch: Batch, series: Series, stretch: Stretch) -> bool:
        """One piece of what is known to be durable; True at its end."""
        size = min(len(self._buffer), stretch.limit - stretch.offset)
        with memoryview(self._buffer) as whole:
            got = os.preadv(stretch.fd, [whole[:size]], stretch.offset)
            offset, need = self._apply(batch, series, stretch, whole[:got])
        progressed = offset > stretch.offset
        stretch.offset = offset
        if need > 0 and progressed:
            return False
        if need > len(self._buffer):
            self._buffer = bytearray(need)
            return False
        if need == 0:
            return True
        return self._skip_rot(batch, series, stretch)

    def _apply(
        self, batch: Batch, series: Series, stretch: Stretch, data: memoryview
    ) -> tuple[int, int]:
        """Apply the records in `data`, the plain ones in one go; gives where it ended
        and what `scan` says is needed there."""
        name = series.number, stretch.number
        start, salt, limit = stretch.offset, stretch.salt, stretch.limit
        at = start
        most = 1 if batch.quick else 1 << 20
        while True:
            at = batch.gather(data[at - start :], at, (*name, salt, limit))
            found, at, need = scan(data[at - start :], at, salt, limit, most)
            if found:
                batch.add(*name, found)
            if not found or need <= 0 or not batch.quick:
                return at, need

    def _skip_rot(self, batch: Batch, series: Series, stretch: Stretch) -> bool:
        """A record below the durable position does not validate: go on behind it."""
        limit = stretch.limit
        found, rotten, offset, ended = recover(
            stretch.fd, stretch.offset, stretch.salt, limit, limit
        )
        self._take(batch, series, stretch, (found, rotten))
        stretch.offset = limit if ended else offset
        return ended

    def _read_dead(self, batch: Batch, series: Series, stretch: Stretch) -> bool:
        """Records of a dead writer, with all their checksums; True at the end."""
        found, rotten, offset, ended = recover(
            stretch.fd, stretch.offset, stretch.salt, stretch.known, stretch.limit
        )
        self._take(batch, series, stretch, (found, rotten))
        stretch.offset = offset
        return ended

    def _take(
        self,
        batch: Batch,
        series: Series,
        stretch: Stretch,
        read: tuple[list[Found], list[Rotten]],
    ) -> None:
        """Add what `recover` gave; what is rotten is reported and goes on record."""
        found, rotten = read
        good = [f for f in found if not f.number or series.has_big(f)]
        batch.add(series.number, stretch.number, good)
        if len(good) < len(found):
            for item in found:
                if item.number and not series.has_big(item):
                    batch.add_damaged(series.number, stretch.number, item)
        name = segment_name(series.number, stretch.number)
        for stretch_of in rotten:
            where = f"{name}, octets {stretch_of.offset} to {stretch_of.next_offset}"
            self._cells[Count.LOG_ERRORS_DAMAGED] += 1
            self._reports.damaged(where, "checksum")
            if stretch_of.found is not None:
                batch.add_damaged(series.number, stretch.number, stretch_of.found)
