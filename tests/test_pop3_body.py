"""Messages on their way out: the compiled code agrees with the slow twin, however the
message is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import popbody

from fastsmtp.pop3.body import Giver, is_wide

ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
LINES = st.sampled_from([b"", b".", b"..", b"x", b".x", b"x.", b"a: b", b"\r", b"\0"])
MESSAGES = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=12).map(b"".join)


TRACE = b"Received: from a.test\r\n\tby mx.test with %b id 1\r\n"
WIDE = TRACE % b"UTF8SMTPS"
HEADERS = st.lists(
    st.sampled_from([b"A: \xc3\xa4", b"\xff", b"\r", b"", b"\r\n", b"\n", b" \xe4\r\n"])
).map(b"".join)


def compiled(
    message: bytes, lines: int | None, cuts: list[int], narrow: bool = False
) -> bytes:
    giver, out, at = Giver(lines, narrow), b"", 0
    for cut in (*sorted(cut % (len(message) + 1) for cut in cuts), len(message)):
        if giver.done:
            break
        out += giver.give(message[at:cut])
        at = cut
    return out + giver.end()


@settings(max_examples=600, deadline=None)
@given(MESSAGES, st.none() | st.integers(0, 6), st.lists(st.integers(0, 60)))
def test_it_agrees_with_the_twin(
    message: bytes, lines: int | None, cuts: list[int]
) -> None:
    assert compiled(message, lines, cuts) == popbody.given(message, lines)


@settings(max_examples=300, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 60)))
def test_rfc_78_a_client_gets_back_what_is_kept(
    message: bytes, cuts: list[int]
) -> None:
    """Octet for octet, when its last line has an end."""
    message += b"\r\n"
    assert popbody.taken(compiled(message, None, cuts)) == message


@pytest.mark.parametrize("path", [b"", b"Return-Path: <a@b.test>\r\n"])
@pytest.mark.parametrize(
    ("trace", "wide"),
    [
        (WIDE, True),
        (TRACE % b"UTF8SMTP", True),
        (TRACE % b"ESMTPS", False),
        (TRACE % b"ESMTP" + WIDE, False),  # of a hop before us
        (b"Subject: with UTF8\r\n", False),
        (b"Received: from a.test\r\nX: with UTF8\r\n", False),
        (b"", False),
    ],
)
def test_our_own_trace_field_says_how_it_came(
    path: bytes, trace: bytes, wide: bool
) -> None:
    message = path + trace + b"Subject: \xc3\xa4\r\n\r\n\xc3\xa4\r\n"
    assert is_wide(message) == wide
    assert (popbody.narrow(message) != message) == wide


@settings(max_examples=600, deadline=None)
@given(HEADERS, st.none() | st.integers(0, 3), st.lists(st.integers(0, 120)))
def test_rfc_6856_a_narrow_header_agrees_with_the_twin_and_keeps_its_size(
    rest: bytes, lines: int | None, cuts: list[int]
) -> None:
    message = WIDE + rest
    assert is_wide(message)
    wanted = popbody.narrow(message)
    assert len(wanted) == len(message)
    assert compiled(message, lines, cuts, True) == popbody.given(wanted, lines)


@pytest.mark.parametrize(
    ("message", "out"),
    [
        (b"", b".\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
        (b"a\n", b"a\n\r\n.\r\n"),
    ],
)
def test_rfc_78_dots_and_ends(message: bytes, out: bytes) -> None:
    assert compiled(message, None, []) == out


@pytest.mark.parametrize(
    ("lines", "out"),
    [
        (0, b"A: b\r\n\r\n.\r\n"),
        (1, b"A: b\r\n\r\n1\r\n.\r\n"),
        (2, b"A: b\r\n\r\n1\r\n..2\r\n.\r\n"),
        (9, b"A: b\r\n\r\n1\r\n..2\r\n\r\n3\r\n.\r\n"),
        (1 << 62, b"A: b\r\n\r\n1\r\n..2\r\n\r\n3\r\n.\r\n"),
    ],
)
def test_rfc_79_top_is_the_header_and_some_lines(lines: int, out: bytes) -> None:
    message = b"A: b\r\n\r\n1\r\n.2\r\n\r\n3\r\n"
    for cuts in ([], list(range(len(message)))):
        assert compiled(message, lines, cuts) == out


def test_rfc_79_a_header_without_an_end_is_a_top() -> None:
    assert compiled(b"A: b\r\nC: d\r\n", 0, []) == b"A: b\r\nC: d\r\n.\r\n"
