"""The engine that sends, one step at a time; transcripts are in tests/dialogues/out."""

from typing import Any

import pytest

from fastsmtp.cells import fresh
from fastsmtp.smtp.client import Client
from fastsmtp.smtp.counts import OUT_CELLS, OUT_REPLIES
from fastsmtp.smtp.letter import Answer, Letter, Rcpt
from fastsmtp.smtp.manners import Manners
from fastsmtp.smtp.options import SendOptions

BODY = b"Subject: x\r\n\r\n.dot\r\nend\r\n"
STUFFED = b"Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n"


class Bytes:
    """A body in memory."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.length = len(octets)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self.octets[offset : offset + size]


def letter(*recipients: str, body: bytes = BODY, **more: Any) -> Letter:
    names = recipients or ("bob@example.test",)
    return Letter("a@client.test", tuple(map(Rcpt, names)), Bytes(body), **more)


class Call:
    """A client and what it has told so far: octets in, octets out."""

    def __init__(self, **manners: Any) -> None:
        self.cells = fresh(OUT_CELLS)
        self.opened: list[Answer | None] = []
        self.troubles: list[Exception] = []
        self.answers: list[list[Answer]] = []
        self.client = Client(
            Manners(hostname="client.test", **manners),
            *(self.cells, self.opened.append, self.troubles.append),
        )

    def hear(self, *lines: str) -> bytes:
        return self.octets(b"".join(line.encode() + b"\r\n" for line in lines))

    def octets(self, data: bytes) -> bytes:
        return self.all(self.client.hear(data, len(data)))

    def all(self, out: bytes | None) -> bytes:
        """What a driver writes that always has room."""
        said = out or b""
        while self.client.pouring:
            said += self.client.more() or b""
        return said + (self.client.take() or b"")

    def open(self, *offers: str) -> "Call":
        """Up to the first letter."""
        verb = b"EHLO"
        assert self.hear("220 mx.test").startswith(verb)
        lines = ["mx.test", *offers]
        self.hear(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")
        return self

    def give(self, one: Letter) -> bytes:
        assert self.client.give(one, self.answers.append) is None
        return self.all(self.client.take())

    def hold(self, one: Letter) -> bytes:
        assert self.client.give(one, self.answers.append, True) is None
        return self.all(self.client.take())

    def release(self) -> bytes:
        return self.all(self.client.release())


def codes(answers: list[Answer]) -> list[tuple[int, str]]:
    return [(answer.code, answer.stage) for answer in answers]


def test_a_letter_goes_step_by_step_without_pipelining() -> None:
    call = Call().open("8BITMIME")
    assert call.opened == [None]
    assert call.give(letter("b@t.test", "c@t.test")) == b"MAIL FROM:<a@client.test>\r\n"
    assert call.hear("250 ok") == b"RCPT TO:<b@t.test>\r\n"
    assert call.hear("250 ok") == b"RCPT TO:<c@t.test>\r\n"
    assert call.hear("550 5.1.1 nobody") == b"DATA\r\n"
    assert call.hear("354 go on") == STUFFED
    assert call.hear("250 2.0.0 Ok: queued as 1") == b""
    assert call.answers == [
        [
            Answer(250, "2.0.0", "Ok: queued as 1", "body"),
            Answer(550, "5.1.1", "nobody", "rcpt"),
        ]
    ]
    assert call.client.idle


def test_the_next_envelope_goes_out_with_the_final_dot() -> None:
    """RFC 2920 3.1: the end of a body may begin the next group."""
    call = Call().open("PIPELINING")
    group = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    assert call.give(letter()) == group
    assert call.give(letter()) == b""
    assert not call.client.room
    assert call.hear("250 ok", "250 ok", "354 go on") == STUFFED + group
    assert call.hear("250 done", "250 ok", "250 ok", "354 go on") == STUFFED
    assert call.client.room
    assert call.give(letter()) == group
    assert call.hear("250 done") == b""
    assert [codes(a) for a in call.answers] == [[(250, "body")]] * 2


GROUP = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"


@pytest.mark.parametrize("early", [False, True])
def test_the_body_of_a_held_letter_waits(early: bool) -> None:
    call = Call().open("PIPELINING")
    assert call.give(letter()) == GROUP
    assert call.hear("250 ok", "250 ok", "354 go on") == STUFFED
    assert call.hold(letter()) == GROUP
    if early:
        assert call.release() == b""
        assert call.hear("250 done", "250 ok", "250 ok", "354 go on") == STUFFED
    else:
        assert call.hear("250 done", "250 ok", "250 ok", "354 go on") == b""
        assert call.release() == STUFFED
    assert [codes(a) for a in call.answers] == [[(250, "body")]]
    assert call.hear("250 done") == b""
    assert [codes(a) for a in call.answers] == [[(250, "body")]] * 2
    assert call.release() == b""  # none is held


def test_a_held_letter_waits_without_pipelining_and_as_a_chunk() -> None:
    call = Call().open("CHUNKING")
    body = b"x" * 300_000 + b"\r\n"
    assert call.hold(letter(body=body)).startswith(b"MAIL")
    assert call.hear("250 ok").startswith(b"RCPT")
    assert call.hear("250 ok") == b""
    assert call.release() == b"BDAT 300002 LAST\r\n" + body


def test_a_held_letter_that_is_refused_needs_no_release() -> None:
    call = Call().open("PIPELINING")
    call.hold(letter())
    assert call.hear("250 ok", "550 nobody", "554 no") == b""
    assert [codes(a) for a in call.answers] == [[(550, "rcpt")]]
    call.hold(letter())
    said = call.hear("250 reset", "250 ok", "550 nobody", "354 go on")
    assert said == b".\r\n"
    assert call.hear("250 nothing") == b""
    assert len(call.answers) == 2


def test_a_held_letter_on_a_lost_connection_was_never_looked_at() -> None:
    call = Call().open("PIPELINING")
    call.hold(letter())
    call.hear("250 ok", "250 ok", "354 go on")
    assert call.client.patience == SendOptions().block_timeout
    call.hear("421 enough")
    assert [codes(a) for a in call.answers] == [[(421, "mail")]]
    call = Call().open("PIPELINING")
    call.hold(letter())
    call.hear("250 ok", "250 ok", "354 go on")
    call.client.lost("4.4.2", "gone")
    assert [codes(a) for a in call.answers] == [[(0, "mail")]]


def test_replies_are_counted_by_stage_and_class() -> None:
    call = Call().open()
    call.give(letter())
    call.hear("451 later")
    assert call.cells[OUT_REPLIES.place("greeting", "2")] == 1
    assert call.cells[OUT_REPLIES.place("ehlo", "2")] == 1
    assert call.cells[OUT_REPLIES.place("mail", "4")] == 1
    assert codes(call.answers[0]) == [(451, "mail")]
