"""Mail for other servers: it goes into the queue and from there to a sender."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from fakes import turns_until
from msgspec.structs import replace
from village import DOMAIN, NOW, SPLIT, FarAway, Village, envelope, village

from fastsmtp.auth.accounts import Account, encode_account
from fastsmtp.delivery import counts
from fastsmtp.delivery.hops import HOPS, PROBES
from fastsmtp.delivery.jobs import Job
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.errors import StoreUnavailable
from fastsmtp.mailbox import account
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.queue import counts as events
from fastsmtp.queue import moves
from fastsmtp.queue.message import (
    Envelope,
    Recipient,
    Standing,
    State,
    decode_envelope,
    encode_envelope,
)
from fastsmtp.queue.schedule import TURN
from fastsmtp.queue.timing import STEADY
from fastsmtp.smtp.letter import Answer
from fastsmtp.store import keys
from fastsmtp.store.base import Kind

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEARS = 3652 * DAY
FAR = "someone@far.test"
BUSY = Answer(451, "4.7.1", "come again", "rcpt")
NOBODY = Answer(550, "5.1.1", "no such user", "rcpt")
DEAD = Answer(0, "", "connection refused", "connect")


def attempts(town: Village, result: str) -> int:
    return town.deliveries[counts.ATTEMPTS.place("smtp", result)]


def queue_rows(town: Village) -> list[bytes]:
    return [*town.store.disk.parts[keys.QUEUE].values]


@village
async def test_it_waits_there_beside_what_is_delivered(town: Village) -> None:
    id = await town.send("alice", FAR, "other@Far.test", "third@away.test")
    assert await town.inbox("alice") == [id]
    (entry,) = await town.queue()
    assert (entry.id, entry.state, entry.queued.due) == (id, State.SCHEDULED, NOW)
    assert moves.destinations(entry.queued) == {"far.test": NOW, "away.test": NOW}
    assert town.failures == []
    assert town.refs(id) == 2


@village
async def test_each_destination_gets_it_once(town: Village) -> None:
    id = await town.send(FAR, "other@Far.test", "third@away.test")
    await town.work(NOW + MINUTE)
    jobs = {
        job.destination: [r.address for r in job.envelope.recipients]
        for job in town.far.jobs
    }
    assert jobs == {
        "far.test": [FAR, "other@Far.test"],
        "away.test": ["third@away.test"],
    }
    assert len(town.far.jobs) == 2
    assert queue_rows(town) == []
    assert town.refs(id) == 0
    assert attempts(town, "delivered") == 3
    assert town.events[events.DELIVERED] == 3
    assert town.events[events.REMOVED] == 1


@village
async def test_who_is_busy_is_tried_again_on_schedule(town: Village) -> None:
    town.far.says["far.test"] = BUSY
    await town.send(FAR)
    due = []
    for _ in range(12):
        (entry,) = await town.queue()
        due.append(entry.queued.due)
        await town.work(entry.queued.due + 1)
    pauses = [round((b - a) / MINUTE) for a, b in pairwise(due)]
    expected = (5, 15, 30, 30, 30, 30, 30, 30, 60, 120, 240)
    for pause, minutes in zip(pauses, expected, strict=True):
        assert 0.9 * minutes - 1 <= pause <= 1.1 * minutes + 1
    (target,) = (await town.queue())[0].queued.targets
    assert (target.attempts, target.hop) == (12, "smtp:far.test")
    assert target.error == "451 4.7.1 come again"
    town.far.says.clear()
    await town.work(town.now + 5 * HOUR)
    assert queue_rows(town) == []


@village
async def test_who_says_no_is_asked_once(town: Village) -> None:
    town.far.says["far.test"] = NOBODY
    await town.send(FAR, "third@away.test")
    await town.work(NOW + DAY)
    assert town.far.times("far.test") == 1
    assert queue_rows(town) == []
    assert town.events[events.BOUNCED] == 1
    (told,) = [after for _, after in town.notices if after.changed[0].answer == NOBODY]
    (changed,) = told.changed
    assert changed.target.address == FAR
    assert changed.target.standing == Standing.GIVEN_UP


@village
async def test_one_recipient_may_be_refused_and_another_wait(town: Village) -> None:
    town.far.says["far.test"] = BUSY
    town.far.says["away.test"] = NOBODY
    await town.send(FAR, "third@away.test")
    await town.work(NOW + MINUTE)
    (entry,) = await town.queue()
    assert entry.state == State.DEFERRED
    assert [t.standing for t in entry.queued.targets] == [
        Standing.WAITING,
        Standing.GIVEN_UP,
    ]
    assert [*moves.destinations(entry.queued)] == ["far.test"]


@village
async def test_it_is_given_up_in_the_end_and_its_sender_told_before(
    town: Village,
) -> None:
    town.far.says["far.test"] = BUSY
    await town.send(FAR)
    await town.work(NOW + 6 * DAY)
    assert queue_rows(town) == []
    assert town.events[events.EXPIRED] == 1
    late = [after for _, after in town.notices if after.late]
    assert len(late) == 1
    last = town.notices[-1][1].changed[0]
    assert last.target.standing == Standing.GIVEN_UP
    assert last.answer == BUSY
    assert town.now >= NOW + 5 * DAY


@village
async def test_a_dead_next_hop_is_left_alone_longer_and_longer(town: Village) -> None:
    town.far.says["far.test"] = DEAD
    town.far.unreached.add("far.test")
    await town.send(FAR)
    await town.work(NOW + 3 * HOUR, DeliveryOptions(retry=(1.0,)))
    gaps = [b - a for a, b in pairwise(town.far.at)]
    expected = (1, 2, 4, 8, 16, 30, 30, 30)
    for gap, minutes in zip(gaps, expected, strict=False):
        assert 0.9 * minutes * MINUTE <= gap <= 1.1 * minutes * MINUTE + 2000
    assert len(gaps) >= 8
    assert attempts(town, "conn_fail") == len(town.far.jobs)


@village
async def test_it_does_not_slow_others(town: Village) -> None:
    town.far.says["dead.test"] = DEAD
    town.far.unreached.add("dead.test")
    for n in range(20):
        await town.send(f"u{n}@dead.test", f"u{n}@good.test")
    await town.work(NOW + MINUTE // 2)
    assert town.far.times("good.test") == 20
    assert [e.queued.state for e in await town.queue()] == [State.DEFERRED] * 20


@village
async def test_what_a_store_in_trouble_does_not_give_is_asked_for_again(
    town: Village,
) -> None:
    real, troubles = town.store.get_each, [StoreUnavailable("the disk is slow")]

    async def failing(part: int, asked: Sequence[bytes]) -> list[bytes | None]:
        if troubles:
            raise troubles.pop()
        return await real(part, asked)

    setattr(town.store, "get_each", failing)  # noqa: B010
    await town.send(FAR)
    await town.work(NOW + MINUTE)
    assert town.far.times("far.test") == 1
    assert not await town.queue()
    assert not troubles


@village
async def test_dead_next_hops_without_mail_are_forgotten(town: Village) -> None:
    raw = decode_envelope(envelope(FAR))
    async with town.keeping():
        for n in range(2 * HOPS):
            domain = f"d{n}.test"
            town.far.says[domain] = DEAD
            town.far.unreached.add(domain)
            to = (Recipient(f"u@{domain}"),)
            later = replace(raw, recipients=to, release=NOW + n * MINUTE)
            id = await town.store.append(Kind.MAIL, encode_envelope(later), b"x\r\n")
            await town.store.applied(id)
    await town.work(NOW + 2 * DAY, DeliveryOptions(give_up=60.0, hop_pause_most=60.0))
    assert not await town.queue()
    assert town.dispatcher is not None
    assert town.dispatcher.known <= HOPS


class Silent(FarAway):
    """Nobody in these domains ever says a word, and nobody's patience ends."""

    def __init__(self, *domains: str) -> None:
        super().__init__()
        self.silent = domains

    def _finish(self, job: Job) -> None:
        if job.destination not in self.silent:
            super()._finish(job)


@contextlib.asynccontextmanager
async def at_work(town: Village, options: DeliveryOptions) -> AsyncIterator[None]:
    """While the dispatcher runs, and time stands still."""
    running = asyncio.ensure_future(town.working(options).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@village
async def test_who_never_answers_does_not_take_all_the_room(town: Village) -> None:
    """Three large destinations: half of the room is the most that they get."""
    town.far = far = Silent(*(f"silent{n}.test" for n in range(3)))
    for n in range(150):
        await town.send(f"u{n}@silent{n % 3}.test")
    for n in range(60):
        await town.send(f"u{n}@good.test")
    async with at_work(town, DeliveryOptions(active=100, hop_active=50)):
        await turns_until(lambda: far.times("good.test") == 60)
        assert 3 <= sum(map(far.times, far.silent)) <= 3 * PROBES


@village
async def test_nor_do_many_that_never_answer(town: Village) -> None:
    """More of them than there is room: who has answered is not in the way of it, and
    who has not gets a message each, as long as half of the room lasts."""
    town.far = far = Silent(*(f"silent{n}.test" for n in range(80)))
    options = DeliveryOptions(active=100, hop_active=50)
    await town.send("first@good.test")
    await town.send("first@silent0.test")  # while it waits, time stands still
    async with at_work(town, options):
        await turns_until(lambda: far.times("good.test") == 1)
        for n in range(4 * len(far.silent)):
            await town.send(f"u{n}@{far.silent[n % len(far.silent)]}")
        await turns_until(lambda: sum(map(far.times, far.silent)) >= 49)
        for n in range(200):
            await town.send(f"u{n}@good.test")
        await turns_until(lambda: far.times("good.test") == 201)
        assert sum(map(far.times, far.silent)) == 50


@village
async def test_after_a_failure_a_few_are_tried_first(town: Village) -> None:
    town.far.says["far.test"] = DEAD
    town.far.unreached.add("far.test")
    await town.send(FAR)
    dispatcher = town.working()
    town.alarm.until = NOW + 1000
    for n in range(40):
        await town.send(f"u{n}@far.test")
    town.dispatcher = dispatcher
    await town.work(NOW + 1000)
    town.far.jobs.clear()
    town.far.unreached.clear()
    town.far.says.clear()
    await town.work(NOW + 10 * MINUTE)
    assert len(town.far.jobs) == 41
    assert PROBES < 41


@village
async def test_a_later_release_is_kept(town: Village) -> None:
    raw = decode_envelope(envelope(FAR, "alice"))
    later = encode_envelope(replace(raw, release=NOW + 3 * HOUR))
    async with town.keeping():
        id = await town.store.append(Kind.MAIL, later, b"body\r\n")
        await town.store.applied(id)
    assert await town.inbox("alice") == []
    await town.work(NOW + 3 * HOUR - MINUTE)
    assert town.far.jobs == []
    await town.work(NOW + 3 * HOUR + MINUTE)
    assert town.far.times("far.test") == 1
    assert await town.inbox("alice") == [id]


@village
async def test_behind_its_deadline_it_goes_back(town: Village) -> None:
    """RFC 2852 4.1.3: mode R."""
    town.far.says["far.test"] = BUSY
    raw = decode_envelope(envelope(FAR))
    by = encode_envelope(replace(raw, by=NOW + HOUR, by_mode="R"))
    async with town.keeping():
        await town.store.applied(await town.store.append(Kind.MAIL, by, b"body\r\n"))
    await town.work(NOW + 61 * MINUTE)
    assert queue_rows(town) == []
    assert town.far.at[-1] == NOW + HOUR
    assert town.events[events.EXPIRED] == 1


@village
async def test_without_a_sender_it_waits_for_one(town: Village) -> None:
    await town.send(FAR)

    async def day() -> None:
        dispatcher = town.working()
        dispatcher.sender = None
        await dispatcher.run()

    town.alarm.until = NOW + MINUTE
    task = asyncio.ensure_future(day())
    await asyncio.gather(task, return_exceptions=True)
    assert town.far.jobs == []
    (entry,) = await town.queue()
    assert entry.state == State.SCHEDULED
    await town.work(NOW + 2 * MINUTE)
    assert town.far.times("far.test") == 1


@pytest.mark.parametrize("jump", [HOUR, YEARS], ids=["hour", "years"])
@pytest.mark.parametrize("way", [1, -1], ids=["ahead", "back"])
def test_a_clock_that_jumps_loses_no_retry_and_expires_nothing(
    jump: int, way: int
) -> None:
    @village
    async def case(town: Village) -> None:
        town.far.says["far.test"] = BUSY
        await town.send(FAR)
        await town.work(NOW + 31 * MINUTE)
        tries = len(town.far.jobs)

        async def leap() -> None:
            town.now += way * jump  # the wall clock alone
            await asyncio.sleep(0)

        town.alarm.until = town.now + 2 * HOUR
        dispatcher = town.working()
        running = asyncio.ensure_future(dispatcher.run())
        for _ in range(50):
            await asyncio.sleep(0)
        await leap()
        town.alarm.until = town.now + int(STEADY * 1000) - MINUTE
        await asyncio.gather(running, return_exceptions=True)
        assert len(await town.queue()) == 1
        assert town.events[events.EXPIRED] == 0
        town.far.says.clear()
        await town.work(town.now + 5 * HOUR)
        assert len(town.far.jobs) > tries
        assert queue_rows(town) == []

    case()


@village
async def test_a_start_with_another_clock_tries_what_waits_for_the_future(
    town: Village,
) -> None:
    """It was stamped by a clock ten years ahead."""
    town.far.says["far.test"] = BUSY
    town.now += YEARS
    await town.send(FAR)
    await town.work(town.now + MINUTE)
    town.now -= YEARS
    town.far.says.clear()
    await town.work(town.now + MINUTE)
    assert queue_rows(town) == []


@village
async def test_what_expired_while_we_were_away_gets_another_chance(
    town: Village,
) -> None:
    town.far.says["far.test"] = BUSY
    await town.send(FAR)
    await town.work(NOW + MINUTE)
    town.pass_by(10 * DAY)
    await town.work(town.now + MINUTE)
    assert len(await town.queue()) == 1  # it failed, but the clock is young
    await town.work(town.now + DAY)
    assert queue_rows(town) == []
    assert town.events[events.EXPIRED] == 1


@village
async def test_a_command_may_change_an_entry_that_is_under_way(town: Village) -> None:
    id = await town.send(FAR)
    gone = await town.send("other@far.test")

    async def meddle() -> None:
        held = moves.read(town.store, id)
        assert held is not None
        changed = replace(held.queued, via="smtp://other.test:25")
        await moves.make(town.store, moves.revise(held, changed))
        lost = moves.read(town.store, gone)
        assert lost is not None
        await moves.make(town.store, moves.leave(lost))

    town.alarm.until = NOW + MINUTE
    running = asyncio.ensure_future(town.working().run())
    while len(town.far.jobs) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await meddle()
    await asyncio.gather(running, return_exceptions=True)
    assert queue_rows(town) == []
    assert town.refs(id) == town.refs(gone) == 0


@village
async def test_it_is_not_more_than_so_many_at_a_time(town: Village) -> None:
    for n in range(30):
        await town.send(f"u@d{n}.test")
    most = 0

    class Slow(type(town.far)):  # type: ignore[misc]
        def give(self, job: object) -> bool:
            nonlocal most
            most = max(most, town.dispatcher.active if town.dispatcher else 0)
            return bool(super().give(job))

    town.far = Slow()
    await town.work(NOW + MINUTE, DeliveryOptions(active=7))
    assert queue_rows(town) == []
    assert 1 < most <= 7


@village
async def test_an_alias_may_lead_to_other_servers(town: Village) -> None:
    id = await town.send("both", "away", FAR)
    assert await town.inbox("alice") == [id]
    (entry,) = await town.queue()
    assert [(t.address, t.recipient) for t in entry.queued.targets] == [
        (FAR, f"both@{DOMAIN}"),
        ("x@pass.test", f"both@{DOMAIN}"),
    ]
    await town.work(NOW + MINUTE)
    assert town.far.times("far.test") == town.far.times("pass.test") == 1
    assert town.failures == []
    assert queue_rows(town) == []


@village
async def test_a_domain_may_be_here_in_part(town: Village) -> None:
    """What is released later is delivered by the queue, here and there."""
    to = tuple(Recipient(f"{name}@{SPLIT}") for name in ("it", "alias", "there"))
    later = Envelope("s@far.test", to, NOW, 10, release=NOW + HOUR)
    town.ids["alias"] = await account.create(
        town.store,
        f"alias@{SPLIT}",
        lambda id: encode_account(Account(id, f"alias@{SPLIT}")),
    )
    town.changed()
    id = await town.store.append(Kind.MAIL, encode_envelope(later), b"body\r\n")
    async with town.keeping():
        await town.store.applied(id)
    await town.work(NOW + 2 * HOUR)
    assert await town.inbox("alice") == await town.inbox("alias") == [id]
    sent = [r.address for job in town.far.jobs for r in job.envelope.recipients]
    assert sent == [f"it@{SPLIT}", f"there@{SPLIT}"]
    assert {job.hop.key for job in town.far.jobs} == {"lmtp:/run/split"}
    assert queue_rows(town) == []


@village
async def test_who_waits_here_does_not_keep_others_from_leaving(town: Village) -> None:
    """A mailbox in trouble, and a next hop for the same domain."""
    town.ids["ill"] = await account.create(
        *(town.store, f"ill@{SPLIT}"),
        lambda id: encode_account(Account(id, f"ill@{SPLIT}")),
    )
    town.changed()
    part, key = town.ids["ill"], keys.mailbox(INBOX)
    good = town.store.peek(part, key) or b""
    await town.store.commit(part, puts=[(key, b"broken")])
    await town.send(f"ill@{SPLIT}", f"there@{SPLIT}")
    await town.work(NOW + 3 * HOUR)
    assert [r.address for job in town.far.jobs for r in job.envelope.recipients] == [
        f"there@{SPLIT}"
    ]
    (entry,) = await town.queue()
    waiting = [t for t in entry.queued.targets if t.standing == Standing.WAITING]
    assert [t.address for t in waiting] == [f"ill@{SPLIT}"]
    assert waiting[0].attempts > 3
    await town.store.commit(part, puts=[(key, good)])
    await town.work(NOW + DAY)
    assert len(await town.inbox("ill")) == 1
    assert queue_rows(town) == []


@village
async def test_what_waits_for_a_dead_next_hop_is_given_up_too(town: Village) -> None:
    """Nobody tries most of it: the next hop is only asked now and then."""
    town.far.says["far.test"] = DEAD
    town.far.unreached.add("far.test")
    for n in range(60):
        await town.send(f"u{n}@far.test")
    await town.work(NOW + 6 * DAY, DeliveryOptions(hop_active=1, hop_pause=3600.0))
    assert queue_rows(town) == []
    assert town.events[events.EXPIRED] == 60
    late = {id for id, after in town.notices if after.late}
    assert len(late) == 60


@village
async def test_who_is_in_a_hurry_wakes_what_waits_for_a_next_hop(town: Village) -> None:
    await town.send(FAR)
    town.far.says["far.test"] = DEAD
    town.far.unreached.add("far.test")
    await town.work(NOW + 1000)
    worker = town.far.dispatcher
    assert worker is not None
    schedule = worker.schedule
    hop = worker._hops._hops["smtp:far.test"]
    assert hop.paused > NOW
    hop.waiting["far.test"] = None
    schedule.park("far.test", ())
    worker.hurry(["smtp:far.test", "smtp:unknown.test"])
    assert (hop.paused, hop.waiting) == (0, {})
    assert not schedule._known["far.test"].parked


@village
async def test_all_of_it_is_tried_however_much_waits(town: Village) -> None:
    """More than one page of what a clock ten years ahead has stamped."""
    town.far.says["far.test"] = BUSY
    town.now += YEARS
    for n in range(2 * TURN + 1):
        await town.send(f"u{n}@far.test")
    await town.work(town.now + MINUTE)
    town.now -= YEARS
    town.far.says.clear()
    await town.work(town.now + MINUTE)
    assert queue_rows(town) == []
