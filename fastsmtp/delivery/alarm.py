"""What the queue's schedule sleeps on, on an event loop."""

import asyncio
import contextlib


class LoopAlarm:
    """`fastsmtp.queue.schedule.Alarm`; belongs to the loop it is used on."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    def reset(self) -> None:
        self._rung.clear()

    async def wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()

    async def rest(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
