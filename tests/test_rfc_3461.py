"""Parameters that ask for notices (RFC 3461, number 38)."""

from __future__ import annotations

import pytest
from fakes import Dialogue, FakeDoor
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.errors import Refused
from fastsmtp.smtp import parameters
from fastsmtp.smtp.offers import Offers

DSN = Offers(dsn=True, smtputf8=True, mechanisms=("PLAIN",))
NONE = ("", "")


def mailing(parameters: str = "", door: FakeDoor | None = None) -> Dialogue:
    d = Dialogue(door, DSN)
    d.say("EHLO client.test")
    assert d.say(f"MAIL FROM:<a@client.test>{parameters}") == ["250 2.1.0 Ok"]
    return d


def test_rfc_38_they_are_kept_with_the_transaction() -> None:
    d = mailing(" RET=full ENVID=Q+2BQ+3D")
    d.say("RCPT TO:<one@x.test>")
    d.say("RCPT TO:<two@x.test> NOTIFY=failure,SUCCESS ORCPT=RFC822;t+2Bwo@y.test")
    d.say("RCPT TO:<three@x.test> ORCPT=x-unix;three", "RCPT TO:<four@x.test>")
    session = d.session
    assert (session.ret, session.envid) == ("FULL", "Q+Q=")
    assert session.options == [
        *(NONE, ("SUCCESS,FAILURE", "rfc822;t+wo@y.test")),
        *(("", "x-unix;three"), NONE),
    ]
    d.say("RSET")
    assert (session.ret, session.envid, session.options) == ("", "", [])


@pytest.mark.parametrize(
    "parameter",
    [
        *("RET=ALL", "RET", "RET=", "ENVID=", "ENVID=a+b", "ENVID=a+0D+0Ab"),
        *("ENVID=" + "x" * 101, "RET=FULL RET=HDRS", "ENVID=a ENVID=a"),
    ],
)
def test_rfc_38_wrong_values_of_mail(parameter: str) -> None:
    d = Dialogue(offers=DSN)
    d.say("EHLO x")
    assert d.say(f"MAIL FROM:<a@b.test> {parameter}")[0].startswith("501 5.5.4 ")
    d.say("MAIL FROM:<a@b.test>")
    assert (d.session.ret, d.session.envid) == ("", "")


@pytest.mark.parametrize(
    "parameter",
    [
        *("NOTIFY=NEVER,SUCCESS", "NOTIFY=SUCCESS,", "NOTIFY=", "NOTIFY", "NOTIFY=ALL"),
        *("ORCPT=rfc822", "ORCPT=;a@b", "ORCPT=rfc822;", "ORCPT=rfc822;a+0A"),
        *("ORCPT=rfc+20822;a", "ORCPT=rfc822;" + "x" * 500, "ORCPT=rfc822;+C3+A9"),
        *("NOTIFY=NEVER NOTIFY=NEVER", "ORCPT=a;b ORCPT=a;b", "ORCPT=rfc822;a+"),
    ],
)
def test_rfc_38_wrong_values_of_rcpt(parameter: str) -> None:
    d = mailing()
    assert d.say(f"RCPT TO:<a@b.test> {parameter}")[0].startswith("501 5.5.4 ")
    assert d.door.heard[-1][0] == "mail"


def test_rfc_38_never_stands_alone_and_is_kept() -> None:
    d = mailing()
    d.say("RCPT TO:<a@b.test> NOTIFY=never")
    assert d.session.options == [("NEVER", "")]


def test_rfc_38_what_a_refused_recipient_asked_is_nobody_elses() -> None:
    door = FakeDoor()
    no = Refused(550, "5.1.1", "Nobody", "unknown_recipient")
    door.says["recipient"] = lambda to: no if to.startswith("no") else None
    d = mailing("", door)
    never = "NOTIFY=NEVER ORCPT=rfc822;x@y.test"
    for line in (
        f"RCPT TO:<nobody@x.test> {never}",  # by the door
        f"RCPT TO:<bob@x.test> {never} COLOR=red",  # by a parameter behind them
        f"RCPT TO:<bob@x.test> {never} NOTIFY=NEVER",
        f"RCPT TO:<é@@x.test> {never}",
    ):
        assert d.say(line)[0][0] == "5"
        d.say("RCPT TO:<bob@x.test>")
    assert d.session.options == [NONE] * 4


def test_rfc_38_what_was_asked_beyond_the_limit_is_nobody_elses() -> None:
    d = Dialogue(offers=DSN, max_recipients=100)
    d.say("EHLO x", "MAIL FROM:<>")
    d.say(*(f"RCPT TO:<r{n}@x.test>" for n in range(100)))
    assert d.say("RCPT TO:<s@x.test> NOTIFY=NEVER")[0].startswith("452 ")
    d.say("DATA", ".", "MAIL FROM:<>", "RCPT TO:<bob@x.test>")
    assert d.session.options == [NONE]


@pytest.mark.parametrize("line", ["RET=FULL", "ENVID=x", "AUTH=<>"])
def test_rfc_38_what_is_not_offered_is_not_recognized(line: str) -> None:
    d = Dialogue()
    said = d.say("EHLO x", f"MAIL FROM:<a@b.test> {line}")
    assert not any("DSN" in each for each in said)
    assert said[-1] == "555 5.5.4 Parameter not recognized"


def test_rfc_38_an_address_beyond_ascii_has_a_type_of_its_own() -> None:
    """RFC 6533 3: only where SMTPUTF8 was asked for."""
    wanted = "RCPT TO:<a@b.test> ORCPT=utf-8;+C3+A9@x.test"
    assert mailing().say(wanted)[0].startswith("501 5.5.4 ")
    d = mailing(" SMTPUTF8")
    assert d.say(wanted) == ["250 2.1.5 Ok"]
    assert d.session.options == [("", "utf-8;é@x.test")]


def test_who_submits_is_believed_of_whom_we_know() -> None:
    """RFC 4954 5."""
    d = mailing(" AUTH=e+3Dmc2@example.com")
    assert d.session.submitter == ""
    d.session.login = "alice"
    d.say("RSET", "MAIL FROM:<a@b.test> AUTH=e+3Dmc2@example.com")
    assert d.session.submitter == "e=mc2@example.com"
    d.say("RSET", "MAIL FROM:<a@b.test> AUTH=<>")
    assert d.session.submitter == ""
    d.say("RSET")
    assert d.say("MAIL FROM:<a@b.test> AUTH=a+0D@b")[0].startswith("501 5.5.4 ")


@given(st.binary(max_size=60))
def test_xtext_reads_back_what_was_written(octets: bytes) -> None:
    text = b"".join(
        bytes([c]) if 33 <= c <= 126 and c not in b"+=" else b"+%02X" % c
        for c in octets
    )
    assert parameters.xtext(text) == octets


@given(st.binary(max_size=60), st.booleans())
def test_attack_7_no_value_can_end_a_line(octets: bytes, utf8: bool) -> None:
    for read in (
        parameters.ret,
        parameters.envid,
        parameters.notify,
        lambda value: parameters.orcpt(value, utf8),
        lambda value: parameters.orcpt(b"utf-8;" + value, utf8),
        parameters.submitter,
    ):
        try:
            text = read(octets)
        except ValueError:
            continue
        assert text.isprintable()
        assert "\r" not in text
        assert "\n" not in text
