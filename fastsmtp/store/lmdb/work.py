"""Work for the writer thread: what the contract's commits do in a transaction.

Each function decides everything before it writes anything, so that what it raises
concerns itself alone and not the others in the same transaction.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import lmdb

from fastsmtp.errors import Conflict
from fastsmtp.store import keys
from fastsmtp.store.base import Adds, Check
from fastsmtp.store.lmdb.index import Index, count
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
    adds: Adds = field(default_factory=dict)

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
        if self.puts:
            with txn.cursor() as cursor:
                cursor.putmulti([(prefix + key, value) for key, value in self.puts])
        count(txn, prefix, self.adds)
        return Version
