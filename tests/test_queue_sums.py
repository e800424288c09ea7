"""Rows that are added up, against the plain way of counting them."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.queue.listing import EDGES, NAMES, Depth, sums_at
from fastsmtp.queue.message import State
from fastsmtp.queue.moves import LETTERS, MINUTE, Counted, Tally
from fastsmtp.queue.sums import Depths, Fullest
from fastsmtp.store import keys

NOW: Final = 28_333_333 * MINUTE
THEN: Final = NOW // MINUTE

TALLIES: Final = st.builds(
    Tally,
    st.sampled_from(list(LETTERS)),
    st.integers(THEN - 10_000, THEN + 2) | st.integers(0, 2**32 - 1),
    st.integers(0, 2**40),
)


@given(st.dictionaries(TALLIES, st.integers(0, 1000), max_size=30))
def test_counters_and_rows_are_sums_as_counted_one_by_one(
    messages: dict[Tally, int],
) -> None:
    plain = {state: Depth() for state in LETTERS}
    counters, rows, alike = [], [], {state: Depth() for state in LETTERS}
    for tally, count in messages.items():
        plain[tally.state].count(tally.minute, count, tally.octets, NOW)
        if count:
            counters.append((tally.key, Counted(count, tally.octets).encode()))
        alike[tally.state].count(tally.minute, 1, 0, NOW)
        rows.append((keys.due("a.test", 9, NOW, 1), tally.encode()))
    for state, letter in LETTERS.items():
        if any(t.state == state and not n for t, n in messages.items()):
            continue  # the plain way counts octets of nothing
        depth = plain[state]
        sums = sums_at(NOW)
        sums.add(counters)
        ages = [depth.ages[name] for name in NAMES]
        assert sums.of(letter) == [depth.messages, depth.octets, depth.oldest, *ages]
    for state, letter in LETTERS.items():
        sums, depth = sums_at(NOW), alike[state]
        sums.add_rows(rows)
        ages = [depth.ages[name] for name in NAMES]
        assert sums.of(letter) == [depth.messages, 0, depth.oldest, *ages]


def test_every_edge_belongs_to_the_age_below_it() -> None:
    at = Counted(1, 10).encode()
    for place, edge in enumerate(EDGES):
        key = keys.arrivals(b"d", THEN - edge // 60)
        for now, age in ((NOW, place), (NOW + 1000, place + 1)):
            sums = sums_at(now)
            sums.add([(key, at)])
            assert sums.of(b"d")[3:].index(1) == age


def test_what_is_no_row_is_told() -> None:
    sums = sums_at(NOW)
    key, value = keys.arrivals(b"d", THEN), Counted(1, 1).encode()
    for wrong in (
        [(key[:-1], value)],
        [(key, value[:-1])],
        [(keys.arrivals(b"x", THEN), value)],
    ):
        with pytest.raises(ValueError, match=r"not a counter|no state"):
            sums.add(wrong)
    with pytest.raises(ValueError, match="not a row"):
        sums.add_rows([(key, b"d")])
    with pytest.raises(ValueError, match="no state"):
        sums.of(b"x")
    assert sums.of(b"d") == [0] * (len(EDGES) + 4)


def test_there_is_room_for_so_many_states_and_edges() -> None:
    assert Depths(b"dhs", tuple(range(16)), 0).of(b"s") == [0] * 20
    for letters, edges in ((b"dhsx", ()), (b"d", tuple(range(17)))):
        with pytest.raises(ValueError, match="than there is room"):
            Depths(letters, edges, 0)


def test_letters_are_those_of_the_states_a_message_rests_in() -> None:
    assert {State.DEFERRED, State.HOLD, State.SCHEDULED} == set(LETTERS)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 12))
def test_the_fullest_are_found_whatever_the_pages(
    waiting: list[int], most: int
) -> None:
    counters = [
        (keys.destination(f"{n}.test"), Counted(messages, n).encode())
        for n, messages in enumerate(waiting)
    ]
    for page in (1, 7, 100):
        fullest = Fullest(most)
        for first in range(0, len(counters), page):
            fullest.add(counters[first : first + page])
        found, others = fullest.found()
        order = sorted(range(len(waiting)), key=lambda n: -waiting[n])
        wanted = [n for n in order[:most] if waiting[n]]
        assert found == [(f"{n}.test".encode(), waiting[n], n) for n in wanted]
        left = set(range(len(waiting))) - set(wanted)
        assert others == (sum(waiting[n] for n in left), sum(left))
        assert fullest.found() == (found, others)


def test_what_is_no_counter_is_told() -> None:
    for wrong in ((b"", bytes(16)), (b"gx", bytes(15))):
        with pytest.raises(ValueError, match="not a counter"):
            Fullest(3).add([wrong])
