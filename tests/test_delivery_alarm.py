import asyncio

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
