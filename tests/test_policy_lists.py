"""DNS lists: the name asked for, what an answer counts, what a client is told."""

import pytest

from fastsmtp.errors import DnsTrouble
from fastsmtp.policy.lists import List, code_range
from fastsmtp.policy.options import ListOptions

ZONE = "zen.example.net"
PLAIN = List(ZONE, ListOptions(score=3))
BY_CODE = List(
    ZONE, ListOptions(codes={"127.0.0.2": 4.0, "127.0.0.4-7": 2.0, "127.0.0.9": -1.0})
)


def test_rfc_5782_the_question() -> None:
    assert PLAIN.question("192.0.2.99") == "99.2.0.192.zen.example.net"
    nibbles = "2.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    assert PLAIN.question("2001:db8::1:2%eth0") == f"{nibbles}.zen.example.net"


@pytest.mark.parametrize(
    ("zone", "records", "score"),
    [
        (PLAIN, ("127.0.0.2",), 3.0),
        (PLAIN, ("127.0.0.2", "127.0.1.4"), 3.0),
        (PLAIN, ("192.0.2.1",), None),  # a domain for sale answers everything
        (PLAIN, (), None),
        (BY_CODE, ("127.0.0.2",), 4.0),
        (BY_CODE, ("127.0.0.4", "127.0.0.6"), 2.0),
        (BY_CODE, ("127.0.0.2", "127.0.0.7"), 6.0),
        (BY_CODE, ("127.0.0.2", "127.0.0.9"), 3.0),
        (BY_CODE, ("127.0.0.3",), None),
        (BY_CODE, ("127.0.0.8",), None),
    ],
)
def test_what_an_answer_counts(
    zone: List, records: tuple[str, ...], score: float | None
) -> None:
    assert zone.score(records) == score


def test_a_list_that_refuses_to_answer_lists_nobody() -> None:
    for zone in (PLAIN, BY_CODE):
        with pytest.raises(DnsTrouble):
            zone.score(("127.255.255.254",))


def test_the_most_that_a_list_counts() -> None:
    assert PLAIN.most == 3.0
    assert BY_CODE.most == 6.0
    assert List(ZONE, ListOptions(score=-5)).most == 0.0


@pytest.mark.parametrize("code", ["127.0.0.2", "127.0.0.2-2", "127.0.0.2-255"])
def test_codes(code: str) -> None:
    low, high = code_range(code)
    assert low == 0x7F000002
    assert high >= low


@pytest.mark.parametrize(
    "code", ["", "2", "127.0.0", "192.0.2.1", "127.0.0.9-4", "127.0.0.2-256", "x-1"]
)
def test_what_is_no_code(code: str) -> None:
    with pytest.raises(ValueError, match=r"is no|is not|has no"):
        code_range(code)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ((b"Listed, see https://zen.example.net/1",), None),
        ((b"two\r\n250 Ok\x00\xff lines",), "two250 Ok lines"),
        ((b"\xff\xfe", b"the second"), "the second"),
        ((), "192.0.2.7 is listed by zen.example.net"),
        ((b"x" * 1000,), "x" * 200),
    ],
)
def test_a_list_says_nothing_but_one_plain_line(
    records: tuple[bytes, ...], said: str | None
) -> None:
    heard = PLAIN.words("192.0.2.7", records)
    assert heard == (said or records[0].decode())


def test_the_operators_words_come_first() -> None:
    zone = List(ZONE, ListOptions(text="see https://example.test/?ip={address}"))
    assert zone.words("192.0.2.7", (b"theirs",)) == (
        "see https://example.test/?ip=192.0.2.7"
    )
