"""Hands out due work, destination by destination.

What is due stands in the store, in one row for each message and destination
(`keys.due`). Here is one small object for each destination where something waits, so
memory grows with destinations and not with messages, and a start reads a row of each.

Destinations take turns: each gives a few messages and goes to the end of the line, so a
full one holds up nobody. What was handed out is *active* until `done`: that is the
lease, and it is nowhere but here. This process alone writes the queue, so when it ends
everything is due again.

Due times are wall clock. `wait` is never longer than `LONGEST`, so a jump is noticed
within that time; `overdue` finds what an old time would keep waiting.
"""

import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from fastsmtp.queue.moves import MINUTE, Tally, decode_tally
from fastsmtp.store import keys
from fastsmtp.store.base import Store

LONGEST: Final = 60.0  # seconds
TURN: Final = 100  # messages a destination gives in its turn
AGED: Final = 1000  # rows that are looked at for old messages at a time
WRAP: Final = 1000  # milliseconds until rows that came in front are seen
_NEVER: Final = 1 << 63


class Alarm(Protocol):
    """What waits on it; whoever runs it brings one."""

    def ring(self) -> None:
        """End the wait, or the next one if nobody waits."""
        ...

    def reset(self) -> None:
        """Forget that it rang."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when it has rung since `reset`, or after so many seconds."""
        ...

    async def rest(self, seconds: float) -> None:
        """Return after so many seconds, whatever rings."""
        ...


class Due(NamedTuple):
    """One message that is due at one destination: its row."""

    row: bytes
    at: int
    id: int


class Destination:
    """A domain where something waits.

    active   what was handed out and is not done: id -> its tally
    cursors  rank -> the row to go on with, while more than a turn is due
    most     of these at a time
    paused   milliseconds, wall clock, before which nothing is handed out
    parked   nothing is handed out: whoever is to take it cannot
    """

    __slots__ = (
        *("active", "aged", "cursors", "looks", "most", "name"),
        *("parked", "paused", "ready", "suspended", "wrapped"),
    )

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self.active: dict[int, Tally] = {}
        self.cursors: dict[int, bytes] = {}
        self.most = most
        self.paused = 0
        self.suspended = False
        self.parked = False
        self.aged = b""  # where `Schedule.aged` goes on
        self.wrapped = 0  # when it was last read from its first row
        self.ready = False  # it stands in line
        self.looks = _NEVER  # when it is looked at next; the place in the heap


class Schedule:
    """The due work of the queue.

    now   milliseconds, wall clock
    most  messages active at one destination
    """

    def __init__(
        self, store: Store, now: Callable[[], int], alarm: Alarm, most: int = 1000
    ) -> None:
        self.now = now
        self.alarm = alarm
        self._store = store
        self._most = most
        self._known: dict[str, Destination] = {}
        self._line: deque[Destination] = deque()
        self._later: list[tuple[int, str]] = []
        self._busy: dict[str, Destination] = {}  # those with something active

    async def load(self) -> int:
        """Find every destination; how many there are. Reads one row of each."""
        lo, end = keys.waiting("")[:1], keys.after(b"d")
        while found := await self._store.scan(keys.QUEUE, lo, end, 1):
            name = keys.parse_due(found[0][0]).destination
            self._stand_in_line(self._at(name))
            lo = keys.after(keys.waiting(name))
        for key, _ in await self._store.scan(
            keys.QUEUE, b"s", keys.after(b"s"), 100_000
        ):
            self.suspend(key[1:].decode(), True)
        return len(self._known)

    def noted(self, names: Iterable[str]) -> None:
        """Rows of these destinations have come or changed."""
        for name in names:
            self._stand_in_line(self._at(name))
        self.alarm.ring()

    def suspend(self, name: str, on: bool) -> None:
        """Hand out nothing for this destination, or again."""
        destination = self._at(name)
        destination.suspended = on
        if not on:
            self.noted((name,))

    def pause(self, name: str, until: int) -> None:
        """Hand out nothing for it before `until` (ms, wall clock)."""
        destination = self._at(name)
        destination.paused = until
        self._look_at(destination, until)

    def hold_active(self, name: str, id: int, tally: Tally) -> None:
        """Somebody works on this, and it was not `take` that gave it out."""
        destination = self._at(name)
        destination.active[id] = tally
        self._busy[name] = destination

    async def take(self, most: int) -> tuple[Destination, list[Due]] | None:
        """Up to `most` due messages of the destination whose turn it is; they are
        active now. None when there is none."""
        now = self.now()
        self._wake(now)
        while self._line:
            destination = self._line.popleft()
            destination.ready = False
            if destination.suspended or destination.parked:
                continue
            if destination.paused > now:
                self._look_at(destination, destination.paused)
                continue
            room = min(most, TURN, destination.most - len(destination.active))
            if room <= 0:
                continue  # `done` puts it in line again
            found = await self._due(destination, room, now)
            if found:
                self._busy[destination.name] = destination
                return destination, found
            self._forget(destination)
        return None

    async def _due(self, destination: Destination, room: int, now: int) -> list[Due]:
        """Take what is due; the destination goes into line or heap by what is left."""
        found: list[Due] = []
        lo = keys.waiting(destination.name)
        held = keys.waiting(destination.name, keys.HELD)
        while first := await self._store.scan(keys.QUEUE, lo, held, 1):
            rank = first[0][0][-17]
            if not await self._of_rank(destination, first[0][0], (room, now), found):
                self._stand_in_line(destination)
                return found
            lo = keys.waiting(destination.name, rank + 1)
        return found

    async def _of_rank(
        self,
        destination: Destination,
        first: bytes,
        limits: tuple[int, int],
        found: list[Due],
    ) -> bool:
        """Take what is due of the rank that begins with this row; False when there
        may be more. It goes on where it last was, and now and then from the first."""
        room, now = limits
        rank = first[-17]
        lo = destination.cursors.pop(rank, first)
        if lo is not first and now - destination.wrapped >= WRAP:
            lo, destination.wrapped = first, now
        began, end = lo, keys.waiting(destination.name, rank + 1)
        active = destination.active
        while page := await self._store.scan(keys.QUEUE, lo, end, TURN):
            for row, value in page:
                at, id = (
                    int.from_bytes(row[-16:-8], "big"),
                    int.from_bytes(row[-8:], "big"),
                )
                if at > now:
                    self._look_at(destination, at)
                    page = []
                    break
                if id in active:
                    continue
                if len(found) == room:
                    destination.cursors[rank] = row
                    return False
                active[id] = decode_tally(value)
                found.append(Due(row, at, id))
            if len(page) < TURN:
                break
            lo = page[-1][0] + b"\0"
        if began is not first:
            self._look_at(destination, destination.wrapped + WRAP)
        return True

    def works_on(self, names: Iterable[str], id: int) -> bool:
        """Whether somebody works on this message at one of these destinations."""
        return any(id in self.ids_at(name) for name in names)

    def done(self, name: str, id: int) -> None:
        """What came of it stands in the store."""
        destination = self._known.get(name)
        if destination is None or destination.active.pop(id, None) is None:
            return
        if not destination.active:
            self._busy.pop(name, None)
        self._stand_in_line(destination)

    def give_back(self, name: str, ids: Iterable[int]) -> None:
        """They were not tried and are due as before; `noted` hands them out again."""
        destination = self._at(name)
        destination.cursors.clear()
        for id in ids:
            destination.active.pop(id, None)
        if not destination.active:
            self._busy.pop(name, None)

    def park(self, name: str, ids: Iterable[int]) -> None:
        """The same, and hand out nothing for this destination until `unpark`."""
        self.give_back(name, ids)
        self._at(name).parked = True

    def unpark(self, names: Iterable[str]) -> None:
        for name in names:
            self._at(name).parked = False
        self.noted(names)

    async def aged(self, name: str, arrived: int, most: int = AGED) -> list[int]:
        """Messages that wait there and came at `arrived` (ms, wall clock) or before,
        and are not active. It looks at `most` rows and goes on there the next time."""
        destination = self._at(name)
        lo, held = keys.waiting(name), keys.waiting(name, keys.HELD)
        page = await self._store.scan(keys.QUEUE, destination.aged or lo, held, most)
        destination.aged = page[-1][0] + b"\0" if len(page) == most else b""
        found = []
        for row, value in page:
            id = int.from_bytes(row[-8:], "big")
            old = decode_tally(value).minute * MINUTE <= arrived
            if old and id not in destination.active:
                found.append(id)
        return found

    async def overdue(self, name: str, horizon: int) -> AsyncIterator[list[int]]:
        """Messages whose next attempt there is behind `horizon` (ms, wall clock); read
        in pages, so they may be moved meanwhile."""
        lo, hi = keys.waiting(name), keys.waiting(name, keys.HELD)
        while last := await self._store.scan(keys.QUEUE, lo, hi, 1, reverse=True):
            rank = last[0][0][-17]
            at = keys.due(name, rank, horizon + 1, 0)
            while page := await self._store.scan(keys.QUEUE, at, hi, TURN):
                yield [keys.parse_due(key).id for key, _ in page]
                at = page[-1][0] + b"\0"
            hi = keys.waiting(name, rank)

    def look_anew(self) -> None:
        """The clock went back: whatever was to be looked at later is looked at now."""
        self._later.clear()
        for destination in self._known.values():
            destination.paused = destination.wrapped = 0
            destination.looks = _NEVER
            destination.cursors.clear()
            self._stand_in_line(destination)

    def names(self) -> list[str]:
        """Destinations where something waits."""
        return list(self._known)

    def wait(self) -> float:
        """Seconds until something can be due, `LONGEST` at most."""
        if self._line:
            return 0.0
        first = self._later[0][0] if self._later else _NEVER
        return min(max(first - self.now(), 0) / 1000, LONGEST)

    def active(self) -> Iterator[tuple[int, Tally]]:
        """Every message that is active somewhere, once."""
        seen: set[int] = set()
        for destination in self._busy.values():
            for id, tally in destination.active.items():
                if id not in seen:
                    seen.add(id)
                    yield id, tally

    def ids_at(self, name: str) -> Collection[int]:
        """What is active at a destination."""
        destination = self._known.get(name)
        return destination.active if destination is not None else ()

    # places

    def _at(self, name: str) -> Destination:
        destination = self._known.get(name)
        if destination is None:
            destination = self._known[name] = Destination(name, self._most)
        return destination

    def _stand_in_line(self, destination: Destination) -> None:
        if not destination.ready:
            destination.ready = True
            self._line.append(destination)

    def _look_at(self, destination: Destination, at: int) -> None:
        """Not before `at`."""
        if at < destination.looks:
            destination.looks = at
            heapq.heappush(self._later, (at, destination.name))

    def _wake(self, now: int) -> None:
        later = self._later
        while later and later[0][0] <= now:
            at, name = heapq.heappop(later)
            destination = self._known.get(name)
            if destination is not None and destination.looks == at:
                destination.looks = _NEVER
                self._stand_in_line(destination)

    def _forget(self, destination: Destination) -> None:
        """Nothing is due there. If nothing waits either, it needs no object."""
        idle = not destination.active and not destination.ready
        if idle and destination.looks == _NEVER and not destination.suspended:
            self._known.pop(destination.name, None)
