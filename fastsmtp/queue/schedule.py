"""Hands out due work. It keeps no heap of its own: what is due stands in the store.

It sleeps until the earliest due time, or until the store hints at a change, whichever
comes first. Due times are wall clock, and that may jump: no sleep is longer than
`LONGEST`, so a jump is noticed within that time.
"""

from collections.abc import Callable, Container
from typing import Final, Protocol

from fastsmtp.store import keys
from fastsmtp.store.base import Due, Store

LONGEST: Final = 60.0  # seconds


class Alarm(Protocol):
    """What the schedule sleeps on; whoever runs it brings one."""

    def ring(self) -> None:
        """End the wait, or the next one if nobody waits."""
        ...

    def reset(self) -> None:
        """Forget that it rang."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when it has rung since `reset`, or after so many seconds."""
        ...

    async def rest(self, seconds: float) -> None:
        """Return after so many seconds, whatever rings."""
        ...


class Schedule:
    """The due work of one partition, claimed for one process.

    holder  the epoch of this process: what it held is due again when it is dead
    now     milliseconds, wall clock
    limit   entries claimed at once
    """

    def __init__(
        self,
        store: Store,
        holder: int,
        now: Callable[[], int],
        alarm: Alarm,
        limit: int = 100,
    ) -> None:
        self.holder = holder
        self._store = store
        self.now = now
        self._limit = limit
        self.alarm = alarm
        self._end = store.watch(keys.QUEUE, alarm.ring)

    async def claim(self) -> list[Due]:
        """Due work, at least one piece: waits until there is some."""
        while True:
            self.alarm.reset()  # before reading: what comes after is a new hint
            now = self.now()
            claimed = await self._store.claim(keys.QUEUE, now, self._limit, self.holder)
            if claimed:
                return claimed
            await self.alarm.wait(await self._until_next(now))

    async def _until_next(self, now: int) -> float:
        first = await self._store.scan(keys.QUEUE, b"d", keys.after(b"d"), 1)
        if not first:
            return LONGEST
        at, _ = keys.parse_due(first[0][0])
        return min(max(at - now, 0) / 1000, LONGEST)

    def close(self) -> None:
        self._end()


async def recover(store: Store, alive: Container[int]) -> int:
    """Let go of what dead processes held; how many entries became due again."""
    released, at, end = 0, b"l", keys.after(b"l")
    while found := await store.scan(keys.QUEUE, at, end, 1):
        holder = int.from_bytes(found[0][0][1:9], "big")
        if holder not in alive:
            released += await store.release(keys.QUEUE, holder)
        at = keys.after(keys.leases(holder))
    return released
