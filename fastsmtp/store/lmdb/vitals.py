"""Once a second: is there room, does the log work, is the keeper keeping up?

The answer is kept ready for `healthy`, which must not do IO. Free space is asked in a
thread, for a disk in trouble may not answer at once.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from fastsmtp.errors import Excuse
from fastsmtp.store.counts import Count
from fastsmtp.store.lmdb.index import Index
from fastsmtp.store.lmdb.intake import Intake
from fastsmtp.store.lmdb.reserve import Reserve
from fastsmtp.store.lmdb.writer import Writer
from fastsmtp.store.options import StoreOptions

LOOK: Final = 0.25  # seconds between two looks at the log and the keeper
_DISK: Final = 4  # looks between two questions to the disk
_ROWS: Final = 10  # questions to the disk between two sums over all segments
_MAP_FULL: Final = 0.98  # share of the map from which new mail is refused


class Patient(Protocol):
    """What is looked after: an open store."""

    data: Path
    options: StoreOptions
    index: Index

    def next_id(self) -> int: ...

    def judge(self, reason: Excuse | None) -> None: ...

    def trim_files(self) -> None: ...


class Space(NamedTuple):
    """What the disk and the index said last."""

    free: int
    inodes: int
    map_used: int


class Vitals:
    """Laws: `judge` is told the current reason at least every `LOOK` seconds."""

    def __init__(
        self,
        store: Patient,
        intake: Intake,
        writer: Writer | None,
        reserve: Reserve,
        cells: "memoryview[int]",
    ) -> None:
        self.free: Callable[[Path], tuple[int, int]] = free_space
        self._store = store
        self._intake = intake
        self._writer = writer
        self._reserve = reserve
        self._cells = cells
        self._space = Space(1 << 62, 1 << 62, 0)
        self._questions = 0  # to the disk, so far
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.look(disk=True)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK)
            looks += 1
            await self.look(disk=looks % _DISK == 0)

    async def look(self, *, disk: bool) -> None:
        """Find the reason, if there is one, and tell the store."""
        if disk:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):
                self._space = await loop.run_in_executor(None, self._measure)
            self._store.trim_files()
        if self._intake.writer.error():
            self._intake.probe(self._store.next_id())
        self._store.judge(self._reason())

    def _reason(self) -> Excuse | None:
        writer, options = self._writer, self._store.options
        if writer is not None and writer.failed:
            return Excuse("index", writer.failed)
        if writer is not None and writer.trouble:
            return writer.trouble
        if self._space.free < options.min_free:
            return Excuse("disk", "the disk is nearly full")
        if self._space.map_used > _MAP_FULL * options.map_size:
            text = "the index is nearly full: raise store.map_size"
            return Excuse("index", text)
        return self._intake.trouble()

    def _measure(self) -> Space:
        """Blocking. The keeper's also sets the gauges, and makes the reserve again."""
        free, inodes = self.free(self._store.data)
        if self._writer is None:
            return Space(free, inodes, 0)
        self._reserve.restore(free, self._store.options.min_free)
        cells, index = self._cells, self._store.index
        pages = index.pages()
        cells[Count.DISK_FREE], cells[Count.DISK_FREE_INODES] = free, inodes
        cells[Count.MAP_SIZE], cells[Count.MAP_USED] = pages.map_size, pages.used
        cells[Count.FREE_PAGES] = pages.free
        readers = index.readers()
        cells[Count.READERS], cells[Count.OLDEST_READER] = readers.most, readers.behind
        if self._questions % _ROWS == 0:
            rows = index.segments().values()
            live = sum(row.live for row in rows)
            cells[Count.SEGMENTS] = len(rows)
            cells[Count.LIVE_OCTETS] = live
            cells[Count.DEAD_OCTETS] = sum(row.end for row in rows) - live
        self._questions += 1
        return Space(free, inodes, pages.used)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def free_space(path: Path) -> tuple[int, int]:
    """(octets, inodes) that are free to us on the file system of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_favail
