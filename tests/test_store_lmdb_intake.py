"""Counting what the keeper has not applied yet."""

import asyncio
from pathlib import Path

from fastsmtp.cells import fresh
from fastsmtp.store.base import Kind
from fastsmtp.store.counts import SIZE, Count
from fastsmtp.store.lmdb.intake import Intake
from fastsmtp.store.options import StoreOptions

OPTIONS = StoreOptions(segment_size=1 << 20)


class Racing:
    """A writer whose flusher is always one record further when somebody looks twice."""

    def __init__(self) -> None:
        self.appended = self.settled = 0

    def append(self, *_: object) -> int:
        self.appended += 1
        return self.appended

    def flush(self) -> None:
        """Nobody waits."""

    def position(self) -> tuple[int, int]:
        return 1, 100 * (self.settled + 1)

    def collect(self) -> tuple[int, list[object], list[object], tuple[int, int]]:
        self.settled += 1
        return self.settled, [], [], (1, 100 * self.settled)

    def count_flushes(self, _: object) -> None:
        """There are none."""


def test_a_flush_that_ends_between_two_looks_leaves_nothing_unapplied(
    tmp_path: Path,
) -> None:
    async def story() -> int:
        cells = fresh(SIZE)
        intake = Intake(tmp_path, 1, 1, 1, OPTIONS, cells)
        real = intake.writer
        intake.writer = Racing()  # type: ignore[assignment]
        for id in (1, 2):
            intake.submit(id, Kind.MAIL, b"", b"", b"x", lambda error: None)
        intake._collect()
        intake._collect()
        intake.on_applied((1, 200))
        intake.writer = real
        await intake.close()
        return cells[Count.UNAPPLIED_MESSAGES]

    assert asyncio.run(story()) == 0
