from fastsmtp.queue.timing import STEADY, Steadiness

NOW = 1_700_000_000_000
YEAR = 365 * 86_400_000


def test_a_clock_is_believed_after_a_while() -> None:
    clock = Steadiness(NOW, 50.0)
    assert not clock.trusted(50.0 + STEADY - 1)
    assert clock.trusted(50.0 + STEADY)


def test_small_steps_are_no_jumps() -> None:
    clock = Steadiness(NOW, 0.0)
    for second in range(1, 4000):
        assert clock.look(NOW + second * 1000 + second, float(second)) == 0
    assert clock.trusted(4000.0)


def test_a_jump_is_told_once_and_doubted_for_a_while() -> None:
    for jump in (10 * YEAR, -10 * YEAR, 3_600_000, -3_600_000):
        clock = Steadiness(NOW, 0.0)
        assert clock.look(NOW + 2_000_000 + jump, 2000.0) == jump
        assert clock.look(NOW + 2_001_000 + jump, 2001.0) == 0
        assert not clock.trusted(2000.0 + STEADY - 1)
        assert clock.trusted(2000.0 + STEADY)
