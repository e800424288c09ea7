"""STARTTLS in the dialogue; the handshake itself is in test_net_tls, test_serve_tls."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Dialogue

from fastsmtp.smtp import counts
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.states import GREETED

HELLO = "EHLO client.test"


def offering(**options: Any) -> Dialogue:
    return Dialogue(offers=Offers(starttls=True), **options)


def test_it_is_offered_in_clear_only_and_where_it_is_on() -> None:
    d = offering()
    assert "250-STARTTLS" in d.say(HELLO)
    d.session.secure("TLSv1.3")
    assert not any("STARTTLS" in line for line in d.say(HELLO))
    off = Dialogue()
    assert not any("STARTTLS" in line for line in off.say(HELLO))
    assert off.say("STARTTLS") == ["502 5.5.1 Command not implemented"]


@pytest.mark.parametrize(
    ("before", "line", "reply"),
    [
        ((HELLO,), "STARTTLS now", "501 5.5.4 Takes no argument"),
        ((), "STARTTLS", "503 5.5.1 Say HELO or EHLO first"),
        (
            (HELLO, "MAIL FROM:<a@client.test>"),
            "STARTTLS",
            "503 5.5.1 A transaction is already open",
        ),
        ((HELLO,), "STARTTLS", "220 2.0.0 Begin the TLS handshake"),
    ],
)
def test_rfc_40_where_and_how_it_may_be_said(
    before: tuple[str, ...], line: str, reply: str
) -> None:
    d = offering()
    assert d.say(*before, line)[-1] == reply
    assert d.session.upgrade == reply.startswith("220")


def test_rfc_40_a_second_starttls_is_refused() -> None:
    d = offering()
    d.say(HELLO, "STARTTLS")
    d.session.secure("TLSv1.3")
    assert d.say(HELLO, "STARTTLS")[-1] == "503 5.5.1 TLS is on already"
    assert not d.session.upgrade


def test_rfc_40_what_was_said_in_clear_is_forgotten() -> None:
    d = offering()
    d.say("EHLO liar.test", "STARTTLS")
    d.session.secure("TLSv1.3")
    session = d.session
    assert (session.state, session.helo, session.extended) == (GREETED, "", False)
    assert (session.secured, session.upgrade) == ("TLSv1.3", False)
    assert d.say("MAIL FROM:<a@client.test>") == ["503 5.5.1 Say HELO or EHLO first"]
    d.say("EHLO honest.test")
    assert d.session.helo == "honest.test"


@pytest.mark.parametrize("cut", [None, 1, 7, 10, 11, 20, 40])
def test_attack_2_nothing_sent_in_clear_behind_starttls_is_ever_run(
    cut: int | None,
) -> None:
    """CVE-2011-0411: neither before the handshake nor after it."""
    d = offering()
    d.say(HELLO)
    text = b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@x.test>\r\nRSET"
    pieces = [text] if cut is None else [text[:cut], text[cut:]]
    out = b"".join(d.feed(piece) for piece in pieces)
    assert out == b"220 2.0.0 Begin the TLS handshake\r\n"
    assert d.session.holding == 0
    assert d.service.kept == 0
    d.session.secure("TLSv1.3")
    assert d.say("NOOP") == ["250 2.0.0 Ok"]
    assert [heard[0] for heard in d.door.heard] == ["hello"]
    assert d.count(counts.COMMANDS, "MAIL", "2") == 0


def test_attack_2_nothing_held_behind_starttls_is_run_either() -> None:
    """What waited unread while replies filled up."""
    d = offering()
    d.say(HELLO)
    many = b"NOOP\r\n" * 2000 + b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n"
    out = d.feed(many)
    assert out.count(b"250 2.0.0") > 10
    assert out.endswith(b"421 4.7.0 Too many commands\r\n")
    d = offering(max_idle_commands=5000)
    d.say(HELLO)
    out = d.feed(many)
    assert out.endswith(b"220 2.0.0 Begin the TLS handshake\r\n")
    assert d.session.holding == 0
    d.session.secure("TLSv1.3")
    assert d.feed(b"") == b""


def test_a_session_that_is_shut_meanwhile_stays_shut() -> None:
    d = offering()
    d.say(HELLO, "STARTTLS")
    d.session.lost()
    d.session.secure("TLSv1.3")
    assert d.session.secured == ""
