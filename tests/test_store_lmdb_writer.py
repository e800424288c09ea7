"""When the log's turn comes: the longer after a commit the more that one cost."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from fastsmtp.cells import fresh
from fastsmtp.store.counts import SIZE
from fastsmtp.store.lmdb import writer as writing
from fastsmtp.store.lmdb.writer import Writer

INTERVAL = 0.02


class Log:
    """A feed that has something all the time."""

    def step(self, txn: Any) -> bool:
        return False

    def committed(self) -> tuple[Callable[[], None] | None, Iterable[int], int]:
        return None, (), 1

    def aborted(self) -> None:
        raise AssertionError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Rig:
    """A writer whose thread does not run, after a commit of its log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr(writing, "time", self.clock)

    def commit(self, took: float, *, more: bool = False, each: float = 0.0) -> float:
        """How long the log then waits, while it grows every `each` seconds (0: never)
        from the end of the commit on."""

        async def story() -> float:
            nothing = cast("Any", None)
            cells = fresh(SIZE)
            made = Writer(nothing, nothing, INTERVAL, cells, lambda parts: None)
            began = self.clock.now
            self.clock.now += took
            made._committed([], Log(), more, began)
            ended = self.clock.now
            while (pause := made._pause()) > 1e-9:
                self.clock.now += min(pause, each) if each else pause
                if each:
                    made.poke()
            return self.clock.now - ended

        return asyncio.run(story())


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def test_it_waits_an_interval_and_then_until_the_log_rests(rig: Rig) -> None:
    assert rig.commit(0.01) == pytest.approx(INTERVAL)
    assert rig.commit(0.0) == pytest.approx(INTERVAL)


def test_a_log_that_grows_waits_the_longer_the_more_the_commit_took(rig: Rig) -> None:
    assert rig.commit(0.0001, each=0.001) == pytest.approx(INTERVAL)
    assert rig.commit(0.005, each=0.001) == pytest.approx(0.08)
    assert rig.commit(0.01, each=0.001) == pytest.approx(0.16)
    assert rig.commit(1.0, each=0.001) == pytest.approx(0.24), "but not for ever"


def test_what_is_left_over_is_applied_at_once(rig: Rig) -> None:
    assert rig.commit(0.2, more=True, each=0.001) == 0
