"""Work for the writer thread: what the contract's commits do in a transaction.

Each function decides everything before it writes anything, so that what it raises
concerns itself alone and not the others in the same transaction.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lmdb

from fastsmtp.errors import Conflict
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Due
from fastsmtp.store.lmdb.index import Index, scan_in
from fastsmtp.store.lmdb.places import change_refs
from fastsmtp.store.lmdb.writer import Version

u64 = keys.u64


@dataclass(frozen=True, slots=True)
class Change:
    """One `commit`: its arguments."""

    part: int
    checks: Sequence[Check]
    puts: Sequence[tuple[bytes, bytes]]
    deletes: Sequence[bytes]
    refs: Mapping[int, int]

    @property
    def frees(self) -> bool:
        """Whether it makes room."""
        return bool(self.deletes) or any(n < 0 for n in self.refs.values())

    def write(self, txn: lmdb.Transaction, index: Index) -> type[Version]:
        """Raises `Conflict`; `KeyError` and `Misused` as `places.change_refs`."""
        prefix = u64(self.part)
        for key, value in self.checks:
            if txn.get(prefix + key) != value:
                raise Conflict(f"partition {self.part}, key {key!r}")
        change_refs(txn, index, self.refs, int(time.time()))
        for key in self.deletes:
            txn.delete(prefix + key)
        for key, value in self.puts:
            txn.put(prefix + key, value)
        return Version


def claim(
    txn: lmdb.Transaction, part: int, now: int, limit: int, holder: int
) -> list[Due]:
    """See `base.Store.claim`. The value of a due key goes with the lease."""
    prefix = u64(part)
    found = scan_in(txn, part, keys.due(0, 0), keys.due(now + 1, 0), limit)
    claimed = []
    for key, value in found:
        at, id = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
        txn.delete(prefix + key)
        txn.put(prefix + keys.lease(holder, id), u64(at) + value)
        claimed.append(Due(at, id))
    return claimed


def release(txn: lmdb.Transaction, part: int, holder: int) -> int:
    """See `base.Store.release`."""
    prefix = u64(part)
    lo = keys.lease(holder, 0)
    found = scan_in(txn, part, lo, keys.lease(holder + 1, 0), 1 << 30)
    for key, value in found:
        txn.delete(prefix + key)
        txn.put(prefix + b"d" + value[:8] + key[9:], value[8:])
    return len(found)
