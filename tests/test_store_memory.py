import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from contract.bench import PART, Answers, deliver, following, order
from contract.model import StoreModel
from contract.promises import StoreContract

from fastsmtp.errors import StoreUnavailable
from fastsmtp.store.base import Kind, Store
from fastsmtp.store.memory import Disk, MemoryStore


class TestMemory(StoreContract, StoreModel):
    disks: dict[Path, Disk] = {}
    now = 0.0

    @asynccontextmanager
    async def opened(self, place: Path) -> AsyncIterator[MemoryStore]:
        disk = self.disks.setdefault(place, Disk())
        store = MemoryStore(disk, clock=lambda: self.now)
        yield store
        await store.close()

    async def age(self, store: Store) -> bool:
        assert isinstance(store, MemoryStore)
        self.now += 601
        store.sweep()
        return True


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_nothing_is_durable_while_it_is_held() -> None:
    async def case() -> None:
        store, answers = MemoryStore(), Answers()
        store.holding = True
        async with following(store):
            envelope = order(puts=[(PART, b"x", b"1")])
            store.submit(store.next_id(), Kind.MAIL, envelope, b"", b"b", answers)
            await asyncio.sleep(0)
            assert answers.got == []
            assert store.peek(PART, b"x") is None
            store.flush()
            assert await answers.wait() == [None]
            assert store.peek(PART, b"x") == b"1"

    run(case())


def test_a_crash_loses_what_was_held_and_no_more() -> None:
    async def case() -> None:
        disk, answers = Disk(), Answers()
        store = MemoryStore(disk)
        for name in (b"kept", b"lost"):
            envelope = order(puts=[(PART, name, b"")])
            store.submit(store.next_id(), Kind.MAIL, envelope, b"", b"b", answers)
            store.holding = True
        assert await answers.wait(1) == [None]
        store = MemoryStore(disk)
        async with following(store):
            await deliver(store)
            assert store.peek(PART, b"kept") == b""
            assert store.peek(PART, b"lost") is None

    run(case())


def test_a_write_can_be_made_to_fail() -> None:
    async def case() -> None:
        store = MemoryStore()
        store.fail_next = 1
        with pytest.raises(StoreUnavailable):
            await store.append(Kind.MAIL, order(), b"lost")
        async with following(store):
            await deliver(store, puts=[(PART, b"x", b"1")])
        assert store.peek(PART, b"x") == b"1"
        assert len(store.disk.blobs) == 1

    run(case())


def test_a_store_in_trouble_says_so_and_takes_nothing() -> None:
    async def case() -> None:
        store = MemoryStore()
        store.trouble = "disk full"
        assert store.healthy() == ("disk", "disk full")
        with pytest.raises(StoreUnavailable, match="disk full"):
            await store.append(Kind.MAIL, order(), b"")
        with pytest.raises(StoreUnavailable):
            await store.commit(PART, puts=[(b"a", b"")])
        with pytest.raises(StoreUnavailable):
            store.spool(1, b"")
        store.trouble = None
        assert await store.commit(PART, puts=[(b"a", b"")]) == 1

    run(case())


def test_each_life_has_its_own_ids() -> None:
    async def case() -> None:
        disk = Disk()
        first = [MemoryStore(disk).next_id() for _ in range(3)]
        assert first == sorted(set(first))
        assert [id >> 36 for id in first] == [1, 2, 3]

    run(case())
