"""Where the queue waits, and for how long: destinations by the age of their mail."""

from dataclasses import dataclass, field
from typing import Final

from fastsmtp.queue.listing import NAMES, sums_at, top
from fastsmtp.queue.message import State
from fastsmtp.queue.moves import LETTERS, STATES
from fastsmtp.store import keys
from fastsmtp.store.base import Store

PAGE: Final = 5000  # rows of some 50 octets


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
    sums = sums_at(now)
    at = keys.waiting(one.name)
    end = keys.after(at)
    while rows := await store.scan(keys.QUEUE, at, end, PAGE):
        sums.add_rows(rows)
        at = rows[-1][0] + b"\x00"
    for letter in STATES:
        messages, _, _, *ages = sums.of(letter)
        for name, aged in zip(NAMES, ages, strict=True):
            one.ages[name] = one.ages.get(name, 0) + aged
        if letter == LETTERS[State.HOLD]:
            one.held = messages
