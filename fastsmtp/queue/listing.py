"""Reading the queue: entries for people, sums for the metrics. Nothing here writes."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastsmtp.queue.message import State
from fastsmtp.queue.moves import MINUTE, STATES
from fastsmtp.queue.sums import Depths, Fullest
from fastsmtp.store import keys
from fastsmtp.store.base import Store

PAGE: Final = 2000

AGES: Final = (
    *(("1m", 60), ("5m", 300), ("15m", 900), ("30m", 1800), ("1h", 3600)),
    *(("4h", 14_400), ("1d", 86_400), ("5d", 432_000)),
)
"""Upper edges in seconds; what is older is in "+Inf"."""

EDGES: Final = tuple(edge for _, edge in AGES)
NAMES: Final = (*(name for name, _ in AGES), "+Inf")


@dataclass(slots=True)
class Depth:
    """One state: messages, octets, messages by age (not cumulative, keyed as `AGES`),
    and when the oldest arrived (seconds, to the minute; 0 without any)."""

    messages: int = 0
    octets: int = 0
    oldest: int = 0
    ages: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))

    def count(self, minute: int, messages: int, octets: int, now: int) -> None:
        self.messages += messages
        self.octets += octets
        second = minute * MINUTE // 1000
        self.ages[age_of(now // 1000 - second)] += messages
        if messages > 0:
            self.oldest = min(self.oldest or second, second)


def age_of(seconds: int) -> str:
    """Which of `AGES`, or "+Inf"."""
    return next((name for name, edge in AGES if seconds <= edge), "+Inf")


async def gauges(store: Store, now: int) -> dict[State, Depth]:
    """The depth of each state at `now` (milliseconds, wall clock).

    Reads one counter for each state and minute, never the entries. What is active is
    counted in the state it rested in: see `actives.move`."""
    sums = sums_at(now)
    at, end = b"c", keys.after(b"c")
    while found := await store.scan(keys.QUEUE, at, end, PAGE):
        sums.add(found)
        at = found[-1][0] + b"\x00"
    depths = {state: Depth() for state in State}
    for letter, state in STATES.items():
        messages, octets, oldest, *ages = sums.of(letter)
        named = dict(zip(NAMES, ages, strict=True))
        depths[state] = Depth(messages, octets, oldest, named)
    return depths


def sums_at(now: int) -> Depths:
    """Counts by state and age at `now` (milliseconds, wall clock)."""
    return Depths(b"".join(STATES), EDGES, now // 1000)


class Top(NamedTuple):
    """A destination and what waits there."""

    name: str
    messages: int
    octets: int


class TopReading:
    """Finds the destinations where most messages wait, in pieces: there is a counter to
    read for each destination, and there may be very many."""

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._fullest = Fullest(most)
        self._at = b"g"

    async def read(self, rows: int) -> bool:
        """Read so many counters more; False when there are no more."""
        while rows > 0:
            page = await self._store.scan(
                keys.QUEUE, self._at, keys.after(b"g"), min(rows, PAGE)
            )
            if not page:
                return False
            self._fullest.add(page)
            self._at = page[-1][0] + b"\x00"
            rows -= len(page)
        return True

    def found(self) -> tuple[list[Top], Top]:
        """The fullest first, and all others together ("other")."""
        found, others = self._fullest.found()
        return [Top(name.decode(), *of) for name, *of in found], Top("other", *others)


async def top(store: Store, most: int) -> tuple[list[Top], Top]:
    """See `TopReading`, all at once."""
    reading = TopReading(store, most)
    while await reading.read(PAGE):
        pass
    return reading.found()


def references(part: int, key: bytes, value: bytes) -> tuple[int, ...]:
    """The blobs an entry of the index refers to, once for each reference."""
    if keys.QUEUE <= part < keys.FIRST_ACCOUNT and key[:1] == b"m":
        return (int.from_bytes(key[1:], "big"),)
    return ()
