import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.cells import Seen, fresh
from fastsmtp.delivery import counts
from fastsmtp.delivery.tally import DepartureTally, LocalTally
from fastsmtp.queue import counts as events

_seconds = st.floats(0, 10**6) | st.sampled_from([*counts.DELAYS, 0.0001, 0.005])


def count(
    cells: "memoryview[int]", seen: Seen, seconds: float, times: int, id: int
) -> None:
    """In the readable way; when it was is not compared."""
    seen.of.observe(cells, seconds, times)
    seen.note(cells, seconds, id, 0.0)


def counted(cells: "memoryview[int]") -> list[int]:
    """Without the times of exemplars."""
    values = cells.tolist()
    values[counts.DELAYED.end + 2 :: 3] = [0] * len(values[counts.DELAYED.end + 2 :: 3])
    return values


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(0, 1000), _seconds, _seconds),
        max_size=5,
    )
)
def test_it_counts_as_histograms_do(
    messages: list[tuple[int, int, float, float]],
) -> None:
    deliveries, queue = fresh(counts.CELLS), fresh(events.CELLS)
    tally = LocalTally(deliveries, queue)
    wanted, sums = fresh(counts.CELLS), fresh(events.CELLS)
    for id, (done, failed, seconds, delay) in enumerate(messages, 1):
        tally.count(id, done, failed, seconds, delay)
        sums[events.ENQUEUED] += 1
        sums[events.DELIVERED] += done
        sums[events.DEFERRED] += failed
        wanted[counts.ATTEMPTS.place("local", "delivered")] += done
        wanted[counts.ATTEMPTS.place("local", "temp_fail")] += failed
        if done:
            count(wanted, counts.duration("local", "delivered"), seconds, 1, id)
            count(wanted, counts.delay("local", "delivered"), delay, done, id)
    assert queue == sums
    assert counted(deliveries) == counted(wanted)


def test_a_clock_set_back_is_no_delay() -> None:
    deliveries = fresh(counts.CELLS)
    LocalTally(deliveries, fresh(events.CELLS)).count(7, 1, 0, 0.0, -5.0)
    delay = counts.delay("local", "delivered").of
    assert deliveries[delay.first] == 1
    assert deliveries[delay.first + delay.size - 1] == 0


def test_cells_must_be_enough() -> None:
    with pytest.raises(ValueError, match="cells"):
        LocalTally(fresh(counts.CELLS - 1), fresh(events.CELLS))
    with pytest.raises(ValueError, match="cells"):
        LocalTally(fresh(counts.CELLS), fresh(0))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(counts.TRANSPORTS), st.integers(1, 1000), _seconds, _seconds
        ),
        max_size=5,
    )
)
def test_departures_are_counted_as_histograms_do(
    messages: list[tuple[str, int, float, float]],
) -> None:
    deliveries, queue = fresh(counts.CELLS), fresh(events.CELLS)
    tally = DepartureTally(deliveries, queue)
    wanted, sums = fresh(counts.CELLS), fresh(events.CELLS)
    for id, (transport, recipients, seconds, delay) in enumerate(messages, 1):
        tally.count(id, transport, recipients, seconds, delay)
        sums[events.DELIVERED] += recipients
        sums[events.REMOVED] += 1
        wanted[counts.ATTEMPTS.place(transport, "delivered")] += recipients
        count(wanted, counts.duration(transport, "delivered"), seconds, recipients, id)
        count(wanted, counts.delay(transport, "delivered"), delay, recipients, id)
    assert queue == sums
    assert counted(deliveries) == counted(wanted)
