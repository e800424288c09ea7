"""AUTH in the dialogue; what a mechanism does is the door's."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from fakes import Dialogue, FakeDoor

from fastsmtp.errors import Refused
from fastsmtp.smtp import counts
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.offers import Offers

HELLO = "EHLO client.test"
WRONG = Refused(535, "5.7.8", "Wrong name or password", "auth")
OFFERS = Offers(starttls=True, mechanisms=("PLAIN", "LOGIN"))
REQUIRED = Offers(starttls=True, mechanisms=("PLAIN",), auth_required=True)


def secured(
    door: FakeDoor | None = None, offers: Offers = OFFERS, **o: Any
) -> Dialogue:
    d = Dialogue(door, offers, **o)
    d.session.secure("TLSv1.3")
    d.say(HELLO)
    return d


def asked(d: Dialogue) -> list[tuple[Any, ...]]:
    return [heard[1:] for heard in d.door.heard if heard[0] == "auth"]


def coded(octets: bytes) -> str:
    return b64encode(octets).decode()


def test_rfc_32_auth_is_offered_only_where_nobody_listens_in() -> None:
    d = Dialogue(offers=OFFERS)
    assert not any("AUTH" in line for line in d.say(HELLO))
    assert d.say("AUTH PLAIN AHgAeQ==")[0].startswith("538 5.7.11 ")
    d.session.private = True
    assert "250-AUTH PLAIN LOGIN" in d.say(HELLO)
    assert "250-AUTH PLAIN LOGIN" in secured().say(HELLO)
    assert Dialogue().say(HELLO, "AUTH PLAIN")[-1].startswith("502 5.5.1 ")
    assert asked(d) == []


@pytest.mark.parametrize(
    ("line", "response"),
    [
        ("AUTH PLAIN", None),
        ("auth plain =", b""),
        ("AUTH  PLAIN  AGFsaWNlAHB3 ", b"\0alice\0pw"),
    ],
)
def test_rfc_41_an_initial_response(line: str, response: bytes | None) -> None:
    d = secured()
    assert d.say(line) == ["235 2.7.0 Authentication successful"]
    assert asked(d) == [("PLAIN", response)]
    assert d.session.login == "alice"
    assert not any("AUTH" in line for line in d.say(HELLO))


def test_rfc_41_challenges_and_answers_are_base64() -> None:
    says = iter([b"Username:", b"", b"Password:", None])
    d = secured()
    d.door.says["auth"] = lambda *_: next(says)
    assert d.say("AUTH LOGIN") == ["334 VXNlcm5hbWU6"]
    assert d.say(coded(b"alice")) == ["334 "]
    assert d.say("") == ["334 UGFzc3dvcmQ6"]
    assert d.say(coded(b"pw"))[0].startswith("235 2.7.0 ")
    assert [heard[1] for heard in asked(d)] == [None, b"alice", b"", b"pw"]
    assert d.count(counts.COMMANDS, "AUTH", "3") == 3
    assert d.count(counts.COMMANDS, "AUTH", "2") == 1


@pytest.mark.parametrize("line", ["*", "%%%", "=", "QUIT\0", "NOOP", "AUTH PLAIN ="])
def test_rfc_41_a_cancel_or_bad_base64_is_501(line: str) -> None:
    d = secured()
    d.door.says["auth"] = lambda *_: b""
    d.say("AUTH LOGIN")
    said = d.say(line)
    if line == "NOOP":  # four letters are base64, and no command here
        assert said == ["334 "]
        said = d.say("*")
    assert said[0].startswith("501 5.7.0" if line in ("*", "NOOP") else "501 5.5.2")
    assert d.door.heard[-1] == ("auth_cancelled",)
    assert d.say("NOOP") == ["250 2.0.0 Ok"]
    assert d.session.login == ""


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (("AUTH PLAIN =", "AUTH PLAIN ="), "503 5.5.1 Authenticated already"),
        (("MAIL FROM:<>", "AUTH PLAIN ="), "503 5.5.1 A transaction is already open"),
        (("AUTH NTLM",), "504 5.5.4 Mechanism not supported"),
        (("AUTH",), "501 5.5.4 An argument is missing"),
        (("AUTH PLAIN a",), "501 5.5.2 That is not base64"),
        (("AUTH PLAIN = =",), "501 5.5.2 That is not base64"),
        (("AUTH PLAIN =", "STARTTLS"), "503 5.5.1 TLS is on already"),
    ],
)
def test_rfc_41_where_and_how_it_may_be_said(
    lines: tuple[str, ...], reply: str
) -> None:
    assert secured().say(*lines)[-1] == reply


def test_rfc_41_lines_of_an_exchange_are_longer_than_others() -> None:
    long = coded(b"x" * 9216)
    assert len(long) == 12_288
    for cut in (None, 1, 3, 4, 5, 6, 600, 12_288):
        d = secured(max_command_line=512)
        d.door.says["auth"] = lambda *_: b""
        for text in ("AUTH PLAIN " + long[:12_276], long):
            line = text.encode() + b"\r\n"
            pieces = [line] if cut is None else [line[:cut], line[cut:]]
            assert b"".join(map(d.feed, pieces)) == b"334 \r\n", cut
        assert asked(d)[1] == ("PLAIN", b"x" * 9216)
        assert d.say("x" + long)[0].startswith("500 5.5.6 ")
        assert d.door.heard[-1] == ("auth_cancelled",)
        assert d.say("NOOP " + "x" * 600)[0].startswith("500 5.5.2 ")
        assert d.say("NOOP") == ["250 2.0.0 Ok"]


def test_rfc_41_failures_are_errors_and_end_the_session() -> None:
    d = secured(max_errors=3)
    d.door.says["auth"] = WRONG
    said = d.say(*["AUTH PLAIN AHgAeQ=="] * 3)
    assert [line[:9] for line in said] == ["535 5.7.8"] * 3 + ["421 4.7.0"]
    assert d.count(counts.REJECTS, "mail", "auth", "5") == 3


def test_rfc_29_mail_only_after_auth() -> None:
    d = Dialogue(offers=REQUIRED)
    d.say(HELLO)
    assert d.say("MAIL FROM:<>") == ["530 5.7.0 Must issue STARTTLS first"]
    d = secured(offers=REQUIRED)
    assert (
        d.say("MAIL FROM:<a@b>", "VRFY x") == ["530 5.7.0 Authentication required"] * 2
    )
    assert d.say("NOOP", "RSET", "HELP")[:2] == ["250 2.0.0 Ok"] * 2
    assert d.say("AUTH PLAIN =", "MAIL FROM:<>")[-1] == "250 2.1.0 Ok"


def test_a_later_answer_goes_on_with_the_exchange() -> None:
    d = secured()
    d.door.says["auth"] = PENDING
    assert d.say("AUTH LOGIN") == []
    assert d.session.pending
    assert d.feed(b"YWxpY2U=\r\n") == b""
    assert d.session.answer(b"Name") == b"334 TmFtZQ==\r\n"
    assert asked(d)[-1] == ("LOGIN", b"alice")
    d.session.login = "alice"
    assert d.session.answer(None) == b"235 2.7.0 Authentication successful\r\n"
    assert not d.session.pending


def test_what_was_sent_behind_auth_is_refused() -> None:
    d = secured()
    said = d.feed(b"AUTH PLAIN =\r\nMAIL FROM:<a@x.test>\r\n").decode()
    assert [line[:9] for line in said.split("\r\n")[:-1]] == ["235 2.7.0", "503 5.5.0"]


@pytest.mark.parametrize("way", ["lost", "bare", "shut"])
def test_the_door_hears_that_an_exchange_ends(way: str) -> None:
    d = secured()
    d.door.says["auth"] = b""
    d.say("AUTH LOGIN")
    if way == "lost":
        d.session.lost()
    elif way == "shut":
        d.session.shut(Refused(421, "4.4.2", "Late", "limit"), "timeout")
    else:
        assert d.feed(b"YWxpY2U=\n").startswith(b"500 5.5.2")
    assert d.door.heard.count(("auth_cancelled",)) == 1
    assert d.session.mechanism == "LOGIN"


def test_a_door_that_forgets_who_it_is_lets_nobody_in() -> None:
    d = secured()
    d.door.auth = lambda *_: None  # type: ignore[method-assign]
    assert d.say("AUTH PLAIN =")[0].startswith("451 4.3.0 ")
    assert len(d.troubles) == 1
