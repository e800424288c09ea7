"""What is being worked on, told by the process that schedules to those who watch.

The counters of the store count a message in the state it rests in, also while somebody
tries it. The keeper writes into its cells how many of these are active; whoever shows
the queue moves them from one state to the other.
"""

from collections.abc import Iterable, Mapping

from fastsmtp.queue import counts
from fastsmtp.queue.listing import AGES, Depth
from fastsmtp.queue.message import State
from fastsmtp.queue.moves import Tally

_STATES = (State.SCHEDULED, State.DEFERRED, State.HOLD)
_NAMES = (*(name for name, _ in AGES), "+Inf")


def tell(
    cells: "memoryview[int]", active: Iterable[tuple[int, Tally]], now: int
) -> None:
    """Write `Schedule.active()` into the cells of `queue.counts`; `now` in ms."""
    sums = {state: Depth() for state in _STATES}
    for _, tally in active:
        sums[tally.state].count(tally.minute, 1, tally.octets, now)
    for at, state in enumerate(_STATES):
        first, depth = counts.ACTIVE + at * counts.ACTIVE_CELLS, sums[state]
        row = (depth.octets, depth.oldest, *(depth.ages[name] for name in _NAMES))
        for place, value in enumerate(row, first):
            cells[place] = value


def move(depths: Mapping[State, Depth], cells: "list[int] | memoryview[int]") -> None:
    """Count what the cells say as active, in place."""
    active = depths[State.ACTIVE]
    for at, state in enumerate(_STATES):
        first = counts.ACTIVE + at * counts.ACTIVE_CELLS
        octets, oldest, *ages = cells[first : first + counts.ACTIVE_CELLS]
        resting = depths[state]
        for name, messages in zip(_NAMES, ages, strict=True):
            moved = min(messages, resting.ages[name])
            resting.ages[name] -= moved
            resting.messages -= moved
            active.ages[name] += moved
            active.messages += moved
        moved = min(octets, resting.octets)
        resting.octets -= moved
        active.octets += moved
        if oldest:
            active.oldest = min(active.oldest or oldest, oldest)
