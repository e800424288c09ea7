import asyncio
from collections.abc import Coroutine
from typing import Any

from fastsmtp.queue.schedule import LONGEST, Schedule, recover
from fastsmtp.store import keys
from fastsmtp.store.base import Due
from fastsmtp.store.memory import MemoryStore

Q = keys.QUEUE


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


class Clock:
    """Time that passes only where somebody waits; says what was waited for."""

    def __init__(self) -> None:
        self.now = 1000
        self.waits: list[float] = []
        self.rung = asyncio.Event()

    def ring(self) -> None:
        self.rung.set()

    def reset(self) -> None:
        self.rung.clear()

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if seconds < LONGEST:
            self.now += int(seconds * 1000)
        else:
            await self.rung.wait()

    async def rest(self, seconds: float) -> None:
        raise NotImplementedError


def schedule(store: MemoryStore, clock: Clock, limit: int = 100) -> Schedule:
    return Schedule(store, 7, lambda: clock.now, clock, limit)


async def add(store: MemoryStore, *times: int) -> None:
    await store.commit(Q, puts=[(keys.due(at, at), b"") for at in times])


def test_what_is_due_comes_at_once_and_no_more_than_wanted() -> None:
    async def case() -> None:
        store, clock = MemoryStore(), Clock()
        await add(store, 900, 1000, 800, 1001)
        due = schedule(store, clock, limit=2)
        assert await due.claim() == [Due(800, 800), Due(900, 900)]
        assert await due.claim() == [Due(1000, 1000)]
        assert clock.waits == []

    run(case())


def test_it_sleeps_until_the_next_is_due() -> None:
    async def case() -> None:
        store, clock = MemoryStore(), Clock()
        await add(store, 6000, 3500)
        assert await schedule(store, clock).claim() == [Due(3500, 3500)]
        assert clock.waits == [2.5]

    run(case())


def test_new_work_wakes_it() -> None:
    async def case() -> None:
        store, clock = MemoryStore(), Clock()
        due = schedule(store, clock)
        waiting = asyncio.ensure_future(due.claim())
        await asyncio.sleep(0)
        assert not waiting.done()
        await add(store, 500)
        assert await asyncio.wait_for(waiting, 10) == [Due(500, 500)]
        due.close()
        clock.reset()
        await add(store, 600)
        await asyncio.sleep(0)
        assert not clock.rung.is_set()

    run(case())


def test_no_sleep_is_longer_than_a_clock_may_be_wrong() -> None:
    async def case() -> None:
        store, clock = MemoryStore(), Clock()
        await add(store, 10**12)
        waiting = asyncio.ensure_future(schedule(store, clock).claim())
        await asyncio.sleep(0)
        assert clock.waits == [LONGEST]
        clock.now = 10**12  # the wall clock was put right meanwhile
        clock.ring()
        assert await asyncio.wait_for(waiting, 10) == [Due(10**12, 10**12)]

    run(case())


def test_only_the_dead_lose_what_they_hold() -> None:
    async def case() -> None:
        store = MemoryStore()
        await add(store, 1, 2, 3, 4, 5)
        for holder, count in ((3, 2), (4, 1), (2**40, 2)):
            await store.claim(Q, 10, count, holder)
        assert await recover(store, {4}) == 4
        assert await recover(store, {4}) == 0
        left = await store.scan(Q, b"", b"\xff", 10)
        assert [key[:1] for key, _ in left] == [b"d"] * 4 + [b"l"]

    run(case())
