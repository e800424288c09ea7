"""What one transaction of the keeper changes: collected in memory, written at once.

Records are applied one after the other, each seeing what those before it wrote: reads
go through an overlay over the transaction. At the end everything is written in key
order, each key once, however often it was changed.
"""

import time
from collections.abc import Callable
from typing import Final

import lmdb

from fastsmtp.errors import Damaged
from fastsmtp.store import keys
from fastsmtp.store.base import Adds, Apply, Kind, Quick, Record, added
from fastsmtp.store.lmdb import aside
from fastsmtp.store.lmdb.gather import gather, overlay
from fastsmtp.store.lmdb.index import (
    Index,
    Place,
    Position,
    Segment,
    pack_place,
    place_of,
    put_applied,
    segment_key,
)
from fastsmtp.store.lmdb.places import (
    Dead,
    idle_key,
    place_in,
    seal,
    settle,
)
from fastsmtp.store.record import BIG_BODY, Found, segment_name

_MAIL: Final = int(Kind.MAIL)
_MOVED: Final = int(Kind.MOVED)
u64 = keys.u64


class _Absent(bytes):
    """Stands for "not in the overlay"; None there means deleted."""


_ABSENT: Final = _Absent()


class _Prefixes(dict[int, bytes]):
    """Partition -> its 8 octets in a key; also which partitions were touched."""

    def __missing__(self, part: int) -> bytes:
        prefix = self[part] = u64(part)
        return prefix


class Batch:
    """The changes of one transaction; `write` puts them into it.

    failed(record, error)   called for each record that could not be applied
    """

    def __init__(
        self,
        index: Index,
        txn: lmdb.Transaction,
        apply: Apply,
        failed: Callable[[Record, Exception], None],
    ) -> None:
        self.index = index
        self.txn = txn
        self.records = 0
        self.broken: lmdb.Error | None = None  # a read failed: write nothing
        self.asides = 0
        self.dead: list[Dead] = []
        self.positions: dict[int, Position] = {}
        self.highest: dict[int, int] = {}  # series -> number of its last large body
        self._apply = apply
        self._failed = failed
        self._overlay: dict[bytes, bytes | None] = {}
        self._read_from = _Prefixes()
        self._written = _Prefixes()
        self._adds: dict[bytes, tuple[int, int]] = {}
        self._places: list[tuple[bytes, bytes]] = []
        self._changes: dict[bytes, tuple[int, int]] = {}
        self._bigs: dict[bytes, Segment] = {}
        self._ends: dict[bytes, int] = {}
        self._sealed: list[tuple[bytes, int]] = []
        self._second = int(time.time())
        self.quick: Quick | None = getattr(apply, "quick", None)
        if self.quick is not None:
            self.quick.begin(self.read, self._put)

    @property
    def parts(self) -> set[int]:
        """Partitions that were written."""
        return set(self._written)

    def read(self, part: int, key: bytes) -> bytes | None:
        """`base.Read`: what the transaction sees, these changes included."""
        name = self._read_from[part] + key
        value = self._overlay.get(name, _ABSENT)
        if value is _ABSENT:
            try:
                found: bytes | None = self.txn.get(name)
            except lmdb.Error as error:
                self.broken = error  # `apply` may take it for its own trouble
                raise
            return found
        return value

    def _put(self, part: int, key: bytes, value: bytes) -> None:
        self._overlay[self._written[part] + key] = value

    def gather(
        self, data: memoryview, offset: int, segment: tuple[int, int, int, int]
    ) -> int:
        """Apply what is plain mail of one segment, as `gather.gather` does; returns
        the offset of the first record that was not applied."""
        if self.quick is None:
            return offset
        records, live, end = gather(
            data, offset, segment, self.quick.take, self._places
        )
        if records:
            self.records += records
            self._change(segment_key(*segment[:2]), live, records)
        return end

    def add(self, series: int, segment: int, found: list[Found]) -> None:
        """Apply records of one segment, in order."""
        places, second = self._places, self._second
        live = entries = 0
        for item in found:
            id, length = item.id, item.body_length
            refs = 0
            if item.kind == _MAIL:
                refs = self._mail(id, item.envelope, length)
            elif item.kind == _MOVED:
                self._moved(series, segment, item)
                continue
            since = 0 if refs else second
            if since:
                self.txn.put(idle_key(since, id), b"", db=self.index.idle)
            number = item.number
            if number:
                self._big(series, number, length)
                place = pack_place(
                    *(series, number, item.body_offset, length),
                    *(item.body_crc, refs, since, 1),
                )
            else:
                live += length
                entries += 1
                place = pack_place(
                    *(series, segment, item.body_offset, length),
                    *(item.body_crc, refs, since, 0),
                )
            places.append((u64(id), place))
        self.records += len(found)
        self._change(segment_key(series, segment), live, entries)

    def _mail(self, id: int, envelope: bytes, length: int) -> int:
        """Collect what a message changes; returns the references to its body."""
        if self.quick is not None and (refs := self.quick.take(id, envelope, length)):
            return refs
        record = Record(id, Kind.MAIL, envelope, length)
        try:
            writes = self._apply(record, self.read)
        except Exception as error:
            if self.broken is None:
                self._set_aside(record, error)
            return 1
        overlay, written = self._overlay, self._written
        for part, key in writes.deletes:
            overlay[written[part] + key] = None
        for part, key, value in writes.puts:
            overlay[written[part] + key] = value
        for part, adds in writes.adds.items():
            self._add(written[part], adds)
        return writes.refs

    def _add(self, prefix: bytes, adds: Adds) -> None:
        for key, (first, second) in adds.items():
            old = self._adds.get(prefix + key, (0, 0))
            self._adds[prefix + key] = (old[0] + first, old[1] + second)

    def add_damaged(self, series: int, segment: int, item: Found) -> None:
        """A record whose body is rotten: it is set aside, for it was acknowledged."""
        where = f"{segment_name(series, segment)} at {item.offset}"
        record = Record(item.id, Kind(item.kind), item.envelope, item.body_length)
        self._set_aside(record, Damaged(f"body fails its checksum in {where}"))
        if item.number:
            self._big(series, item.number, item.body_length)
        else:
            self._change(segment_key(series, segment), item.body_length, 1)
        place = Place(
            *(series, item.number or segment, item.body_offset, item.body_length),
            *(item.body_crc, 1, 0, int(item.number > 0)),
        )
        self._places.append((u64(item.id), pack_place(*place)))
        self.records += 1

    def _change(self, key: bytes, octets: int, entries: int) -> None:
        old = self._changes.get(key, (0, 0))
        self._changes[key] = (old[0] + octets, old[1] + entries)

    def _big(self, series: int, number: int, length: int) -> None:
        """A large body: its file is a sealed segment from the start."""
        self.highest[series] = max(number, self.highest.get(series, 0))
        self._bigs[segment_key(series, number)] = Segment(
            BIG_BODY + length, sealed=1, big=1
        )

    def _set_aside(self, record: Record, error: Exception) -> None:
        self.asides += 1
        aside.put(self.txn, self.index, record, error)
        self._failed(record, error)

    def _moved(self, series: int, segment: int, item: Found) -> None:
        """A copied body: the entry follows when it still is where it was copied from.

        The envelope of such a record is that place."""
        old = place_in(self.txn, self.index, item.id)
        if old is None or old[:4] != place_of(item.envelope)[:4]:
            return
        new = Place(
            *(series, segment, item.body_offset, item.body_length),
            *(item.body_crc, old.refs, old.since),
        )
        self.txn.put(u64(item.id), pack_place(*new), db=self.index.blob)
        self._change(segment_key(series, segment), new.length, 1)
        self._change(segment_key(old.series, old.segment), -old.length, -1)

    def read_to(self, series: int, segment: int, offset: int) -> None:
        """A segment is applied up to here."""
        self._ends[segment_key(series, segment)] = offset

    def reached(self, series: int, at: Position) -> None:
        """The series is applied up to here."""
        self.positions[series] = at

    def ended(self, series: int, segment: int, end: int) -> None:
        """All of a segment was applied: it can be deleted or compacted now."""
        self._sealed.append((segment_key(series, segment), end))

    def write(self) -> None:
        """Put everything into the transaction."""
        if self.broken is not None:
            raise self.broken
        txn, index = self.txn, self.index
        if self.quick is not None:
            writes = self.quick.end()
            overlay(writes.puts, self._overlay, self._written)
            for part, adds in writes.adds.items():
                self._add(self._written[part], adds)
        for key, by in self._adds.items():
            self._overlay[key] = added(txn.get(key), by)
        puts = []
        for key, value in self._overlay.items():
            if value is None:
                txn.delete(key)
            else:
                puts.append((key, value))
        if puts:
            puts.sort()
            with txn.cursor() as cursor:
                cursor.putmulti(puts)
        if self._places:
            self._places.sort()
            with txn.cursor(db=index.blob) as cursor:
                cursor.putmulti(self._places)
        for name, big in self._bigs.items():
            self._change(name, big.end - BIG_BODY, 1)
        self.dead = settle(txn, index, self._changes, self._bigs, self._ends)
        for name, end in self._sealed:
            self.dead += seal(txn, index, name, end)
        for series, at in self.positions.items():
            put_applied(txn, index, series, at)
