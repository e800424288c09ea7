"""Verdicts check themselves; header fields cannot break out of their line."""

from email import message_from_bytes
from email.policy import default

import pytest

from fastsmtp.hooks import Accept, Defer, Reject
from fastsmtp.hooks.verdicts import LINE_MOST, field


@pytest.mark.parametrize(
    ("code", "enhanced", "text"),
    [
        (451, "5.7.1", "no"),
        (600, "5.7.1", "no"),
        (550, "4.7.1", "no"),
        (550, "5.7", "no"),
        (550, "5.7.1 ", "no"),
        (550, "5.7.1", ""),
        (550, "5.7.1", "x" * 401),
        (550, "5.7.1", "two\r\n250 lines"),
        (550, "5.7.1", "two\nlines"),
        (550, "5.7.1", "nul\0"),
        (550, "5.7.1", "grüße"),
    ],
)
def test_a_reject_that_is_no_reply_is_not_made(
    code: int, enhanced: str, text: str
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Reject(text, code, enhanced)


def test_a_defer_is_4xx() -> None:
    assert (Defer().code, Defer("later", 421, "4.7.0").code) == (451, 421)
    with pytest.raises(ValueError, match="4xx"):
        Defer("never", 550, "5.7.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X Spam", "x"),
        ("X-Spam:", "x"),
        ("", "x"),
        ("Ä", "x"),
        ("X" * 77, "x"),
        ("X", "a\r\nBcc: b"),
        ("X", "a\nBcc: b"),
        ("X", "a\n\n b"),
        ("X", "a\n \n b"),
        ("X", "a\rb"),
        ("X", "a\0b"),
        ("X", "a\x7fb"),
        ("X", "x\n " + "y" * LINE_MOST),
    ],
)
def test_a_field_that_is_none_is_not_made(name: str, value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Accept([(name, value)])


@pytest.mark.parametrize(
    "value",
    ["Yes", "a\n\tb", "grüße " * 40, "word " * 60, "x" * 70, "", "\U0001f600 smile"],
)
def test_a_field_is_read_back_as_it_was_meant(value: str) -> None:
    lines = field("X-Test", value)
    assert all(len(line) <= 998 and line.isascii() for line in lines.split(b"\r\n"))
    parsed = message_from_bytes(lines + b"\r\n", policy=default)
    assert list(parsed.keys()) == ["X-Test"]
    assert str(parsed["X-Test"]).split() == value.split()


def test_a_long_word_that_cannot_be_folded_is_refused_or_kept_whole() -> None:
    assert field("X", "y" * 500) == b"X: " + b"y" * 500 + b"\r\n"
    with pytest.raises(ValueError, match="998"):
        field("X", "y" * 1000)


def test_what_one_answer_adds_is_bounded() -> None:
    with pytest.raises(ValueError, match="65536"):
        Accept([("X-Much", "y" * 900)] * 100)


def test_fields_keep_their_order() -> None:
    assert Accept([("A", "1"), ("B", "2")]).lines() == b"A: 1\r\nB: 2\r\n"
