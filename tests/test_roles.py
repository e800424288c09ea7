"""What roles share, with stores that only pretend."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from fakes import turns_until

from fastsmtp import depths, roles
from fastsmtp.roles import Process
from fastsmtp.store import keys
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.store.memory import MemoryStore


async def never() -> None:
    await asyncio.get_running_loop().create_future()


class Store:
    """`reason` is its health; `applied` resolves when told."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.visible = asyncio.Event()

    def healthy(self) -> str | None:
        return self.reason

    async def applied(self, _id: int) -> None:
        await self.visible.wait()


def test_work_that_fails_is_told_and_work_that_is_left_is_not() -> None:
    told: list[BaseException] = []

    async def fails() -> None:
        raise OSError("disk")

    async def returns() -> None:
        return

    async def main() -> None:
        async with roles.running(never(), told.append):
            pass
        assert told == []
        for work in (fails(), returns()):
            async with roles.running(work, told.append):
                await turns_until(lambda: bool(told))
            assert isinstance(told.pop(), OSError | RuntimeError)

    asyncio.run(main())


def test_the_end_waits_for_what_was_accepted_but_not_for_ever() -> None:
    async def main() -> None:
        store = Store()
        await asyncio.wait_for(roles.settled(cast(LmdbStore, store), 0.01), 5)
        waiting = asyncio.ensure_future(roles.settled(cast(LmdbStore, store), 60))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.visible.set()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_trouble_of_the_store_stands_in_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "LOOK", 0)
    said: list[str] = []
    pages = SimpleNamespace(excuse=lambda _slot, text: said.append(text))
    process = cast(Process, SimpleNamespace(slot=3, pages=pages))

    async def until(text: str) -> None:
        await turns_until(lambda: said[-1:] == [text])

    async def main() -> None:
        store = Store()
        telling = roles.tell_trouble(process, cast(LmdbStore, store))
        task = asyncio.ensure_future(telling)
        store.reason = "the disk is full"
        await asyncio.wait_for(until("the disk is full"), 5)
        store.reason = None
        await asyncio.wait_for(until(""), 5)
        task.cancel()

    asyncio.run(main())


def test_a_read_that_never_suspends_is_done_at_once() -> None:
    async def read() -> int:
        return 7

    assert depths.at_once(read()) == 7
    with pytest.raises(RuntimeError, match="suspended"):
        depths.at_once(asyncio.sleep(0))


@pytest.mark.parametrize("destinations", [3, 25])
def test_a_scrape_reads_a_bounded_number_of_destinations(
    destinations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than that it tells what it found before."""
    monkeypatch.setattr(depths, "COUNTERS", 10)
    store = MemoryStore()

    def enter(first: int) -> None:
        adds = {keys.destination(f"{n}.test"): (1, 9) for n in range(first, first + 5)}
        asyncio.run(store.commit(keys.QUEUE, adds=adds))

    for first in range(0, destinations, 5):
        enter(first)
    crowded = depths.Crowded(cast(LmdbStore, store))
    empty = 0
    while not (found := crowded.fullest()):
        empty += 1
    assert empty == destinations // 10
    assert sum(messages for _, messages in found) == -(-destinations // 5) * 5
    assert found[-1] == ("other", max(0, destinations - depths.FULLEST))
    enter(100)
    seen = [sum(n for _, n in crowded.fullest()) for _ in range(empty + 2)]
    assert seen[-1] == sum(n for _, n in found) + 5
