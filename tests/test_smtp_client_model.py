"""The engine and its slow twins on random input, cut at random."""

import re
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from model.reply import Reply, replies
from model.stuffing import stuffed
from test_smtp_client import Bytes, Call, letter

from fastsmtp.smtp.letter import Letter, Rcpt


def brief(examples: int) -> settings:
    """So many; a busy machine is no failure."""
    slow = [HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=slow)


RCPTS = tuple(Rcpt(f"r{n}@t.test") for n in range(6))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(n, len(data)) for n in at} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


CUTS = st.lists(st.integers(0, 300), max_size=8)
TEXT = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"5.1.1 no", b"4.2.2", b"5.1.1", b"2.0.0 ok", b"5.1.1x"]),
    st.sampled_from([b"\xc3\xa4", b"a\x00b", b"x" * 999, b"5.1.1 " + b"y" * 998]),
).map(lambda text: text.replace(b"\n", b""))
MARK = st.sampled_from([b"-", b"-", b"-", b" ", b" ", b"", b"x"])
CODE = st.sampled_from([b"450", b"550", b"554", b"550", b"199", b"600", b"55", b"5x0"])
LINE = st.builds(
    lambda code, mark, text, end: code + mark + (text if mark else b"") + end,
    st.one_of(st.sampled_from([b"550", b"450"]), CODE),
    *(MARK, TEXT, st.sampled_from([b"\r\n", b"\r\n", b"\n"])),
)


@brief(50)
@given(st.lists(LINE, max_size=8).map(b"".join), CUTS)
@example(b"550-5.1.1 a\r\n550 5.1.1 b\r\n", [3])
@example(b"550-\r\n550-5.1.1 a\r\n550 5.1.1\r\n", [])
@example(b"550-5.1.1\r\n550 5.1.1 b\r\n", [])
@example(b"550\n" * 6, [1, 2, 3])
def test_replies_are_read_as_the_model_reads_them(data: bytes, at: list[int]) -> None:
    call = Call().open("PIPELINING")
    call.give(Letter("a@c.test", RCPTS, Bytes(b"x\r\n")))
    call.hear("250 ok")
    for piece in cut(data, at):
        call.octets(piece)
    found, nonsense = replies(data)
    call.client.lost("", "the end")
    known = found[: len(RCPTS)]
    heard = [Reply(a.code, a.enhanced, a.text) for a in call.answers[0] if a.code]
    assert heard == known
    ended = call.client.parting
    assert ended is not None
    if len(found) <= len(RCPTS):
        assert (ended.text != "the end") == nonsense


def body_lines(pieces: list[bytes]) -> bytes:
    return b"".join(pieces)


PIECE = st.one_of(
    st.sampled_from([b"\r\n", b".", b"..", b"\r\n.", b"\r\n.\r\n", b"x", b"\xe4"]),
    st.sampled_from([b"y" * 63, b"z" * 64, b"\r\n" * 40, b"\r\n." * 40]),
    st.sampled_from([b"\r", b"\n", b"\0", b"text\r\n"]),
)


class Short(Bytes):
    """A body that gives less than it is asked for."""

    def __init__(self, octets: bytes, most: int) -> None:
        super().__init__(octets)
        self.most = most

    def read(self, offset: int, size: int) -> bytes:
        return super().read(offset, min(size, self.most))


@brief(50)
@given(st.lists(PIECE, max_size=12).map(body_lines), st.integers(1, 200))
@example(b"a\r", 1)
@example(b"a\r\n.", 2)
@example(b".\r\n" * 200, 7)
def test_bodies_are_stuffed_as_the_model_does_it(body: bytes, most: int) -> None:
    call = Call().open("PIPELINING")
    call.give(Letter("a@c.test", RCPTS[:1], Short(body, most)))
    out = call.hear("250 ok", "250 ok", "354 go on")
    expected = stuffed(body)
    if expected is not None:
        assert out == expected
        assert call.hear("250 ok") == b""
        assert call.answers[0][0].accepted
        return
    assert b"\r\n.\r\n" not in b"\r\n" + out
    assert call.client.finished
    assert [(a.code, a.enhanced, a.local) for a in call.answers[0]] == [
        (554, "5.6.0", True)
    ]


@brief(8)
@given(st.lists(PIECE, min_size=1, max_size=12).map(body_lines), st.integers(0, 9))
def test_a_chunk_is_the_body_as_it_is(tail: bytes, skip: int) -> None:
    body = b"0123456789 is left out\r\n" + b"line\r\n" * 50_000 + tail
    call = Call().open("PIPELINING", "CHUNKING")
    group = call.give(Letter("a@c.test", RCPTS[:1], Bytes(body), skip))
    assert b"DATA" not in group
    out = call.hear("250 ok", "250 ok")
    sent = body[skip:]
    head = f"BDAT {len(sent)} LAST\r\n".encode()
    if stuffed(sent) is not None:
        assert out == head + sent
        call.hear("250 ok")
        assert call.answers[0][0].accepted
    else:
        assert len(out) < len(head + sent)
        assert call.client.finished
        assert call.answers[0][0].code == 554


@brief(30)
@given(st.data())
def test_any_letter_arrives_whole_at_our_own_server(data: Any) -> None:
    """The two ends of the dialogue against each other, cut at random."""
    from fakes import Dialogue

    from fastsmtp.smtp.offers import Offers

    offers = Offers(dsn=True, smtputf8=True, chunking=data.draw(st.booleans()))
    server = Dialogue(offers=offers)
    call = Call()
    sent = []
    waiting = [data.draw(st.lists(PIECE, max_size=6).map(body_lines)) for _ in range(3)]
    waiting = [body for body in waiting if stuffed(body) is not None]
    back = server.session.greet()
    seed = data.draw(CUTS)
    while back:
        out = b"".join(call.octets(piece) for piece in cut(back, seed))
        while waiting and call.client.room:
            body = waiting.pop(0)
            sent.append(body)
            out += call.give(letter("bob@example.test", body=body))
        back = b"".join(server.feed(piece) for piece in cut(out, seed))
    assert [answers[0].code for answers in call.answers] == [250] * len(sent)
    whole = [b if re.search(rb"(\A|\r\n)\Z", b) else b + b"\r\n" for b in sent]
    assert [message[2] for message in server.door.messages] == whole
