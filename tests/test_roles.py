"""What roles share, with stores that only pretend."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from fakes import turns_until

from fastsmtp import blocks, depths, roles
from fastsmtp.cells import fresh
from fastsmtp.errors import Excuse
from fastsmtp.roles import Process
from fastsmtp.store import keys
from fastsmtp.store.lmdb import LmdbStore
from fastsmtp.store.memory import MemoryStore
from fastsmtp.store.options import StoreOptions


async def never() -> None:
    await asyncio.get_running_loop().create_future()


class Store:
    """`reason` is its health; `applied` resolves when told."""

    def __init__(self) -> None:
        self.reason = ""
        self.visible = asyncio.Event()

    def healthy(self) -> Excuse | None:
        return Excuse("disk", self.reason) if self.reason else None

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


def test_trouble_of_the_store_stands_in_the_page_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "LOOK", 0)
    said: list[str] = []
    logged: list[tuple[str, ...]] = []
    pages = SimpleNamespace(excuse=lambda _slot, text: said.append(text))
    report = SimpleNamespace(
        store_trouble=lambda *what: logged.append(("trouble", *what)),
        store_recovered=lambda *what: logged.append(("recovered", *what)),
    )
    process = cast(Process, SimpleNamespace(slot=3, pages=pages, report=report))

    async def until(text: str, times: int = 1) -> None:
        said.clear()
        await turns_until(lambda: said[-times:] == [text] * times)

    async def main() -> None:
        store = Store()
        telling = roles.tell_trouble(process, cast(LmdbStore, store))
        task = asyncio.ensure_future(telling)
        for _ in range(3):  # it comes and goes: one line
            store.reason = "the disk is full"
            await until("the disk is full")
            store.reason = ""
            await until("")
        assert logged == [("trouble", "no mail is taken", "the disk is full")]
        await until("", roles.CALM)
        assert logged.pop() == ("recovered", "mail is taken again", "")
        store.reason = "the disk is full"
        await until("the disk is full")
        assert len(logged) == 2
        task.cancel()

    asyncio.run(main())


def test_a_process_that_cannot_tell_of_trouble_is_not_left_like_that(
    tmp_path: Path,
) -> None:
    def excuse(_slot: int, _text: str) -> None:
        raise OSError("the page is gone")

    config = SimpleNamespace(data=tmp_path, run=tmp_path, store=StoreOptions())
    process = SimpleNamespace(
        config=config,
        epoch=1,
        slot=3,
        report=SimpleNamespace(),
        pages=SimpleNamespace(excuse=excuse),
        cells=fresh(blocks.CELLS),
    )
    told: list[tuple[str, BaseException]] = []

    async def main() -> None:
        async with roles.storing(
            cast(Process, process), 0, lambda *what: told.append(what), shared=False
        ):
            await turns_until(lambda: bool(told))

    asyncio.run(main())
    ((what, error),) = told
    assert (what, str(error)) == ("telling of trouble", "the page is gone")


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
