"""What a header tells a notice about its message."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire.gist import Gist, decoded, gist


def test_it_is_what_stands_first_and_unfolded_fields_are_one() -> None:
    header = (
        b"Received: from x\r\n"
        b"SUBJECT : Lunch\r\n on Friday\r\n"
        b"Message-ID:\r\n <1.a@b.test>\r\n"
        b"X-Subject: no\r\n"
        b"Subject: Dinner\r\n"
    )
    assert gist(header) == Gist("Lunch\r\n on Friday", "<1.a@b.test>")
    assert gist(b"") == Gist()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?B?TMO8bmNo?=", "Lünch"),
        (b"=?UTF-8?q?L=C3=BCnch_on?= Friday", "Lünch on Friday"),
        (b"=?utf-8?q?L=C3=BC?=\r\n =?utf-8?q?nch?=", "Lünch"),
        (b"=?iso-8859-1*de?q?L=FCnch?=", "Lünch"),
        (b"a =?utf-8?b?w?= b", "a =?utf-8?b?w?= b"),
        (b"=?no-such?q?x?=", "=?no-such?q?x?="),
        (b"=?zip?q?x?=", "=?zip?q?x?="),
        ("Müssen".encode(), "Müssen"),
        (b"L\xfcnch", "L�nch"),
        (b"=?utf-8?q?=FF?=", "�"),
        (b"=?utf-8?q?a?=?=", "a?="),
    ],
)
def test_a_subject_is_decoded(value: bytes, text: str) -> None:
    assert decoded(value) == text


@pytest.mark.parametrize(
    "value",
    [b"1@x", b"<1@x", b"<1@x> <2@x>", b"<a b@x>", b"<>", b"<" + b"x" * 130 + b"@x>"],
)
def test_a_message_id_that_is_none_is_not_given_on(value: bytes) -> None:
    assert gist(b"Message-ID: " + value + b"\r\n").message_id == ""


@pytest.mark.parametrize(
    ("header", "automatic"),
    [
        (b"", False),
        (b"Auto-Submitted: no\r\n", False),
        (b"Auto-Submitted: no (really)\r\n", False),
        (b"Auto-Submitted: auto-replied\r\n", True),
        (b"Precedence: bulk\r\n", True),
        (b"Precedence: first-class\r\n", False),
        (b"List-Id: <x>\r\n", True),
    ],
)
def test_machines_say_so(header: bytes, automatic: bool) -> None:
    assert gist(header).automatic is automatic


@given(st.binary(max_size=200))
def test_any_header_has_a_gist(header: bytes) -> None:
    found = gist(b"Subject: " + header)
    assert "\r" not in found.message_id
    assert found.message_id.isascii()


@pytest.mark.parametrize(
    "piece",
    [
        b"Subject:\r\n ",
        b"=?",
        b"=?utf-8?q?",
        b" =?utf-8?b?=?=",
        b"\r\n ",
        b"a:",
        b"\r\n",
    ],
)
def test_attack_6_no_header_takes_long(piece: bytes) -> None:
    header = b"Subject: " + piece * (64 * 1024 // len(piece))
    began = time.process_time()
    gist(header)
    decoded(header[:1000])
    assert time.process_time() - began < 0.2
