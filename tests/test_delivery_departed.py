"""What has gone leaves the queue as the readable way takes it out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.delivery.attempt import Attempt, Terms, settle
from fastsmtp.delivery.departed import Departed
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.queue import moves
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Recipient,
    Standing,
    State,
    Target,
    decode_queued,
    encode_envelope,
    encode_queued,
)
from fastsmtp.queue.moves import Held, Move
from fastsmtp.queue.orders import waits
from fastsmtp.smtp.letter import Answer

ARRIVED = 1_700_000_000_000
NAME = "far.test"
YES = Answer(250, "2.0.0", "taken", "body")
NO = Answer(451, "", "later", "body")


def entry(*targets: Target, **more: object) -> Queued:
    recipients = tuple(Recipient(t.recipient) for t in targets)
    envelope = Envelope("s@x", recipients, ARRIVED, client="[127.0.0.1]")
    return Queued(envelope, 5000, State.SCHEDULED, ARRIVED, targets, **more)


def target(name: str = "x", **more: object) -> Target:
    address = f"{name}@{NAME}"
    return Target(address, address, due=ARRIVED, **more)


def readable(id: int, raw: bytes, answers: dict[str, Answer]) -> Move | None:
    """The same by `settle` and `leave`; None: something of it stays, or somebody is
    to be told."""
    queued = decode_queued(raw)
    terms = Terms(ARRIVED + 1000, True, DeliveryOptions())
    after = settle(id, queued, Attempt(id, NAME, dict(answers)), terms)
    if waits(after.queued) or len(after.changed) < len(queued.targets):
        return None
    if any(c.target.standing != Standing.DELIVERED for c in after.changed):
        return None
    return moves.leave(Held(id, raw, queued))


def same(departed: Departed, move: Move) -> bool:
    return (
        departed.checks == move.checks
        and sorted(departed.deletes) == sorted(move.deletes)
        and departed.refs == move.refs
        and departed.adds == move.adds
    )


def taken(queued: Queued, answers: dict[str, Answer]) -> Departed | None:
    """Takes it, and holds it to the readable way."""
    raw, departed = encode_queued(queued), Departed()
    arrived = departed.take(7, raw, NAME, answers)
    if arrived < 0:
        assert not any((departed.checks, departed.deletes, departed.refs))
        return None
    assert arrived == queued.envelope.arrived
    move = readable(7, raw, answers)
    assert move is not None
    assert same(departed, move)
    return departed


_names = st.sampled_from(["x", "y", "é"])
_targets = st.builds(
    target,
    _names,
    standing=st.sampled_from([0, 0, 0, 1, 2]),
    attempts=st.integers(0, 300),
    error=st.text(max_size=40),
    hop=st.sampled_from(["", "smtp mx.far.test 25"]),
)
_recipients = st.builds(
    Recipient, st.text(max_size=300), st.sampled_from(["", "", "NEVER", "SUCCESS"])
)
_envelopes = st.builds(
    Envelope,
    st.text(max_size=50),
    st.lists(_recipients, max_size=20).map(tuple),
    st.integers(0, 2**47),
    skip=st.integers(-5, 70_000),
    envid=st.text(max_size=20),
    priority=st.sampled_from([0, 0, 0, -3, 9]),
    release=st.integers(0, 2**40),
    by=st.sampled_from([0, 0, 2**40]),
    smtputf8=st.booleans(),
)
_entries = st.builds(
    Queued,
    _envelopes,
    st.integers(0, 2**40),
    st.sampled_from([State.SCHEDULED, State.DEFERRED, State.HOLD]),
    st.integers(0, 2**40),
    st.lists(_targets, max_size=3, unique_by=lambda one: one.address).map(tuple),
    done=st.lists(st.integers(256, 2**40), max_size=2).map(tuple),
    marks=st.sampled_from([(), (), ((256, "a@b"),)]),
    via=st.sampled_from(["", "smtp://other"]),
    warned=st.booleans(),
)
_answers = st.dictionaries(
    _names.map(lambda name: f"{name}@{NAME}"), st.sampled_from([YES, YES, YES, NO])
)


@given(_entries, _answers)
def test_it_is_the_move_of_the_readable_way(
    queued: Queued, answers: dict[str, Answer]
) -> None:
    taken(queued, answers)


def test_a_message_that_all_have_is_taken() -> None:
    queued = entry(target(), target("y", attempts=3, error="451 later"))
    answers = {one.address: YES for one in queued.targets}
    assert taken(queued, answers) is not None


def test_what_the_compiled_way_has_entered_is_taken() -> None:
    """The shortest form: fields that have their default are not there."""
    address = f"x@{NAME}"
    whole = entry(target())
    short = encode_envelope(whole.envelope)
    for fields in range(5, 9):
        raw = bytes((0x90 | fields,)) + encode_queued(whole)[1:]
        departed = Departed()
        cut = {5: 4, 6: 3, 7: 2, 8: 1}[fields]  # [] [] "" false, an octet each
        assert departed.take(7, raw[: len(raw) - cut], NAME, {address: YES}) == ARRIVED
    assert short in encode_queued(whole)


@pytest.mark.parametrize(
    ("queued", "answers"),
    [
        (entry(target()), {f"x@{NAME}": NO}),
        (entry(target()), {}),
        (entry(target(), target("y")), {f"x@{NAME}": YES}),
        (entry(target()), {f"x@{NAME}": YES, f"y@{NAME}": YES}),
        (entry(target(standing=1)), {f"x@{NAME}": YES}),
        (entry(target(), marks=((256, "a@b"),)), {f"x@{NAME}": YES}),
        (entry(), {}),
    ],
)
def test_everything_else_is_not(queued: Queued, answers: dict[str, Answer]) -> None:
    assert taken(queued, answers) is None


def test_many_become_one_move() -> None:
    departed, move = Departed(), Move()
    for id in range(1, 6):
        name = f"d{id % 2}.test"
        address = f"x@{name}"
        one = Target(address, address, due=ARRIVED + id)
        later = Envelope("s@x", (Recipient(address),), ARRIVED + id // 4 * 60_000)
        raw = encode_queued(Queued(later, 10 * id, State.SCHEDULED, 0, (one,)))
        assert departed.take(id, raw, name, {address: YES}) >= ARRIVED
        move.join(moves.leave(Held(id, raw, decode_queued(raw))))
    assert same(departed, move)


@given(
    _entries,
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
)
def test_damaged_entries_are_left_to_the_readable_way(
    queued: Queued, damage: list[tuple[int, int]]
) -> None:
    """Or what they say now is what both read."""
    data = bytearray(encode_queued(queued))
    answers = {one.address: YES for one in queued.targets}
    for place, octet in damage:
        data[place % len(data)] = octet
    departed = Departed()
    departed.take(7, bytes(data), NAME, answers)
    for cut in range(0, len(data), 11):
        assert Departed().take(7, bytes(data[:cut]), NAME, answers) == -1
