"""Places of the store's cells. `INDEX_…` is LMDB, `LOG_…` the message log."""

from enum import IntEnum
from typing import Final

from fastsmtp.cells import SECONDS, Histogram, Seen

BATCH: Final = tuple(float(2**n) for n in range(13))  # 1 … 4096 messages


class Count(IntEnum):
    """Counters first, then gauges; all in units or octets."""

    INDEX_ERRORS_FULL = 0  # the map is full
    INDEX_ERRORS_DISK_FULL = 1
    INDEX_ERRORS_IO = 2
    LOG_ERRORS_DISK_FULL = 3
    LOG_ERRORS_IO = 4
    LOG_ERRORS_DAMAGED = 5  # records that fail their checksum
    RECORDS_ASIDE = 6  # records that could not be applied
    RECORDS_APPLIED = 7
    COMPACTED_OCTETS = 8
    SEGMENTS_REMOVED = 9
    # gauges of the writer's own log
    UNAPPLIED_OCTETS = 10
    UNAPPLIED_MESSAGES = 11
    # gauges of the keeper
    MAP_SIZE = 12
    MAP_USED = 13
    FREE_PAGES = 14
    READERS = 15  # the most at one time
    OLDEST_READER = 16  # how many transactions the oldest reader is behind
    SEGMENTS = 17
    LIVE_OCTETS = 18
    DEAD_OCTETS = 19
    DISK_FREE = 20
    DISK_FREE_INODES = 21


INDEX_COMMIT: Final = Histogram(len(Count), SECONDS, 1e-6)
INDEX_BATCH: Final = Histogram(INDEX_COMMIT.first + INDEX_COMMIT.size, BATCH)
INDEX_SYNC: Final = Histogram(INDEX_BATCH.first + INDEX_BATCH.size, SECONDS, 1e-6)
"""The end of a commit: its pages are written and synced."""
LOG_COMMIT: Final = Histogram(INDEX_SYNC.first + INDEX_SYNC.size, SECONDS, 1e-6)
"""From the first record that a flush has to its being durable: the longest wait."""
LOG_BATCH: Final = Histogram(LOG_COMMIT.first + LOG_COMMIT.size, BATCH)
LOG_SYNC: Final = Histogram(LOG_BATCH.first + LOG_BATCH.size, SECONDS, 1e-6)
LOG_COMMIT_SEEN: Final = Seen(LOG_SYNC.first + LOG_SYNC.size, LOG_COMMIT)
LOG_SYNC_SEEN: Final = Seen(LOG_COMMIT_SEEN.end, LOG_SYNC)
SIZE: Final = LOG_SYNC_SEEN.end
"""How many cells a store has."""
