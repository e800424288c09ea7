from typing import Any

from msgspec.structs import replace
from village import DOMAIN, NOW, Village, village

from fastsmtp.delivery import counts
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.queue import counts as events
from fastsmtp.queue import listing, moves
from fastsmtp.queue.message import Standing, State
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore

MINUTE = 60_000
HOUR = 60 * MINUTE
BOB = f"bob@{DOMAIN}"


def queue_keys(town: Village) -> list[bytes]:
    return [*town.store.disk.parts[keys.QUEUE].values]


@village
async def test_a_late_account_gets_its_mail(town: Village) -> None:
    id = await town.send("alice", "dave", "dave+tag")
    await town.settle("dave")
    await town.work(until=NOW + HOUR)
    assert await town.inbox("dave") == await town.inbox("alice") == [id]
    assert queue_keys(town) == []
    assert town.refs(id) == 2
    marks = await town.store.scan(town.ids["dave"], b"k", b"l", 10)
    assert marks == []


@village
async def test_attempts_follow_the_schedule(town: Village) -> None:
    await town.send("dave")
    tried = []
    for _ in range(5):
        (entry,) = await town.queue()
        tried.append(entry.queued.due)
        await town.work(until=entry.queued.due + 1)
    pauses = [
        round((b - a) / 60_000) for a, b in zip([NOW, *tried], tried, strict=False)
    ]
    for pause, minutes in zip(pauses, (5, 15, 30, 30, 30), strict=True):
        assert 0.9 * minutes - 1 <= pause <= 1.1 * minutes + 1
    (entry,) = await town.queue()
    (target,) = entry.queued.targets
    assert target.attempts == 6
    assert target.error == "no such user here"
    assert entry.state == State.DEFERRED


@village
async def test_what_cannot_be_delivered_is_given_up_in_the_end(town: Village) -> None:
    id = await town.send("alice", "dave")
    await town.work(NOW + 48 * HOUR, DeliveryOptions(give_up=86_400))
    assert queue_keys(town) == []
    assert town.refs(id) == 1
    _, after = town.notices[-1]
    assert after.changed[0].target.standing == Standing.GIVEN_UP
    assert town.events[events.REMOVED] == town.events[events.EXPIRED] == 1
    gauges = await listing.gauges(town.store, town.now)
    assert gauges[State.DEFERRED].messages == 0


@village
async def test_nobody_gets_a_copy_twice(town: Village) -> None:
    """An address that resolves later to whom has it already is done at once."""
    part = town.ids["bob"]
    good = town.store.peek(part, keys.HEAD) or b""
    await town.store.commit(part, puts=[(keys.HEAD, b"\xc1")])
    id = await town.send("all", "some")
    (entry,) = await town.queue()
    assert [t.address for t in entry.queued.targets] == [BOB, BOB]
    await town.store.commit(part, puts=[(keys.HEAD, good)])
    await town.work(NOW + HOUR)
    for name in ("alice", "bob", "carol"):
        assert await town.inbox(name) == [id]
    assert queue_keys(town) == []


@village
async def test_one_still_damaged_does_not_hold_up_the_rest(town: Village) -> None:
    part = town.ids["bob"]
    inbox = keys.mailbox(INBOX)
    good = town.store.peek(part, inbox) or b""
    await town.store.commit(part, puts=[(inbox, b"\xc1")])
    id = await town.send("bob", "dave")
    await town.settle("dave")
    await town.work(NOW + HOUR // 10)
    assert await town.inbox("dave") == [id]
    (entry,) = await town.queue()
    bob, dave = entry.queued.targets
    assert (bob.standing, dave.standing) == (Standing.WAITING, Standing.DELIVERED)
    assert bob.error.startswith("Damaged")
    assert entry.queued.marks == ((town.ids["dave"], f"dave@{DOMAIN}"),)
    await town.store.commit(part, puts=[(inbox, good)])
    await town.work(NOW + 2 * HOUR)
    assert await town.inbox("bob") == await town.inbox("dave") == [id]
    assert queue_keys(town) == []


@village
async def test_a_mark_absorbs_a_second_delivery(town: Village) -> None:
    id = await town.send("dave")
    await town.settle("dave")
    mark = keys.delivered(id, f"dave@{DOMAIN}")
    await town.store.commit(town.ids["dave"], puts=[(mark, b"")])
    await town.work(NOW + HOUR)
    assert await town.inbox("dave") == []
    assert queue_keys(town) == []


@village
async def test_a_store_in_trouble_makes_it_wait(town: Village) -> None:
    id = await town.send("dave")
    await town.settle("dave")

    class Broken(MemoryStore):
        async def commit(self, part: int, **what: Any) -> int:
            if town.now < NOW + 20 * 60_000:
                self.trouble = "disk full"
            try:
                return await super().commit(part, **what)
            finally:
                self.trouble = None

    town.store = Broken(town.store.disk)
    await town.work(NOW + HOUR)
    assert await town.inbox("dave") == [id]
    assert queue_keys(town) == []
    assert any("disk full" in failure for failure in town.failures)


@village
async def test_a_damaged_entry_stops_nothing(town: Village) -> None:
    first, second = await town.send("dave"), await town.send("dave")
    await town.settle("dave")
    key = keys.queued(first)
    good = town.store.peek(keys.QUEUE, key) or b""
    await town.store.commit(keys.QUEUE, puts=[(key, b"\xc1")])
    await town.work(NOW + HOUR)
    assert await town.inbox("dave") == [second]
    assert any("Damaged" in failure for failure in town.failures)
    await town.store.commit(keys.QUEUE, puts=[(key, good)])
    await town.work(NOW + 2 * HOUR)
    assert await town.inbox("dave") == [second, first]


@village
async def test_a_row_without_an_entry_goes(town: Village) -> None:
    await town.send("dave")
    (key,) = [k for k in queue_keys(town) if k[:1] == b"m"]
    counters = [k for k in queue_keys(town) if k[:1] in b"cg"]
    blob = int.from_bytes(key[1:], "big")
    await town.store.commit(keys.QUEUE, deletes=[key, *counters], refs={blob: -1})
    await town.work(NOW + HOUR)
    assert queue_keys(town) == []


@village
async def test_a_change_by_others_is_not_overwritten(town: Village) -> None:
    """A command changes an entry between its attempt and the record of it."""
    id = await town.send("dave", "erin")
    await town.settle("dave")
    original = moves.make
    meddled = []

    async def meddle(store: MemoryStore, move: moves.Move) -> None:
        moves.make = original  # once
        held = moves.read(store, id)
        assert held is not None
        changed = replace(held.queued, via="smtp://other.test:25")
        await original(store, moves.revise(held, changed))
        meddled.append(id)
        await original(store, move)

    moves.make = meddle  # type: ignore[assignment]
    try:
        await town.work(NOW + 6 * MINUTE)
    finally:
        moves.make = original
    assert meddled == [id]
    assert await town.inbox("dave") == [id]
    (entry,) = await town.queue()
    dave, erin = entry.queued.targets
    assert (dave.standing, erin.attempts) == (Standing.DELIVERED, 2)
    assert entry.queued.via == "smtp://other.test:25"


@village
async def test_attempts_are_counted(town: Village) -> None:
    await town.send("dave", "erin")
    await town.settle("dave")
    await town.work(NOW + HOUR // 10)
    place = counts.ATTEMPTS.place
    assert town.deliveries[place("local", "delivered")] == 1
    assert town.deliveries[place("local", "temp_fail")] == 2 + 1
    assert town.events[events.ACTIVATED] == 1
    assert town.events[events.DEFERRED] == 2 + 1
    assert town.events[events.REMOVED] == 0
    await town.settle("erin")
    await town.work(NOW + HOUR)
    assert town.events[events.REMOVED] == 1
    assert town.events[events.DELIVERED] == 2
    cells = town.events[events.LAG.first : events.LAG.first + events.LAG.size]
    assert sum(cells[:-1]) == 2
