"""What a process writes about itself."""

import asyncio

from fastsmtp import pulse
from fastsmtp.cells import fresh
from fastsmtp.pulse import COLLECTIONS, CPU, LAG, Pulse


def test_a_beat_writes_time_and_collections() -> None:
    async def beat() -> None:
        Pulse(cells, "keep").stop()

    cells = fresh(pulse.SIZE)
    asyncio.run(beat())
    assert cells[CPU.place("keep")] > 0
    assert cells[CPU.place("receive")] == 0
    assert cells[COLLECTIONS.place("0")] >= 0


def test_a_blocked_loop_shows_as_lag() -> None:
    async def beat() -> None:
        it = Pulse(cells, "all")
        it._due -= 0.5  # the timer was due half a second ago
        it._beat()
        it.stop()

    cells = fresh(pulse.SIZE)
    asyncio.run(beat())
    observed = list(cells[LAG.first : LAG.first + LAG.size])
    above = next(i for i, edge in enumerate(LAG.edges) if edge >= 0.4)
    assert observed[above] == 1
    assert observed[-1] * LAG.scale >= 0.39
