"""Stretches of a body: what is encoded has its form, whatever it was."""

from fastsmtp.wire.transfer import Survey, based, find_delimiter, quoted, rewrapped

BOUNDARIES = (b"b", b"c", b"")


def stretch(data: bytes | memoryview) -> int:
    """A signature of what was seen. Raises AssertionError when a law does not hold."""
    n = len(data)
    found = Survey()
    found.feed(data)
    found.finish()
    assert found.size == n
    text, again = quoted(data), quoted(data, False, True)
    for made in (text, again):
        assert made.isascii()
        assert max(map(len, made.split(b"\r\n"))) <= 76
    base = based(data)
    assert len(base) == 4 * (-(-n // 3)) + 2 * (-(-n // 57))
    wrapped, column = rewrapped(data, n % 77)
    assert 0 <= column <= 76
    assert len(wrapped) <= n + 2 * (n // 76 + 1)
    at = lines = 0
    while True:
        line, which, closing, behind = find_delimiter(data, at, BOUNDARIES, n % 2 == 1)
        assert at <= line <= behind <= n
        if which < 0:
            break
        assert line < behind
        at = behind
        lines += 1 + closing
    return found.eight_bit | found.broken << 1 | min(lines, 15) << 2 | (n & 3) << 6
