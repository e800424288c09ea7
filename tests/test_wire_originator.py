"""The header of a submitted message: what is found in it, and addresses in From."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire.originator import (
    FROM_MOST,
    HEADER_MOST,
    mailboxes,
    read_header,
    without,
)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b" alice@x.test", ["alice@x.test"]),
        (b" Alice <alice@x.test>", ["alice@x.test"]),
        (b' "A, <b@c.test>" <alice@x.test>', ["alice@x.test"]),
        (b'"a \\" b" <a@b.test>', ["a@b.test"]),
        (b"a@b.test, C <c@d.test>", ["a@b.test", "c@d.test"]),
        (b",a@b.test,, c@d.test,", ["a@b.test", "c@d.test"]),
        (b"Team: a@b.test, c <d@e.test>;", ["a@b.test", "d@e.test"]),
        (b"x:;, a@b.test", ["a@b.test"]),
        (b"undisclosed-recipients:;", []),
        (b"", []),
        (b"(c (n) \\) x) al . ice @ x . test (y)", ["al.ice@x.test"]),
        (b"<a@b.test>(c)", ["a@b.test"]),
        (b"<@r.test,@s.test:a@b.test>", ["a@b.test"]),
        (b'"q q"@x.test', ['"q q"@x.test']),
        (b"a@[127.0.0.1]", ["a@[127.0.0.1]"]),
        (b"A\r\n\t<a@b.test>", ["a@b.test"]),
        ("Ä <ä@b.test>".encode(), ["ä@b.test"]),
        (b"=?utf-8?q?a=40b?= <a@b.test>", ["a@b.test"]),
    ],
)
def test_mailboxes(value: bytes, found: list[str]) -> None:
    assert mailboxes(value) == found


@pytest.mark.parametrize(
    "value",
    [
        b"alice",
        b"foo a@b.test",
        b"a@b.test c@d.test",
        b"a@b.test <c@d.test> e",
        b"<a@b.test> <c@d.test>",
        b"<a@b.test",
        b"a@b.test>",
        b"<>",
        b"a@",
        b"@b.test",
        b'"a@b.test',
        b"(a@b.test",
        b"(a\\",
        b"a)@b.test",
        b"a\\b@c.test",
        b"[a@b.test",
        b"a@b.test" + b" " * FROM_MOST,
        b",".join([b"a@b.test"] * 102),
    ],
)
def test_what_is_no_list_of_mailboxes(value: bytes) -> None:
    with pytest.raises(ValueError, match=" "):
        mailboxes(value)


@given(st.binary(max_size=200))
def test_any_octets_give_addresses_or_a_reason(value: bytes) -> None:
    try:
        found = mailboxes(value)
    except ValueError:
        return
    for address in found:
        assert mailboxes(f"x <{address}>".encode()) == [address]


WORDS = [
    *(b"Bcc:", b"bcc :", b"Resent-Bcc:", b"From:", b"Date:", b"Message-ID:", b"X:"),
    *(b" ", b"\t", b"x", b"\r\n", b"\r\n ", b":", b"\xff", b"bcc", b"\r\n\t\r\n"),
]


def slowly(header: bytes) -> tuple[list[bytes], set[bytes], bytes]:
    """The twin: From fields, names, and the header without those that are blind."""
    fields: list[bytes] = []
    for line in header.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    froms, names, kept = [], set(), []
    for field in fields:
        name, colon, value = field.partition(b":")
        name = name.rstrip(b" \t").lower() if colon else b""
        names.add(name)
        if name == b"from":
            froms.append(value)
        if name not in (b"bcc", b"resent-bcc"):
            kept.append(field)
    return froms, names, b"\r\n".join(kept)


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_a_header_is_read_as_the_slow_twin_reads_it(words: list[bytes]) -> None:
    header = b"".join(words) + b"\r\n"
    found = read_header(header)
    froms, names, kept = slowly(header)
    assert list(found.froms) == froms
    assert found.date == (b"date" in names)
    assert found.message_id == (b"message-id" in names)
    assert without(header, found.blind) == kept


@pytest.mark.parametrize(
    "unit", [b"\r\n", b"a\r\n", b"bcc:\r\n", b"Bcc: a\r\n b\r\n", b"date", b"\r\n "]
)
def test_attack_6_no_header_takes_long(unit: bytes) -> None:
    header = unit * (HEADER_MOST // len(unit))
    start = time.process_time()
    without(header, read_header(header).blind)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("unit", [b"(", b",", b"a@b,", b'"\\', b"\\(", b"<", b"a "])
def test_attack_6_no_from_takes_long(unit: bytes) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=" "):
        mailboxes(unit * (FROM_MOST // len(unit)) + b"(")
    assert time.process_time() - start < 0.2
