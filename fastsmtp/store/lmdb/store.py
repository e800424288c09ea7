"""`LmdbStore`: the contract of `store.base` on one machine, for one process.

    keeper     applies all logs, writes the index, serves the link; its series is 0.
               It can take mail as well: one process is this object alone
    receiver   appends to its own log, reads the index, tells the keeper by the link
    reader     the same; what it commits the keeper writes, asked by the link

Mail is durable with the flush of the log and visible with the commit of the keeper.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import lmdb

from fastsmtp.errors import Damaged, Excuse, Misused, StoreUnavailable
from fastsmtp.store.base import (
    NO_ADDS,
    NOTHING,
    Adds,
    Apply,
    Blob,
    Check,
    Done,
    Fits,
    Kind,
    keeping,
)
from fastsmtp.store.lmdb import aside, work
from fastsmtp.store.lmdb.backup import copy_to
from fastsmtp.store.lmdb.blobs import Files, open_blob, open_blobs
from fastsmtp.store.lmdb.index import LONGEST_KEY, Index
from fastsmtp.store.lmdb.intake import Intake, LargeBody
from fastsmtp.store.lmdb.keeper import Keeper
from fastsmtp.store.lmdb.link import LinkClient
from fastsmtp.store.lmdb.reserve import Reserve
from fastsmtp.store.lmdb.series import Series, all_series
from fastsmtp.store.lmdb.vitals import Vitals
from fastsmtp.store.lmdb.writer import Writer
from fastsmtp.store.options import StoreOptions

_EPOCH_SHIFT: Final = 36
SOCKET: Final = "keeper.sock"


class LmdbStore:
    """See `store.base.Store`. Made by `open` or `read`.

    keeper   None in a receiver; its `on_aside` and `on_damaged` are reports
    """

    def __init__(self, data: Path, options: StoreOptions, index: Index) -> None:
        self.data = data
        self.options = options
        self.index = index
        self.epoch = 0
        self.log = data / "log"
        self.keeper: Keeper | None = None
        self._files = Files(self.log)
        self._intake: Intake | None = None
        self._writer: Writer | None = None
        self._link: LinkClient | None = None
        self._vitals: Vitals | None = None
        self._counter = 0
        self._watches: dict[int, list[Callable[[], None]]] = {}
        self._reason: Excuse | None = None

    # opening and closing

    @classmethod
    async def open(
        cls,
        data: Path,
        run: Path | None,
        options: StoreOptions,
        *,
        epoch: int,
        series: int,
        cells: "memoryview[int]",
    ) -> Self:
        """Open for one process life.

        run     where the keeper's socket is; None: a keeper without a socket, that is
                all there is (one process, or a command that works offline)
        epoch   from `next_epoch`, given to no other process life
        series  0 is the keeper; receivers count from 1
        cells   `store.counts.SIZE` of them

        Raises `FormatTooNew`, or `StoreUnavailable` when the disk or the map fails."""
        if run is None and series:
            raise Misused("a receiver needs the keeper's socket")
        index = Index(data, options, readonly=series > 0)
        store = cls(data, options, index)
        store.epoch = epoch
        try:
            await store._start(run, series, cells)
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    def read(cls, data: Path, options: StoreOptions) -> Self:
        """Open the index for reading alone, while it is served or not."""
        return cls(data, options, Index(data, options, readonly=True))

    async def _start(
        self, run: Path | None, series: int, cells: "memoryview[int]"
    ) -> None:
        self.log.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not series:
            for number in all_series(self.log):
                Series(self.log, number, self.index.applied(number)).check_format()
        reserve = Reserve(self.data / "reserve", self.options.reserve)
        least = self.index.applied(series)
        self._intake = intake = Intake(
            *(self.log, series, self.epoch),
            max(least.segment, least.highest) + 1,
            *(self.options, cells),
        )
        if series and run is not None:
            self._link = LinkClient(
                *(run / SOCKET, series, intake.writer.first, intake.durable),
                *(intake.on_applied, self._changed_part),
            )
            intake.tell = self._link.tell
        else:
            self._writer = Writer(
                *(self.index, reserve, self.options.commit_interval),
                *(cells, self._changed),
            )
            self._writer.start()
            self.keeper = Keeper(
                *(self.index, self._writer, self.log, self.options, cells)
            )
            self.keeper.start(intake)
            if run is not None:
                await self.keeper.serve(run / SOCKET)
        self._vitals = Vitals(self, intake, self._writer, reserve, cells)
        await self._vitals.start()

    async def close(self) -> None:
        """Flush the log, end threads and tasks. Idempotent."""
        vitals, self._vitals = self._vitals, None
        if vitals is not None:
            await vitals.close()
        intake, self._intake = self._intake, None
        if intake is not None:
            await intake.close()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            await keeper.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
            await asyncio.get_running_loop().run_in_executor(None, writer.join)
        self._files.close()
        self.index.close()

    def on_fatal(self, fatal: Callable[[str], None]) -> None:
        """`fatal(reason)` is called once when a sync of the index failed."""
        if self._writer is not None:
            self._writer.fatal = fatal

    # incoming mail

    def next_id(self) -> int:
        self._counter += 1
        return self.epoch << _EPOCH_SHIFT | self._counter

    def submit(
        self,
        id: int,
        kind: Kind,
        envelope: bytes,
        head: bytes,
        body: bytes | bytearray | memoryview,
        done: Done,
    ) -> None:
        if self._reason is not None:
            raise StoreUnavailable(self._reason.text)
        self._own().submit(id, kind, envelope, head, body, done)

    def spool(self, id: int, head: bytes) -> LargeBody:
        if self._reason is not None:
            raise StoreUnavailable(self._reason.text)
        return self._own().spool(id, head)

    async def append(
        self, kind: Kind, envelope: bytes, body: bytes | memoryview
    ) -> int:
        id = self.next_id()
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit(id, kind, envelope, b"", body, keeping(outcome))
        await outcome
        return id

    def _own(self) -> Intake:
        if self._intake is None:
            raise Misused("this store is open for reading alone")
        return self._intake

    # the keeper

    async def follow(self, apply: Apply) -> None:
        if self.keeper is None:
            raise Misused("only the keeper applies the logs")
        await self.keeper.follow(apply)

    async def applied(self, id: int) -> None:
        """Raises `Damaged` when the record was set aside."""
        await self._own().visible()
        if self.index.is_aside(id):
            raise Damaged(f"record {id:x} could not be applied; it is set aside")

    def set_aside(self) -> list[aside.Aside]:
        """Records that could not be applied, with the reason; they are kept."""
        with self.index.env.begin() as txn:
            return list(aside.records(txn, self.index))

    # the index

    async def commit(
        self,
        part: int,
        *,
        checks: Sequence[Check] = (),
        puts: Sequence[tuple[bytes, bytes]] = (),
        deletes: Sequence[bytes] = (),
        refs: Mapping[int, int] = NOTHING,
        adds: Adds = NO_ADDS,
    ) -> int:
        if any(not 0 < len(key) <= LONGEST_KEY for key, _ in puts):
            raise Misused(f"a key has 1 to {LONGEST_KEY} octets")
        change = work.Change(part, checks, puts, deletes, refs, adds)
        if self._link is not None:
            return await self._link.commit(change)
        version: int = await self._writes().call(
            lambda txn: change.write(txn, self.index), part=part, frees=change.frees
        )
        return version

    def _writes(self) -> Writer:
        if self._writer is None:
            raise Misused("only the keeper writes the index")
        return self._writer

    async def get(self, part: int, key: bytes) -> bytes | None:
        return self.peek(part, key)

    def peek(self, part: int, key: bytes) -> bytes | None:
        try:
            return self.index.get(part, key)
        except lmdb.Error as error:
            raise StoreUnavailable(f"the index failed: {error}") from error

    async def scan(
        self, part: int, lo: bytes, hi: bytes, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        try:
            return self.index.scan(part, lo, hi, limit, reverse)
        except lmdb.Error as error:
            raise StoreUnavailable(f"the index failed: {error}") from error

    async def sift(
        self, part: int, lo: bytes, hi: bytes, limit: int, fits: Fits
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        try:
            return self.index.sift(part, lo, hi, limit, fits)
        except lmdb.Error as error:
            raise StoreUnavailable(f"the index failed: {error}") from error

    async def get_each(self, part: int, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            return self.index.get_each(part, keys)
        except lmdb.Error as error:
            raise StoreUnavailable(f"the index failed: {error}") from error

    # bodies

    async def blob_open(self, id: int) -> Blob:
        return open_blob(id, self.index.place, self._files)

    def open_now(self, ids: Sequence[int]) -> list[Blob | None]:
        return open_blobs(ids, self.index, self._files)

    def trim_files(self) -> None:
        """Let go of descriptors of segments that were unlinked."""
        self._files.trim()

    # hints, health, backup

    def watch(self, part: int, changed: Callable[[], None]) -> Callable[[], None]:
        watchers = self._watches.setdefault(part, [])
        watchers.append(changed)
        if self._link is not None:
            self._link.watch(part)

        def end() -> None:
            with contextlib.suppress(ValueError):
                watchers.remove(changed)

        return end

    def _changed(self, parts: set[int]) -> None:
        if self.keeper is not None and self.keeper.link is not None:
            self.keeper.link.changed(parts)
        for part in parts & self._watches.keys():
            self._changed_part(part)

    def _changed_part(self, part: int) -> None:
        for changed in tuple(self._watches.get(part, ())):
            changed()

    def healthy(self) -> Excuse | None:
        return self._reason

    def behind(self) -> float:
        """How far mail accepted here is from being visible; at 1.0 none is taken."""
        return 0.0 if self._intake is None else self._intake.behind()

    def judge(self, reason: Excuse | None) -> None:
        """What `healthy` says from now on."""
        self._reason = reason

    async def backup(self, target: Path) -> None:
        """Copy the store to a new directory while it serves; the copy holds all that
        was acknowledged before the call and passes `verify`.

        Raises `StoreUnavailable` when the target is not empty or not writable."""
        if self.keeper is None:
            raise Misused("only the keeper makes a backup")
        self.keeper.holds += 1
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, copy_to, self.index, self.data, target)
        finally:
            self.keeper.release()
