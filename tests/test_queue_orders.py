"""What an operator may want of an entry: pure."""

from typing import Any, Final

from test_queue_selection import NOW, queued, target

from fastsmtp.queue import moves, orders
from fastsmtp.queue.message import Standing, State

LATER: Final = NOW + 3_600_000
A, B = "a@y.test", "b@z.test"


def entry(**more: Any) -> Any:
    tried = target(A, due=LATER, attempts=2, error="451 busy")
    return queued(tried, target(B, due=LATER + 1), due=LATER, **more)


def dues(entry: Any) -> list[int]:
    return [target.due for target in entry.targets]


def test_what_is_held_keeps_its_due_times_and_is_due_nowhere() -> None:
    held = orders.held(entry())
    assert (held.state, dues(held)) == (State.HOLD, [LATER, LATER + 1])
    ranks = {row[-17] for row in moves.rows(1, held)}
    assert ranks == {255}


def test_what_is_released_is_due_now() -> None:
    free = orders.released(orders.held(entry()), NOW)
    assert (free.state, free.due, dues(free)) == (State.DEFERRED, NOW, [NOW, NOW])
    untried = orders.held(queued(target(A, due=LATER)))
    assert orders.released(untried, NOW).state == State.SCHEDULED
    assert orders.released(entry(), NOW) == entry()  # it was not on hold


def test_those_who_are_named_are_due_now() -> None:
    sooner = orders.retried(entry(), {B}, NOW)
    assert (dues(sooner), sooner.due) == ([LATER, NOW], NOW)
    overdue = queued(target(A, due=NOW - 5, attempts=1), due=NOW - 5)
    assert orders.retried(overdue, {A}, NOW) == overdue  # not later than it was
    held = orders.held(entry())
    assert orders.retried(held, {A, B}, NOW) == held


def test_another_next_hop_is_tried_at_once() -> None:
    moved = orders.moved(entry(), "smtp://there.test:25", NOW)
    assert (moved.via, dues(moved)) == ("smtp://there.test:25", [NOW, NOW])
    assert orders.moved(moved, "smtp://there.test:25", NOW + 9) == moved
    assert orders.moved(moved, "", NOW).via == ""
    held = orders.moved(orders.held(entry()), "mx", NOW)
    assert (held.state, dues(held)) == (State.HOLD, [LATER, LATER + 1])


def test_those_who_are_given_up_wait_no_more() -> None:
    one = orders.given_up(entry(), {A}, "removed")
    assert [t.standing for t in one.targets] == [Standing.GIVEN_UP, Standing.WAITING]
    assert (one.targets[0].error, one.due) == ("removed", LATER + 1)
    assert orders.waits(one)
    both = orders.given_up(one, {A, B}, "again")
    assert not orders.waits(both)
    assert both.targets[0].error == "removed"


def test_marks_of_what_was_on_hold_are_cleared_by_the_worker() -> None:
    held = orders.held(entry(marks=((256, A),)))
    gone = orders.given_up(held, {A, B}, "removed")
    assert gone.state == State.DEFERRED
    assert list(moves.rows(1, gone)) == [moves.keys.due("", 9, 0, 1)]
