"""A process's own log: who waits for which record, and how far the keeper is behind.

    submitted ──flush──> durable (done is called) ──keeper──> applied (visible)

The native writer numbers records with tickets; a flush settles all tickets up to one.
The keeper is told the durable position after each flush and answers how far it has
applied. What lies between is the unapplied log, and its size and age are bounded.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastsmtp.errors import Excuse, StoreUnavailable
from fastsmtp.store.base import Done, Kind
from fastsmtp.store.counts import Count
from fastsmtp.store.msglog import LogWriter
from fastsmtp.store.msglog import Spool as LogSpool
from fastsmtp.store.options import StoreOptions
from fastsmtp.store.record import BIG_BODY, segment_name

_MARK_EVERY: Final = 0.02  # seconds between two marks of progress
_WARY: Final = 2.0  # seconds after a failure in which no mail is taken
_WRITING: Final = 0.002  # seconds between looks whether a large body is in its file
_BATCH: Final = 16  # records that are flushed before a turn of the loop has ended
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_SEGMENT: Final = "no segment can be opened"
_NOT_WRITTEN: Final = "a record was not written"

Place = tuple[int, int]
"""(segment, offset) in this process's series."""


class LargeBody:
    """`base.Spool` over the native one: its outcome goes to `done`."""

    def __init__(self, intake: "Intake", id: int, spool: LogSpool, head: int) -> None:
        self._intake = intake
        self._id = id
        self._spool = spool
        self._octets = head

    def write(self, data: bytes | memoryview) -> None:
        self._octets += len(data)
        self._spool.write(data)

    def backlog(self) -> int:
        return self._spool.backlog()

    async def reread(self) -> "WrittenFile":
        # A spool tells nobody when it has written.
        while self._spool.backlog():
            self._spool.flush()
            await asyncio.sleep(_WRITING)
        return WrittenFile(self._intake.path_of(self._spool), self._octets)

    def finish(self, kind: Kind, envelope: bytes, done: Done) -> None:
        self._intake.expect(self._id, self._octets, done)
        self._spool.finish(kind, envelope)

    def abort(self) -> None:
        self._spool.abort()


class WrittenFile:
    """`base.Written` in the file of a large body, which may lose its name meanwhile."""

    def __init__(self, path: Path, length: int) -> None:
        self.length = length
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnavailable(f"{path.name}: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.length - offset))
        try:
            octets = os.pread(self._file, size, BIG_BODY + offset)
        except OSError as error:
            raise StoreUnavailable(f"a large body: {error.strerror}") from error
        if len(octets) < size:
            raise StoreUnavailable("a large body could not be written")
        return octets

    def __del__(self) -> None:
        """Not before: a thread may be reading, and the number would be another file."""
        if hasattr(self, "_file"):
            os.close(self._file)


class Intake:
    """Laws: `done` is called once for each record, in order, on the loop; nothing is
    reported as durable before the native writer said so.

    tell(place)   called after each flush: everything before it is durable
    """

    def __init__(
        self,
        log: Path,
        series: int,
        epoch: int,
        least: int,
        options: StoreOptions,
        cells: "memoryview[int]",
    ) -> None:
        self.writer = LogWriter(
            str(log), series, epoch, options.segment_size, least, _BATCH
        )
        self._log = log
        self._asked = False  # to flush when this turn of the loop ends
        self.tell: Callable[[Place], None] | None = None
        self.durable: Place = self.writer.position()
        self.applied: Place = (0, 0)
        self._options = options
        self._cells = cells
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, int, Done]] = deque()  # ticket, octets, done
        self._spools: dict[int, tuple[int, Done]] = {}  # id: octets, done
        self._octets = 0  # durable in this life
        self._messages = 0
        self._marks: deque[tuple[Place, float, int, int]] = deque()
        self._octets_applied = 0
        self._messages_applied = 0
        self._visible: list[tuple[Place, asyncio.Future[None]]] = []
        self._failure: Excuse | None = None  # the last one, and when it was met
        self._failed_at = -_WARY
        self._loop.add_reader(self.writer.fileno(), self._collect)

    # taking records

    def submit(
        self,
        id: int,
        kind: int,
        envelope: bytes,
        head: bytes,
        body: bytes | bytearray | memoryview,
        done: Done,
    ) -> None:
        """See `base.Store.submit`; whether the store is healthy is asked before."""
        try:
            ticket = self.writer.append(id, kind, envelope, head, body)
        except OSError as error:
            raise self._refusal(_NO_SEGMENT, error.errno or errno.EIO) from error
        octets = len(envelope) + len(head) + len(body)
        self._waiting.append((ticket, octets, done))
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._asked = False
        self.writer.flush()

    def spool(self, id: int, head: bytes) -> LargeBody:
        try:
            return LargeBody(self, id, self.writer.spool(id, head), len(head))
        except OSError as error:
            raise self._refusal(_NO_SEGMENT, error.errno or errno.EIO) from error

    def path_of(self, spool: LogSpool) -> Path:
        return self._log / segment_name(self.writer.series, spool.number, big=True)

    def expect(self, id: int, octets: int, done: Done) -> None:
        """A spool is finished: its outcome will come by its id."""
        self._spools[id] = (octets, done)

    def _refusal(self, what: str, number: int) -> StoreUnavailable:
        self._failure, self._failed_at = _reason(what, number), self._loop.time()
        if number in _FULL:
            self._cells[Count.LOG_ERRORS_DISK_FULL] += 1
        else:
            self._cells[Count.LOG_ERRORS_IO] += 1
        return StoreUnavailable(self._failure.text)

    # what was flushed

    def _collect(self) -> None:
        # The place goes with the ticket: one that was asked for later may be ahead, and
        # the messages up to it would be in no mark.
        ticket, failed, spooled, place = self.writer.collect()
        if failed:
            self._settle_failed(ticket, failed)
        waiting = self._waiting
        octets = self._octets
        done: list[Done] = []
        while waiting and waiting[0][0] <= ticket:
            _, size, then = waiting.popleft()
            octets += size
            done.append(then)
        self._messages += len(done)
        self._octets = octets
        if spooled:
            self._settle_spools(spooled)
        self._progress(place)
        for then in done:
            then(None)

    def _settle_failed(self, ticket: int, failed: list[tuple[int, int, int]]) -> None:
        """Tell those whose record never will be durable; the others stay waiting."""
        kept: deque[tuple[int, int, Done]] = deque()
        lost: list[tuple[Done, StoreUnavailable]] = []
        errors = [(a, b, self._refusal(_NOT_WRITTEN, n)) for a, b, n in failed]
        while self._waiting and self._waiting[0][0] <= ticket:
            item = self._waiting.popleft()
            error = next((e for a, b, e in errors if a <= item[0] <= b), None)
            if error is None:
                kept.append(item)
            else:
                lost.append((item[2], error))
        self._waiting.extendleft(reversed(kept))
        for done, error in lost:
            done(error)

    def _settle_spools(self, spooled: list[tuple[int, int]]) -> None:
        for id, number in spooled:
            octets, done = self._spools.pop(id)
            if number:
                done(self._refusal(_NOT_WRITTEN, number))
                continue
            self._octets += octets
            self._messages += 1
            self._loop.call_soon(done, None)  # after the position was told

    def _progress(self, place: Place) -> None:
        self.writer.count_flushes(self._cells)
        if place == self.durable:
            return
        self.durable = place
        now = self._loop.time()
        marks = self._marks
        if marks and now - marks[-1][1] < _MARK_EVERY and len(marks) > 1:
            marks[-1] = (place, marks[-1][1], self._octets, self._messages)
        else:
            marks.append((place, now, self._octets, self._messages))
        self._gauges()
        if self.tell is not None:
            self.tell(place)

    # what was applied

    def on_applied(self, place: Place) -> None:
        """The keeper has applied everything of this series before `place`."""
        if place <= self.applied:
            return
        self.applied = place
        marks = self._marks
        while marks and marks[0][0] <= place:
            _, _, self._octets_applied, self._messages_applied = marks.popleft()
        self._gauges()
        if self._visible:
            waiting, self._visible = self._visible, []
            for target, future in waiting:
                if target > place:
                    self._visible.append((target, future))
                elif not future.done():
                    future.set_result(None)

    def _gauges(self) -> None:
        self._cells[Count.UNAPPLIED_OCTETS] = self.unapplied
        self._cells[Count.UNAPPLIED_MESSAGES] = self._messages - self._messages_applied

    @property
    def unapplied(self) -> int:
        """Octets that are durable and not applied."""
        return self._octets - self._octets_applied

    def oldest(self) -> float:
        """Seconds that the oldest unapplied record has waited."""
        return self._loop.time() - self._marks[0][1] if self._marks else 0.0

    def behind(self) -> float:
        """How far the keeper is behind, as a part of what `trouble` allows."""
        octets = self.unapplied / self._options.unapplied_bytes
        return max(octets, self.oldest() / self._options.unapplied_age)

    async def visible(self) -> None:
        """Wait until all that was submitted so far is settled and applied."""
        if self._waiting or self._spools:
            await self._settled()
        target = self.durable
        if target <= self.applied or not self._messages:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._visible.append((target, future))
        await future

    async def _settled(self) -> None:
        """Everything that was submitted before this call is durable or has failed."""
        future: asyncio.Future[None] = self._loop.create_future()

        left = len(self._spools) + bool(self._waiting)

        def settled(_: Exception | None) -> None:
            nonlocal left
            left -= 1
            if left == 0 and not future.done():
                future.set_result(None)

        if self._waiting:
            ticket, octets, done = self._waiting[-1]
            self._waiting[-1] = (ticket, octets, _both(done, settled))
        for id, (octets, done) in self._spools.items():
            self._spools[id] = (octets, _both(done, settled))
        await future

    # trouble and the end

    def probe(self, id: int) -> None:
        """Try to write again while the log fails: only an append opens a segment.

        An empty body without references, which is swept like any other."""
        with contextlib.suppress(StoreUnavailable):
            self.submit(id, Kind.BLOB, b"", b"", b"", _nobody)

    def trouble(self) -> Excuse | None:
        """Why records cannot be taken at present; no IO.

        A log that failed stays in trouble for a little: on a full disk a new segment
        can often be opened but not filled, and a client is better told at MAIL."""
        number = self.writer.error()
        if number:
            return _reason(_NO_SEGMENT, number)
        if self._loop.time() - self._failed_at < _WARY:
            return self._failure
        if self.unapplied > self._options.unapplied_bytes:
            text = "the keeper is too far behind: unapplied octets"
            return Excuse("unapplied", text)
        if self._marks and self.oldest() > self._options.unapplied_age:
            return Excuse("unapplied", "the keeper is too far behind: unapplied age")
        return None

    async def close(self) -> None:
        """Flush what was taken, tell its outcome, end the native threads."""
        self._loop.remove_reader(self.writer.fileno())
        started = time.monotonic()
        await self._loop.run_in_executor(None, self.writer.close)
        self._collect()
        stopped = StoreUnavailable(f"closed after {time.monotonic() - started:.1f} s")
        waiting, self._waiting = self._waiting, deque()
        spools, self._spools = self._spools, {}
        for _, _, done in waiting:
            done(stopped)
        for _, done in spools.values():
            done(stopped)
        for _, future in self._visible:
            future.cancel()


def _reason(what: str, number: int) -> Excuse:
    text = f"the message log failed: {what}: {os.strerror(number)}"
    return Excuse("disk" if number in _FULL else "log", text)


def _nobody(error: Exception | None) -> None:
    """Nobody waits for a probe."""


def _both(first: Done, second: Done) -> Done:
    def done(error: Exception | None) -> None:
        first(error)
        second(error)

    return done
