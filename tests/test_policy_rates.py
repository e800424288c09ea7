"""Token buckets: against a plain model, at their edges, and their memory."""

import random

import pytest

from fastsmtp.policy.rates import Rate


class Model:
    """A bucket as one would describe it: tokens that come back."""

    def __init__(self, per_minute: int) -> None:
        self.size = self.tokens = float(per_minute)
        self.at = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.size / 60)
        self.at = now
        if self.tokens < 1 - 1e-6:
            return False
        self.tokens -= 1
        return True


@pytest.mark.parametrize("per_minute", [1, 3, 60, 1000])
def test_it_is_a_token_bucket(per_minute: int) -> None:
    pick = random.Random(per_minute)
    rate, model, now = Rate(per_minute), Model(per_minute), 0.0
    refused = 0
    for _ in range(5000):
        now += pick.choice((0.0, 0.5, 1.0, 3.0)) * pick.random() * 60 / per_minute
        taken = model.take(now)
        assert (rate.take("a", now) == 0.0) == taken
        refused += not taken
    assert 0 < refused < 5000


def test_a_minutes_worth_at_once_then_one_by_one() -> None:
    rate = Rate(3)
    assert [rate.take("a", 100.0) for _ in range(3)] == [0.0] * 3
    assert rate.take("a", 100.0) == pytest.approx(20.0)
    assert rate.take("a", 105.0) == pytest.approx(15.0)
    assert rate.take("a", 120.0) == 0.0
    assert rate.take("a", 120.0) == pytest.approx(20.0)


def test_networks_do_not_pay_for_each_other() -> None:
    rate = Rate(1)
    assert rate.take("a", 0.0) == 0.0
    assert rate.take("a", 1.0) > 0
    assert rate.take(b"b", 1.0) == 0.0


def test_the_memory_is_bounded_and_what_is_full_goes_first() -> None:
    rate = Rate(2, most=100)
    for n in range(99):
        rate.take(n, 0.0)  # full again at 30
    for _ in range(2):
        rate.take("greedy", 20.0)  # full again at 80
    assert len(rate) == 100
    rate.take("new", 40.0)
    assert len(rate) == 2
    assert rate.take("greedy", 40.0) > 0  # and it was not forgiven


def test_when_all_are_in_debt_the_first_are_forgiven() -> None:
    rate = Rate(1, most=100)
    for n in range(1000):
        assert rate.take(n, 0.0) == 0.0
        assert len(rate) <= 100
    assert rate.take(999, 0.0) > 0
    assert rate.take(0, 0.0) == 0.0
