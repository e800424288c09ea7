import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fastsmtp.queue.message import State
from fastsmtp.queue.moves import Tally
from fastsmtp.queue.schedule import LONGEST, TURN, WRAP, Schedule
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore

Q = keys.QUEUE
VALUE = Tally(State.SCHEDULED, 0, 10).encode()


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


class Bell:
    """An alarm nobody waits for."""

    rings = 0

    def ring(self) -> None:
        self.rings += 1

    def reset(self) -> None: ...

    async def wait(self, seconds: float) -> None:
        raise NotImplementedError

    async def rest(self, seconds: float) -> None:
        raise NotImplementedError


class Desk:
    """A schedule on a store of rows, with a clock that is set by hand."""

    def __init__(self, most: int = 1000) -> None:
        self.store = MemoryStore()
        self.now = 1000
        self.bell = Bell()
        self.schedule = Schedule(self.store, lambda: self.now, self.bell, most)

    async def rows(self, name: str, *times: int, rank: int = 9, first: int = 0) -> None:
        """Messages due at these times; their ids count from `first`."""
        puts = [
            (keys.due(name, rank, at, id), VALUE) for id, at in enumerate(times, first)
        ]
        await self.store.commit(Q, puts=puts)

    async def gone(self, name: str, at: int, id: int, rank: int = 9) -> None:
        await self.store.commit(Q, deletes=[keys.due(name, rank, at, id)])
        self.schedule.done(name, id)

    async def take(self, most: int = 1000) -> tuple[str, list[int]] | None:
        taken = await self.schedule.take(most)
        if taken is None:
            return None
        return taken[0].name, [due.id for due in taken[1]]


def test_a_start_finds_every_destination() -> None:
    async def case() -> None:
        desk = Desk()
        for name in ("a.test", "b.test", "", "c.test"):
            await desk.rows(name, *range(5, 15))
        assert await desk.schedule.load() == 4
        taken = [await desk.take() for _ in range(5)]
        assert [t and t[0] for t in taken] == ["", "a.test", "b.test", "c.test", None]
        assert all(t[1] == list(range(10)) for t in taken if t)

    run(case())


def test_destinations_take_turns() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("big.test", *[5] * (3 * TURN))
        await desk.rows("small.test", 6)
        await desk.schedule.load()
        order = []
        while taken := await desk.take():
            order.append((taken[0], len(taken[1])))
        assert order == [
            ("big.test", TURN),
            ("small.test", 1),
            ("big.test", TURN),
            ("big.test", TURN),
        ]

    run(case())


def test_what_is_not_due_waits_for_its_time() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", 900, 5000)
        await desk.schedule.load()
        assert await desk.take() == ("a.test", [0])
        await desk.gone("a.test", 900, 0)
        assert await desk.take() is None
        assert desk.schedule.wait() == 4.0
        desk.now = 5000
        assert desk.schedule.wait() == 0.0
        assert await desk.take() == ("a.test", [1])

    run(case())


def test_nothing_due_means_a_look_now_and_then() -> None:
    desk = Desk()
    assert desk.schedule.wait() == LONGEST


def test_what_is_active_is_not_handed_out_again_until_it_is_done() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", 1, 2)
        await desk.schedule.load()
        assert await desk.take() == ("a.test", [0, 1])
        desk.schedule.noted(["a.test"])
        assert await desk.take() is None
        assert [id for id, _ in desk.schedule.active()] == [0, 1]
        desk.schedule.done("a.test", 1)  # its row still stands: due again
        desk.now += WRAP
        assert await desk.take() == ("a.test", [1])

    run(case())


def test_a_destination_has_only_so_many_at_a_time() -> None:
    async def case() -> None:
        desk = Desk(most=3)
        await desk.rows("a.test", *range(8))
        await desk.schedule.load()
        assert await desk.take() == ("a.test", [0, 1, 2])
        assert await desk.take() is None
        await desk.gone("a.test", 1, 1)
        assert await desk.take() == ("a.test", [3])

    run(case())


def test_urgent_messages_go_first_also_while_a_backlog_is_under_way() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", *[1] * (2 * TURN))
        await desk.rows("a.test", 900, rank=3, first=5000)
        await desk.rows("a.test", 1, rank=keys.HELD, first=6000)
        await desk.schedule.load()
        _, first = await desk.take() or ("", [])
        assert first[0] == 5000
        await desk.rows("a.test", 950, rank=2, first=7000)
        _, then = await desk.take() or ("", [])
        assert then[0] == 7000
        rest = [id for t in [await desk.take(), await desk.take()] if t for id in t[1]]
        assert sorted(first[1:] + then[1:] + rest) == list(range(2 * TURN))

    run(case())


def test_rows_that_come_in_front_are_seen() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", *[500] * 150)
        await desk.schedule.load()
        await desk.take()
        await desk.rows("a.test", 400, first=1000)
        seen = []
        for _ in range(5):
            desk.now += WRAP
            while taken := await desk.take():
                seen += taken[1]
        assert sorted(seen) == [*range(100, 150), 1000]

    run(case())


def test_what_is_given_back_is_due_as_before() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", *range(5))
        await desk.schedule.load()
        assert await desk.take(3) == ("a.test", [0, 1, 2])
        desk.schedule.give_back("a.test", [0, 2])
        assert await desk.take() == ("a.test", [0, 2, 3, 4])

    run(case())


def test_a_pause_holds_one_destination_alone() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", 1)
        await desk.rows("b.test", 1)
        await desk.schedule.load()
        desk.schedule.pause("a.test", 31_000)
        assert await desk.take() == ("b.test", [0])
        assert await desk.take() is None
        assert desk.schedule.wait() == 30.0
        desk.now = 31_000
        assert await desk.take() == ("a.test", [0])

    run(case())


def test_who_is_suspended_gets_nothing_also_after_a_start() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", 1)
        await desk.store.commit(Q, puts=[(keys.suspended("a.test"), b"")])
        await desk.schedule.load()
        assert await desk.take() is None
        desk.schedule.suspend("a.test", False)
        assert desk.bell.rings == 1
        assert await desk.take() == ("a.test", [0])

    run(case())


def test_rows_far_in_the_future_are_found() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", 1, 2, 10**9, 10**9 + 1)
        await desk.rows("a.test", 3, 10**9, rank=2, first=10)
        await desk.rows("a.test", 10**9, rank=keys.HELD, first=20)
        pages = [page async for page in desk.schedule.overdue("a.test", 10**6)]
        found = [id for page in pages for id in page]
        assert sorted(found) == [2, 3, 11]
        assert [page async for page in desk.schedule.overdue("b.test", 10**6)] == []

    run(case())


@pytest.mark.parametrize("count", [1, 50, 2000])
def test_memory_grows_with_destinations_not_with_messages(count: int) -> None:
    async def case() -> None:
        desk = Desk(most=10)
        await desk.rows("a.test", *range(count))
        await desk.rows("b.test", *[10**6] * count)
        await desk.schedule.load()
        await desk.take()
        assert sorted(desk.schedule.names()) == ["a.test", "b.test"]
        assert len(list(desk.schedule.active())) == min(count, 10)

    run(case())


def test_a_destination_where_nothing_waits_is_forgotten() -> None:
    async def case() -> None:
        desk = Desk()
        await desk.rows("a.test", 1)
        desk.schedule.noted(["a.test", "none.test"])
        assert await desk.take() == ("a.test", [0])
        await desk.gone("a.test", 1, 0)
        assert await desk.take() is None
        assert desk.schedule.names() == []

    run(case())
