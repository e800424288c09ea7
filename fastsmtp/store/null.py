"""A store that takes everything and keeps nothing: what the rest costs without one.

Every append is "durable" at once, every read finds nothing. Never for mail that
matters; `Kind` and ids are as everywhere, so all that stands above runs unchanged.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from fastsmtp.errors import Excuse, StoreUnavailable
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
    Written,
)


class NullSpool:
    """Swallows a body."""

    def write(self, data: bytes | memoryview) -> None: ...

    def backlog(self) -> int:
        return 0

    async def reread(self) -> Written:
        raise StoreUnavailable("nothing is kept here")

    def finish(self, kind: Kind, envelope: bytes, done: Done) -> None:
        asyncio.get_running_loop().call_soon(done, None)

    def abort(self) -> None: ...


class NullStore:
    """The contract in its shortest form."""

    def __init__(self, epoch: int = 1) -> None:
        self._next = epoch << 36
        self._version = 0

    def next_id(self) -> int:
        self._next += 1
        return self._next

    def submit(
        self,
        id: int,
        kind: Kind,
        envelope: bytes,
        head: bytes,
        body: bytes | bytearray | memoryview,
        done: Done,
    ) -> None:
        asyncio.get_running_loop().call_soon(done, None)

    def spool(self, id: int, head: bytes) -> NullSpool:
        return NullSpool()

    async def append(
        self, kind: Kind, envelope: bytes, body: bytes | memoryview
    ) -> int:
        return self.next_id()

    async def follow(self, apply: Apply) -> None:
        await asyncio.get_running_loop().create_future()

    async def applied(self, id: int) -> None: ...

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
        self._version += 1
        return self._version

    async def get(self, part: int, key: bytes) -> bytes | None:
        return None

    def peek(self, part: int, key: bytes) -> bytes | None:
        return None

    async def get_each(self, part: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [None] * len(keys)

    async def scan(
        self, part: int, lo: bytes, hi: bytes, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        return []

    async def sift(
        self, part: int, lo: bytes, hi: bytes, limit: int, fits: Fits
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        return [], None

    async def blob_open(self, id: int) -> Blob:
        raise KeyError(id)

    def open_now(self, ids: Sequence[int]) -> list[Blob | None]:
        return [None] * len(ids)

    def watch(self, part: int, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def healthy(self) -> Excuse | None:
        return None

    async def close(self) -> None: ...
