"""The store in memory: the contract at its plainest, for tests and as a model.

What would be on disk is a `Disk`; a `MemoryStore` is one process life on it. To crash,
drop the store and open another on the same disk: what was durable is there, applied or
not, and what was not is gone.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fastsmtp.errors import Conflict, Damaged, Excuse, Misused, StoreUnavailable
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
    Record,
    added,
    keeping,
)

_EPOCH_SHIFT = 36


def _set_aside(record: Record, error: Exception) -> Damaged:
    return Damaged(f"record {record.id:x} could not be applied: {error}")


class Partition:
    """Ordered keys and their values; `order` holds the keys of `values`, sorted."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.order: list[bytes] = []
        self.version = 0

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.order, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.order[bisect_left(self.order, key)]

    def add(self, adds: Adds) -> None:
        for key, by in adds.items():
            value = added(self.values.get(key), by)
            if value is None:
                self.delete(key)
            else:
                self.put(key, value)

    def between(self, lo: bytes, hi: bytes) -> list[bytes]:
        return self.order[bisect_left(self.order, lo) : bisect_left(self.order, hi)]


@dataclass(slots=True)
class Body:
    """A blob. `idle` is when its references last came to 0, on the store's clock."""

    data: bytes
    refs: int = 0
    idle: float = 0.0


@dataclass(slots=True)
class Disk:
    """What survives a crash. `log` holds durable records not yet applied, in order."""

    epoch: int = 0
    parts: dict[int, Partition] = field(default_factory=dict)
    blobs: dict[int, Body] = field(default_factory=dict)
    log: deque[tuple[Record, bytes]] = field(default_factory=deque)
    aside: list[tuple[Record, Exception]] = field(default_factory=list)


class MemoryBlob:
    """An open body: it holds the octets, so nothing can take them away."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def verify(self) -> None:
        """Nothing rots in memory."""

    def close(self) -> None: ...


class MemoryWritten:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


class MemorySpool:
    """Collects the body; a disk would have it on its way already."""

    def __init__(self, store: MemoryStore, id: int, head: bytes) -> None:
        self._store = store
        self._id = id
        self._data = bytearray(head)

    def write(self, data: bytes | memoryview) -> None:
        self._data += data

    def backlog(self) -> int:
        return 0

    async def reread(self) -> MemoryWritten:
        return MemoryWritten(bytes(self._data))

    def finish(self, kind: Kind, envelope: bytes, done: Done) -> None:
        self._store.submit(self._id, kind, envelope, b"", self._data, done)
        self._data = bytearray()

    def abort(self) -> None:
        self._data = bytearray()


class MemoryStore:
    """One process life on a `Disk`. Every method runs on one event loop.

    Knobs for tests:

    trouble     a reason: `healthy` tells it, and `submit` and `commit` raise
    fail_next   the next so many submits are taken but never become durable
    holding     True: nothing becomes durable until `flush`
    """

    def __init__(
        self,
        disk: Disk | None = None,
        *,
        pin: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.disk = Disk() if disk is None else disk
        self.disk.epoch += 1
        self.epoch = self.disk.epoch
        self.trouble: str | None = None
        self.fail_next = 0
        self.holding = False
        self._pin = pin
        self._clock = clock
        self._counter = 0
        self._held: list[tuple[Record, bytes, Done]] = []
        self._arrived = asyncio.Event()
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._watchers: dict[int, list[Callable[[], None]]] = {}
        self._told: set[int] = set()

    # Incoming mail

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
        self._check_healthy()
        data = b"".join((head, body))
        record = Record(id, kind, bytes(envelope), len(data))
        if self.fail_next:
            self.fail_next -= 1
            error = StoreUnavailable("the next write was told to fail")
            asyncio.get_running_loop().call_soon(done, error)
            return
        self._held.append((record, data, done))
        if not self.holding:
            self.flush()

    def flush(self) -> None:
        """Make durable what is held."""
        held, self._held = self._held, []
        loop = asyncio.get_running_loop()
        for record, data, done in held:
            self.disk.log.append((record, data))
            loop.call_soon(done, None)
        self._arrived.set()

    def spool(self, id: int, head: bytes) -> MemorySpool:
        self._check_healthy()
        return MemorySpool(self, id, head)

    async def append(
        self, kind: Kind, envelope: bytes, body: bytes | memoryview
    ) -> int:
        id = self.next_id()
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit(id, kind, envelope, b"", body, keeping(durable))
        await durable
        return id

    # The keeper

    async def follow(self, apply: Apply) -> None:
        while True:
            while self.disk.log:
                self._apply(apply, *self.disk.log[0])
                self.disk.log.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    def _apply(self, apply: Apply, record: Record, data: bytes) -> None:
        body = Body(data, 0, self._clock())
        error: Exception | None = None
        if record.kind == Kind.MAIL:
            try:
                writes = apply(record, self.peek)
            except Exception as raised:
                error = raised
                body.refs = 1  # what is set aside is kept until someone looks at it
                self.disk.aside.append((record, raised))
            else:
                body.refs = writes.refs
                for part, key in writes.deletes:
                    self._part(part).delete(key)
                for part, key, value in writes.puts:
                    self._part(part).put(key, value)
                for part, adds in writes.adds.items():
                    self._part(part).add(adds)
                touched = {part for part, _, _ in writes.puts}
                for part in touched.union(part for part, _ in writes.deletes):
                    self._touch(part)
        self.disk.blobs[record.id] = body
        committed = getattr(apply, "committed", None)
        if committed is not None:
            committed()
        for waiter in self._waiting.pop(record.id, ()):
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(_set_aside(record, error))

    async def applied(self, id: int) -> None:
        for record, error in self.disk.aside:
            if record.id == id:
                raise _set_aside(record, error)
        if id in self.disk.blobs:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id, []).append(waiter)
        await waiter

    # The index

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
        self._check_healthy()
        for key, value in checks:
            if self.peek(part, key) != value:
                raise Conflict(f"partition {part}, key {key!r}")
        for id, change in refs.items():
            if self.disk.blobs[id].refs + change < 0:
                raise Misused(f"blob {id:x} has fewer references than are given up")
        for id, change in refs.items():
            blob = self.disk.blobs[id]
            blob.refs += change
            blob.idle = self._clock()
        for key in deletes:
            self._part(part).delete(key)
        for key, value in puts:
            self._part(part).put(key, value)
        self._part(part).add(adds)
        return self._touch(part)

    async def get(self, part: int, key: bytes) -> bytes | None:
        return self.peek(part, key)

    def peek(self, part: int, key: bytes) -> bytes | None:
        held = self.disk.parts.get(part)
        return None if held is None else held.values.get(key)

    async def get_each(self, part: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.peek(part, key) for key in keys]

    async def scan(
        self, part: int, lo: bytes, hi: bytes, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        held = self._part(part)
        found = held.between(lo, hi)
        if reverse:
            found.reverse()
        return [(key, held.values[key]) for key in found[:limit]]

    async def sift(
        self, part: int, lo: bytes, hi: bytes, limit: int, fits: Fits
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        rows = await self.scan(part, lo, hi, limit)
        more = rows[-1][0] + b"\0" if rows and len(rows) == limit else None
        return [row for row in rows if fits(row[1])], more

    def _part(self, part: int) -> Partition:
        return self.disk.parts.setdefault(part, Partition())

    # Bodies

    async def blob_open(self, id: int) -> MemoryBlob:
        return MemoryBlob(self.disk.blobs[id].data)

    def open_now(self, ids: Sequence[int]) -> list[Blob | None]:
        bodies = [self.disk.blobs.get(id) for id in ids]
        return [None if body is None else MemoryBlob(body.data) for body in bodies]

    def sweep(self) -> int:
        """Forget bodies without references past the pin time; returns how many."""
        limit = self._clock() - self._pin
        dead = [
            id for id, b in self.disk.blobs.items() if b.refs == 0 and b.idle <= limit
        ]
        for id in dead:
            del self.disk.blobs[id]
        return len(dead)

    # Hints and health

    def watch(self, part: int, changed: Callable[[], None]) -> Callable[[], None]:
        watchers = self._watchers.setdefault(part, [])
        watchers.append(changed)

        def end() -> None:
            if changed in watchers:
                watchers.remove(changed)

        return end

    def _touch(self, part: int) -> int:
        """Count the partition's change; one call tells its watchers of many."""
        if self._watchers.get(part) and part not in self._told:
            self._told.add(part)
            asyncio.get_running_loop().call_soon(self._tell, part)
        held = self._part(part)
        held.version += 1
        return held.version

    def _tell(self, part: int) -> None:
        self._told.discard(part)
        for changed in tuple(self._watchers[part]):
            changed()

    def healthy(self) -> Excuse | None:
        return None if self.trouble is None else Excuse("disk", self.trouble)

    def _check_healthy(self) -> None:
        if self.trouble is not None:
            raise StoreUnavailable(self.trouble)

    async def close(self) -> None:
        """What was held is not durable: nobody was told that it is."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.cancel()
        self._waiting.clear()
