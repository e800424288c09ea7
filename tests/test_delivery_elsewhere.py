"""Mail of our users for other servers: it rests in the queue until it can be sent."""

from village import DOMAIN, NOW, Village, village

from fastsmtp.delivery import counts
from fastsmtp.delivery.local import FOR_OTHERS
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.queue import counts as events
from fastsmtp.queue import listing
from fastsmtp.queue.message import Standing, State

HOUR = 3_600_000
ALICE = f"alice@{DOMAIN}"
FAR = "someone@far.test"


def standings(entry: listing.Entry) -> dict[str, Standing]:
    return {t.recipient: Standing(t.standing) for t in entry.queued.targets}


@village
async def test_it_is_held_and_says_why(town: Village) -> None:
    id = await town.send("alice", FAR, "other@far.test", login=ALICE)
    assert await town.inbox("alice") == [id]
    (entry,) = await town.queue()
    assert (entry.id, entry.state) == (id, State.HOLD)
    assert entry.queued.envelope.login == ALICE
    assert standings(entry) == {
        FAR: Standing.ELSEWHERE,
        "other@far.test": Standing.ELSEWHERE,
    }
    assert {t.error for t in entry.queued.targets} == {FOR_OTHERS}
    assert {t.attempts for t in entry.queued.targets} == {0}
    assert town.failures == []
    assert town.events[events.HELD] == 1
    assert town.events[events.DEFERRED] == 0
    assert town.deliveries[counts.ATTEMPTS.place("local", "temp_fail")] == 0
    assert town.refs(id) == 2
    town.verify()


@village
async def test_nobody_tries_it(town: Village) -> None:
    id = await town.send(FAR, login=ALICE)
    before = await town.queue()
    await town.work(NOW + 240 * HOUR, DeliveryOptions(give_up=86_400))
    assert await town.queue() == before
    assert town.refs(id) == 1
    town.verify()


@village
async def test_who_is_here_is_tried_again_and_the_others_rest(town: Village) -> None:
    id = await town.send("dave", FAR, login=ALICE)
    (entry,) = await town.queue()
    assert entry.state == State.DEFERRED
    assert town.events[events.HELD] == 0
    await town.settle("dave")
    await town.work(NOW + HOUR)
    assert await town.inbox("dave") == [id]
    (entry,) = await town.queue()
    assert entry.state == State.HOLD
    assert list(standings(entry).values()) == [Standing.DELIVERED, Standing.ELSEWHERE]
    assert town.events[events.HELD] == 1
    town.verify()


@village
async def test_of_a_stranger_nothing_is_kept_for_others(town: Village) -> None:
    """The door has refused it; if it comes here all the same, the domain was ours."""
    await town.send(FAR)
    (entry,) = await town.queue()
    assert entry.state == State.DEFERRED
    assert standings(entry) == {FAR: Standing.WAITING}
