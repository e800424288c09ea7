"""Bodies and their references, as one transaction changes them.

An entry without references stands in `idle` with the second since when. `sweep` takes
it away when the pin time has passed and its segment is sealed; a segment whose last
entry goes is handed to `dead`, to be unlinked after the commit.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import lmdb

from fastsmtp.errors import Misused
from fastsmtp.store import keys
from fastsmtp.store.lmdb.index import (
    Index,
    Place,
    Segment,
    counted_in,
    pack_segment,
    place_of,
    segment_key,
    segment_of,
    with_counts,
)

u32 = keys.u32
u64 = keys.u64
SWEEP: Final = 2000  # entries looked at in one transaction


NEW: Final[Mapping[bytes, Segment]] = {}
ENDS: Final[Mapping[bytes, int]] = {}


class Dead(NamedTuple):
    """A segment whose row is gone: the file goes after the commit."""

    series: int
    number: int
    big: int


def idle_key(since: int, id: int) -> bytes:
    return u32(since) + u64(id)


def place_in(txn: lmdb.Transaction, index: Index, id: int) -> Place | None:
    value = txn.get(u64(id), db=index.blob)
    return None if value is None else place_of(value)


def segment_in(txn: lmdb.Transaction, index: Index, key: bytes) -> Segment | None:
    value = txn.get(key, db=index.segment)
    return None if value is None else segment_of(value)


def dead_segment(key: bytes, segment: Segment) -> Dead:
    return Dead(
        int.from_bytes(key[:4], "big"), int.from_bytes(key[4:], "big"), segment.big
    )


def change_refs(
    txn: lmdb.Transaction, index: Index, refs: Mapping[int, int], second: int
) -> None:
    """Count references up and down; writes nothing unless every change is possible.

    Raises `KeyError` for an id that no blob has, `Misused` below 0."""
    if not refs:
        return
    puts: list[tuple[bytes, bytes]] = []
    idle: list[tuple[bytes, bytes]] = []
    busy: list[bytes] = []
    with txn.cursor(db=index.blob) as blobs:
        wanted = {u64(id): id for id in sorted(refs)}
        found = blobs.getmulti(wanted)
        if len(found) < len(wanted):
            there = {key for key, _ in found}
            raise KeyError(next(id for key, id in wanted.items() if key not in there))
        for key, value in found:
            old, since = counted_in(value)
            count = old + refs[wanted[key]]
            if count < 0:
                text = "has fewer references than are given up"
                raise Misused(f"blob {wanted[key]:x} {text}")
            if count and since:
                busy.append(u32(since) + key)
                since = 0
            elif not count and not since:
                since = second
                idle.append((u32(since) + key, b""))
            puts.append((key, with_counts(value, count, since)))
        blobs.putmulti(puts)
    for each in busy:
        txn.delete(each, db=index.idle)
    if idle:
        with txn.cursor(db=index.idle) as cursor:
            cursor.putmulti(idle)


def forget(
    txn: lmdb.Transaction, index: Index, gone: Iterable[tuple[int, Place]]
) -> list[Dead]:
    """Take entries away; returns the sealed segments that hold nothing any more,
    whose rows are gone too."""
    changes: dict[bytes, list[int]] = {}
    for id, place in gone:
        txn.delete(u64(id), db=index.blob)
        if place.since:
            txn.delete(idle_key(place.since, id), db=index.idle)
        change = changes.setdefault(segment_key(place.series, place.segment), [0, 0])
        change[0] += place.length
        change[1] += 1
    return settle(txn, index, {k: (-o, -n) for k, (o, n) in changes.items()})


def settle(
    txn: lmdb.Transaction,
    index: Index,
    changes: Mapping[bytes, tuple[int, int]],
    new: Mapping[bytes, Segment] = NEW,
    ends: Mapping[bytes, int] = ENDS,
) -> list[Dead]:
    """Add (octets, entries) to segments' rows; returns the segments that are dead.

    new    the rows of segments that have none yet
    ends   how far segments are applied now
    """
    dead: list[Dead] = []
    for key, (octets, entries) in changes.items():
        old = segment_in(txn, index, key)
        if old is None:
            old = new.get(key, Segment())
        row = old._replace(
            end=ends.get(key, old.end),
            live=old.live + octets,
            entries=old.entries + entries,
        )
        if row.sealed and not row.entries:
            txn.delete(key, db=index.segment)
            dead.append(dead_segment(key, row))
        else:
            txn.put(key, pack_segment(row), db=index.segment)
    return dead


def seal(txn: lmdb.Transaction, index: Index, key: bytes, end: int) -> list[Dead]:
    """A segment was applied to its end; returns it when nothing in it is needed."""
    row = (segment_in(txn, index, key) or Segment())._replace(end=end, sealed=1)
    if row.entries:
        txn.put(key, pack_segment(row), db=index.segment)
        return []
    txn.delete(key, db=index.segment)
    return [dead_segment(key, row)]


def sweep(
    txn: lmdb.Transaction, index: Index, until: int, after: bytes
) -> tuple[int, list[Dead], bytes | None]:
    """Forget what has been idle since `until` or longer, in sealed segments.

    Looks at `SWEEP` entries from the key `after` on; returns how many went, the dead
    segments and where to go on, None at the end."""
    gone: list[tuple[int, Place]] = []
    sealed: dict[bytes, bool] = {}
    rest: bytes | None = None
    with txn.cursor(db=index.idle) as cursor:
        if not cursor.set_range(after):
            return 0, [], None
        for looked, key in enumerate(cursor.iternext(values=False)):
            if int.from_bytes(key[:4], "big") > until:
                break
            if looked == SWEEP:
                rest = key
                break
            id = int.from_bytes(key[4:], "big")
            place = place_in(txn, index, id)
            if place is None or place.refs:
                continue
            at = segment_key(place.series, place.segment)
            if at not in sealed:
                segment = segment_in(txn, index, at)
                sealed[at] = segment is not None and segment.sealed > 0
            if sealed[at]:
                gone.append((id, place))
    return len(gone), forget(txn, index, gone), rest
