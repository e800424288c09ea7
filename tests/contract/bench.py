"""What the contract's tests stand on: a store that is opened, followed and closed."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from fastsmtp.store import keys
from fastsmtp.store.base import Apply, Kind, Read, Record, Store, Writes

PART = 300
OTHER = 301


class Order(msgspec.Struct, array_like=True):
    """The envelope of these tests: says outright what applying it shall do.

    count   a key of PART whose number is read and put back one higher
    adds    what is counted in a row of the queue
    """

    puts: list[tuple[int, bytes, bytes]] = []
    deletes: list[tuple[int, bytes]] = []
    refs: int = 0
    fail: bool = False
    count: bytes = b""
    adds: tuple[bytes, int, int] | None = None


def order(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(Order(**fields))


def obey(record: Record, read: Read) -> Writes:
    wish = msgspec.msgpack.decode(record.envelope, type=Order)
    if wish.fail:
        raise ValueError("told to fail")
    writes = Writes(refs=wish.refs)
    writes.puts.extend(wish.puts)
    writes.deletes.extend(wish.deletes)
    if wish.adds:
        key, first, second = wish.adds
        writes.adds = {keys.QUEUE: {key: (first, second)}}
    if wish.count:
        before = int(read(PART, wish.count) or b"0")
        writes.puts.append((PART, wish.count, b"%d" % (before + 1)))
    return writes


@asynccontextmanager
async def following(store: Store, apply: Apply = obey) -> Any:
    """The keeper's task, for as long as the block runs."""
    task = asyncio.ensure_future(store.follow(apply))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Answers:
    """A `Done` that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.got: list[Exception | None] = []
        self._came = asyncio.Event()

    def __call__(self, error: Exception | None) -> None:
        self.got.append(error)
        self._came.set()

    async def wait(self, n: int = 1) -> list[Exception | None]:
        while len(self.got) < n:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 10)
        return self.got


async def deliver(store: Store, body: bytes = b"body\r\n", **fields: Any) -> int:
    """Append a message whose envelope is an `Order`, and wait until it is visible."""
    id = await store.append(Kind.MAIL, order(**fields), body)
    await asyncio.wait_for(store.applied(id), 10)
    return id


class OnStore:
    """What a backend's test class gives."""

    survives = True  # what is durable is there when the same place is opened again

    def opened(self, place: Path) -> AbstractAsyncContextManager[Store]:
        """Open the store that lives at `place` (an empty directory the first time).

        The same place within one test is the same store, opened again after the
        context has ended."""
        raise NotImplementedError

    async def age(self, store: Store) -> bool:
        """Let the pin time pass, and bodies without references go. False: cannot."""
        return False


Case = Callable[[Any, Store], Awaitable[None]]


def followed(case: Case) -> Callable[[Any, Path], None]:
    """Run an async test on a fresh store that is followed with `obey`."""

    @functools.wraps(case)
    def test(self: OnStore, tmp_path: Path) -> None:
        async def run() -> None:
            async with self.opened(tmp_path) as store, following(store):
                await case(self, store)

        asyncio.run(run())

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest reads the signature
    return test
