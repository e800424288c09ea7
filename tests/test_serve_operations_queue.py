"""What commands do to the queue, on a memory store; the verbs are elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import pytest
from test_queue_selection import NOW, queued, target

from fastsmtp.cells import fresh
from fastsmtp.cli import Failure
from fastsmtp.cli.remote import Local, ask
from fastsmtp.queue import counts as events
from fastsmtp.queue import moves
from fastsmtp.queue.message import Queued, Standing, State
from fastsmtp.queue.schedule import Schedule
from fastsmtp.queue.selection import EVERYTHING, Filter
from fastsmtp.serve import operations_queue
from fastsmtp.serve.operations_queue import (
    Hands,
    QueueActive,
    QueueChange,
    QueueOperations,
    QueueSuspend,
)
from fastsmtp.store import keys
from fastsmtp.store.memory import Body, MemoryStore

LATER: Final = NOW + 3_600_000
A, B = "a@y.test", "b@z.test"


class Silence:
    """An alarm that nobody waits for."""

    def ring(self) -> None:
        pass

    def reset(self) -> None:
        pass

    async def wait(self, seconds: float) -> None:
        raise AssertionError

    async def rest(self, seconds: float) -> None:
        raise AssertionError


class Desk:
    """A queue, and who works on it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.schedule = Schedule(self.store, lambda: NOW, Silence())
        self.cells = fresh(events.CELLS)
        self.bounced: list[tuple[int, tuple[str, ...], str]] = []
        self.notices: dict[int, moves.Move] = {}
        self.told: list[tuple[int, str]] = []
        self.hurried: set[str] = set()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        hands = Hands(
            *(self.schedule, self.bounce, self.cells),
            hop_of=lambda queued, target: queued.via or target.hop,
            hurry=self.hurried.update,
            told=lambda id, action: self.told.append((id, action)),
            now=lambda: NOW,
        )
        self.caller = Local(QueueOperations(self.store, hands).table())

    async def bounce(
        self, id: int, queued: Queued, addresses: Collection[str], text: str
    ) -> moves.Move:
        self.bounced.append((id, tuple(addresses), text))
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return self.notices.pop(id, moves.Move())

    async def enter(self, *to: str, **more: Any) -> int:
        """A message whose body is in the store."""
        id = self.store.next_id()
        self.store.disk.blobs[id] = Body(b"x")
        targets = (
            target(
                each, due=LATER, attempts=2, error="451 busy", hop=f"smtp:{each[2:]}"
            )
            for each in to
        )
        entry = queued(*targets, due=LATER, **more)
        move = moves.enter(id, entry)
        move.refs[id] = 1
        await moves.make(self.store, move)
        return id

    def entry(self, id: int) -> Queued | None:
        held = moves.read(self.store, id)
        return held.queued if held is not None else None

    async def order(
        self, action: Any, *ids: int, wanted: Filter = EVERYTHING, **more: str
    ) -> dict[str, int]:
        """What became of how many, without the zeros."""
        raw = b"".join(id.to_bytes(8, "big") for id in ids)
        request = QueueChange(action, len(ids), wanted, **more)
        made = await ask(self.caller, "queue.change", request, [raw])
        return {name: count for name, count in made.items() if count}

    def rows(self) -> list[bytes]:
        return self.store.disk.parts[keys.QUEUE].order

    def count(self, place: int) -> int:
        return self.cells[place]


def at_desk(story: Callable[[Desk], Awaitable[None]]) -> None:
    async def scene() -> None:
        await asyncio.wait_for(story(Desk()), 60)

    asyncio.run(scene())


def test_hold_and_release() -> None:
    async def story(desk: Desk) -> None:
        one, two = await desk.enter(A), await desk.enter(A, B)
        assert await desk.order("hold", one, two) == {"done": 2}
        held = desk.entry(one)
        assert held is not None
        assert held.state == State.HOLD
        assert await desk.schedule.take(10) is None
        assert await desk.order("hold", one) == {"same": 1}
        assert await desk.order("retry", one) == {"same": 1}
        assert await desk.order("release", one) == {"done": 1}
        taken = await desk.schedule.take(10)
        assert taken is not None
        assert [due.id for due in taken[1]] == [one]
        assert (desk.count(events.HELD), desk.count(events.RELEASED)) == (2, 1)
        assert desk.told == [(one, "hold"), (two, "hold"), (one, "release")]

    at_desk(story)


def test_retry_is_for_those_who_are_meant() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A, B)
        desk.schedule.pause("z.test", LATER)
        made = await desk.order("retry", one, wanted=Filter(domain="z.test"))
        assert made == {"done": 1}
        taken = await desk.schedule.take(10)
        assert taken is not None
        assert (taken[0].name, [due.id for due in taken[1]]) == ("z.test", [one])
        assert await desk.schedule.take(10) is None
        assert desk.hurried == {"smtp:y.test", "smtp:z.test"}

    at_desk(story)


def test_retry_of_what_is_due_lifts_what_holds_it_up() -> None:
    """Its next hop was left alone, so nobody has tried it."""

    async def story(desk: Desk) -> None:
        one = await desk.enter(A)
        assert await desk.order("retry", one) == {"done": 1}
        desk.hurried.clear()
        desk.schedule.pause("y.test", LATER)
        assert await desk.schedule.take(10) is None
        assert await desk.order("retry", one) == {"same": 1}
        assert desk.hurried == {"smtp:y.test"}
        assert await desk.schedule.take(10) is not None
        held = await desk.enter(B)
        await desk.order("hold", held)
        desk.hurried.clear()
        assert await desk.order("retry", held) == {"same": 1}
        assert desk.hurried == set()

    at_desk(story)


def test_delete_leaves_nothing_behind_and_tells_nobody() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A, B)
        assert await desk.order("delete", one) == {"done": 1}
        assert desk.rows() == []
        assert desk.bounced == []
        assert desk.store.disk.blobs[one].refs == 0
        assert desk.count(events.REMOVED) == 1

    at_desk(story)


def test_delete_and_bounce_are_for_the_recipients_who_are_meant() -> None:
    async def story(desk: Desk) -> None:
        for action, wanted in (
            ("delete", Filter(recipient=A)),
            ("bounce", Filter(domain="y.test")),
            ("bounce", Filter(hop="smtp:y.test")),
        ):
            one = await desk.enter(A, B)
            assert await desk.order(action, one, wanted=wanted) == {"done": 1}
            left = desk.entry(one)
            assert left is not None
            standings = [t.standing for t in left.targets]
            assert standings == [Standing.GIVEN_UP, Standing.WAITING]
            assert await desk.order(action, one, wanted=wanted) == {"changed": 1}
        assert [to for _, to, _ in desk.bounced] == [(A,), (A,)]

    at_desk(story)


def test_bounce_tells_the_sender_first() -> None:
    async def story(desk: Desk) -> None:
        one, two = await desk.enter(A, B), await desk.enter(B)
        seen: list[Queued | None] = []

        async def meanwhile() -> None:
            seen.append(desk.entry(one))

        desk.meanwhile = meanwhile
        notice = b"m notice", b"octets"
        desk.notices[two] = moves.Move(puts=[notice])
        assert await desk.order("bounce", one, two, text="no") == {"done": 2}
        assert await desk.store.get(keys.QUEUE, notice[0]) == notice[1]
        await desk.store.commit(keys.QUEUE, deletes=[notice[0]])
        assert desk.bounced == [(one, (A, B), "no"), (two, (B,), "no")]
        assert seen != [None]  # it was still there
        assert desk.rows() == []
        assert (desk.count(events.BOUNCED), desk.count(events.REMOVED)) == (3, 2)

    at_desk(story)


def test_what_is_tried_at_this_moment_is_not_bounced_or_deleted() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A, B)
        assert await desk.order("retry", one, wanted=Filter(domain="y.test"))
        taken = await desk.schedule.take(10)
        assert taken is not None
        assert await desk.order("bounce", one) == {"active": 1}
        assert await desk.order("delete", one) == {"active": 1}
        deferred = Filter(state=State.DEFERRED)
        assert await desk.order("hold", one, wanted=deferred) == {"changed": 1}
        assert await desk.order("hold", one) == {"done": 1}
        desk.schedule.done("y.test", one)
        assert await desk.order("delete", one) == {"done": 1}

    at_desk(story)


def test_nobody_tries_what_is_being_bounced() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A)
        assert await desk.order("retry", one) == {"done": 1}
        taken: list[Any] = []

        async def meanwhile() -> None:
            taken.append(await desk.schedule.take(10))

        desk.meanwhile = meanwhile
        assert await desk.order("bounce", one) == {"done": 1}
        assert taken == [None]
        assert not list(desk.schedule.active())

    at_desk(story)


def test_one_that_others_change_meanwhile_is_looked_at_again() -> None:
    async def story(desk: Desk) -> None:
        one, two, three = [await desk.enter(A) for _ in range(3)]

        async def meanwhile() -> None:
            assert await desk.order("move", one, via="mx") == {"done": 1}
            assert await desk.order("hold", two) == {"done": 1}

        desk.meanwhile = meanwhile
        wanted = Filter(state=State.DEFERRED)
        made = await desk.order("bounce", one, two, three, wanted=wanted)
        assert made == {"done": 2, "changed": 1}
        assert desk.entry(one) is None
        held = desk.entry(two)
        assert held is not None
        assert held.state == State.HOLD
        told = [id for id, _, _ in desk.bounced]
        assert sorted(told) == sorted(set(told))  # no sender is told twice
        assert not list(desk.schedule.active())

    at_desk(story)


def test_those_that_are_gone_are_counted() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A)
        await desk.store.commit(keys.QUEUE, puts=[(keys.queued(7), b"\xc1rot")])
        made = await desk.order("delete", one, 99, 7)
        assert made == {"done": 1, "gone": 1, "damaged": 1}

    at_desk(story)


def test_move_takes_another_next_hop_and_the_usual_one_again() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A)
        via = "smtp://there.test:2525"
        assert await desk.order("move", one, via=via) == {"done": 1}
        moved = desk.entry(one)
        assert moved is not None
        assert (moved.via, moved.due) == (via, NOW)
        assert await desk.order("move", one, via=via) == {"same": 1}
        assert await desk.order("move", one) == {"done": 1}
        with pytest.raises(Failure, match=r'"nowhere" is none of "mx"'):
            await desk.order("move", one, via="nowhere")

    at_desk(story)


def test_a_domain_whose_next_hop_was_full_is_looked_at_again() -> None:
    async def story(desk: Desk) -> None:
        for action, more in (("retry", {}), ("move", {"via": "mx"})):
            one = await desk.enter(A)
            desk.schedule.park("y.test", ())
            assert await desk.schedule.take(10) is None
            assert await desk.order(action, one, **more) == {"done": 1}
            assert await desk.schedule.take(10) is not None

    at_desk(story)


def test_many_go_in_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_queue, "TOGETHER", 3)

    async def story(desk: Desk) -> None:
        ids = [await desk.enter(A) for _ in range(10)]
        assert await desk.order("delete", *ids) == {"done": 10}
        assert desk.rows() == []

    at_desk(story)


def test_orders_that_make_no_sense_are_declined() -> None:
    async def story(desk: Desk) -> None:
        request = QueueChange("hold", operations_queue.MOST + 1)
        with pytest.raises(Failure, match="at a time are the most"):
            await ask(desk.caller, "queue.change", request)
        for text in ("two\r\nlines", "x" * 201):
            with pytest.raises(Failure, match="not one line"):
                await desk.order("bounce", text=text)
        with pytest.raises(Failure, match="is not a domain"):
            await ask(desk.caller, "queue.suspend", QueueSuspend("", True))

    at_desk(story)


def test_a_domain_is_suspended_until_it_is_resumed() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A)
        assert await desk.order("retry", one) == {"done": 1}
        made = await ask(desk.caller, "queue.suspend", QueueSuspend("Y.test", True))
        assert (made["domain"], made["suspended"], made["changed"]) == (
            *("y.test", True, True),
        )
        assert await desk.schedule.take(10) is None
        fresh_start = Schedule(desk.store, lambda: NOW, Silence())
        await fresh_start.load()
        assert await fresh_start.take(10) is None  # as the store has it
        made = await ask(desk.caller, "queue.suspend", QueueSuspend("y.test", True))
        assert made["changed"] is False
        await ask(desk.caller, "queue.suspend", QueueSuspend("y.test", False))
        assert await desk.schedule.take(10) is not None

    at_desk(story)


def test_what_is_active_is_told() -> None:
    async def story(desk: Desk) -> None:
        one = await desk.enter(A)
        assert await desk.order("retry", one) == {"done": 1}
        assert await desk.schedule.take(10) is not None
        items = [item async for item in desk.caller.call("queue.active", QueueActive())]
        assert items == [{"ids": [one]}, {"active": 1}]

    at_desk(story)
