"""What guessing costs, by a clock that is advanced by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastsmtp.auth import guesses as module
from fastsmtp.auth.guesses import Guesses
from fastsmtp.auth.options import AuthOptions

OPTIONS = AuthOptions(free_failures=3, max_failures=8, max_delay=10.0, forget=60.0)


def guess(guesses: Guesses, network: str, name: str, now: float) -> float | None:
    """One that fails, as soon as it may be made."""
    wait = guesses.begin(network, name, now)
    if wait is not None:
        guesses.failed(network, name, now + wait)
    return wait


def test_a_few_failures_cost_nothing() -> None:
    guesses = Guesses(OPTIONS)
    assert [guess(guesses, "n", f"u{i}", 0.0) for i in range(3)] == [0.0] * 3


def test_then_each_doubles_the_pause_until_the_network_is_sent_away() -> None:
    guesses, now, waits = Guesses(OPTIONS), 0.0, []
    for i in range(9):
        wait = guess(guesses, "n", f"u{i}", now)
        waits.append(wait)
        now += wait or 0.0
    assert waits == [0, 0, 0, 1, 2, 4, 8, 10, None]
    assert guesses.begin("other", "u1", now) == 0.0


def test_many_connections_of_a_network_share_one_turn() -> None:
    guesses = Guesses(OPTIONS)
    for i in range(4):
        guesses.failed("n", f"u{i}", 0.0)
    waits = [guesses.begin("n", f"v{i}", 0.0) for i in range(8)]
    assert waits == [2, 4, 6, 8, 10, None, None, None]


@pytest.mark.parametrize("minutes", [1, 5, 20])
def test_failures_are_forgotten_one_a_minute(minutes: int) -> None:
    guesses = Guesses(OPTIONS)
    for i in range(8):
        guesses.failed("n", f"u{i}", 0.0)
    assert guesses.begin("n", "x", 0.0) is None
    wait = guesses.begin("n", "x", minutes * 60.0)
    assert wait == {1: 10.0, 5: 1.0, 20: 0.0}[minutes]


def test_the_long_run_is_about_one_guess_a_minute() -> None:
    guesses, made = Guesses(OPTIONS), 0
    for second in range(3600):
        made += guess(guesses, "n", f"u{second}", float(second)) is not None
    assert 60 <= made <= 75


def test_an_attack_from_one_network_does_not_slow_another() -> None:
    guesses = Guesses(OPTIONS)
    for i in range(50):
        guess(guesses, "attacker", f"u{i}", float(i))
    assert guesses.begin("attacker", "bob", 50.0) is None
    assert guesses.begin("office", "bob", 50.0) == 0.0


def test_an_attack_on_an_account_does_not_slow_where_it_has_logged_in() -> None:
    guesses = Guesses(OPTIONS)
    guesses.succeeded("home", "alice", 0.0)
    for i in range(500):
        guess(guesses, f"bot{i}", "alice", float(i) / 10)
    assert guesses.begin("home", "alice", 50.0) == 0.0
    assert guesses.begin("hotel", "alice", 50.0) == 10.0  # waits, and gets in
    assert guesses.begin("home", "bob", 50.0) == 0.0


def test_mistakes_of_others_behind_one_address_do_not_slow_who_is_known() -> None:
    guesses = Guesses(OPTIONS)
    guesses.succeeded("office", "alice", 0.0)
    for _ in range(20):
        guesses.failed("office", "bob", 1.0)
    assert guesses.begin("office", "bob", 1.0) is None
    assert guesses.begin("office", "alice", 1.0) == 0.0


def test_who_is_known_may_not_guess_without_end() -> None:
    """Neither for one's own name, however often its owner logs in meanwhile, nor for
    others."""
    guesses, made = Guesses(OPTIONS), 0
    guesses.succeeded("home", "alice", 0.0)
    for second in range(600):
        made += guess(guesses, "home", "alice", float(second)) is not None
        guesses.succeeded("home", "alice", float(second))
    assert made <= 3 + 8 + 11 * 2
    for i in range(30):
        guess(guesses, "home", f"u{i}", 600.0)
    assert guesses.begin("home", "carol", 600.0) is None


def test_without_free_failures_the_first_one_counts() -> None:
    guesses = Guesses(replace(OPTIONS, free_failures=0))
    assert guess(guesses, "n", "u", 0.0) == 0.0  # nothing is known of anybody
    assert guesses.begin("n", "u", 0.0) == 2.0


def test_a_clock_that_stands_or_goes_back_forgives_nothing() -> None:
    guesses = Guesses(OPTIONS)
    for i in range(8):
        guesses.failed("n", f"u{i}", 100.0)
    assert guesses.begin("n", "u", 50.0) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 10)
    guesses = Guesses(OPTIONS)
    for i in range(100):
        guesses.failed(f"n{i}", f"u{i}", 0.0)
        guesses.succeeded(f"n{i}", f"u{i}", 0.0)
    assert len(guesses._networks) == len(guesses._names) == len(guesses._pairs) == 10
    assert guesses.familiar("n99", "u99", 0.0)
