import re

from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire.reply import line, lines


def test_rfc_39_a_reply_begins_with_both_codes() -> None:
    assert line(550, "5.1.1", "No such user") == b"550 5.1.1 No such user\r\n"
    assert line(354, "", "Go on") == b"354 Go on\r\n"


def test_rfc_17_all_lines_but_the_last_have_a_hyphen() -> None:
    assert lines(250, ("mx.test", "SIZE 9")) == b"250-mx.test\r\n250 SIZE 9\r\n"
    assert lines(214, ("a", "b", "c"), "2.0.0") == (
        b"214-2.0.0 a\r\n214-2.0.0 b\r\n214 2.0.0 c\r\n"
    )


@given(st.text(max_size=700))
def test_rfc_3_a_line_is_printable_and_at_most_512_octets(text: str) -> None:
    made = line(550, "5.7.1", text)
    assert re.fullmatch(rb"550 5\.7\.1 [ -~]*\r\n", made)
    assert len(made) == min(512, 12 + len(text))
