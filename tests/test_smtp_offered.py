"""The answer to EHLO."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.smtp.offered import Offered, read


def test_what_is_offered_is_read() -> None:
    lines = [
        "mx.example.test greets you",
        "PIPELINING",
        "size 52428800",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "DSN",
        "STARTTLS",
        "AUTH PLAIN login PLAIN",
        "REQUIRETLS",
        "MT-PRIORITY MIXER",
        "DELIVERBY 240",
        "ENHANCEDSTATUSCODES",
        "LIMITS MAILMAX=100 RCPTMAX=50 RCPTDOMAINMAX=1",
        "X-UNKNOWN whatever",
        "",
    ]
    assert read(lines) == Offered(
        name="mx.example.test",
        extended=True,
        pipelining=True,
        size=52_428_800,
        sized=True,
        eight_bit=True,
        smtputf8=True,
        chunking=True,
        dsn=True,
        starttls=True,
        mechanisms=("PLAIN", "LOGIN"),
        requiretls=True,
        priority=True,
        deliver_by=240,
        enhanced=True,
        recipients_most=50,
        letters_most=100,
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("SIZE", {"sized": True}),
        ("SIZE 0", {"sized": True}),
        ("SIZE much", {"sized": True}),
        ("SIZE 99999999999999999999", {"sized": True, "size": 2**62}),
        ("SIZE 999999999999999999999", {"sized": True}),
        ("DELIVERBY", {"deliver_by": 0}),
        ("AUTH=LOGIN", {"mechanisms": ("LOGIN",)}),
        ("AUTH", {}),
        ("LIMITS RCPTMAX=x MAILMAX", {}),
        ("pipelining with words", {"pipelining": True}),
        ("PIPELININGX", {}),
        ("\u0130", {}),
    ],
)
def test_odd_lines(line: str, found: dict[str, object]) -> None:
    expected = Offered("mx", True)._replace(**found)  # type: ignore[arg-type]
    assert read(["mx", line]) == expected


def test_helo_offers_nothing() -> None:
    assert read(["mx", "PIPELINING"], extended=False) == Offered("mx")
    assert read([], extended=False) == Offered()


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=20))
def test_any_lines_are_read(lines: list[str]) -> None:
    found = read(lines)
    assert 0 <= found.size < 2**63
    assert len(found.mechanisms) <= 40
