"""LMTP: one reply for each recipient (RFC 2033)."""

from __future__ import annotations

import pytest
from fakes import Dialogue, FakeDoor

from fastsmtp.errors import Refused
from fastsmtp.smtp import counts
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.states import READY

LMTP = Offers(lmtp=True, chunking=True)
LATER = Refused(452, "4.2.2", "Mailbox is full", "quota")
TAKEN = b"250 2.0.0 Ok: queued as Q1\r\n"


def opened(*names: str, door: FakeDoor | None = None) -> Dialogue:
    d = Dialogue(door, LMTP)
    d.say("LHLO client.test", "MAIL FROM:<a@client.test>")
    d.say(*(f"RCPT TO:<{name}@example.test>" for name in names))
    return d


def test_it_greets_in_its_own_way() -> None:
    d = Dialogue(offers=LMTP)
    assert d.session.greet() == b"220 mx.example.test LMTP fastsmtp\r\n"
    assert d.say("HELO x", "EHLO x") == ["500 5.5.2 Command not recognized"] * 2
    assert d.say("MAIL FROM:<>") == ["503 5.5.1 Say LHLO first"]
    said = d.say("LHLO client.test")
    assert {"250-PIPELINING", "250 ENHANCEDSTATUSCODES"} <= set(said)
    assert Dialogue().say("LHLO x") == ["500 5.5.2 Command not recognized"]


def test_each_recipient_that_was_taken_gets_a_reply() -> None:
    door = FakeDoor()
    unknown = Refused(550, "5.1.1", "No such user here", "unknown_recipient")
    door.says["recipient"] = lambda to: unknown if to.startswith("no") else None
    d = opened("one", "nobody", "two", "two", door=door)
    assert d.say("DATA")[0].startswith("354 ")
    assert d.feed(b"x\r\n.\r\nNOOP\r\n") == TAKEN * 3 + b"250 2.0.0 Ok\r\n"
    assert len(door.messages) == 1  # stored once
    assert d.count(counts.MESSAGES, "accepted") == 1
    assert d.count(counts.COMMANDS, "eod", "2") == 3


def test_without_a_recipient_data_is_503() -> None:
    """RFC 2033 4.2 wants it, where SMTP says 554."""
    assert opened().say("DATA")[0].startswith("503 5.5.1 ")
    assert opened().feed(b"BDAT 2 LAST\r\nx\n").startswith(b"503 5.5.1 ")


def test_recipients_may_fare_differently() -> None:
    door = FakeDoor()
    door.says["message"] = lambda: [None, LATER, None]
    d = opened("a", "b", "c", door=door)
    d.say("DATA")
    said = d.say("x", ".")
    assert [line[:9] for line in said] == ["250 2.0.0", "452 4.2.2", "250 2.0.0"]
    assert d.count(counts.MESSAGES, "accepted") == 1
    assert d.session.state == READY
    assert door.refusals == [("eod", 452)]


@pytest.mark.parametrize("later", [False, True])
def test_a_no_to_the_message_is_said_to_all(later: bool) -> None:
    door = FakeDoor()
    door.says["message"] = PENDING if later else LATER
    d = opened("a", "b", door=door)
    d.say("DATA")
    said = d.feed(b"x\r\n.\r\n")
    if later:
        assert said == b""
        said = d.session.answer(LATER) or b""
    assert said == b"452 4.2.2 Mailbox is full\r\n" * 2
    assert d.count(counts.MESSAGES, "deferred") == 1
    assert d.service.kept == 0


def test_content_that_is_refused_is_refused_for_all() -> None:
    d = opened("a", "b", "c")
    d.say("DATA")
    said = d.feed(b"bare\nlf\r\n.\r\n").decode().split("\r\n")
    assert [line[:10] for line in said[:-1]] == ["554 5.6.11"] * 3


def test_too_few_answers_of_the_door_are_our_trouble() -> None:
    door = FakeDoor()
    door.says["message"] = lambda: [None]
    d = opened("a", "b", door=door)
    d.say("DATA")
    assert [line[:9] for line in d.say("x", ".")] == ["451 4.3.0"] * 2
    assert len(d.troubles) == 1


def test_the_last_chunk_gets_them_and_others_one() -> None:
    d = opened("a", "b")
    assert (
        d.feed(b"BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\n")
        == b"250 2.0.0 Ok\r\n" + TAKEN * 2
    )
    assert [body for _, _, body in d.door.messages] == [b"x\r\ny\r\n"]


def test_pipelined_as_a_relay_sends_it() -> None:
    d = Dialogue(offers=LMTP)
    d.say("LHLO relay.test")
    group = b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
    assert [line[:3] for line in d.feed(group).split(b"\r\n")] == [
        *(b"250", b"250", b"250", b"354", b""),
    ]
    assert d.feed(b"x\r\n.\r\nQUIT\r\n") == TAKEN * 2 + b"221 2.0.0 Bye\r\n"
