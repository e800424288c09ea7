"""What may come at any stage, and what becomes of the letters inside."""

from collections.abc import Callable

import pytest
from test_smtp_client import Call, codes, letter

from fastsmtp.errors import Misused, StoreUnavailable
from fastsmtp.smtp.client import Client
from fastsmtp.smtp.letter import Answer

GROUP = ["250 ok", "250 ok", "354 go on"]


def upto(stage: str) -> Call:
    """A client that waits for this stage's reply, with a letter where it can be."""
    call = Call(tls="encrypt" if stage == "tls" else "may")
    if stage == "greeting":
        return call
    call.hear("220 mx")
    if stage == "ehlo":
        return call
    if stage == "tls":
        call.hear("250-mx", "250 STARTTLS")
        return call
    call.hear("250-mx", "250 PIPELINING")
    call.give(letter())
    call.hear(*GROUP[: ["mail", "rcpt", "data", "body"].index(stage)])
    return call


STAGES = ["greeting", "ehlo", "tls", "mail", "rcpt", "data", "body"]


def outcome(call: Call) -> tuple[int, str]:
    """The one answer there is: of the letter, or why there can be none."""
    if call.answers:
        assert call.opened == [None]
        assert len(call.answers) == 1
        return codes(call.answers[0])[0]
    assert len(call.opened) == 1
    (answer,) = call.opened
    assert answer is not None
    return answer.code, answer.stage


@pytest.mark.parametrize("stage", STAGES)
def test_421_at_any_stage(stage: str) -> None:
    call = upto(stage)
    call.hear("421 4.3.2 going down")
    assert call.client.finished
    assert outcome(call) == (421, stage)


@pytest.mark.parametrize("code", [450, 554])
@pytest.mark.parametrize("stage", STAGES)
def test_a_refusal_at_any_stage(stage: str, code: int) -> None:
    call = upto(stage)
    call.hear(f"{code} no")
    if stage == "mail":
        call.hear("503 no", "503 no")
    elif stage == "rcpt":
        call.hear("503 no")
    elif stage == "ehlo" and code == 554:
        assert not call.opened  # HELO is tried
        call.hear("554 no")
    assert outcome(call) == (code, stage)
    assert call.client.finished == (stage in STAGES[:3])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "end",
    [
        lambda client: client.lost("4.4.2", "closed"),
        lambda client: client.hear(b"garbage\r\n", 9),
        lambda client: client.hear(b"\0" * 70_000, 70_000),
        lambda client: client.hear(b"2", 1) or client.lost("4.4.2", "closed"),
        lambda client: client.hear(b"199 x\r\n", 7),
        lambda client: client.hear(b"600 x\r\n", 7),
        lambda client: client.hear(b"\r\n", 2),
    ],
)
def test_an_end_or_nonsense_at_any_stage(
    stage: str, end: Callable[[Client], object]
) -> None:
    call = upto(stage)
    end(call.client)
    assert call.client.finished
    assert outcome(call) == (0, stage)
    assert call.client.hear(b"250 ok\r\n", 8) is None  # too late


@pytest.mark.parametrize("stage", STAGES)
def test_a_reply_of_ten_megabytes_costs_next_to_nothing(stage: str) -> None:
    """As one line, and as lines without end: looked at to the limit, never kept."""
    for piece in (b"x" * 65_536, b"250-" + b"y" * 60 + b"\r\n"):
        call = upto(stage)
        heard = 0
        while not call.client.finished and heard < 10_000_000:
            call.octets(piece)
            heard += len(piece)
        assert heard <= 2 * 65_536
        assert outcome(call) == (0, stage)


def test_a_long_line_within_the_limit_is_cut_and_read() -> None:
    call = upto("mail")
    call.octets(b"550 5.1.7 ")
    for _ in range(50):
        call.octets(b"z" * 100)
    call.octets(b"\r\n")
    call.hear("503 no", "503 no")
    answer = call.answers[0][0]
    assert (answer.code, answer.enhanced) == (550, "5.1.7")
    assert 900 < len(answer.text) <= 1024


def test_nothing_of_a_reply_can_end_a_line_of_ours() -> None:
    call = upto("mail")
    call.octets(b"550 a\rb\0c\x1b[31m \xe2\x80\xa8 \xff\r\n")
    call.hear("503 no", "503 no")
    text = call.answers[0][0].text
    assert text == "a?b?c?[31m ? \ufffd"
    assert "\n" not in str(call.answers[0][0])


def test_a_body_that_is_refused_while_it_comes() -> None:
    """It cannot be stopped but with the connection; 250 in advance means nothing."""
    for heard, told in ((b"552 5.3.4 big\r\n", 552), (b"250 ok\r\n", 0)):
        call = Call().open("PIPELINING")
        call.give(letter(body=b"line\r\n" * 200_000))
        for line in GROUP:
            raw = line.encode() + b"\r\n"
            call.client.hear(raw, len(raw))
        assert call.client.pouring
        call.client.more()
        call.client.hear(heard, len(heard))
        assert call.client.finished
        assert codes(call.answers[0]) == [(told, "body")]


def test_a_refusal_that_is_already_there_counts_the_same() -> None:
    call = upto("data")
    call.hear("354 go on", "552 5.3.4 big")
    assert codes(call.answers[0]) == [(552, "body")]
    assert call.client.finished


class Broken:
    """A body whose disk fails, or which is shorter than it said."""

    length = 1000

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def read(self, offset: int, size: int) -> bytes:
        if self.error is not None:
            raise self.error
        return b""


@pytest.mark.parametrize("error", [StoreUnavailable("EIO"), None])
def test_a_body_that_cannot_be_read_is_our_own_trouble(
    error: Exception | None,
) -> None:
    call = Call().open("PIPELINING")
    call.give(letter()._replace(body=Broken(error)))
    out = call.hear(*GROUP)
    assert out == b""
    assert call.client.finished
    answer = call.answers[0][0]
    assert (answer.code, answer.enhanced) == (0, "4.3.0")
    assert call.troubles == ([error] if error else [])


def test_what_done_raises_is_told_and_hurts_nobody() -> None:
    call = Call().open("PIPELINING")

    def fails(answers: list[Answer]) -> None:
        raise RuntimeError("a bug")

    assert call.client.give(letter(), fails) is None
    assert call.client.give(letter(), call.answers.append) is None
    call.client.take()
    call.hear(*GROUP)
    call.hear("250 ok", *GROUP)
    call.hear("250 ok")
    assert [str(error) for error in call.troubles] == ["a bug"]
    assert codes(call.answers[0]) == [(250, "body")]


def test_done_may_give_the_next() -> None:
    call = Call().open("PIPELINING")
    left = [letter() for _ in range(5)]

    def done(answers: list[Answer]) -> None:
        call.answers.append(answers)
        if left:
            assert call.client.give(left.pop(), done) is None

    call.client.give(left.pop(), done)
    call.client.give(left.pop(), done)
    call.client.take()
    while not call.client.idle:
        heard = {"mail": GROUP, "body": ["250 ok"]}[call.client.stage]
        call.hear(*heard)
    assert len(call.answers) == 5
    assert call.client.letters == 5


def test_misuse_is_told_to_who_does_it() -> None:
    call = Call()
    with pytest.raises(Misused):  # not ready
        call.client.give(letter(), call.answers.append)
    call.open()
    with pytest.raises(Misused):
        call.client.give(letter()._replace(recipients=()), call.answers.append)
    with pytest.raises(Misused):
        call.client.give(letter(skip=1000), call.answers.append)
    with pytest.raises(Misused):
        call.client.give(("a", "tuple"), call.answers.append)  # type: ignore[arg-type]
    with pytest.raises(Misused):
        call.client.hear(b"x", 2)
    call.give(letter())
    call.give(letter())
    with pytest.raises(Misused):  # two are inside
        call.client.give(letter(), call.answers.append)


@pytest.mark.parametrize(
    "address",
    [
        "a@b.test>\r\nRCPT TO:<c@d.test",
        "a@b.test\r\n",
        "a b@c.test",
        "<a@b.test>",
        "a@b.test> SIZE=1",
        "a@",
        "\0@b.test",
    ],
)
def test_attack_7_no_address_is_a_command(address: str) -> None:
    call = Call().open("PIPELINING")
    refused = call.client.give(letter(address), call.answers.append)
    assert refused is not None
    assert (refused[0].code, refused[0].local) == (553, True)
    refused = call.client.give(
        letter()._replace(reverse_path=address), call.answers.append
    )
    assert refused is not None
    assert (refused[0].enhanced, refused[0].local) == ("5.1.7", True)
    assert call.client.take() is None
