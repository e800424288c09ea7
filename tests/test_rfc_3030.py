"""BDAT: the message in chunks of a known size (RFC 3030, number 33)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fakes import Dialogue, FakeDoor

from fastsmtp.errors import Refused
from fastsmtp.smtp import counts
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.states import CHUNKS, CLOSED, READY

CHUNKING = Offers(chunking=True)
OPEN = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<bob@example.test>\r\n"
OK = b"250 2.0.0 Ok\r\n"
LATER = Refused(451, "4.3.0", "Later", "overload")


def opened(door: FakeDoor | None = None, **options: Any) -> Dialogue:
    d = Dialogue(door, CHUNKING, **options)
    d.say("EHLO client.test")
    d.feed(OPEN)
    return d


def chunk(text: bytes, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n%s" % (len(text), b" LAST" if last else b"", text)


def ended(text: bytes) -> bytes:
    """As it is kept: a last line without its end has got one."""
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"


def bodies(d: Dialogue) -> list[bytes]:
    return [body for _, _, body in d.door.messages]


def test_rfc_33_it_is_offered_and_binarymime_is_not() -> None:
    said = Dialogue(offers=CHUNKING).say("EHLO x")
    assert "250-CHUNKING" in said
    assert not any("BINARYMIME" in line for line in said)
    d = Dialogue(offers=CHUNKING)
    d.say("EHLO x")
    assert d.say("MAIL FROM:<> BODY=BINARYMIME")[0].startswith("501 5.5.4 ")


def test_rfc_33_octets_are_counted_exactly_across_pipelined_chunks() -> None:
    """However the input is cut: what looks like a command or an end is text."""
    pieces = [b"", b"a", b"\r\n.\r\nQUIT\r\n", b"BDAT 3 LAST\r\n", b".\r\n..\r\n", b""]
    text = b"".join(pieces)
    sent = b"".join(chunk(p, n == len(pieces) - 1) for n, p in enumerate(pieces))
    sent = OPEN + sent + b"NOOP\r\n"
    whole = Dialogue(offers=CHUNKING)
    whole.say("EHLO x")
    said = whole.feed(sent)
    assert said.count(b"\r\n") == 2 + len(pieces) + 1
    assert said.endswith(OK * 2 + b"250 2.0.0 Ok: queued as Q1\r\n" + OK)
    for cut in range(len(sent) + 1):
        d = Dialogue(offers=CHUNKING)
        d.say("EHLO x")
        assert d.feed(sent[:cut]) + d.feed(sent[cut:]) == said
        assert bodies(d) == [text]
        assert d.service.kept == 0


def test_rfc_33_random_chunks_in_random_pieces() -> None:
    draw = random.Random(33)
    for _ in range(300):
        lines = draw.choices([b"\r\n", b"abc", b".", b"x" * 300, b".\r\n"], k=20)
        text = b"".join(lines).replace(b"\r", b"\r")
        cuts = sorted(draw.choices(range(len(text) + 1), k=4))
        ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
        parts = [text[a:b] for a, b in ends]
        sent = b"".join(chunk(p, n == 4) for n, p in enumerate(parts)) + b"NOOP\r\n"
        d = opened(memory_per_message=16_384)
        said = b""
        while sent:
            n = draw.choice((1, 2, 5, 50, 500))
            said += d.feed(sent[:n])
            sent = sent[n:]
        assert said == OK * 4 + b"250 2.0.0 Ok: queued as Q1\r\n" + OK
        assert bodies(d) == [ended(text)]


@pytest.mark.parametrize("text", [b"", b"x", b"Subject: x\r\n\r\nno line end"])
def test_rfc_33_an_empty_last_chunk_ends_the_message(text: bytes) -> None:
    d = opened()
    assert d.feed(chunk(text)) == OK
    assert d.session.state == CHUNKS
    assert d.say("BDAT 0 LAST") == ["250 2.0.0 Ok: queued as Q1"]
    assert bodies(d) == [ended(text)]
    d.feed(OPEN)
    assert d.say("bdat 0  last") == ["250 2.0.0 Ok: queued as Q2"]


@pytest.mark.parametrize("cut", range(len(b"a\r\n.x") + 1))
@pytest.mark.parametrize("text", [b"a\r\n.x", b"a\r\nx.", b"a\r\n\r\n."])
def test_rfc_33_a_last_line_gets_its_end(text: bytes, cut: int) -> None:
    """What is kept is what a reader of lines is given: POP3 tells its size."""
    d = opened()
    d.feed(chunk(text[:cut]) + chunk(text[cut:], True))
    assert bodies(d) == [text + b"\r\n"]
    assert d.service.kept == 0


def test_rfc_33_dots_mean_nothing() -> None:
    text = b".\r\n..\r\n.x\r\n\r\n.\r\n"
    d = opened()
    assert d.feed(chunk(text, True)).startswith(b"250 ")
    assert bodies(d) == [text]


def test_rfc_33_data_after_bdat_is_503() -> None:
    d = opened()
    d.feed(chunk(b"x\r\n"))
    for line in ("DATA", "RCPT TO:<carl@example.test>", "MAIL FROM:<>", "STARTTLS"):
        assert d.say(line)[0][:3] in ("503", "502"), line
    assert d.say("NOOP", "VRFY x")[0] == "250 2.0.0 Ok"
    assert d.feed(chunk(b"y\r\n", True)).startswith(b"250 ")
    assert bodies(d) == [b"x\r\ny\r\n"]


def test_rfc_33_bdat_after_data_is_text() -> None:
    d = Dialogue(offers=CHUNKING).start()
    assert d.say("BDAT 5 LAST", ".")[0].startswith("250 ")
    assert bodies(d) == [b"BDAT 5 LAST\r\n"]


@pytest.mark.parametrize(
    ("before", "answer"),
    [
        (b"", b"503 5.5.1 Say HELO or EHLO first"),
        (b"EHLO x\r\n", b"503 5.5.1 MAIL comes first"),
        (b"EHLO x\r\n|MAIL FROM:<>\r\n", b"554 5.5.1 No valid recipients"),
    ],
)
def test_rfc_33_the_octets_of_a_misplaced_chunk_are_counted_off(
    before: bytes, answer: bytes
) -> None:
    evil = b"RSET\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<bob@example.test>\r\n"
    for cut in (0, 3, 12, 13, 20, len(evil)):
        d = Dialogue(offers=CHUNKING)
        for piece in before.split(b"|"):
            d.feed(piece)
        sent = chunk(evil, True) + b"NOOP\r\n"
        said = d.feed(sent[:cut]) + d.feed(sent[cut:])
        assert said == answer + b"\r\n" + OK
        assert ("mail", "evil@x.test") not in d.door.heard


def test_rfc_33_where_it_is_not_offered_its_octets_are_no_commands_either() -> None:
    d = Dialogue().start("bob@example.test")
    d.say("x", ".")
    d.feed(OPEN)
    said = d.feed(chunk(b"MAIL FROM:<evil@x.test>\r\n", True) + b"NOOP\r\n")
    assert said == b"502 5.5.1 Command not implemented\r\n" + OK
    assert d.say("BDAT", "BDAT what")[0].startswith("502 5.5.1 ")
    assert d.say("NOOP") == ["250 2.0.0 Ok"]


@pytest.mark.parametrize("line", ["BDAT", "BDAT x", "BDAT 5 LASTING", "BDAT -1 LAST"])
def test_rfc_33_without_a_count_the_step_is_lost(line: str) -> None:
    d = opened()
    said = d.say(line)
    assert [reply[:9] for reply in said] == ["501 5.5.4", "421 4.5.0"]
    assert d.session.state == CLOSED
    assert d.door.aborts == 1


def test_rfc_33_a_huge_count_is_no_memory_and_no_overflow() -> None:
    d = opened(max_message_size=65_536)
    assert d.feed(b"BDAT 18446744073709551615 LAST\r\n" + b"x" * 100) == b""
    assert d.service.kept < 20_000
    assert d.feed(b"x" * 70_000) == b""
    assert d.service.kept == 0
    d.session.lost()
    assert d.say("BDAT 99999999999999999999 LAST") == []


def test_rfc_33_a_chunk_that_is_too_much_is_refused_behind_its_octets() -> None:
    d = opened(max_message_size=65_536)
    assert d.feed(chunk(b"x" * 65_000)) == OK
    assert d.feed(chunk(b"y" * 537)).startswith(b"552 5.3.4 ")
    assert d.session.state == READY
    assert d.feed(chunk(b"more\r\n", True)).startswith(b"503 5.5.1 ")
    assert d.service.kept == 0
    assert d.count(counts.MESSAGES, "rejected") == 1
    d.feed(OPEN)
    assert d.feed(chunk(b"z", True)).startswith(b"250 ")


def test_rfc_33_rset_between_chunks_discards() -> None:
    d = opened()
    d.feed(chunk(b"half a message"))
    assert d.say("RSET") == ["250 2.0.0 Ok"]
    assert d.service.kept == 0
    assert d.feed(chunk(b"the rest", True)).startswith(b"503 5.5.1 ")
    d.feed(OPEN)
    d.feed(chunk(b"new\r\n", True))
    assert bodies(d) == [b"new\r\n"]
    assert d.door.aborts == 1


@pytest.mark.parametrize("again", ["EHLO again.test", "QUIT"])
def test_rfc_33_leaving_between_chunks_discards(again: str) -> None:
    d = opened()
    d.feed(chunk(b"x" * 10_000))
    d.say(again)
    assert d.door.messages == []
    assert d.door.aborts == 1
    assert d.service.kept == 0


def test_rfc_33_a_no_to_the_first_chunk_takes_its_octets_away() -> None:
    door = FakeDoor()
    door.says["data"] = LATER
    d = opened(door)
    said = d.feed(chunk(b"RSET\r\n") + chunk(b"QUIT\r\n", True) + b"NOOP\r\n")
    assert [line[:9] for line in said.split(b"\r\n")[:-1]] == [
        *(b"451 4.3.0", b"503 5.5.1", b"250 2.0.0"),
    ]
    assert door.messages == []


def test_rfc_33_a_chunk_waits_while_the_door_thinks() -> None:
    door = FakeDoor()
    door.says["data"] = door.says["message"] = PENDING
    d = opened(door)
    assert d.feed(chunk(b"one\r\n", True) + b"NOOP\r\n") == b""
    assert d.session.pending
    assert not d.session.answer(None)
    assert d.session.pending
    assert d.session.answer(None) == b"250 2.0.0 Ok: queued as Q1\r\n" + OK
    assert bodies(d) == [b"one\r\n"]


@pytest.mark.parametrize("text", [b"a\nb", b"a\rb", b"a\r", b"\0", b"a\r\n.\n"])
def test_attack_1_bdat_does_not_normalise(text: bytes) -> None:
    """Nothing is kept that DATA would not take: it could end a message later on."""
    d = opened()
    assert d.feed(chunk(text, True)).startswith(b"554 5.6.11 ")
    assert d.door.messages == []
    d.feed(OPEN)
    d.feed(chunk(text[:1]))
    assert d.feed(chunk(text[1:], True)).startswith(b"554 5.6.11 ")


def test_a_cr_and_its_lf_may_come_in_two_chunks() -> None:
    d = opened()
    assert d.feed(chunk(b"a\r") + chunk(b"\nb\r\n", True)).startswith(OK)
    assert bodies(d) == [b"a\r\nb\r\n"]


def test_a_large_chunk_streams() -> None:
    text = b"0123456789abcde\n".replace(b"\n", b"\r\n") * 20_000
    d = opened(memory_per_message=65_536)
    assert d.feed(b"BDAT %d LAST\r\n" % len(text)) == b""
    for at in range(0, len(text), 50_000):
        said = d.feed(text[at : at + 50_000])
    assert said.startswith(b"250 ")
    assert len(d.door.streams) == 1
    assert bodies(d) == [text]


def test_the_header_of_a_chunk_is_looked_at_too() -> None:
    d = opened(max_received=100)
    d.feed(chunk(b"Return-Path: <x@y>\r\nRece"))
    assert d.feed(chunk(b"ived: x\r\n\r\ntext", True)).startswith(b"250 ")
    assert bodies(d) == [b"Received: x\r\n\r\ntext\r\n"]
    d.feed(OPEN)
    said = d.feed(chunk(b"Received: x\r\n" * 101 + b"\r\n", True))
    assert said.startswith(b"554 5.4.6 ")


@pytest.mark.parametrize("name", [b"Rec", b"Return-Pat", b"R"])
def test_a_header_that_ends_within_a_name_is_kept(name: bytes) -> None:
    d = opened()
    assert d.feed(chunk(name, True)).startswith(b"250 ")
    assert bodies(d) == [ended(name)]


def test_what_happened_is_counted() -> None:
    d = opened()
    d.feed(chunk(b"x") + chunk(b"y", True))
    assert d.count(counts.COMMANDS, "BDAT", "2") == 1
    assert d.count(counts.COMMANDS, "eod", "2") == 1
    assert d.count(counts.MESSAGES, "accepted") == 1
    assert d.troubles == []
