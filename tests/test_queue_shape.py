"""Where the queue waits, by age."""

from test_queue_selection import NOW, enter, run, target

from fastsmtp.queue.listing import NAMES
from fastsmtp.queue.message import State
from fastsmtp.queue.shape import shapes
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore


def test_destinations_by_age_fullest_first() -> None:
    async def case() -> None:
        store = MemoryStore()
        for age in (0, 100, 100, 50_000, 10**6):
            await enter(store, target("a@full.test"), arrived=NOW - age * 1000)
        await enter(store, target("a@half.test"), state=State.HOLD)
        await enter(store, target("a@half.test"), target("b@other.test"))
        rows = [(keys.suspended(name), b"") for name in ("half.test", "empty.test")]
        await store.commit(keys.QUEUE, puts=rows)
        full, half, empty, other = await shapes(store, 2, NOW)
        assert (full.name, full.messages, full.octets) == ("full.test", 5, 500)
        found = {age: n for age, n in full.ages.items() if n}
        assert found == {"1m": 1, "5m": 2, "1d": 1, "+Inf": 1}
        assert (full.held, full.suspended) == (0, False)
        assert tuple(full.ages) == NAMES
        assert (half.name, half.messages, half.held) == ("half.test", 2, 1)
        assert half.suspended
        assert (empty.name, empty.messages, empty.suspended) == ("empty.test", 0, True)
        assert (other.name, other.messages, other.ages) == ("other", 1, {})

    run(case())


def test_an_empty_queue_has_no_shape() -> None:
    async def case() -> None:
        assert await shapes(MemoryStore(), 20, NOW) == []

    run(case())
