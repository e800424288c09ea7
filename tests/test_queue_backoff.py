import pytest

from fastsmtp.queue.backoff import chance_of, pause

MINUTE = 60_000


@pytest.mark.parametrize(
    ("attempts", "minutes"),
    [(1, 5), (2, 15), (3, 30), (8, 30), (9, 60), (10, 120), (11, 240), (1000, 240)],
)
def test_pauses_grow_and_then_stay(attempts: int, minutes: int) -> None:
    assert pause(attempts, 0.5) == minutes * MINUTE


def test_a_pause_varies_by_a_tenth() -> None:
    assert pause(1, 0.0) == 270_000
    assert pause(1, 0.999999) == 329_999
    assert pause(3, 0.5, (1.0, 2.0)) == 2000


def test_chances_are_spread_and_repeat() -> None:
    chances = [chance_of(1 << 36 | n) for n in range(1000)]
    assert chances == [chance_of(1 << 36 | n) for n in range(1000)]
    assert all(0 <= chance < 1 for chance in chances)
    tenths = [int(chance * 10) for chance in chances]
    assert all(80 <= tenths.count(tenth) <= 120 for tenth in range(10))
