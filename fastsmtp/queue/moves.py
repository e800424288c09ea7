"""The moves of the table in `fastsmtp.queue`, as pure functions.

A `Move` says what one transaction of the queue's partition must check and write. Beside
the entry itself that is one row for each destination where somebody waits, and the
counters; all of it follows from the entry, see `rows` and `_counted`.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastsmtp.queue.message import (
    Queued,
    Standing,
    State,
    decode_queued,
    destination_of,
    encode_queued,
)
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

_USUAL: Final = 9  # the rank of priority 0; RFC 6710 has -9 to 9


class Tally(NamedTuple):
    """What the counters need to know of a message; also the value of its rows."""

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
    """The value of a counter: see `store.base.Adds`."""

    messages: int
    octets: int

    def encode(self) -> bytes:
        return keys.u64(self.messages) + keys.u64(self.octets)


def decode_counted(value: bytes | None) -> Counted:
    if value is None:
        return Counted(0, 0)
    return Counted(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


def destinations(queued: Queued) -> dict[str, int]:
    """Where recipients wait, and when they are due there."""
    found: dict[str, int] = {}
    for target in queued.targets:
        if target.standing == Standing.WAITING:
            name, due = destination_of(target.address), target.due
            found[name] = min(found.get(name, due), due)
    if not found and queued.marks:
        found[""] = 0  # nobody waits, but the marks are still to be cleared
    return found


def rows(id: int, queued: Queued) -> dict[bytes, bytes]:
    """The rows `d` of an entry."""
    rank = _USUAL - queued.envelope.priority
    if queued.state == State.HOLD:
        rank = keys.HELD
    value = tally(queued).encode()
    return {
        keys.due(name, rank, due, id): value
        for name, due in destinations(queued).items()
    }


@dataclass(slots=True)
class Move:
    """One transaction."""

    checks: list[Check] = field(default_factory=list)
    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    refs: dict[int, int] = field(default_factory=dict)
    adds: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def join(self, other: "Move") -> None:
        """Become both; they are of different messages."""
        self.checks += other.checks
        self.puts += other.puts
        self.deletes += other.deletes
        self.refs.update(other.refs)
        for key, (messages, octets) in other.adds.items():
            self._add(key, messages, octets)

    def count(self, queued: Queued, by: int) -> None:
        """The message comes into the counters or goes from them."""
        what = tally(queued)
        octets = by * what.octets
        self._add(what.key, by, octets)
        for name in destinations(queued):
            self._add(keys.destination(name), by, octets)

    def _add(self, key: bytes, messages: int, octets: int) -> None:
        have = self.adds.get(key, (0, 0))
        self.adds[key] = (have[0] + messages, have[1] + octets)


def where_due(move: Move) -> set[str]:
    """Destinations that get rows."""
    rows = (key for key, _ in move.puts if key[:1] == b"d")
    return {keys.parse_due(row).destination for row in rows}


class Held(NamedTuple):
    """An entry and the octets it was read from: a move checks that they still stand."""

    id: int
    raw: bytes
    queued: Queued


def read(store: Store, id: int) -> Held | None:
    """An entry as it is now. Raises `Damaged` when it does not decode."""
    return held(id, store.peek(keys.QUEUE, keys.queued(id)))


def held(id: int, raw: bytes | None) -> Held | None:
    """An entry from its octets; None where there are none. Raises `Damaged`."""
    return None if raw is None else Held(id, raw, decode_queued(raw))


def enter(id: int, queued: Queued) -> Move:
    """A message joins the queue; whoever writes this adds a reference to its body."""
    move = Move(checks=[Check(keys.queued(id), None)])
    move.puts.append((keys.queued(id), encode_queued(queued)))
    move.puts += rows(id, queued).items()
    move.count(queued, 1)
    return move


def revise(held: Held, queued: Queued) -> Move:
    """The message stays, as `queued` says."""
    move, before, after = _of(held), rows(held.id, held.queued), rows(held.id, queued)
    move.puts.append((keys.queued(held.id), encode_queued(queued)))
    move.deletes += before.keys() - after.keys()
    move.puts += after.items() - before.items()
    move.count(held.queued, -1)
    move.count(queued, 1)
    for key in [key for key, by in move.adds.items() if by == (0, 0)]:
        del move.adds[key]
    return move


def leave(held: Held) -> Move:
    """Nobody waits any more: the entry goes, and its reference."""
    move = _of(held)
    move.deletes.append(keys.queued(held.id))
    move.deletes += rows(held.id, held.queued)
    move.refs[held.id] = -1
    move.count(held.queued, -1)
    return move


def _of(held: Held) -> Move:
    return Move(checks=[Check(keys.queued(held.id), held.raw)])


async def make(store: Store, move: Move) -> None:
    """Commit a move. `Conflict` when an entry is no longer what it is based on."""
    await store.commit(
        keys.QUEUE,
        checks=move.checks,
        puts=move.puts,
        deletes=move.deletes,
        refs=move.refs,
        adds=move.adds,
    )


async def postpone(store: Store, row: bytes, at: int) -> None:
    """Move a row whose entry cannot be read, so that it is looked at later again; one
    whose entry is not there goes."""
    name, rank, _, id = keys.parse_due(row)
    value = await store.get(keys.QUEUE, row)
    if await store.get(keys.QUEUE, keys.queued(id)) is None:
        await store.commit(keys.QUEUE, deletes=[row])
    elif value is not None:
        await store.commit(
            keys.QUEUE,
            checks=[Check(row, value)],
            puts=[(keys.due(name, rank, at, id), value)],
            deletes=[row],
        )
