import asyncio

from fakes import FakeClock

from fastsmtp.net.clock import Clock


class Timer:
    def __init__(self, *again: float | None) -> None:
        self.slot = 0
        self.again = list(again)
        self.checked: list[float] = []

    def check(self, now: float) -> float | None:
        self.checked.append(now)
        return self.again.pop(0) if self.again else None


def tick(clock: Clock, time: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        time.advance(1)
        clock.advance()


def test_a_visit_comes_at_its_time_or_a_tick_later() -> None:
    time = FakeClock(100.5)
    clock = Clock(time)
    timer = Timer()
    clock.watch(timer, 110.0)
    tick(clock, time, 9)
    assert timer.checked == []
    tick(clock, time, 2)
    assert len(timer.checked) == 1
    assert 110.0 <= timer.checked[0] <= 111.5
    assert timer.slot == 0
    tick(clock, time, 50)
    assert len(timer.checked) == 1


def test_who_asks_to_be_seen_again_is() -> None:
    time = FakeClock(0.0)
    clock = Clock(time)
    timer = Timer(20.0, 30.0)
    clock.watch(timer, 10.0)
    tick(clock, time, 60)
    assert timer.checked == [11.0, 21.0, 31.0]


def test_who_is_forgotten_costs_nothing_more() -> None:
    time = FakeClock(0.0)
    clock = Clock(time)
    timers = [Timer() for _ in range(10)]
    for timer in timers:
        clock.watch(timer, 5.0)
        clock.watch(timer, 7.0)
    for timer in timers[:9]:
        clock.forget(timer)
        clock.forget(timer)
    tick(clock, time, 20)
    assert [len(timer.checked) for timer in timers] == [0] * 9 + [1]
    assert clock._slots == {}


def test_a_time_that_has_passed_is_visited_at_the_next_tick() -> None:
    time = FakeClock(50.0)
    clock = Clock(time)
    timer = Timer()
    clock.watch(timer, 3.0)
    tick(clock, time, 1)
    assert timer.checked == [51.0]


def test_a_loop_that_stood_still_misses_nobody() -> None:
    time = FakeClock(0.0)
    clock = Clock(time)
    timers = [Timer() for _ in range(5)]
    for n, timer in enumerate(timers):
        clock.watch(timer, n * 10.0)
    time.advance(1000)
    clock.advance()
    assert [timer.checked for timer in timers] == [[1000.0]] * 5
    assert clock.now == 1000.0


def test_it_ticks_on_a_loop_until_it_is_stopped() -> None:
    async def run() -> None:
        clock = Clock()
        clock.start(asyncio.get_running_loop())
        assert clock._timer is not None
        clock.stop()
        assert clock._timer is None
        clock.stop()

    asyncio.run(run())
