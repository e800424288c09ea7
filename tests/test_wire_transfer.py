"""Encoders against those of the standard library, and the search for delimiters."""

import base64
import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire.transfer import (
    Survey,
    based,
    find_delimiter,
    quoted,
    rewrapped,
)

pieces = st.lists(
    st.sampled_from(
        [
            *(b"\r\n", b"\r", b"\n", b" ", b"\t", b"=", b"=C3", b"=\r\n", b"\0", b"=c"),
            *(b"a", b".", b"x" * 74, b"x" * 75, b"\x7f", b"\xc3\xa4", b"\xff"),
        ]
    )
    | st.binary(max_size=5),
    max_size=60,
).map(b"".join)


@given(pieces, st.booleans())
def test_quoted_printable_comes_back(data: bytes, soft: bool) -> None:
    made = quoted(data, True, soft)
    assert made.isascii()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|[ \t]\r\n|[ \t]\Z|[\0-\x08]", made)
    assert all(len(line) <= 76 for line in made.split(b"\r\n"))
    assert quopri.decodestring(made) == data
    assert made.endswith(b"=\r\n") or not soft or not data


@given(pieces)
def test_what_is_quoted_already_means_the_same(data: bytes) -> None:
    """Where it was as it must be; what was not is escaped."""
    made = quoted(data, False)
    assert made.isascii()
    assert all(len(line) <= 76 for line in made.split(b"\r\n"))
    strange = re.sub(rb"=(?![0-9A-Fa-f]{2}|\r\n)", b"=3D", data)
    strange = re.sub(rb"[^\t -~\r\n]", lambda m: b"=%02X" % m[0][0], strange)
    strange = re.sub(rb"\r(?!\n)", b"=0D", strange)
    strange = re.sub(rb"(?<!\r)\n", b"=0A", strange)
    short = re.sub(rb"=\r\n", b"", strange)
    assert re.sub(rb"=\r\n", b"", made) == short


@given(st.binary(max_size=500))
def test_base64_is_that_of_the_library(data: bytes) -> None:
    made = based(data)
    assert made == base64.encodebytes(data).replace(b"\n", b"\r\n")


@given(st.binary(max_size=500), st.lists(st.integers(0, 700), max_size=4))
def test_base64_is_wrapped_again(data: bytes, cuts: list[int]) -> None:
    text = base64.b64encode(data).replace(b"A", b"A \xff\r\n")
    whole, _ = rewrapped(text, 0)
    made, column, at = b"", 0, 0
    for cut in (*sorted(cuts), len(text)):
        piece, column = rewrapped(text[at:cut], column)
        made, at = made + piece, max(cut, at)
    assert made == whole
    assert whole == base64.encodebytes(data).replace(b"\n", b"\r\n")[:-2]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"--b\r\nx", (0, 0, False, 5)),
        (b"a\r\n--b--\r\n", (3, 0, True, 10)),
        (b"a\r\n--b \t\r\nx", (3, 0, False, 10)),
        (b"a\r\n--b", (3, 0, False, 6)),
        (b"a\r\n--b--", (3, 0, True, 8)),
        (b"a --b\r\n", (7, -1, False, 7)),
        (b"a\r\n--bb\r\n--bb--\r\n", (17, -1, False, 17)),
        (b"a\r\n--b-\r\n--b---\r\n", (17, -1, False, 17)),
        (b"--\r\n----\r\n", (10, -1, False, 10)),
        (b"x\r\n--c--\r\n--b\r\n", (3, 1, True, 10)),
        (b"", (0, -1, False, 0)),
    ],
)
def test_a_delimiter_is_a_line_of_its_own(
    data: bytes, expected: tuple[int, int, bool, int]
) -> None:
    assert find_delimiter(data, 0, (b"b", b"c"), True) == expected


def test_the_middle_of_a_line_begins_none() -> None:
    assert find_delimiter(b"x--b\r\n--b\r\n", 1, (b"b",), True)[0] == 6
    assert find_delimiter(b"\n--b\r\n", 1, (b"b",), True)[0] == 1


@given(
    st.lists(st.sampled_from([b"--b", b"--", b"-", b"\r\n", b"b", b"x"]), max_size=30),
    st.integers(0, 60),
)
def test_windows_find_what_the_whole_has(data: list[bytes], cut: int) -> None:
    octets = b"".join(data)
    whole = find_delimiter(octets, 0, (b"b",), True)
    cut = min(cut, len(octets))
    line, which, closing, next = find_delimiter(octets[:cut], 0, (b"b",), False)
    if which < 0:
        begin = max(line - 1, 0)
        found = find_delimiter(octets[begin:], line - begin, (b"b",), True)
        line, which, closing, next = found[0] + begin, *found[1:3], found[3] + begin
    assert (line, which, closing, next) == whole


@given(pieces, st.integers(0, 100))
def test_a_survey_sees_what_is_there(data: bytes, cut: int) -> None:
    found = Survey()
    found.feed(data[:cut])
    found.feed(data[cut:])
    found.finish()
    assert found.size == len(data)
    assert found.eight_bit is not data.isascii()
    assert found.broken is bool(re.search(rb"\r(?!\n)|(?<!\r)\n|\0", data))
    lines = re.split(rb"(?<=\r\n)", data)
    assert found.longest == max(map(len, lines))
    end = re.search(rb"\A\r\n|(?<=\r\n)\r\n", data)
    assert found.header_end == (end.end() if end else -1)
