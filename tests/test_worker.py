"""What a worker does with its lifeline; whole workers are in test_server."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from fastsmtp import worker
from fastsmtp.ending import AT_ONCE, Ending
from fastsmtp.server import PATIENCE
from fastsmtp.supervisor import END
from fastsmtp.worker import Lifeline


def run(work: Callable[[int, int], Awaitable[None]]) -> None:
    theirs, ours = os.pipe()

    async def bounded() -> None:
        await asyncio.wait_for(work(theirs, ours), 5)

    uvloop.run(bounded())
    os.close(theirs)


def test_an_octet_more_is_the_word_to_drain() -> None:
    async def work(theirs: int, ours: int) -> None:
        ending = Ending(signals=False)
        lifeline = Lifeline(theirs, ending)
        os.write(ours, END)
        os.write(ours, END)
        await ending.wait()
        assert not lifeline.orphaned.is_set()
        os.close(ours)
        await lifeline.orphaned.wait()  # killed while it drained us

    run(work)


def test_an_orphan_ends_whatever_holds_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(worker, "ORPHAN_END", 0.01)

    async def work(theirs: int, ours: int) -> None:
        over = asyncio.Event()
        monkeypatch.setattr(os, "_exit", lambda n: (ended.append(n), over.set()))
        ending = Ending(signals=False)
        lifeline = Lifeline(theirs, ending)
        os.close(ours)
        await ending.wait()
        assert lifeline.orphaned.is_set()
        await over.wait()

    run(work)
    assert ended == [AT_ONCE]


def test_the_next_server_waits_longer_than_an_orphan_lives() -> None:
    assert worker.ORPHAN_GRACE < worker.ORPHAN_END < PATIENCE


def test_without_orders_it_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = os.pipe()
    os.close(ours)
    monkeypatch.setattr("sys.argv", ["worker", str(theirs)])
    assert worker.main() == 0
    os.close(theirs)
