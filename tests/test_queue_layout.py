import asyncio

from fastsmtp.queue import layout, moves
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Standing,
    State,
    Target,
    encode_queued,
)
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore

Q = keys.QUEUE
NOW = 1_700_000_000_000
MINUTE = 60_000


def old(state: State, *standings: int) -> Queued:
    targets = tuple(
        Target(f"u{n}@d{n}.test", f"u{n}@d{n}.test", standing, 1, NOW + 5)
        for n, standing in enumerate(standings)
    )
    return Queued(Envelope("s@x.test", (), NOW), 100, state, NOW + 5, targets)


async def first_layout(store: MemoryStore, *entries: Queued) -> None:
    """As version 0.1 wrote it: one due row or lease, one counter."""
    for id, entry in enumerate(entries, 1):
        what = moves.tally(entry)
        row = b"d" + keys.u64(NOW) + keys.u64(id)
        if id == 2:
            row = b"l" + keys.u64(9) + keys.u64(id)
        puts = [(keys.queued(id), encode_queued(entry)), (row, what.encode())]
        await store.commit(Q, puts=puts, adds={what.key: (1, 100)})


def test_an_older_queue_is_brought_to_this_layout() -> None:
    async def case() -> None:
        store = MemoryStore()
        waits = old(State.DEFERRED, 0, Standing.DELIVERED)
        stuck = old(State.HOLD, 3, Standing.GIVEN_UP)
        await first_layout(store, waits, waits, stuck)
        assert await layout.upgrade(store, NOW + MINUTE) == 3
        there = store.disk.parts[Q].values
        freed = moves.read(store, 3)
        assert freed is not None
        assert freed.queued.state == State.DEFERRED
        assert {t.standing for t in freed.queued.targets} == {Standing.WAITING}
        wanted: dict[bytes, tuple[int, int]] = {}
        for id in (1, 2, 3):
            held = moves.read(store, id)
            assert held is not None
            for key, value in moves.rows(id, held.queued).items():
                assert there.pop(key) == value
            for key, by in moves.enter(id, held.queued).adds.items():
                have = wanted.get(key, (0, 0))
                wanted[key] = (have[0] + by[0], have[1] + by[1])
            del there[keys.queued(id)]
        for key, sums in wanted.items():
            assert tuple(moves.decode_counted(there.pop(key))) == sums
        assert there == {keys.QUEUE_LAYOUT: layout.LAYOUT}

    asyncio.run(case())


def test_a_queue_of_this_layout_is_left_alone() -> None:
    async def case() -> None:
        store = MemoryStore()
        assert await layout.upgrade(store, NOW) == 0
        held = old(State.HOLD, 0)
        await moves.make(store, moves.enter(1, held))
        before = dict(store.disk.parts[Q].values)
        assert await layout.upgrade(store, NOW) == 0
        assert store.disk.parts[Q].values == before

    asyncio.run(case())
