"""Reading the queue: entries for people, sums for the metrics. Nothing here writes."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastsmtp.queue.message import State
from fastsmtp.queue.moves import MINUTE, STATES, decode_counted
from fastsmtp.queue.sums import Depths
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


async def top(store: Store, most: int) -> tuple[list[Top], Top]:
    """The destinations where most messages wait, and all others together ("other").
    Reads one counter for each destination."""
    found: list[Top] = []
    others = [0, 0]
    at, end = b"g", keys.after(b"g")
    while page := await store.scan(keys.QUEUE, at, end, PAGE):
        found += [Top(k[1:].decode(), *decode_counted(value)) for k, value in page]
        found.sort(key=lambda one: -one.messages)
        for one in found[most:]:
            others[0] += one.messages
            others[1] += one.octets
        del found[most:]
        at = page[-1][0] + b"\x00"
    return found, Top("other", *others)


def references(part: int, key: bytes, value: bytes) -> tuple[int, ...]:
    """The blobs an entry of the index refers to, once for each reference."""
    if keys.QUEUE <= part < keys.FIRST_ACCOUNT and key[:1] == b"m":
        return (int.from_bytes(key[1:], "big"),)
    return ()
