import asyncio

import pytest

from fastsmtp.delivery.alarm import LoopAlarm


def test_it_rings_for_who_waits_and_who_comes_late() -> None:
    async def case() -> None:
        alarm = LoopAlarm()
        waiting = asyncio.ensure_future(alarm.wait(60))
        await asyncio.sleep(0)
        alarm.ring()
        await waiting
        await alarm.wait(60)  # it rang before
        await alarm.rest(0)

    asyncio.run(case())


def test_a_reset_is_forgotten_and_time_runs_out() -> None:
    async def case() -> None:
        alarm = LoopAlarm()
        alarm.ring()
        alarm.reset()
        await alarm.wait(0)

    asyncio.run(case())


@pytest.mark.parametrize("turns", range(6))
def test_who_waits_can_be_cancelled_in_the_moment_it_rings(turns: int) -> None:
    """The queue of a server that ends waits here: it would wait again, for ever."""

    async def case() -> bool:
        alarm = LoopAlarm()
        waiting = asyncio.ensure_future(alarm.wait(60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        alarm.ring()
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = waiting.cancel()
        await asyncio.wait((waiting,))
        return cancelled == waiting.cancelled()

    assert asyncio.run(case())
