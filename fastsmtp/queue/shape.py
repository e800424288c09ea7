"""Where the queue waits, and for how long: destinations by the age of their mail."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from fastsmtp.queue.listing import AGES, age_of, top
from fastsmtp.queue.moves import MINUTE
from fastsmtp.store import keys
from fastsmtp.store.base import Store

PAGE: Final = 5000  # rows of some 50 octets
NAMES: Final = (*(name for name, _ in AGES), "+Inf")


@dataclass(slots=True)
class Shape:
    """Of one destination; "other" is all that are not named.

    held       how many of the messages are on hold
    ages       messages by age, not cumulative, by `NAMES`; none for "other"
    suspended  nothing is tried there
    """

    name: str
    messages: int
    octets: int
    held: int = 0
    ages: dict[str, int] = field(default_factory=dict)
    suspended: bool = False


async def shapes(store: Store, most: int, now: int) -> list[Shape]:
    """The destinations where most waits, at `now` (ms, wall clock), then those that are
    suspended and empty, then "other" if there is more. Reads the rows of those it
    names."""
    found, other = await top(store, most)
    suspended = await suspensions(store)
    made = []
    for name, messages, octets in found:
        one = Shape(name, messages, octets, suspended=name in suspended)
        await _read_ages(store, one, now)
        made.append(one)
    shown = {one.name for one in made}
    for name in sorted(suspended - shown):
        if await store.get(keys.QUEUE, keys.destination(name)) is None:
            empty = dict.fromkeys(NAMES, 0)
            made.append(Shape(name, 0, 0, ages=empty, suspended=True))
    if other.messages:
        made.append(Shape(*other))
    return made


async def suspensions(store: Store) -> set[str]:
    """Destinations where nothing is tried."""
    rows = await store.scan(keys.QUEUE, b"s", keys.after(b"s"), 100_000)
    return {key[1:].decode() for key, _ in rows}


async def _read_ages(store: Store, one: Shape, now: int) -> None:
    minutes: Counter[bytes] = Counter()
    at = keys.waiting(one.name)
    end = keys.after(at)
    while rows := await store.scan(keys.QUEUE, at, end, PAGE):
        minutes.update(value[:5] for _, value in rows)
        at = rows[-1][0] + b"\x00"
    one.ages = dict.fromkeys(NAMES, 0)
    for head, messages in minutes.items():
        second = int.from_bytes(head[1:5], "big") * MINUTE // 1000
        one.ages[age_of(now // 1000 - second)] += messages
        if head[:1] == b"h":
            one.held += messages
