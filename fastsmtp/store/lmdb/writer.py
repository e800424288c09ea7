"""The writer thread: all writes of a process, joined into as few commits as possible.

LMDB's write lock is shared between processes and a commit waits for the disk, so
neither may happen on the event loop. Work is a function of the open transaction: it
returns its result, or raises before it has written anything, which concerns it alone.
Everything that waits goes into one transaction, with the log that waits to be applied;
results come back by one call on the loop per commit.

A page of the index that is written once for many messages is cheaper than one that is
written for each, and mail for many mailboxes touches many pages. So the log waits the
longer between two commits the more the last one cost, but not when it rests: nobody
waits for these commits but readers.

When a transaction fails, its parts are tried again one by one, so that what cannot be
done (a full map) does not take along what can (a delete). LMDB copies each page that it
changes, so a delete in a full map needs the few free pages that were not yet reused;
they have been there in every test, but LMDB does not promise them.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import lmdb

from fastsmtp.errors import Excuse, StoreUnavailable, Trouble
from fastsmtp.store.counts import INDEX_BATCH, INDEX_COMMIT, INDEX_SYNC, Count
from fastsmtp.store.lmdb.index import Index, fault, is_disk_full, is_fatal, meaning
from fastsmtp.store.lmdb.reserve import Reserve

Work = Callable[[lmdb.Transaction], Any]
_RETRY = 1.0  # seconds between attempts to apply the log while commits fail
_SHARE = 16  # times as long as its last commit took the log waits for the next
_LONGEST = 12  # times the interval, at most
_REST = 0.01  # seconds without anything new after which it waits no longer
_VERSION = b"version"  # of the last commit: one counter for all partitions


class Feed(Protocol):
    """The log that waits to be applied; called on the writer thread only."""

    def step(self, txn: lmdb.Transaction) -> bool:
        """Apply a portion; True when more waits."""
        ...

    def committed(self) -> tuple[Callable[[], None] | None, Iterable[int], int]:
        """The portion is durable: what to call on the loop, which partitions
        changed, how many records it was."""
        ...

    def aborted(self) -> None:
        """Nothing of the portion was written."""
        ...


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work and who waits for it.

    part   the partition it changes, for watches; None: none
    frees  it makes room, so the reserve may be spent on it
    """

    work: Work
    future: asyncio.Future[Any]
    part: int | None
    frees: bool
    result: Any = None
    error: Exception | None = None


class Version(int):
    """Stands for "the version of this commit" in what work returns."""


class Writer(threading.Thread):
    """Laws: one transaction at a time; a job's result is told after its commit; jobs
    are done in the order they came; after a failed sync nothing is written any more.

    changed(parts)  called on the loop after a commit
    fatal(reason)   called on the loop when the disk can no longer be trusted
    """

    def __init__(
        self,
        index: Index,
        reserve: Reserve,
        interval: float,
        cells: "memoryview[int]",
        changed: Callable[[set[int]], None],
    ) -> None:
        super().__init__(name="fastsmtp-index", daemon=True)
        self.index = index
        self.reserve = reserve
        self.interval = interval
        self.changed = changed
        self.fatal: Callable[[str], None] | None = None
        self.trouble: Excuse | None = None  # the last commit failed, and why
        self.failed: str | None = None  # a sync failed: for good
        self._cells = cells
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._jobs: list[Job] = []
        self._feed: Feed | None = None
        self._fed = False  # the feed has something to apply
        self._next_feed = 0.0  # monotonic time before which it is left alone
        self._latest = 0.0  # and until which, when it does not rest
        self._poked = 0.0  # when it last grew
        self._stopping = False

    # called on the loop

    def call(
        self, work: Work, *, part: int | None = None, frees: bool = False
    ) -> "asyncio.Future[Any]":
        """Do `work` in the next transaction; resolves when it is durable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.failed is not None or self._stopping:
            future.set_exception(StoreUnavailable(self.failed or "the store is closed"))
            return future
        with self._wake:
            self._jobs.append(Job(work, future, part, frees))
            self._wake.notify()
        return future

    def feed(self, feed: Feed | None) -> None:
        """From now on apply this log; None: no more."""
        with self._wake:
            self._feed = feed
            self._fed = feed is not None
            self._wake.notify()

    def poke(self) -> None:
        """The log has grown."""
        self._poked = time.monotonic()
        if self._fed:
            return
        with self._wake:
            self._fed = True
            self._wake.notify()

    def stop(self) -> None:
        """Finish what waits and end the thread; call `join` off the loop."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    # the thread

    def run(self) -> None:
        while True:
            with self._wake:
                feed = self._await_work()
                jobs, self._jobs = self._jobs, []
                if feed is not None:
                    self._fed = False
            if not jobs and feed is None:
                return
            self._round(jobs, feed)

    def _await_work(self) -> Feed | None:
        """Wait; returns the feed when its turn has come. The lock is held."""
        while True:
            feed = self._feed if self._fed and not self.failed else None
            pause = self._pause() if feed is not None else None
            if self._jobs or self._stopping:
                due = pause is not None and pause <= 0 and not self._stopping
                return feed if due else None
            if pause is not None and pause <= 0:
                return feed
            self._wake.wait(pause)

    def _pause(self) -> float:
        """Seconds until the log's turn."""
        rests = max(self._next_feed, self._poked + _REST)
        return min(rests, max(self._next_feed, self._latest)) - time.monotonic()

    def _round(self, jobs: list[Job], feed: Feed | None) -> None:
        if self.failed is not None:
            self._give_up(jobs)
            return
        error = self._transact(jobs, feed)
        if error is None:
            return
        if is_fatal(error):
            self._note(error)
            self._give_up(jobs)
            return
        if len(jobs) + (feed is not None) == 1:
            self._failed_alone(jobs, feed, error)
            return
        for job in jobs:
            self._round([job], None)
        if feed is not None:
            self._round([], feed)

    def _failed_alone(
        self, jobs: list[Job], feed: Feed | None, error: Exception
    ) -> None:
        if is_disk_full(error) and jobs and jobs[0].frees and self.reserve.release():
            error_again = self._transact(jobs, None)
            if error_again is None:
                return
            error = error_again
        self._note(error)
        if feed is not None:
            with self._wake:
                self._fed = True
                self._next_feed = time.monotonic() + _RETRY
        for job in jobs:
            job.error = fault(error)
        self._tell(jobs, None, set())

    def _transact(self, jobs: list[Job], feed: Feed | None) -> Exception | None:
        """One transaction; returns why nothing of it was written."""
        started = time.monotonic()
        txn = None
        try:
            txn = self.index.env.begin(db=self.index.main, write=True)
            if jobs:
                self._work(txn, jobs)
            more = feed.step(txn) if feed is not None else False
            worked = time.monotonic()
            txn.commit()
        except Exception as error:
            if txn is not None:
                txn.abort()  # does nothing after a commit that failed
            if feed is not None:
                feed.aborted()
            return meaning(error, self.index.path)
        INDEX_SYNC.observe(self._cells, time.monotonic() - worked)
        self._committed(jobs, feed, more, started)
        return None

    def _work(self, txn: lmdb.Transaction, jobs: list[Job]) -> None:
        first = version = int.from_bytes(txn.get(_VERSION, b"", self.index.meta), "big")
        for job in jobs:
            job.error = None
            try:
                job.result = job.work(txn)
            except (lmdb.Error, OSError):
                raise
            except Exception as error:
                job.error = error
            else:
                if job.result is Version:
                    job.result = version = version + 1
        if version > first:
            txn.put(_VERSION, version.to_bytes(8, "big"), db=self.index.meta)

    def _committed(
        self, jobs: list[Job], feed: Feed | None, more: bool, started: float
    ) -> None:
        now = time.monotonic()
        parts = {j.part for j in jobs if j.part is not None and j.error is None}
        then, records = None, 0
        if feed is not None:
            then, touched, records = feed.committed()
            parts.update(touched)
            with self._wake:
                self._fed |= more
                self._next_feed = self._latest = now
                if not more:
                    self._next_feed += self.interval
                    longest = _LONGEST * self.interval
                    self._latest += min(_SHARE * (now - started), longest)
        self.trouble = None
        INDEX_COMMIT.observe(self._cells, now - started)
        INDEX_BATCH.observe(self._cells, len(jobs) + records)
        self._tell(jobs, then, parts)

    def _give_up(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.error = StoreUnavailable(self.failed or "")
        self._tell(jobs, None, set())

    def _note(self, error: Exception) -> None:
        kind: Trouble = "disk" if is_disk_full(error) else "index"
        self.trouble = Excuse(kind, str(fault(error)))
        if isinstance(error, lmdb.MapFullError):
            self._cells[Count.INDEX_ERRORS_FULL] += 1
        elif is_disk_full(error):
            self._cells[Count.INDEX_ERRORS_DISK_FULL] += 1
        else:
            self._cells[Count.INDEX_ERRORS_IO] += 1
        if is_fatal(error) and self.failed is None:
            self.failed = f"the disk of the index failed: {error}"
            fatal = self.fatal
            if fatal is not None:
                self._soon(fatal, self.failed)

    def _tell(
        self, jobs: list[Job], then: Callable[[], None] | None, parts: set[int]
    ) -> None:
        if jobs or then is not None or parts:
            self._soon(self._settle, jobs, then, parts)

    def _soon(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _settle(
        self, jobs: list[Job], then: Callable[[], None] | None, parts: set[int]
    ) -> None:
        for job in jobs:
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
        if then is not None:
            then()
        if parts:
            self.changed(parts)
