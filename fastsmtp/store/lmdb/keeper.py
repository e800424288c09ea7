"""What the keeper does besides commits: follows all logs, and cleans up behind them."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from fastsmtp.errors import Misused
from fastsmtp.store.base import Apply, Record
from fastsmtp.store.counts import Count
from fastsmtp.store.lmdb import aside, request
from fastsmtp.store.lmdb.compact import Compactor
from fastsmtp.store.lmdb.follow import Follower, Progress, Reports
from fastsmtp.store.lmdb.index import Index
from fastsmtp.store.lmdb.intake import Intake
from fastsmtp.store.lmdb.link import LinkServer
from fastsmtp.store.lmdb.places import Dead, sweep
from fastsmtp.store.lmdb.series import Series, all_series, segments_of
from fastsmtp.store.lmdb.writer import Writer
from fastsmtp.store.options import StoreOptions
from fastsmtp.store.record import remove_orphans, segment_name

_LOOK: Final = 0.1  # seconds between looks at lives that tell nothing
_CLEAN: Final = 1.0  # seconds between two sweeps
_READERS: Final = 60.0  # seconds between two searches for stale readers
OWN: Final = 0  # the keeper's own series

Place = tuple[int, int]


class Keeper:
    """Laws: a file is unlinked only after the commit that no longer needs it; nothing
    is unlinked while a backup holds the log.

    on_aside, on_damaged   reports, called on the loop
    """

    def __init__(
        self,
        index: Index,
        writer: Writer,
        log: Path,
        options: StoreOptions,
        cells: "memoryview[int]",
    ) -> None:
        self.index = index
        self.writer = writer
        self.log = log
        self.options = options
        self.series: dict[int, Series] = {}
        self.holds = 0  # backups under way
        self.pending: set[asyncio.Future[None]] = set()  # work with files
        self.link: LinkServer | None = None
        self.own: Intake | None = None
        self.on_aside: Callable[[Record, Exception], None] | None = None
        self.on_damaged: Callable[[str, str], None] | None = None
        self.cells = cells
        self._held: list[Dead] = []
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._compactor: Compactor | None = None
        self._uneven = True  # bodies have gone since segments were last compared
        self._after = b""  # where the sweep goes on

    def start(self, own: Intake) -> None:
        """`own` is the keeper's own log; its segments of this life are living."""
        self.own = own
        for number in all_series(self.log) | set(self.index.series()):
            self._series(number)
        self._remove_leftovers()
        own.tell = lambda place: self.tell(OWN, place, own.writer.first)
        self.tell(OWN, own.durable, own.writer.first)
        self._compactor = Compactor(self, own)
        self._task = self._loop.create_task(self._clean())

    async def serve(self, path: Path) -> None:
        self.link = LinkServer(path, self)
        await self.link.open()

    def _series(self, number: int) -> Series:
        series = self.series.get(number)
        if series is None:
            series = Series(self.log, number, self.index.applied(number))
            self.series[number] = series
        return series

    # `link.Hub`

    def tell(self, series: int, place: Place, first: int) -> None:
        self._series(series).tell(place, first)
        self.writer.poke()

    def gone(self, series: int) -> None:
        self._series(series).gone()
        self.writer.poke()

    def commit(self, asked: bytes) -> asyncio.Future[int]:
        try:
            change = request.decode(asked)
        except Misused as error:
            refused: asyncio.Future[int] = self._loop.create_future()
            refused.set_exception(error)
            return refused
        work = partial(change.write, index=self.index)
        return self.writer.call(work, part=change.part, frees=change.frees)

    # following

    async def follow(self, apply: Apply) -> None:
        reports = Reports(self._soon_aside, self._soon_damaged)
        follower = Follower(self.index, apply, self.series, reports, self.cells)
        follower.progress = self._progress
        for series in self.series.values():
            series.stale = True
        await self.retry_aside(apply)
        self.writer.feed(follower)
        try:
            await asyncio.Event().wait()
        finally:
            self.writer.feed(None)
            with contextlib.suppress(Exception):
                await self.writer.call(lambda _: None)  # the last step has ended
            follower.close()

    async def retry_aside(self, apply: Apply) -> int:
        """Apply once more what was set aside; returns how many now succeeded."""
        work = aside.retry(self.index, apply)
        done, parts = await self.writer.call(work)
        committed = getattr(apply, "committed", None)
        if committed is not None:
            committed()
        if parts:
            self.writer.changed(parts)
        count: int = done
        return count

    def _progress(self, progress: Progress) -> None:
        for number, place in progress.applied.items():
            if number == OWN and self.own is not None:
                self.own.on_applied(place)
            elif self.link is not None:
                self.link.applied(number, place)
        self.unlink(progress.dead)
        for number, below in progress.read:
            self._in_thread(self._remove_orphans, number, below)

    def _soon_aside(self, record: Record, error: Exception) -> None:
        if self.on_aside is not None:
            self._loop.call_soon_threadsafe(self.on_aside, record, error)

    def _soon_damaged(self, where: str, reason: str) -> None:
        if self.on_damaged is not None:
            self._loop.call_soon_threadsafe(self.on_damaged, where, reason)

    # files that nobody needs

    def unlink(self, dead: Iterable[Dead]) -> None:
        """Their rows are gone, durably: remove the files, or after the backup."""
        self._held += dead
        if self._held and not self.holds:
            held, self._held = self._held, []
            self._in_thread(self._unlink, held)

    def _in_thread(self, work: Callable[..., None], *args: object) -> None:
        """Work with files that nobody waits for, but `close`."""
        task = self._loop.run_in_executor(None, work, *args)
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)

    def release(self) -> None:
        """A backup has ended."""
        self.holds -= 1
        self.unlink(())

    def _unlink(self, dead: list[Dead]) -> None:
        for series, number, big in dead:
            name = segment_name(series, number, big == 1)
            with contextlib.suppress(FileNotFoundError):
                (self.log / name).unlink()
                self.cells[Count.SEGMENTS_REMOVED] += 1
        sync_directory(self.log)

    def _remove_leftovers(self) -> None:
        """Files whose unlinking a crash forestalled: applied, and without a row."""
        rows = self.index.segments()
        for series in self.series.values():
            for number, big in segments_of(self.log, series.number):
                applied = number < series.applied.segment
                if not big and applied and (series.number, number) not in rows:
                    (self.log / segment_name(series.number, number)).unlink()

    def _remove_orphans(self, number: int, below: int) -> None:
        rows = self.index.segments()
        remove_orphans(str(self.log), number, below, lambda n: (number, n) in rows)

    # the clock

    async def _clean(self) -> None:
        swept = readers = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK)
            if any(series.silent for series in self.series.values()):
                for series in self.series.values():
                    series.stale |= series.silent
                self.writer.poke()
            now = time.monotonic()
            if now - swept < _CLEAN:
                continue
            swept = now
            with contextlib.suppress(Exception):
                await self.clean()
            if now - readers > _READERS:
                readers = now
                self.index.env.reader_check()

    async def clean(self) -> None:
        """Forget idle bodies, remove dead segments, compact the emptiest one."""
        self._uneven |= await self.sweep()
        if self._compactor is None or self.holds or not self._uneven:
            return
        self._uneven = await self._compactor.step() > 0

    def own_log(self) -> Intake:
        """The keeper's own log; `Misused` before `start`."""
        if self.own is None:
            raise Misused("the keeper has not started")
        return self.own

    async def sweep(self) -> bool:
        """Forget bodies that were idle for the pin time, and the segments they held;
        True when there were any."""
        any_gone = False
        until = int(time.time() - self.options.pin)
        while True:
            work = partial(sweep, index=self.index, until=until, after=self._after)
            gone, dead, rest = await self.writer.call(work, frees=True)
            any_gone = any_gone or int(gone) > 0
            self.unlink(dead)
            self._after = rest or b""
            if rest is None:
                return any_gone

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.link is not None:
            await self.link.close()
        await asyncio.gather(*self.pending, return_exceptions=True)


def sync_directory(path: Path) -> None:
    """Make names that were added or removed durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
