import email.policy
import email.utils
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire.header import WIDTH, date, origin, received, return_path

WHEN = date(1_795_493_520)
STAMP = re.compile(rb"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} [\d:]{8} \+0000\r\n$")


def test_a_received_field_reads_as_rfc_5321_4_4_writes_it() -> None:
    first = origin("mail.example.org", "192.0.2.7", "host.example.org")
    assert received(
        first, "mx.example.test", "ESMTP", "0123456789ABC", "bob@x.test", WHEN
    ) == (
        b"Received: from mail.example.org (host.example.org [192.0.2.7])\r\n"
        b"\tby mx.example.test with ESMTP id 0123456789ABC\r\n"
        b"\tfor <bob@x.test>; Tue, 24 Nov 2026 04:12:00 +0000\r\n"
    )


def test_a_peer_without_an_address_has_none() -> None:
    assert origin("client.test", "unix") == "from client.test (Unix socket)"


def test_tls_is_told_in_a_comment_on_its_own_line() -> None:
    told = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"
    first = origin("mail.example.org", "192.0.2.7", "", told)
    field = received(first, "mx.test", "ESMTPS", "Q", "", WHEN)
    assert field.startswith(
        b"Received: from mail.example.org ([192.0.2.7])\r\n"
        b"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
        b"\tby mx.test with ESMTPS id Q;\r\n"
    )
    for helo in ("x" * 60, "x" * 200):
        first = origin(helo, "192.0.2.7", "", told)
        field = received(first, "m" * 70, "ESMTPS", "Q", "", WHEN)
        assert b" (using TLSv1.3 with cipher" in re.sub(rb"\r\n\t", b" ", field)
        assert all(len(x) <= WIDTH or b" " not in x for x in field.split(b"\r\n"))


def test_nobody_is_named_when_there_are_several_recipients() -> None:
    field = received(origin("x", "2001:db8::1"), "mx.test", "SMTP", "Q", "", WHEN)
    assert field == (
        b"Received: from x ([IPv6:2001:db8::1])\r\n\tby mx.test with SMTP id Q;\r\n"
        b"\tTue, 24 Nov 2026 04:12:00 +0000\r\n"
    )


@pytest.mark.parametrize(
    "helo",
    ["a\r\nX: y", "a\nb", "a\x00b", "a (b) c", "a; b", 'a"b', "a by evil id 1", "ä<b>"],
)
def test_a_helo_name_cannot_leave_its_place(helo: str) -> None:
    clause = origin(helo, "192.0.2.7")
    name = clause.split(" ")[1]
    assert clause == f"from {name} ([192.0.2.7])"
    assert not set(name) & set('\r\n\x00 ();,"<>@\\')


@pytest.mark.parametrize("text", ["a\r\nX: y@x", "a\n@x", "a\x00@x", "a\u2028b@x"])
def test_an_address_cannot_end_the_line(text: str) -> None:
    for field in (
        return_path(text),
        received("from x ([192.0.2.7])", "mx", "SMTP", "Q", text, WHEN),
    ):
        assert len(re.findall(rb"[\r\n\0]", re.sub(rb"\r\n\t", b"", field))) == 2
        assert "\u2028" not in field.decode()


def test_return_path_of_the_null_path() -> None:
    assert return_path("") == b"Return-Path: <>\r\n"
    assert return_path("a@x.test") == b"Return-Path: <a@x.test>\r\n"


@given(st.integers(0, 2**32))
def test_dates_are_those_of_the_standard_library(second: int) -> None:
    at = datetime.fromtimestamp(second, UTC)
    assert email.utils.parsedate_to_datetime(date(second)) == at
    assert date(second) == email.utils.format_datetime(at).replace(", 0", ", ")


@given(
    helo=st.text(max_size=255),
    name=st.from_regex(r"\A[a-z0-9.-]{0,200}\Z"),
    local=st.text(max_size=64),
)
def test_any_received_field_is_one_folded_field(
    helo: str, name: str, local: str
) -> None:
    rcpt = f"{local}@x.test"
    field = received(
        origin(helo, "192.0.2.7", name), "mx.example.test", "ESMTP", "Q", rcpt, WHEN
    )
    assert STAMP.search(field)
    lines = field.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert not any(set(line) & set(b"\r\n\0") for line in lines)
    for line in lines:
        words = line.decode().split(" ")
        assert (
            len(line.decode()) <= WIDTH or len(words) <= 2 or "for <" in line.decode()
        )
    parsed = email.message_from_bytes(field, policy=email.policy.compat32)
    assert list(parsed) == ["Received"]


def test_rfc_6710_a_priority_stands_behind_all_clauses() -> None:
    for to, clause in (("", ""), ("bob@x.test", "\r\n\tfor <bob@x.test>")):
        first = origin("client.test", "192.0.2.7")
        field = received(first, "mx.test", "ESMTPSA", "Q", to, WHEN, -3)
        assert field.decode() == (
            "Received: from client.test ([192.0.2.7])\r\n"
            f"\tby mx.test with ESMTPSA id Q{clause}\r\n\tPRIORITY -3; {WHEN}\r\n"
        )
