"""Where the parts of a message are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire import mime
from fastsmtp.wire.mime import Fields, Shape, Unwalkable, read_fields, walk


class Octets:
    """A body in memory, given in windows as small as it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length = data, len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def parts(data: bytes, start: int = 0) -> list[tuple[str, bytes]]:
    return [
        (one.fields.type, data[one.begin : one.end])
        for one in walk(Octets(data), start)
    ]


NESTED = (
    b"Content-Type: multipart/mixed; boundary=out\r\n\r\n"
    b"before\r\n"
    b"--out\r\n"
    b'Content-Type: multipart/alternative; boundary="in"\r\n\r\n'
    b"--in\r\n\r\none\r\n"
    b"--in\r\nContent-Type: text/html\r\n\r\ntwo\r\n\r\n"
    b"--in--\r\nbetween\r\n"
    b"--out\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: x\r\n\r\nthree\r\n"
    b"--out--\r\nbehind\r\n"
)


def test_parts_end_before_the_line_end_of_their_delimiter() -> None:
    assert [(type, body) for type, body in parts(NESTED) if type[:5] != "multi"] == [
        ("", b"one"),
        ("text/html", b"two\r\n"),
        ("message/rfc822", b"Subject: x\r\n\r\nthree"),
        ("", b"three"),
    ]
    entities = walk(Octets(NESTED), 0)
    assert [one.parent for one in entities] == [-1, 0, 1, 1, 0, 4]
    gaps = [NESTED[a:b] for one in entities for a, b in one.gaps]
    assert gaps == [b"before", b"behind\r\n", b"", b"between"]


@pytest.mark.parametrize("size", [30, 60, 100])
def test_windows_of_any_size_find_the_same(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    expected = walk(Octets(NESTED), 0)
    monkeypatch.setattr(mime, "PIECE", size)
    assert walk(Octets(NESTED), 0) == expected


def test_an_outer_delimiter_ends_what_is_inside() -> None:
    data = NESTED.replace(b"--in--\r\n", b"")
    assert parts(data)[3] == ("text/html", b"two\r\n\r\nbetween")
    assert parts(data)[5] == ("", b"three")


def test_a_part_may_be_a_header_or_nothing() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n--b\r\n--b\r\n\r\n--b\r\n\r\n\r\n--b--\r\n"
    )
    assert parts(data)[1:] == [("text/html", b""), ("", b""), ("", b""), ("", b"")]


def test_a_boundary_that_begins_as_another_is_another() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n"
        b"--bb--\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    )
    assert [body for _, body in parts(data)][2:] == [b"one", b"two"]


def test_a_message_begins_where_it_is_told() -> None:
    data = b"Return-Path: <>\r\nSubject: x\r\n\r\ny\r\n"
    (entity,) = walk(Octets(data), 17)
    assert (entity.start, entity.begin, entity.end) == (17, 31, 34)


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (b"", Fields()),
        (
            b'content-type : Multipart/Mixed;\r\n charset=x; BOUNDARY="a \\"b"\r\n',
            Fields("multipart/mixed", b'a "b', typed=True),
        ),
        (
            b"Content-Transfer-Encoding: 8BIT (x)\r\nMIME-Version: 1.0",
            Fields("", b"", "8bit", ((0, 37),), False, True),
        ),
        (b"Content-Type: nonsense\r\n", Fields(typed=True)),
        (
            b"Content-Type: a/b\r\nContent-Type: c/d\r\n",
            Fields("a/b", typed=True, twice=True),
        ),
        (b"X-Content-Type: a/b\r\n", Fields()),
    ],
)
def test_fields_of_mime(header: bytes, fields: Fields) -> None:
    assert read_fields(header) == fields


def test_what_says_it_twice_is_not_taken_apart() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n"
        b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
    )
    (entity,) = walk(Octets(data), 0)
    assert entity.shape is Shape.LEAF


def test_attack_6_depth_parts_and_headers_have_limits() -> None:
    deep = b"Content-Type: message/rfc822\r\n\r\n" * 60
    wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 3000
    long = b"X: " + b"y" * 300_000 + b"\r\n\r\n"
    for data in (deep, wide, long):
        with pytest.raises(Unwalkable):
            walk(Octets(data), 0)


@given(
    st.lists(
        st.sampled_from(
            [
                *(b"--a", b"--b", b"--", b"\r\n", b"\r\n\r\n", b"text", b" ", b";"),
                b"Content-Type: multipart/mixed; boundary=a\r\n\r\n",
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
                b"Content-Type: message/rfc822\r\n\r\n",
                b"Content-Type: multipart/digest; boundary=a\r\n",
            ]
        ),
        max_size=40,
    )
)
def test_places_are_in_order_and_inside(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    entities = walk(Octets(data), 0)
    at = 0
    for n, one in enumerate(entities):
        assert at <= one.start <= one.begin <= one.end <= len(data)
        assert one.parent < n
        at = one.begin if one.shape is not Shape.LEAF else one.end
        if one.parent >= 0:
            above = entities[one.parent]
            assert above.begin <= one.start
            assert one.end <= above.end
        for begin, end in one.gaps:
            assert one.begin <= begin <= end <= one.end


@given(st.binary(max_size=3000).map(lambda data: b"A: " + data))
def test_a_folded_header_says_the_same(header: bytes) -> None:
    header = header.replace(b"\r", b" ").replace(b"\n", b" ") * 3
    made = mime.folded(header + b"\r\n")
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))
    assert all(line.strip(b" \t") for line in made.split(b"\r\n")[:-1])
    assert made.translate(None, b" \t\r\n") == header.translate(None, b" \t\r\n")
