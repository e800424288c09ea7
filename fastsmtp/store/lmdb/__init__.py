"""The store of one machine: a message log of bodies, and LMDB as their index.

intake   a process's own log: durable          -> `record`, `msglog` (compiled)
link     durable positions to the keeper, applied ones back
series   what of a log may be read, and how    follow, batch   apply it
index    databases and codecs                  writer, work    commits
blobs    reading bodies                        places          their references
keeper   sweeps, compacts, unlinks             vitals          looks after trouble
    verify   the offline check                     backup          a copy while serving
"""

from fastsmtp.store.lmdb.index import UNFINISHED, Lock, lock, next_epoch
from fastsmtp.store.lmdb.store import LmdbStore
from fastsmtp.store.lmdb.verify import Finding, verify

__all__ = [
    "UNFINISHED",
    "Finding",
    "LmdbStore",
    "Lock",
    "lock",
    "next_epoch",
    "verify",
]
