"""The check of a store that nobody writes to: is what the index says what is there?

Every body that has an entry is read and its checksum compared, every reference is
counted again, every segment's totals are added up. Who refers to a body is the domain's
business: it gives a function that names the blobs an entry of its own refers to.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from fastsmtp.errors import Damaged
from fastsmtp.store.lmdb import aside
from fastsmtp.store.lmdb.index import Index, Place, Segment, place_of
from fastsmtp.store.lmdb.places import idle_key
from fastsmtp.store.lmdb.series import Series, all_series
from fastsmtp.store.options import StoreOptions
from fastsmtp.store.record import (
    SEGMENT_HEADER,
    Found,
    Rotten,
    file_crc,
    read_segment_header,
    recover,
    segment_name,
)

References = Callable[[int, bytes, bytes], Iterable[int]]
"""(partition, key, value) -> ids of the blobs that this entry refers to."""

Progress = Callable[[int, int], None]
"""(octets read, octets in all)."""

What = Literal["body", "record", "references", "totals", "file", "waiting"]


class Finding(NamedTuple):
    """One thing that is not as it should be.

    what     body: the mail itself is damaged or missing; record: what surrounds it in
             the log is, the mail is whole; references, totals: the index's own sums;
             file: a segment is missing or not one; waiting: no fault, records that are
             durable and not applied yet
    where    the segment and the offset
    id       the message, 0 when it is about none
    entries  (partition, key) of what refers to it
    """

    what: What
    where: str
    text: str
    id: int = 0
    entries: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_fault(self) -> bool:
        return self.what != "waiting"


def verify(
    data: Path,
    options: StoreOptions,
    references: References,
    progress: Progress | None = None,
) -> Iterator[Finding]:
    """Check the store at `data`; nothing found is a store that is whole.

    The caller holds the directory's lock. Raises `FormatTooNew`, `StoreUnavailable`."""
    index = Index(data, options, readonly=True)
    try:
        yield from _Check(index, data / "log", references, progress).run()
    finally:
        index.close()


Bodies = dict[int, tuple[int, Place]]
"""Offset -> the blob that is there."""


class _Check:
    def __init__(
        self,
        index: Index,
        log: Path,
        references: References,
        progress: Progress | None,
    ) -> None:
        self.index = index
        self.log = log
        self.references = references
        self.progress = progress or (lambda done, all: None)
        self.segments: dict[tuple[int, int], Bodies] = {}

    def run(self) -> Iterator[Finding]:
        findings: list[Finding] = list(self._places())
        yield from self._references()
        rows = self.index.segments()
        yield from self._totals(rows)
        done, total = 0, sum(row.end for row in rows.values())
        for name, bodies in sorted(self.segments.items()):
            findings += self._segment(name, bodies, rows.get(name, Segment()))
            done += rows.get(name, Segment()).end
            self.progress(done, total)
        hurt = {f.id for f in findings if f.id}
        entries = self._entries_of(hurt) if hurt else {}
        for finding in findings:
            yield finding._replace(entries=tuple(entries.get(finding.id, ())))
        yield from self._waiting()

    # the index

    def _main(self) -> Iterator[tuple[int, bytes, bytes]]:
        with self.index.env.begin(db=self.index.main) as txn, txn.cursor() as cursor:
            for key, value in cursor:
                yield int.from_bytes(key[:8], "big"), key[8:], value

    def _places(self) -> Iterator[Finding]:
        """Sort the bodies by where they are."""
        with self.index.env.begin(db=self.index.blob) as txn, txn.cursor() as cursor:
            for key, value in cursor:
                id, place = int.from_bytes(key, "big"), place_of(value)
                at = self.segments.setdefault((place.series, place.segment), {})
                if place.offset in at:
                    yield self._finding("totals", id, place, "shares its place")
                at[place.offset] = (id, place)

    def _finding(self, what: What, id: int, place: Place, text: str) -> Finding:
        name = segment_name(place.series, place.segment, place.big == 1)
        return Finding(what, f"{name} at {place.offset}", text, id)

    def _references(self) -> Iterator[Finding]:
        """Every count is how often the blob is referred to."""
        counted: Counter[int] = Counter()
        for part, key, value in self._main():
            counted.update(self.references(part, key, value))
        with self.index.env.begin() as txn:
            counted.update(a.record.id for a in aside.records(txn, self.index))
            every = (b for bodies in self.segments.values() for b in bodies.values())
            for id, place in every:
                n = counted.pop(id, 0)
                row = idle_key(place.since, id)
                is_idle = txn.get(row, db=self.index.idle) is not None
                if n != place.refs:
                    text = f"{place.refs} references are counted, {n} are there"
                    yield self._finding("references", id, place, text)
                if is_idle != (place.refs == 0):
                    text = f"{place.refs} references, and idle: {is_idle}"
                    yield self._finding("references", id, place, text)
        if counted:
            entries = self._entries_of(set(counted))
            for id in sorted(counted):
                text = "something refers to a body that has no entry"
                yield Finding("body", "the index", text, id, tuple(entries[id]))

    def _entries_of(self, ids: set[int]) -> dict[int, list[tuple[int, bytes]]]:
        entries: dict[int, list[tuple[int, bytes]]] = {id: [] for id in ids}
        for part, key, value in self._main():
            for id in ids.intersection(self.references(part, key, value)):
                entries[id].append((part, key))
        return entries

    def _totals(self, rows: dict[tuple[int, int], Segment]) -> Iterator[Finding]:
        for name in sorted(rows.keys() | self.segments.keys()):
            row = rows.get(name, Segment())
            places = [place for _, place in self.segments.get(name, {}).values()]
            live, entries = sum(p.length for p in places), len(places)
            if (live, entries) != (row.live, row.entries):
                text = (
                    f"{row.entries} bodies of {row.live} octets are counted,"
                    f" {entries} of {live} are there"
                )
                yield Finding("totals", segment_name(*name, row.big == 1), text)

    # the log

    def _segment(
        self, name: tuple[int, int], bodies: Bodies, row: Segment
    ) -> list[Finding]:
        """Check the bodies of one segment, by its records where they can be read."""
        big = any(place.big for _, place in bodies.values())
        path = self.log / segment_name(*name, big)
        try:
            file = path.open("rb")
        except OSError as error:
            return [
                self._finding("body", id, place, f"its file: {error.strerror}")
                for id, place in bodies.values()
            ]
        with file:
            findings = [] if big else self._records(file, bodies, row)
            for id, place in bodies.values():
                findings += self._body(file, id, place, "record" if not big else None)
        return findings

    def _records(self, file: BinaryIO, bodies: Bodies, row: Segment) -> list[Finding]:
        """Read the segment record by record; what is found whole leaves `bodies`."""
        try:
            salt = read_segment_header(file.read(SEGMENT_HEADER)).salt
        except Damaged as error:
            return [Finding("file", Path(file.name).name, str(error))]
        findings: list[Finding] = []
        offset, ended = SEGMENT_HEADER, False
        while not ended:
            found, rotten, offset, ended = recover(
                file.fileno(), offset, salt, row.end, row.end
            )
            for item in found:
                _drop_whole(bodies, item)
            for stretch in rotten:
                findings += self._rotten(file, bodies, stretch)
        return findings

    def _rotten(self, file: BinaryIO, bodies: Bodies, stretch: Rotten) -> list[Finding]:
        hurt = [
            bodies.pop(offset)
            for offset in sorted(bodies)
            if stretch.offset <= offset < stretch.next_offset
        ]
        findings: list[Finding] = []
        for id, place in hurt:
            findings += self._body(file, id, place, "record")
        if not hurt:
            where = f"{Path(file.name).name} at {stretch.offset}"
            text = "a record that nothing needs any more is damaged"
            findings.append(Finding("record", where, text))
        return findings

    def _body(
        self, file: BinaryIO, id: int, place: Place, whole: What | None
    ) -> list[Finding]:
        """Compare one body's checksum; `whole` is what it is when that holds."""
        try:
            crc = file_crc(file.fileno(), place.offset, place.length)
        except (Damaged, OSError) as error:
            return [self._finding("body", id, place, str(error))]
        if crc != place.crc:
            text = f"its checksum is {crc:08x}, not {place.crc:08x}"
            return [self._finding("body", id, place, text)]
        if whole is None:
            return []
        return [self._finding(whole, id, place, "its record is damaged, it is not")]

    def _waiting(self) -> Iterator[Finding]:
        """Records that are in the log and not in the index: no fault."""
        for number in sorted(all_series(self.log)):
            series = Series(self.log, number, self.index.applied(number))
            try:
                yield from _unapplied(series)
            finally:
                series.close()


def _unapplied(series: Series) -> Iterator[Finding]:
    while (stretch := series.current()) is not None:
        count, ended = 0, False
        while not ended:
            found, _, stretch.offset, ended = recover(
                *(stretch.fd, stretch.offset, stretch.salt),
                *(stretch.known, stretch.limit),
            )
            count += len(found)
        if count:
            where = segment_name(series.number, stretch.number)
            yield Finding("waiting", where, f"{count} records to apply")
        series.finish()


def _drop_whole(bodies: Bodies, item: Found) -> None:
    at = bodies.get(item.body_offset)
    if at is None or at[0] != item.id:
        return
    if (at[1].length, at[1].crc) == (item.body_length, item.body_crc):
        del bodies[item.body_offset]
