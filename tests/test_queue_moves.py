import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from msgspec import structs

from fastsmtp.errors import Conflict, Damaged
from fastsmtp.queue import moves
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Standing,
    State,
    Target,
    destination_of,
    encode_queued,
)
from fastsmtp.queue.moves import (
    Counted,
    Move,
    Tally,
    decode_counted,
    decode_tally,
    tally,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Writes
from fastsmtp.store.memory import MemoryStore

MINUTE = 60_000
Q = keys.QUEUE


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


def queued(state: State = State.DEFERRED, due: int = 50, minute: int = 3) -> Queued:
    envelope = Envelope("s@x.test", (), minute * MINUTE + 7)
    return Queued(envelope, 100, state, due, (Target("a@y.test", "a@y.test", due=due),))


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


async def entered(store: MemoryStore, entry: Queued) -> moves.Held:
    held = moves.read(store, await enter(store, entry))
    assert held is not None
    assert held.queued == entry
    return held


def contents(store: MemoryStore) -> dict[bytes, bytes]:
    return store.disk.parts[Q].values


def counter(state: State, minute: int = 3) -> bytes:
    return keys.arrivals(moves.LETTERS[state], minute)


ONE = Counted(1, 100).encode()


@pytest.mark.parametrize("state", list(moves.LETTERS))
def test_a_tally_survives_the_store(state: State) -> None:
    what = Tally(state, 27_000_000, 2**40)
    assert decode_tally(what.encode()) == what
    assert tally(queued(state)) == Tally(state, 3, 100)


def test_a_count_survives_the_store() -> None:
    assert decode_counted(Counted(3, 2**40).encode()) == (3, 2**40)
    assert decode_counted(None) == (0, 0)


@pytest.mark.parametrize("state", [State.DEFERRED, State.SCHEDULED])
def test_who_waits_has_a_row_at_the_destination(state: State) -> None:
    async def case() -> None:
        store = MemoryStore()
        entry = queued(state)
        id = await enter(store, entry)
        assert contents(store) == {
            keys.queued(id): encode_queued(entry),
            keys.due("y.test", 9, 50, id): tally(entry).encode(),
            keys.destination("y.test"): ONE,
            counter(state): ONE,
        }

    run(case())


def test_what_is_on_hold_stands_behind_all_that_can_be_due() -> None:
    async def case() -> None:
        store = MemoryStore()
        id = await enter(store, queued(State.HOLD))
        rows = [key for key in contents(store) if key[:1] == b"d"]
        assert rows == [keys.due("y.test", keys.HELD, 50, id)]
        assert rows[0] > keys.waiting("y.test", keys.HELD)

    run(case())


def test_an_urgent_message_stands_in_front() -> None:
    def row(priority: int) -> bytes:
        entry = queued()
        envelope = structs.replace(entry.envelope, priority=priority)
        (key,) = moves.rows(1, structs.replace(entry, envelope=envelope))
        return key

    assert row(9) < row(1) < row(0) < row(-1) < row(-9)
    assert row(-9) < keys.waiting("y.test", keys.HELD)


def test_each_destination_has_a_row_with_its_earliest_due_time() -> None:
    def to(address: str, due: int, standing: Standing = Standing.WAITING) -> Target:
        return Target(address, address, int(standing), due=due)

    targets = (
        to("a@Y.test", 70),
        to("b@y.TEST", 60),
        to("c@z.test", 90),
        to("d@gone.test", 10, Standing.DELIVERED),
        to("postmaster", 80),
    )
    entry = structs.replace(queued(), targets=targets)
    assert moves.destinations(entry) == {"y.test": 60, "z.test": 90, "": 80}
    rows = sorted(map(keys.parse_due, moves.rows(7, entry)))
    assert rows == [("", 9, 80, 7), ("y.test", 9, 60, 7), ("z.test", 9, 90, 7)]


def test_marks_alone_keep_an_entry_in_sight() -> None:
    done = Target("a@y.test", "a@y.test", int(Standing.DELIVERED))
    entry = structs.replace(queued(), targets=(done,))
    assert moves.destinations(entry) == {}
    assert moves.destinations(structs.replace(entry, marks=((256, "a@y.test"),))) == {
        "": 0
    }


def test_a_message_enters_once() -> None:
    async def case() -> None:
        store = MemoryStore()
        id = await enter(store, queued())
        with pytest.raises(Conflict):
            await moves.make(store, moves.enter(id, queued()))
        assert contents(store)[counter(State.DEFERRED)] == ONE

    run(case())


def test_a_message_rests_again() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await entered(store, queued())
        target = structs.replace(held.queued.targets[0], due=70, attempts=1)
        later = structs.replace(held.queued, due=70, targets=(target,))
        await moves.make(store, moves.revise(held, later))
        assert contents(store) == {
            keys.queued(held.id): encode_queued(later),
            keys.due("y.test", 9, 70, held.id): tally(later).encode(),
            keys.destination("y.test"): ONE,
            counter(State.DEFERRED): ONE,
        }

    run(case())


def test_counters_follow_state_and_destination() -> None:
    async def case() -> None:
        store = MemoryStore()
        await enter(store, queued(State.SCHEDULED))
        held = await entered(store, queued(State.SCHEDULED))
        other = Target("b@z.test", "b@z.test", due=50)
        after = structs.replace(held.queued, state=State.HOLD, targets=(other,))
        await moves.make(store, moves.revise(held, after))
        there = contents(store)
        for key in (counter(State.SCHEDULED), counter(State.HOLD)):
            assert decode_counted(there[key]) == (1, 100)
        for name in ("y.test", "z.test"):
            assert decode_counted(there[keys.destination(name)]) == (1, 100)

    run(case())


def test_who_leaves_takes_everything_along() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await entered(store, queued())
        await moves.make(store, moves.leave(held))
        assert contents(store) == {}
        assert store.disk.blobs[held.id].refs == 0

    run(case())


def test_a_move_needs_the_entry_it_saw() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await entered(store, queued())
        changed = structs.replace(held.queued, warned=True)
        await moves.make(store, moves.revise(held, changed))
        for move in (moves.leave(held), moves.revise(held, queued())):
            with pytest.raises(Conflict):
                await moves.make(store, move)

    run(case())


def test_moves_of_several_messages_are_one() -> None:
    async def case() -> None:
        store = MemoryStore()
        move = Move()
        for _ in range(3):
            move.join(moves.leave(await entered(store, queued())))
        stays = await entered(store, queued())
        await moves.make(store, move)
        assert keys.queued(stays.id) in contents(store)
        assert contents(store)[counter(State.DEFERRED)] == ONE
        assert contents(store)[keys.destination("y.test")] == ONE

    run(case())


def test_a_row_is_postponed_without_its_entry() -> None:
    async def case() -> None:
        store = MemoryStore()
        held = await entered(store, queued())
        await store.commit(Q, puts=[(keys.queued(held.id), b"\xc1")])
        with pytest.raises(Damaged):
            moves.read(store, held.id)
        await moves.postpone(store, keys.due("y.test", 9, 50, held.id), 80)
        rows = [key for key in contents(store) if key[:1] == b"d"]
        assert rows == [keys.due("y.test", 9, 80, held.id)]
        await moves.postpone(store, keys.due("y.test", 9, 50, held.id), 90)  # gone
        assert [key for key in contents(store) if key[:1] == b"d"] == rows

    run(case())


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a@Y.Test", "y.test"),
        ("postmaster", ""),
        ('"a@b"@c.test', "c.test"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("a@B\u00dcCHER.test", "b\u00fccher.test"),
        ("a@x\0y.test", "xy.test"),
    ],
)
def test_mail_waits_by_its_domain(address: str, name: str) -> None:
    assert destination_of(address) == name


def test_no_domain_is_too_long_for_a_key() -> None:
    name = destination_of("a@" + "\u00fc" * 400)
    assert len(name.encode()) <= 255
    assert len(keys.due(name, 9, 1 << 62, 1)) < 503
