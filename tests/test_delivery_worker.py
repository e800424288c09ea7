from typing import Any

import pytest
from msgspec.structs import replace
from village import DOMAIN, NOW, Village, at, envelope, village

from fastsmtp.delivery import counts
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.queue import counts as events
from fastsmtp.queue import listing, moves
from fastsmtp.queue.message import (
    Standing,
    State,
    decode_envelope,
    encode_envelope,
)
from fastsmtp.smtp.letter import Answer
from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.memory import MemoryStore

MINUTE = 60_000
HOUR = 60 * MINUTE
BOB = f"bob@{DOMAIN}"


def queue_keys(town: Village) -> list[bytes]:
    return [*town.store.disk.parts[keys.QUEUE].values]


GONE = Answer(550, "5.1.1", "no such user here", "rcpt", True)


@pytest.mark.parametrize("gone", ["before", "later"])
@pytest.mark.parametrize("name", ["bob", "bob+tag", "some"])
def test_who_is_not_here_any_more_is_refused_at_once(name: str, gone: str) -> None:
    """An account that was removed after RCPT, and an alias that leads to nobody."""

    @village
    async def case(town: Village) -> None:
        if gone == "later":
            town.injure("bob", "carol")  # it waits, and then they leave
            id = await town.send("alice", name)
            town.heal("bob", "carol")
        await town.leave("bob")
        await town.leave("carol")
        if gone == "before":
            id = await town.send("alice", name)
        await town.work(NOW + (6 * MINUTE if gone == "later" else 1000))
        assert await town.inbox("alice") == [id]
        assert queue_keys(town) == []
        ((_, after),) = town.notices
        assert {changed.answer for changed in after.changed} == {GONE}
        assert {c.target.recipient for c in after.changed} == {at(name)}
        assert {c.target.standing for c in after.changed} == {Standing.GIVEN_UP}
        assert town.events[events.BOUNCED] == len(after.changed)
        assert town.events[events.EXPIRED] == 0

    case()


@village
async def test_an_account_that_goes_while_it_is_asked_for_is_asked_for_again(
    town: Village,
) -> None:
    """Two questions, and a removal in between: the next attempt knows."""
    town.injure("bob")
    await town.send("bob")
    town.heal("bob")
    town.changed()
    lookup, town.route._lookup = town.route._lookup, lambda address: None
    await town.work(NOW + 6 * MINUTE)
    (entry,) = await town.queue()
    (target,) = entry.queued.targets
    assert target.standing == Standing.WAITING
    assert target.error == f"the account {BOB} behind it is gone"
    town.route._lookup = lookup
    await town.work(NOW + HOUR)
    assert len(await town.inbox("bob")) == 1


@village
async def test_what_is_released_later_is_not_here_before(town: Village) -> None:
    """RFC 4865 4: for recipients here, too."""
    raw = decode_envelope(envelope("alice", "some"))
    later = encode_envelope(replace(raw, release=NOW + 3 * HOUR))
    id = await town.store.append(Kind.MAIL, later, b"body\r\n")
    async with town.keeping():
        await town.store.applied(id)
    await town.work(NOW + 3 * HOUR - MINUTE)
    (entry,) = await town.queue()
    assert (entry.state, entry.queued.due) == (State.SCHEDULED, NOW + 3 * HOUR)
    for name in ("alice", "bob", "carol"):
        assert await town.inbox(name) == []
    await town.work(NOW + 3 * HOUR + 1000)
    for name in ("alice", "bob", "carol"):
        assert await town.inbox(name) == [id]
    assert queue_keys(town) == []


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
    town.injure("bob")
    await town.send("bob")
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
    assert target.error.startswith("Damaged")
    assert entry.state == State.DEFERRED


@village
async def test_what_cannot_be_delivered_is_given_up_in_the_end(town: Village) -> None:
    town.injure("bob")
    id = await town.send("alice", "bob")
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
    town.injure("bob")
    id = await town.send("dave", "bob")
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
    dave, bob = entry.queued.targets
    assert (dave.standing, bob.attempts) == (Standing.DELIVERED, 2)
    assert entry.queued.via == "smtp://other.test:25"


@village
async def test_attempts_are_counted(town: Village) -> None:
    town.injure("bob", "carol")
    await town.send("bob", "carol")
    town.heal("bob")
    await town.work(NOW + HOUR // 10)
    place = counts.ATTEMPTS.place
    assert town.deliveries[place("local", "delivered")] == 1
    assert town.deliveries[place("local", "temp_fail")] == 2 + 1
    assert town.events[events.ACTIVATED] == 1
    assert town.events[events.DEFERRED] == 2 + 1
    assert town.events[events.REMOVED] == 0
    town.heal("carol")
    await town.work(NOW + HOUR)
    assert town.events[events.REMOVED] == 1
    assert town.events[events.DELIVERED] == 2
    cells = town.events[events.LAG.first : events.LAG.first + events.LAG.size]
    assert sum(cells[:-1]) == 2
