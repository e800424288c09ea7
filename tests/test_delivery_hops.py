"""How much each next hop gets, and what that does to destinations that wait for it."""

from collections.abc import Iterable
from typing import Any

from fastsmtp.delivery import hops as module
from fastsmtp.delivery.attempt import Attempt
from fastsmtp.delivery.hops import PROBES, Hops
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.queue.schedule import TURN

NOW = 1_700_000_000_000
SMART = "smtp:smart.test"


class Books:
    """What is parked and paused, in place of a schedule."""

    def __init__(self) -> None:
        self.parked: list[str] = []
        self.paused: dict[str, int] = {}
        self.seen: list[str] = []
        self.at = NOW

    def now(self) -> int:
        return self.at

    def give_back(self, name: str, ids: Iterable[int]) -> None: ...

    def pause(self, name: str, until: int) -> None:
        self.paused[name] = until

    def park(self, name: str, ids: Iterable[int]) -> None:
        self.parked.append(name)

    def unpark(self, names: Iterable[str]) -> None:
        for name in names:
            self.parked.remove(name)

    def noted(self, names: Iterable[str]) -> None:
        self.seen.extend(names)


class Rig:
    def __init__(self, **options: Any) -> None:
        self.books = Books()
        told = DeliveryOptions(**options)
        self.hops = Hops(self.books, told)  # type: ignore[arg-type]

    def give(self, key: str, most: int = 1 << 20) -> int:
        """As much as it takes, of so many; how much that was."""
        count = 0
        while count < most and self.hops.takes(key, self.books.at):
            self.hops.given(key)
            count += 1
        return count

    def keep(self, key: str, *names: str) -> None:
        for name in names:
            self.hops.keep(key, name, (), self.books.at)

    def end(self, key: str, *, reached: bool = True) -> bool:
        return self.hops.ended(Attempt(1, "", {}, hop=key, reached=reached))


def test_each_answer_doubles_what_it_gets() -> None:
    rig = Rig()
    assert rig.give(SMART) == PROBES
    for most in (20, 40, 80, 160, 320, 640, 1000, 1000):
        rig.end(SMART)
        rig.give(SMART)
        assert rig.hops._hops[SMART].active == most


def test_as_many_come_again_as_may_fill_it() -> None:
    """All of them would be read for what a few can give."""
    rig = Rig(active=40 * TURN, hop_active=10 * TURN)
    rig.give(SMART, 1)
    for _ in range(20):
        rig.end(SMART)
        rig.give(SMART)
    names = [f"{n}.test" for n in range(20)]
    rig.keep(SMART, *names)
    for _ in range(5 * TURN - 1):
        rig.end(SMART)
    assert rig.books.parked == names
    rig.end(SMART)
    assert rig.books.parked == names[5:]  # those that have waited longest come first
    while rig.hops._hops[SMART].active > 1:
        rig.end(SMART)
    rig.keep(SMART, "last.test")
    rig.end(SMART)  # nobody comes back who could let others come
    assert rig.books.parked == []


def test_it_is_left_alone_longer_and_longer() -> None:
    rig = Rig(hop_pause=60.0, hop_pause_most=150.0)
    for expected in (60, 120, 150, 150):
        assert rig.give(SMART) == PROBES
        assert rig.end(SMART, reached=False)
        assert not rig.end(SMART, reached=False)  # of the same failure
        rig.keep(SMART, "a.test")
        pause = (rig.books.paused["a.test"] - rig.books.at) / 1000
        assert 0.9 * expected <= pause <= 1.1 * expected
        assert rig.give(SMART) == 0
        for _ in range(PROBES - 2):
            rig.end(SMART, reached=False)
        rig.books.at = rig.books.paused["a.test"]
    rig.end(SMART) if rig.give(SMART, 1) else None
    assert rig.give(SMART) == 2 * PROBES


def test_those_that_have_not_answered_share_half_of_the_room() -> None:
    rig = Rig(active=200)
    got = [rig.give(f"smtp:{n}.test") for n in range(100)]
    assert got[:5] == [PROBES] * 5
    assert got[5:55] == [1] * 50
    assert got[55:] == [0] * 45
    rig.keep("smtp:55.test", "55.test")
    rig.keep("smtp:56.test", "56.test", "alias.test")
    rig.end("smtp:20.test")  # its last: there is room for one again
    assert rig.books.parked == ["56.test", "alias.test"]
    assert rig.give("smtp:55.test") == 1
    assert rig.give("smtp:56.test") == 0
    rig.end("smtp:0.test")  # who has answered is none of them
    assert rig.give("smtp:0.test") == 2 * PROBES - (PROBES - 1)
    assert rig.books.parked == []
    assert rig.give("smtp:56.test") == 1


def test_who_has_answered_is_remembered_without_mail() -> None:
    rig = Rig(active=20)
    rig.give(SMART, 1)
    rig.end(SMART)
    assert len(rig.hops) == 0
    for n in range(20):
        rig.give(f"smtp:{n}.test")
    assert rig.give("smtp:new.test") == 0
    assert rig.give(SMART) == PROBES
    for _ in range(PROBES):
        rig.end(SMART, reached=False)
    rig.books.at += 3_600_000
    assert rig.give(SMART) == 0


def test_not_all_are_remembered(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "GOOD", 3)
    rig = Rig()
    for n in (1, 2, 3, 1, 4):
        rig.give(f"smtp:{n}.test", 1)
        rig.end(f"smtp:{n}.test")
    assert list(rig.hops._good) == ["smtp:3.test", "smtp:1.test", "smtp:4.test"]


def test_what_waited_for_a_sender_comes_again() -> None:
    rig = Rig()
    rig.keep("smtp:a.test", "a.test")
    rig.keep("smtp:b.test", "b.test")
    rig.hops.wake()
    assert rig.books.parked == []


def test_a_hurry_is_for_all_whose_mail_goes_there() -> None:
    """One domain is asked for; the others behind the same next hop wait no longer."""
    rig = Rig()
    rig.give(SMART, 1)
    assert rig.end(SMART, reached=False)
    rig.keep(SMART, "one.test", "two.test")
    assert min(rig.books.paused.values()) > NOW
    rig.hops.hurry(["smtp:other.test"])
    assert rig.books.seen == []
    rig.hops.hurry([SMART])
    assert rig.books.paused == {"one.test": 0, "two.test": 0}
    assert sorted(rig.books.seen) == ["one.test", "two.test"]
    assert rig.hops.takes(SMART, NOW)
