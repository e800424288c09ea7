"""Fields and parts of a report, whatever they are given."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire import report


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("smtp; 550 No", b"A: smtp; 550 No\r\n"),
        ("550-No\r\n550 Really\r\nB: c", b"A: 550-No 550 Really B: c\r\n"),
        ("a\0\x1b[31mb\x7f", b"A: a [31mb\r\n"),
        ("für", b"A: f?r\r\n"),
        ("=?utf-8?q?=0A?=", b"A: = ?utf-8?q?=0A?=\r\n"),
        ("", b"A: \r\n"),
    ],
)
def test_a_value_stays_on_its_line(value: str, line: bytes) -> None:
    assert report.field("A", value) == line


def test_a_field_is_folded_at_its_spaces() -> None:
    made = report.field("Diagnostic-Code", "word " * 40)
    assert all(len(line) <= 76 for line in made.split(b"\r\n"))
    assert made.replace(b"\r\n ", b" ") == b"Diagnostic-Code: " + b"word " * 39 + (
        b"word\r\n"
    )


@given(st.text(max_size=1200) | st.integers(0, 20_000).map(lambda n: "x" * n))
def test_attack_7_any_value_makes_one_field(value: str) -> None:
    for utf8 in (False, True):
        made = report.field("Name", value, utf8)
        assert utf8 or made.isascii()
        assert made.endswith(b"\r\n")
        lines = made[:-2].split(b"\r\n")
        assert all(line.startswith(b" ") for line in lines[1:])
        assert all(line.strip() for line in lines)
        assert all(len(line) <= 998 for line in lines)
        assert not re.search(rb"[\r\n\0]", b"".join(lines))
        assert made.decode().replace("\r\n", "").isprintable()


def test_fields_without_a_value_are_left_out() -> None:
    assert report.fields((("A", ""), ("B", "c"))) == b"B: c\r\n"


@pytest.mark.parametrize(
    ("address", "ascii_", "utf8"),
    [
        ("bob@x.test", "rfc822; bob@x.test", "rfc822; bob@x.test"),
        ("jörg@x.test", r"utf-8; j\x{F6}rg@x.test", "utf-8; jörg@x.test"),
        ("é+=\\@x", r"utf-8; \x{E9}\x{2B}\x{3D}\x{5C}@x", r"utf-8; é+=\x{5C}@x"),
        ('"é a"@x', r'utf-8; "\x{E9}\x{20}a"@x', 'utf-8; "é a"@x'),
    ],
)
def test_addresses_beyond_ascii_are_escaped(
    address: str, ascii_: str, utf8: str
) -> None:
    """RFC 6533 3."""
    assert report.typed(address) == ascii_
    assert report.typed(address, True) == utf8


def test_other_types_of_address_are_kept() -> None:
    assert report.typed("/G=x/", kind="x400") == "x400; /G=x/"


def test_words_are_quoted_only_if_they_must() -> None:
    assert report.words("a\n\nb\n") == report.Part(
        'text/plain; charset="us-ascii"', "7bit", b"a\r\n\r\nb\r\n"
    )
    made = report.words("für\n=\n")
    assert made.encoding == "quoted-printable"
    assert made.octets == b"f=C3=BCr\r\n=3D\r\n"


@pytest.mark.parametrize(
    ("octets", "made"),
    [
        (b"A: b\rc\nd\r\n", b"A: b=0Dc=0Ad\r\n"),
        (b"A: \0\r\n", b"A: =00\r\n"),
        ("A: ü\r\n".encode(), b"A: =C3=BC\r\n"),
    ],
)
def test_a_header_that_is_not_lines_of_ascii_is_quoted(
    octets: bytes, made: bytes
) -> None:
    kind = "text/rfc822-headers"
    assert report.header_part(octets) == (kind, "quoted-printable", made)
    assert report.header_part(b"A: b\r\n") == (kind, "7bit", b"A: b\r\n")


def test_a_header_of_utf8_goes_as_it_is_where_it_may() -> None:
    kind, octets = "message/global-headers", "A: ü\r\n".encode()
    assert report.header_part(octets, True) == (kind, "8bit", octets)
    long = octets + b"B: " + b"x" * 1000 + b"\r\n"
    assert report.header_part(long, True).encoding == "quoted-printable"


def test_parts_begin_and_end_at_the_boundary() -> None:
    part = report.Part("text/plain", "7bit", b"")
    assert report.begin(part, "b") == b"\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
    assert b"Encoding: 8bit\r\n\r\n" in report.begin(
        part._replace(encoding="8bit"), "b"
    )
    assert report.end("b") == b"\r\n--b--\r\n"
