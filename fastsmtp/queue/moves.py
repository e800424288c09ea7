"""The moves of the table in `fastsmtp.queue`, as pure functions.

A `Move` says what one transaction of the queue's partition must check and write. The
counters of arrivals it changes are known only where it is written, so `settle` is given
the present ones at the end: inside the keeper's transaction, or by `make`, which
commits and tries again while nothing but a counter got in its way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastsmtp.errors import Conflict
from fastsmtp.queue.message import Queued, State, decode_queued, encode_queued
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Store

MINUTE: Final = 60_000  # milliseconds

LETTERS: Final = {
    State.DEFERRED: b"d",
    State.HOLD: b"h",
    State.SCHEDULED: b"s",
}
"""The states a message can rest in, as they stand in keys."""

STATES: Final = {letter: state for state, letter in LETTERS.items()}


class Tally(NamedTuple):
    """What the counters need to know of a message; also the value of a due entry."""

    state: State
    minute: int
    octets: int

    def encode(self) -> bytes:
        return LETTERS[self.state] + keys.u32(self.minute) + keys.u64(self.octets)

    @property
    def key(self) -> bytes:
        """Of the counter it is counted in."""
        return keys.arrivals(LETTERS[self.state], self.minute)


def decode_tally(value: bytes) -> Tally:
    minute, octets = value[1:5], value[5:13]
    return Tally(
        STATES[value[:1]], int.from_bytes(minute, "big"), int.from_bytes(octets, "big")
    )


def tally(queued: Queued) -> Tally:
    return Tally(queued.state, queued.envelope.arrived // MINUTE, queued.octets)


class Counted(NamedTuple):
    """The value of a counter of arrivals."""

    messages: int
    octets: int

    def encode(self) -> bytes:
        return keys.u64(self.messages) + keys.u64(self.octets)


def decode_counted(value: bytes | None) -> Counted:
    if value is None:
        return Counted(0, 0)
    return Counted(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


@dataclass(slots=True)
class Move:
    """One transaction; `counts` are changes of counters of arrivals by key."""

    checks: list[Check] = field(default_factory=list)
    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    refs: dict[int, int] = field(default_factory=dict)
    counts: dict[bytes, Counted] = field(default_factory=dict)

    def count(self, what: Tally, by: int) -> None:
        messages, octets = self.counts.get(what.key, (0, 0))
        self.counts[what.key] = Counted(messages + by, octets + by * what.octets)


class Held(NamedTuple):
    """An entry that this process has a lease on."""

    id: int
    lease: Check
    raw: bytes
    queued: Queued


async def held(store: Store, holder: int, id: int) -> Held | None:
    """What was claimed, or None when the lease or the entry is not there (any more).

    Raises `Damaged` when the entry does not decode."""
    key = keys.lease(holder, id)
    lease = await store.get(keys.QUEUE, key)
    raw = await store.get(keys.QUEUE, keys.queued(id))
    if lease is None or raw is None:
        return None
    return Held(id, Check(key, lease), raw, decode_queued(raw))


def enter(id: int, queued: Queued) -> Move:
    """A message joins the queue; whoever writes this adds a reference to its body."""
    move = Move(checks=[Check(keys.queued(id), None)])
    move.puts.append((keys.queued(id), encode_queued(queued)))
    _rest(move, id, queued)
    move.count(tally(queued), 1)
    return move


def revise(held: Held, queued: Queued) -> Move:
    """The attempt is over, the message stays: it rests again, as `queued` says."""
    move = _of(held)
    move.puts.append((keys.queued(held.id), encode_queued(queued)))
    move.deletes.append(held.lease.key)
    _rest(move, held.id, queued)
    if tally(queued) != tally(held.queued):
        move.count(tally(held.queued), -1)
        move.count(tally(queued), 1)
    return move


def note(held: Held, queued: Queued) -> tuple[Move, Held]:
    """Write down how far it got; the lease stays, so the state may not change.

    Gives also what is held when the move is made."""
    move, raw = _of(held), encode_queued(queued)
    move.puts.append((keys.queued(held.id), raw))
    return move, Held(held.id, held.lease, raw, queued)


async def put_back(store: Store, holder: int, id: int, at: int) -> None:
    """Give a lease up without a word about the entry, which may be damaged or gone:
    due again at `at`. Does nothing when the lease is no longer there."""
    key = keys.lease(holder, id)
    lease = await store.get(keys.QUEUE, key)
    if lease is None:
        return
    there = await store.get(keys.QUEUE, keys.queued(id)) is not None
    puts = [(keys.due(at, id), lease[8:])] if there else []
    await store.commit(keys.QUEUE, checks=[Check(key, lease)], puts=puts, deletes=[key])


def leave(held: Held) -> Move:
    """The message has reached everyone: the entry goes, and its reference."""
    move = _of(held)
    move.deletes += [keys.queued(held.id), held.lease.key]
    move.refs[held.id] = -1
    move.count(tally(held.queued), -1)
    return move


def _of(held: Held) -> Move:
    return Move(checks=[Check(keys.queued(held.id), held.raw), held.lease])


def _rest(move: Move, id: int, queued: Queued) -> None:
    if queued.state != State.HOLD:
        due = keys.due(queued.due, id)
        move.puts.append((due, tally(queued).encode()))


def settle(move: Move, now: Callable[[bytes], bytes | None]) -> list[Check]:
    """Write the counters, given what they are `now`; the checks that they still are."""
    checks = []
    for key, change in move.counts.items():
        before = now(key)
        messages, octets = decode_counted(before)
        after = Counted(messages + change.messages, octets + change.octets)
        if after.messages > 0:
            move.puts.append((key, after.encode()))
        else:
            move.deletes.append(key)
        checks.append(Check(key, before))
    return checks


async def make(store: Store, move: Move) -> None:
    """Commit a move. `Conflict` when the entry is no longer what the move is based on.

    Loses nothing when others change the same counters: those it reads again."""
    puts, deletes = list(move.puts), list(move.deletes)
    while True:
        move.puts, move.deletes = list(puts), list(deletes)
        present = {key: await store.get(keys.QUEUE, key) for key in move.counts}
        counters = settle(move, present.__getitem__)
        try:
            await store.commit(
                keys.QUEUE,
                checks=[*move.checks, *counters],
                puts=move.puts,
                deletes=move.deletes,
                refs=move.refs,
            )
        except Conflict:
            now = [await store.get(keys.QUEUE, check.key) for check in move.checks]
            if now != [check.value for check in move.checks]:
                raise
            continue
        return
