"""The wall clock jumps while mail waits: by an hour and by ten years, both ways.

Nothing is lost: attempts go on as if it had not, at most a minute late, or are early.
Nothing comes back too soon: only after an attempt that failed when the clock had been
steady for a while again. One process life; a start with another clock is in
test_delivery_elsewhere.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from msgspec.structs import replace
from test_delivery_elsewhere import BUSY, DAY, DEAD, FAR, HOUR, MINUTE, YEARS
from village import NOW, FarAway, Sun, Village, envelope

from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.queue import counts as events
from fastsmtp.queue.message import decode_envelope, encode_envelope
from fastsmtp.queue.schedule import LONGEST
from fastsmtp.queue.timing import STEADY
from fastsmtp.smtp.letter import Answer
from fastsmtp.store.base import Kind
from fastsmtp.store.memory import MemoryStore

JUMPS = {"+1h": HOUR, "-1h": -HOUR, "+10y": YEARS, "-10y": -YEARS}
AT = 40 * MINUTE  # of steady time, when it jumps
OPTIONS = DeliveryOptions(
    retry=(HOUR / 2000,), hop_pause=1800.0, hop_pause_most=1800.0, give_up=DAY / 1000
)
"""Each half hour, whether the next hop is dead or busy, for a day."""
LATE = 33 * MINUTE + 2 * int(LONGEST * 1000)
"""The longest pause there may be: half an hour and its spread, and until it is seen."""


class Leap(Sun):
    """Puts the wall clock alone forward or back, once."""

    def __init__(self, village: Village, jump: int) -> None:
        super().__init__(village)
        self.jump = jump

    async def rest(self, seconds: float) -> None:
        if self.jump and self.village.steady >= 1e6 + AT / 1000:
            self.village.now += self.jump
            self.until += self.jump
            self.jump = 0
        await super().rest(seconds)


class Timed(FarAway):
    """Knows when each attempt was, in steady milliseconds since the beginning."""

    def __init__(self, town: Village) -> None:
        super().__init__()
        self.town = town
        self.tried: list[float] = []

    def give(self, job: object) -> bool:  # type: ignore[override]
        self.tried.append((self.town.steady - 1e6) * 1000)
        return super().give(job)  # type: ignore[arg-type]


async def started(jump: int, answer: Answer) -> tuple[Village, Timed]:
    town = Village(MemoryStore())
    await town.settle("alice")
    town.alarm = Leap(town, jump)
    town.far = far = Timed(town)
    far.says["far.test"] = answer
    if answer is DEAD:
        far.unreached.add("far.test")
    return town, far


@pytest.mark.parametrize("answer", [BUSY, DEAD], ids=["busy", "dead"])
@pytest.mark.parametrize("jump", JUMPS)
def test_attempts_go_on(jump: str, answer: Answer) -> None:
    async def case() -> None:
        town, far = await started(JUMPS[jump], answer)
        await town.send(FAR)
        await town.work(NOW + 20 * HOUR, OPTIONS)
        if jump == "+10y":  # it is ten years old then; see below
            assert await town.queue() == []
        else:
            assert len(far.tried) > 30
            assert max(b - a for a, b in pairwise(far.tried)) <= LATE
            assert len(await town.queue()) == 1
            assert town.events[events.EXPIRED] == 0
        town.verify()

    asyncio.run(case())


@pytest.mark.parametrize("answer", [BUSY, DEAD], ids=["busy", "dead"])
@pytest.mark.parametrize("jump", JUMPS)
def test_it_expires_by_a_failure_under_a_steady_clock(
    jump: str, answer: Answer
) -> None:
    async def case() -> None:
        town, far = await started(JUMPS[jump], answer)
        await town.send(FAR)
        await town.work(NOW + 28 * HOUR, OPTIONS)
        if jump == "-10y":  # it is not born yet, and waits on
            assert len(await town.queue()) == 1
            return
        assert await town.queue() == []
        assert town.events[events.EXPIRED] == 1
        last = far.tried[-1]
        assert last >= AT + STEADY * 1000
        if jump != "+10y":
            age = DAY - JUMPS[jump]
            assert age <= last <= age + LATE
            assert [after.late for _, after in town.notices].count(True) == 1

    asyncio.run(case())


@pytest.mark.parametrize("jump", JUMPS)
def test_a_later_release_is_of_the_wall_clock(jump: str) -> None:
    """RFC 4865: somebody wants it at that hour, by whatever clock there is then."""

    async def case() -> None:
        town, far = await started(JUMPS[jump], Answer(250, "2.0.0", "taken", "body"))
        raw = decode_envelope(envelope(FAR))
        later = encode_envelope(replace(raw, release=NOW + 3 * HOUR))
        id = await town.store.append(Kind.MAIL, later, b"body\r\n")
        async with town.keeping():
            await town.store.applied(id)
        await town.work(NOW + DAY, OPTIONS)
        due = 3 * HOUR - JUMPS[jump]
        if jump == "-10y":
            assert far.tried == []
        else:
            (tried,) = far.tried
            assert 0 <= tried - max(due, AT) <= 2 * LONGEST * 1000

    asyncio.run(case())


@pytest.mark.parametrize("answer", [BUSY, DEAD], ids=["busy", "dead"])
@pytest.mark.parametrize("jump", JUMPS)
def test_what_comes_after_it_is_sent_at_once(jump: str, answer: Answer) -> None:
    """To where others wait, and to where nobody does."""

    async def case() -> None:
        town, far = await started(JUMPS[jump], answer)
        await town.send(FAR)
        town.alarm.until = NOW + AT + 5 * MINUTE
        await town.work(town.alarm.until, OPTIONS)
        far.says.clear()
        far.unreached.clear()
        far.tried.clear()
        began = (town.steady - 1e6) * 1000
        fresh = envelope("other@new.test", arrived=town.now)
        id = await town.store.append(Kind.MAIL, fresh, b"body\r\n")
        async with town.keeping():
            await town.store.applied(id)
        await town.work(town.now + 35 * MINUTE, OPTIONS)
        assert far.times("new.test") == 1
        assert far.tried[0] - began <= 1000
        assert await town.queue() == []

    asyncio.run(case())
