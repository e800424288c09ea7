import pytest

from fastsmtp.errors import Refused
from fastsmtp.smtp import replies


def test_a_line_never_holds_more_than_512_octets_or_controls() -> None:
    made = replies.line(550, "5.7.1", "a\r\n250 Ok\tä" + "x" * 900)
    assert len(made) == 512
    assert made.endswith(b"x\r\n")
    assert made.count(b"\n") == 1
    assert made.startswith(b"550 5.7.1 a??250 Ok??")


@pytest.mark.parametrize(
    "refused", [v for v in vars(replies).values() if isinstance(v, Refused)]
)
def test_rfc_39_enhanced_codes_agree_with_their_reply(refused: Refused) -> None:
    assert str(refused.code)[0] == refused.enhanced[0]
    assert replies.refusal(refused).split()[1] == refused.enhanced.encode()


@pytest.mark.parametrize(
    "reply", [v for v in vars(replies).values() if isinstance(v, bytes)]
)
def test_rfc_39_positive_replies_carry_one_too(reply: bytes) -> None:
    code, status = reply.split()[:2]
    if code != b"354":
        assert status[:2] == code[:1] + b"."
    assert reply.endswith(b"\r\n")
    assert len(reply) <= 512


def test_rfc_17_all_lines_of_a_reply_carry_the_same_code() -> None:
    assert replies.lines(250, ("a", "b", "c")) == b"250-a\r\n250-b\r\n250 c\r\n"
    assert replies.lines(250, ("a",)) == b"250 a\r\n"
    assert replies.line(220, "", "x") == b"220 x\r\n"
    where = replies.content("5.6.0", "NUL in the message", 7)
    assert replies.refusal(where) == b"554 5.6.0 NUL in the message (line 7)\r\n"
    assert "line" not in replies.content("5.6.0", "x", 0).text
