"""Records that could not be applied: kept, with the envelope and the reason.

The body keeps a reference, so nothing is lost: `retry` applies them again, which every
start of the keeper does, for a newer version may know better.
"""

import time
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

import lmdb

from fastsmtp.store import keys
from fastsmtp.store.base import Apply, Kind, Record
from fastsmtp.store.lmdb.index import Index, count
from fastsmtp.store.lmdb.places import change_refs

_HEAD = Struct("<BQI")  # kind, length of the body, length of the envelope


class Aside(NamedTuple):
    """A record that was set aside, and the error that its `apply` raised."""

    record: Record
    error: str


def put(txn: lmdb.Transaction, index: Index, record: Record, error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"[:500]
    head = _HEAD.pack(record.kind, record.length, len(record.envelope))
    txn.put(
        keys.u64(record.id),
        head + record.envelope + reason.encode(errors="replace"),
        db=index.aside,
    )


def records(txn: lmdb.Transaction, index: Index) -> Iterator[Aside]:
    """All of them, oldest id first."""
    with txn.cursor(db=index.aside) as cursor:
        for key, value in cursor:
            kind, length, octets = _HEAD.unpack_from(value)
            envelope = value[_HEAD.size : _HEAD.size + octets]
            id = int.from_bytes(key, "big")
            yield Aside(
                Record(id, Kind(kind), envelope, length),
                value[_HEAD.size + octets :].decode(),
            )


def retry(
    index: Index, apply: Apply
) -> Callable[[lmdb.Transaction], tuple[int, set[int]]]:
    """Work for the writer: apply once more what was set aside, each record for
    itself. Gives how many succeeded and which partitions changed."""

    def work(txn: lmdb.Transaction) -> tuple[int, set[int]]:
        parts: set[int] = set()
        done = 0
        for record, _ in list(records(txn, index)):
            try:
                writes = apply(record, lambda part, key: txn.get(keys.u64(part) + key))
            except lmdb.Error:
                raise
            except Exception:
                continue
            for part, key in writes.deletes:
                txn.delete(keys.u64(part) + key)
            for part, key, value in writes.puts:
                txn.put(keys.u64(part) + key, value)
            for part, adds in writes.adds.items():
                count(txn, keys.u64(part), adds)
            parts.update(part for part, _, _ in writes.puts)
            change_refs(txn, index, {record.id: writes.refs - 1}, int(time.time()))
            txn.delete(keys.u64(record.id), db=index.aside)
            done += 1
        return done, parts

    return work
