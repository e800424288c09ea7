import asyncio
from collections.abc import Coroutine
from typing import Any

from fastsmtp.cells import fresh
from fastsmtp.queue import actives, counts, listing, moves
from fastsmtp.queue.listing import gauges, references
from fastsmtp.queue.message import Envelope, Queued, State, Target
from fastsmtp.queue.moves import Tally
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore

MINUTE = 60_000
NOW = 28_333_333 * MINUTE


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


async def enter(
    store: MemoryStore,
    sender: str = "s@x.test",
    to: str = "a@y.test",
    state: State = State.DEFERRED,
    age: int = 0,
) -> int:
    id = store.next_id()
    envelope = Envelope(sender, (), NOW - age * 1000)
    entry = Queued(envelope, 100, state, NOW, (Target(to, "all@y.test"),))
    await moves.make(store, moves.enter(id, entry))
    return id


def test_gauges_are_sums_of_counters() -> None:
    async def case() -> None:
        store = MemoryStore()
        for age in (0, 30, 200, 4000, 10**6):
            await enter(store, age=age)
        await enter(store, state=State.HOLD, age=100_000)
        depths = await gauges(store, NOW)
        assert depths.keys() == set(State)
        deferred, hold = depths[State.DEFERRED], depths[State.HOLD]
        assert (deferred.messages, deferred.octets) == (5, 500)
        found = {age: n for age, n in deferred.ages.items() if n}
        assert found == {"1m": 2, "5m": 1, "4h": 1, "+Inf": 1}
        assert deferred.oldest == (NOW // 1000 - 10**6) // 60 * 60
        assert (hold.messages, hold.ages["5d"]) == (1, 1)
        assert (depths[State.SCHEDULED].messages, depths[State.ACTIVE].oldest) == (0, 0)
        assert set(hold.ages) == {name for name, _ in listing.AGES} | {"+Inf"}

    run(case())


def test_what_is_worked_on_is_counted_as_active() -> None:
    async def case() -> None:
        store = MemoryStore()
        for age in (0, 0, 7200):
            await enter(store, age=age)
        cells = fresh(counts.CELLS)
        young = Tally(State.DEFERRED, NOW // MINUTE, 100)
        actives.tell(cells, [(1, young), (2, young)], NOW)
        depths = await gauges(store, NOW)
        actives.move(depths, cells)
        active, deferred = depths[State.ACTIVE], depths[State.DEFERRED]
        assert active.oldest == NOW // 1000
        actives.tell(cells, [], NOW)
        assert not any(cells)
        assert (active.messages, active.octets, deferred.messages) == (2, 200, 1)
        assert (active.ages["1m"], deferred.ages["4h"]) == (2, 1)

    run(case())


def test_the_fullest_destinations_come_first() -> None:
    async def case() -> None:
        store = MemoryStore()
        for name, messages in (("a", 1), ("b", 5), ("c", 3), ("d", 2)):
            for _ in range(messages):
                await enter(store, to=f"x@{name}.test")
        first, others = await listing.top(store, 2)
        assert first == [("b.test", 5, 500), ("c.test", 3, 300)]
        assert others == ("other", 3, 300)

    run(case())


def test_an_entry_refers_to_its_body() -> None:
    assert references(keys.QUEUE, keys.queued(77), b"") == (77,)
    assert references(keys.QUEUE, keys.due("y.test", 9, 1, 77), b"") == ()
    assert references(keys.FIRST_ACCOUNT, b"m" + keys.u64(77), b"") == ()
