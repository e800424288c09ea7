from fastsmtp.cells import fresh
from fastsmtp.smtp import counts


def test_every_combination_has_its_own_cell() -> None:
    taken = [counts.OPEN]
    for family in (
        *(counts.CONNECTIONS, counts.DISCONNECTS, counts.MESSAGES),
        *(counts.COMMANDS, counts.REJECTS, counts.DURATIONS, counts.ACCEPT_SEEN),
        *(counts.RECEIVE_SEEN, counts.SPOKEN, counts.ADMISSION),
    ):
        taken += range(family.first, family.end)
    for histogram in (
        *(counts.SIZE, counts.RECIPIENTS, counts.ACCEPT, counts.RECEIVE),
    ):
        taken += range(histogram.first, histogram.first + histogram.size)
    assert sorted(taken) == list(range(counts.CELLS))


def test_a_duration_is_observed_in_its_own_histogram() -> None:
    cells = fresh(counts.CELLS)
    counts.duration("MAIL", "2").observe(cells, 0.002)
    first = counts.DURATIONS.place("MAIL", "2")
    assert cells[first + 2] == 1
    assert cells[first + len(counts.DURATION_EDGES) + 1] == 2000
    assert sum(1 for c in cells if c) == 2
    assert len(counts.durations()) == len(counts.SAID) * len(counts.CLASSES)


def test_places_are_in_the_order_of_the_labels() -> None:
    place = counts.REJECTS.place
    assert place("connect", "unknown_recipient", "4") == counts.REJECTS.first
    assert place("eod", "auth", "5") == counts.REJECTS.end - 1
