"""SMTPUTF8: addresses beyond ASCII (RFC 6531, number 37), and others of MAIL."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Dialogue

from fastsmtp.policy.recipients import as_written, split
from fastsmtp.smtp.offers import Offers

UTF8 = Offers(smtputf8=True, requiretls=True, limits=True)
HELLO = "EHLO client.test"


def hello(offers: Offers = UTF8, **options: Any) -> Dialogue:
    d = Dialogue(offers=offers, **options)
    d.say(HELLO)
    return d


def test_rfc_37_an_address_beyond_ascii_needs_the_parameter() -> None:
    d = hello()
    assert d.say("MAIL FROM:<é@client.test>") == ["553 5.6.7 Address needs SMTPUTF8"]
    assert d.say("MAIL FROM:<a@bücher.test>")[0].startswith("553 5.6.7 ")
    assert d.say("MAIL FROM:<a@client.test>") == ["250 2.1.0 Ok"]
    assert d.say("RCPT TO:<bøb@example.test>")[0].startswith("553 5.6.7 ")
    d.say("RSET", "MAIL FROM:<é@client.test> SMTPUTF8")
    assert d.say("RCPT TO:<bøb@bücher.test>") == ["250 2.1.5 Ok"]
    assert d.door.heard[-2:] == [
        *(("mail", "é@client.test"), ("recipient", "bøb@bücher.test")),
    ]


def test_rfc_37_the_parameter_counts_for_one_transaction() -> None:
    d = hello()
    d.say("MAIL FROM:<é@client.test> SMTPUTF8", "RSET")
    assert not d.session.smtputf8
    assert d.say("MAIL FROM:<é@client.test>")[0].startswith("553 5.6.7 ")
    d.say("MAIL FROM:<a@client.test> SMTPUTF8", "RCPT TO:<é@example.test>", "DATA")
    assert d.say("x", ".")[0].startswith("250 ")
    assert d.say("MAIL FROM:<é@client.test>")[0].startswith("553 5.6.7 ")


def test_rfc_37_a_refused_mail_leaves_no_parameter_behind() -> None:
    d = hello()
    assert d.say("MAIL FROM:<a@b> SMTPUTF8 COLOR=red")[0].startswith("555 5.5.4 ")
    d.say("MAIL FROM:<a@client.test>")
    assert not d.session.smtputf8
    assert d.say("RCPT TO:<é@example.test>")[0].startswith("553 5.6.7 ")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("MAIL FROM:<a@b.test> SMTPUTF8=yes", "501 5.5.4 "),
        ("MAIL FROM:<a@b.test> SMTPUTF8 smtputf8", "501 5.5.4 "),
        ("VRFY é", "553 5.6.7 "),
        ("VRFY é SMTPUTF8", "252 2.0.0 "),
    ],
)
def test_rfc_37_how_it_is_said(line: str, reply: str) -> None:
    assert hello().say(line)[0].startswith(reply)


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xae"])
def test_attack_7_what_is_not_utf_8_is_no_address(octets: bytes) -> None:
    d = hello()
    said = d.feed(b"MAIL FROM:<a" + octets + b"@client.test> SMTPUTF8\r\n")
    assert said.startswith(b"501 5.1.7 ")
    said = d.feed(b"VRFY " + octets + b" SMTPUTF8\r\n")
    assert said.startswith(b"501 5.5.2 ")
    assert d.troubles == []


@pytest.mark.parametrize("offers", [Offers(), UTF8])
def test_rfc_37_where_8_bit_is_refused_it_is_not_offered(offers: Offers) -> None:
    d = hello(offers, eight_bit="reject")
    assert not any("SMTPUTF8" in line for line in d.say(HELLO))
    assert d.say("MAIL FROM:<a@b.test> SMTPUTF8")[0].startswith("555 5.5.4 ")
    assert d.say("MAIL FROM:<é@b.test>")[0].startswith("553 5.6.7 ")


@pytest.mark.parametrize(
    ("secured", "login", "utf8", "greeting", "word"),
    [
        ("", "", False, "HELO x", "SMTP"),
        ("", "", False, "EHLO x", "ESMTP"),
        ("TLSv1.3", "", False, "EHLO x", "ESMTPS"),
        ("", "alice", False, "EHLO x", "ESMTPA"),
        ("TLSv1.3", "alice", False, "EHLO x", "ESMTPSA"),
        ("", "", True, "EHLO x", "UTF8SMTP"),
        ("TLSv1.3", "", True, "EHLO x", "UTF8SMTPS"),
        ("TLSv1.3", "alice", True, "EHLO x", "UTF8SMTPSA"),
    ],
)
def test_rfc_37_received_says_how_it_came(
    secured: str, login: str, utf8: bool, greeting: str, word: str
) -> None:
    """RFC 3848, and RFC 6531 3.7.3."""
    d = Dialogue(offers=UTF8)
    if secured:
        d.session.secure(secured)
    d.session.login = login
    d.say(greeting, "MAIL FROM:<a@b.test>" + " SMTPUTF8" * utf8)
    assert d.session.protocol == word


@pytest.mark.parametrize("utf8", [False, True])
def test_lmtp_has_words_of_its_own(utf8: bool) -> None:
    d = Dialogue(offers=Offers(lmtp=True, smtputf8=True))
    d.say("LHLO x", "MAIL FROM:<a@b.test>" + " SMTPUTF8" * utf8)
    assert d.session.protocol == ("UTF8LMTP" if utf8 else "LMTP")


def test_names_as_people_write_them() -> None:
    assert as_written("xn--bcher-kva.test") == "bücher.test"
    assert as_written("a.xn--fiqs8s") == "a.中国"
    for name in ("example.test", "xn--.test", "xn--\u2603.test", "xn--99999999.test"):
        assert as_written(name) in (name, ".test")
    assert split("BO\u0308B@BU\u0308CHER.test") == ("böb", "bücher.test")


def test_requiretls_is_for_tls_and_is_kept() -> None:
    """RFC 8689 2, 4.1."""
    d = hello()
    assert not any("REQUIRETLS" in line for line in d.say(HELLO))
    assert d.say("MAIL FROM:<a@b.test> REQUIRETLS")[0].startswith("555 5.5.4 ")
    d.session.secure("TLSv1.3")
    assert "250-REQUIRETLS" in d.say(HELLO)
    assert d.say("MAIL FROM:<a@b.test> REQUIRETLS=1")[0].startswith("501 5.5.4 ")
    assert d.say("MAIL FROM:<a@b.test> REQUIRETLS") == ["250 2.1.0 Ok"]
    assert d.session.requiretls
    d.say("RSET")
    assert not d.session.requiretls


def test_limits_are_those_that_are_kept() -> None:
    """RFC 9422 4."""
    d = hello(max_recipients=100)
    assert "250-LIMITS RCPTMAX=100" in d.say(HELLO)
    d.say("MAIL FROM:<>")
    said = d.say(*(f"RCPT TO:<r{n}@example.test>" for n in range(101)))
    assert set(said[:100]) == {"250 2.1.5 Ok"}
    assert said[100].startswith("452 4.5.3 ")
