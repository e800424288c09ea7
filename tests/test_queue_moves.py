import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fastsmtp.errors import Conflict, Damaged
from fastsmtp.queue import moves
from fastsmtp.queue.message import Envelope, Queued, State, Target, encode_queued
from fastsmtp.queue.moves import Counted, Tally, decode_counted, decode_tally, tally
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Writes
from fastsmtp.store.memory import MemoryStore

MINUTE = 60_000
Q = keys.QUEUE


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


def queued(state: State = State.DEFERRED, due: int = 50, minute: int = 3) -> Queued:
    envelope = Envelope("s@x.test", (), minute * MINUTE + 7)
    return Queued(envelope, 100, state, due, (Target("a@y.test", "a@y.test"),))


async def body(store: MemoryStore) -> int:
    """A body that a queue entry will refer to."""
    keeper = asyncio.ensure_future(store.follow(lambda record, read: Writes()))
    id = await store.append(Kind.BLOB, b"", b"x" * 100)
    await store.applied(id)
    keeper.cancel()
    return id


async def enter(store: MemoryStore, entry: Queued) -> int:
    id = await body(store)
    move = moves.enter(id, entry)
    move.refs[id] = 1
    await moves.make(store, move)
    return id


def contents(store: MemoryStore) -> dict[bytes, bytes]:
    return store.disk.parts[Q].values


def counter(state: State, minute: int = 3) -> bytes:
    return keys.arrivals(moves.LETTERS[state], minute)


@pytest.mark.parametrize("state", list(moves.LETTERS))
def test_a_tally_survives_the_store(state: State) -> None:
    what = Tally(state, 27_000_000, 2**40)
    assert decode_tally(what.encode()) == what
    assert tally(queued(state)) == Tally(state, 3, 100)


def test_a_count_survives_the_store() -> None:
    assert decode_counted(Counted(3, 2**40).encode()) == (3, 2**40)
    assert decode_counted(None) == (0, 0)


@pytest.mark.parametrize("state", [State.DEFERRED, State.SCHEDULED])
def test_who_waits_has_a_due_entry(state: State) -> None:
    async def case() -> None:
        store = MemoryStore()
        entry = queued(state)
        id = await enter(store, entry)
        assert contents(store) == {
            keys.queued(id): encode_queued(entry),
            keys.due(50, id): tally(entry).encode(),
            counter(state): Counted(1, 100).encode(),
        }

    run(case())


def test_who_is_on_hold_has_none() -> None:
    async def case() -> None:
        store = MemoryStore()
        id = await enter(store, queued(State.HOLD))
        assert contents(store).keys() == {keys.queued(id), counter(State.HOLD)}

    run(case())


def test_a_message_enters_once() -> None:
    async def case() -> None:
        store = MemoryStore()
        id = await enter(store, queued())
        with pytest.raises(Conflict):
            await moves.make(store, moves.enter(id, queued()))
        assert contents(store)[counter(State.DEFERRED)] == Counted(1, 100).encode()

    run(case())


async def claimed(store: MemoryStore, entry: Queued) -> moves.Held:
    id = await enter(store, entry)
    await store.claim(Q, 50, 1, 9)
    held = await moves.held(store, 9, id)
    assert held is not None
    assert held.queued == entry
    return held


def test_a_message_rests_again() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await claimed(store, queued())
        before = contents(store)[counter(State.DEFERRED)]
        later = queued(due=70)
        await moves.make(store, moves.revise(held, later))
        assert contents(store) == {
            keys.queued(held.id): encode_queued(later),
            keys.due(70, held.id): tally(later).encode(),
            counter(State.DEFERRED): before,
        }

    run(case())


def test_counters_follow_the_state() -> None:
    async def case() -> None:
        store = MemoryStore()
        await enter(store, queued(State.SCHEDULED, due=90))
        held = await claimed(store, queued(State.SCHEDULED))
        await moves.make(store, moves.revise(held, queued(State.HOLD)))
        there = contents(store)
        assert decode_counted(there[counter(State.SCHEDULED)]) == (1, 100)
        assert decode_counted(there[counter(State.HOLD)]) == (1, 100)
        assert not [key for key in there if key[:1] == b"l"]

    run(case())


def test_who_leaves_takes_everything_along() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await claimed(store, queued())
        move, held = moves.note(held, queued(due=51))
        await moves.make(store, move)
        await moves.make(store, moves.leave(held))
        assert contents(store) == {}
        assert store.disk.blobs[held.id].refs == 0

    run(case())


def test_a_move_needs_the_lease_and_the_entry_it_saw() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await claimed(store, queued())
        other, _ = moves.note(held, queued(due=51))
        await moves.make(store, other)
        for move in (moves.leave(held), moves.revise(held, queued())):
            with pytest.raises(Conflict):
                await moves.make(store, move)
        await store.release(Q, 9)
        assert await moves.held(store, 9, held.id) is None

    run(case())


def test_others_may_change_the_same_counter_meanwhile() -> None:
    async def case() -> None:
        class Busy(MemoryStore):
            """Somebody else enters a message before each commit, three times."""

            left = 3

            async def commit(self, part: int, **what: Any) -> int:
                if self.left and part == Q:
                    self.left -= 1
                    await enter(MemoryStore(self.disk), queued())
                return await super().commit(part, **what)

        store = Busy()
        await enter(store, queued())
        counted = contents(store)[counter(State.DEFERRED)]
        assert decode_counted(counted) == (4, 400)

    run(case())


def test_a_lease_is_put_back_unread() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await claimed(store, queued())
        await store.commit(Q, puts=[(keys.queued(held.id), b"\xc1")])
        with pytest.raises(Damaged):
            await moves.held(store, 9, held.id)
        await moves.put_back(store, 9, held.id, 80)
        assert contents(store)[keys.due(80, held.id)] == tally(queued()).encode()
        await moves.put_back(store, 9, held.id, 90)  # there is none now
        assert keys.due(90, held.id) not in contents(store)

    run(case())
