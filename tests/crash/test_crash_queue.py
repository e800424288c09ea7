"""Every step of the queue's table, stopped before and behind it.

A `Mortal` store dies at its n-th write; each later call raises as well, as if the
process were gone. Then a new life begins on the same disk, with its own epoch, and does
what a start does. Whatever n is: no message is lost, none is in a mailbox twice, and
in the end nothing is left in the queue that is not needed.
"""

import asyncio
from typing import Any

import pytest
import test_delivery_notices as notified
from village import DOMAIN, NOW, Village, envelope

from fastsmtp.queue import moves
from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.memory import Disk, MemoryStore

HOUR = 3_600_000
STEPS = range(14)


class Died(BaseException):
    """Not an `Exception`: a process that is gone handles nothing."""


class Mortal(MemoryStore):
    """A process life that ends at its n-th write: instead of it, or right behind it."""

    def __init__(self, disk: Disk, steps: int, behind: bool) -> None:
        super().__init__(disk)
        self.steps = steps
        self.behind = behind
        self.taken: list[str] = []

    def _step(self, name: str) -> None:
        if self.steps < 0:
            raise Died
        self.steps -= 1
        if self.steps < 0 and not self.behind:
            raise Died
        self.taken.append(name)

    def _dies(self) -> None:
        if self.steps < 0:
            raise Died

    async def commit(self, part: int, **what: Any) -> int:
        self._step("queue" if part == keys.QUEUE else "account")
        version = await super().commit(part, **what)
        self._dies()
        return version


class Forgetful(Mortal):
    """Keeps no marks: the control, which must fail."""

    async def commit(self, part: int, **what: Any) -> int:
        for name in ("checks", "puts"):
            kept = [pair for pair in what.get(name, ()) if pair[0][:1] != b"k"]
            what[name] = kept
        return await super().commit(part, **what)


def mend(town: Village, damaged: dict[int, bytes]) -> None:
    """What was wrong with the mailboxes is put right."""
    for part, good in damaged.items():
        town.store.disk.parts[part].put(keys.HEAD, good)


async def deferred(disk: Disk) -> tuple[Village, int, dict[int, bytes]]:
    """A message that reached alice, and waits for bob, carol and dave."""
    town = Village(MemoryStore(disk))
    await town.settle("alice", "bob", "carol")
    damaged = {}
    for name in ("bob", "carol"):
        part = town.ids[name]
        damaged[part] = disk.parts[part].values[keys.HEAD]
        disk.parts[part].put(keys.HEAD, b"\xc1")
    id = await town.send("alice", "all", "dave", "bob")
    return town, id, damaged


async def live_on(disk: Disk, ids: dict[str, int], until: int) -> Village:
    """A new life: work until nothing is left."""
    town = Village(MemoryStore(disk))
    town.ids = ids
    town.verify()
    await town.work(until)
    return town


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("steps", STEPS)
def test_a_retry_is_stopped_at_every_step(steps: int, behind: bool) -> None:
    async def case() -> None:
        disk = Disk()
        town, id, damaged = await deferred(disk)
        await town.settle("dave")
        mend(town, damaged)
        mortal = Village(Mortal(disk, steps, behind))
        mortal.ids = town.ids
        try:
            await mortal.work(NOW + HOUR)
        except* Died:
            died = True
        else:
            died = False
        assert died == (steps < WHOLE)
        after = await live_on(disk, town.ids, NOW + 2 * HOUR)
        for name in ("alice", "bob", "carol", "dave"):
            assert await after.inbox(name) == [id]
        assert disk.parts[keys.QUEUE].values == {}
        assert after.refs(id) == 4
        for part in town.ids.values():
            assert await after.store.scan(part, b"k", b"l", 10) == []
        after.verify()

    asyncio.run(case())


WHOLE = 8
"""Writes of one attempt: three accounts, revise, three marks, leave."""


def test_without_marks_some_would_get_it_twice() -> None:
    async def copies(steps: int) -> int:
        disk = Disk()
        town, _, damaged = await deferred(disk)
        await town.settle("dave")
        mend(town, damaged)
        with pytest.raises(BaseExceptionGroup) as died:
            await Village(Forgetful(disk, steps, behind=True)).work(NOW + HOUR)
        assert died.value.subgroup(Died) is not None
        after = await live_on(disk, town.ids, NOW + 2 * HOUR)
        inboxes = [await after.inbox(name) for name in town.ids]
        return max(len(inbox) for inbox in inboxes)

    assert [asyncio.run(copies(steps)) for steps in range(5)] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("steps", range(4))
def test_a_partly_failed_retry_is_stopped_at_every_step(
    steps: int, behind: bool
) -> None:
    """Dave can be served now, bob and carol cannot: one account, revise."""

    async def case() -> None:
        disk = Disk()
        town, id, damaged = await deferred(disk)
        await town.settle("dave")
        mortal = Village(Mortal(disk, steps, behind))
        try:
            await mortal.work(NOW + HOUR // 10)
        except* Died:
            assert steps < 2
        between = await live_on(disk, town.ids, NOW + HOUR // 10)
        assert await between.inbox("dave") == [id]
        (entry,) = await between.queue()
        assert len([t for t in entry.queued.targets if not t.standing]) == 3
        between.verify()
        mend(town, damaged)
        after = await live_on(disk, town.ids, NOW + 3 * HOUR)
        for name in ("alice", "bob", "carol", "dave"):
            assert await after.inbox(name) == [id]
        assert disk.parts[keys.QUEUE].values == {}
        after.verify()

    asyncio.run(case())


def test_what_was_durable_is_delivered_by_the_next_life() -> None:
    async def case() -> None:
        disk = Disk()
        town = Village(MemoryStore(disk))
        await town.settle("alice", "bob", "carol")
        id = await town.store.append(Kind.MAIL, envelope("all", "dave"), b"body\r\n")
        assert await town.inbox("alice") == []
        after = Village(MemoryStore(disk))
        after.ids = town.ids
        other = await after.send("alice")
        assert await after.inbox("alice") == [id, other]
        assert await after.inbox("bob") == [id]
        (entry,) = await after.queue()
        assert [t.address for t in entry.queued.targets] == [f"dave@{DOMAIN}"]
        after.verify()

    asyncio.run(case())


async def notices_after_a_death(steps: int, behind: bool, early: bool) -> int:
    """How many alice gets of a message that is refused, when the process that hears of
    it dies at a step. Early: the control, which puts them into the queue before."""
    disk = Disk()
    town = Village(MemoryStore(disk))
    await town.settle("alice", "bob", "carol")
    await notified.send(town, notified.FAR)
    for store in (Mortal(disk, steps, behind), MemoryStore(disk)):
        life = Village(store)
        life.ids = town.ids
        notified.telling(life)
        life.far.says["far.test"] = notified.NO
        if early and isinstance(store, Mortal):
            life.tell = first(life)  # type: ignore[method-assign]
        try:
            await notified.work(life, NOW + HOUR)
        except* Died:
            assert isinstance(store, Mortal)
    life.verify()
    assert disk.parts[keys.QUEUE].values == {}
    return len(await notified.notices(life))


def first(life: Village) -> Any:
    tell = life.tell

    async def at_once(*what: Any) -> moves.Move:
        await moves.make(life.store, await tell(*what))
        return moves.Move()

    return at_once


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("steps", range(7))
def test_a_sender_is_told_once_whenever_we_die(steps: int, behind: bool) -> None:
    assert asyncio.run(notices_after_a_death(steps, behind, early=False)) == 1


def test_two_transactions_would_tell_it_twice() -> None:
    assert asyncio.run(notices_after_a_death(0, True, early=True)) == 2
