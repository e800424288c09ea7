"""mbox: what is written is read again, and what others wrote is read too."""

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.cli import mbox
from fastsmtp.cli.letter import Letter, bits, with_crlf, with_lf, words
from fastsmtp.mailbox.values import Flag

WHEN = 1_795_493_520_000  # Tue Nov 24 04:12:00 2026 UTC


def written(*letters: Letter, cut: int = 1000) -> bytes:
    out = io.BytesIO()
    for letter in letters:
        pieces = [letter.body[i : i + cut] for i in range(0, len(letter.body), cut)]
        mbox.write(out, letter, "alice@example.test", pieces)
    return out.getvalue()


def read(data: bytes) -> list[Letter]:
    return list(mbox.read(io.BytesIO(data), 0))


def test_as_it_is_written() -> None:
    letter = Letter(
        b"Subject: x\r\n\r\nFrom here\r\n>From there\r\nbye\r\n",
        WHEN,
        int(Flag.SEEN | Flag.ANSWERED),
        True,
        ("blue",),
    )
    assert written(letter) == (
        b"From alice@example.test Tue Nov 24 04:12:00 2026\n"
        b"Status: RO\nX-Status: AD\nX-Keywords: blue\n"
        b"Subject: x\n\n>From here\n>>From there\nbye\n\n"
    )


body_lines = st.lists(
    st.one_of(
        st.sampled_from(
            [b"", b"From ", b"From x", b">From ", b">>From y", b"Fro", b">"]
        ),
        st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
    ),
    min_size=1,
    max_size=12,
)
letters = st.builds(
    Letter,
    body_lines.map(lambda found: b"".join(line + b"\r\n" for line in found)),
    st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1000),
    st.integers(0, 511),
    st.booleans(),
    st.lists(st.sampled_from(["blue", "$x", "todo"]), unique=True).map(tuple),
)


@settings(max_examples=40)
@given(st.lists(letters, max_size=4), st.integers(1, 9))
def test_what_is_written_is_read_again(found: list[Letter], cut: int) -> None:
    assert read(written(*found, cut=cut)) == found


def test_a_status_of_the_sender_is_kept() -> None:
    letter = Letter(b"Status: RO\r\nX-Keywords: theirs\r\nA: b\r\n\r\nx\r\n", WHEN)
    assert read(written(letter)) == [letter]


def test_files_of_others() -> None:
    found = read(
        b"\nFrom bob Mon Jan  5 10:00:00 2026\r\n"
        b"Subject: one\r\nX-Status: F\r\nStatus: R\r\n\r\n>From the start\r\n\r\n"
        b"From carol@example.test Mon Jan  5 10:00 MET 2026\n"
        b"X-Keywords: $Junk later\nSubject: two\n\nFrom x inside\nno end"
    )
    assert found[0] == Letter(
        b"Subject: one\r\n\r\nFrom the start\r\n",
        1_767_607_200_000,
        int(Flag.SEEN | Flag.FLAGGED),
    )
    assert found[1] == Letter(
        b"Subject: two\r\n\r\nFrom x inside\r\nno end\r\n",
        1_767_607_200_000,
        int(Flag.JUNK),
        keywords=("later",),
    )


@pytest.mark.parametrize(
    ("line", "date"),
    [
        (b"From a Tue Nov 24 04:12:00 2026\n", WHEN),
        (b"From a Tue Nov 24 05:12:00 +0100 2026\n", WHEN),
        (b"From a Tue Nov 24 02:42:00 2026 -0130\n", WHEN),
        (b"From a Tue Nov 24 04:12 2026\n", WHEN),
        (b"From a Tue Nov 24 04:12:00 UTC 2026\n", WHEN),
        (b"From a\n", None),
        (b"From a Tue Foo 24 04:12:00 2026\n", None),
    ],
)
def test_dates(line: bytes, date: int | None) -> None:
    assert mbox.date_of(line) == date


def test_senders_fit_the_line() -> None:
    assert mbox.from_line("", WHEN).startswith(b"From MAILER-DAEMON Tue")
    assert mbox.from_line("a b\n@é", WHEN).startswith(b"From a_b_@_ Tue")


def test_another_file_is_refused() -> None:
    with pytest.raises(ValueError, match="not an mbox file"):
        read(b"Subject: x\n\nFrom me\n")
    assert read(b"") == []
    assert read(b"\n\n") == []


def test_a_long_line_is_not_held() -> None:
    """An endless line goes through piece by piece."""
    pieces = [b"x" * 1000] * 50 + [b"\r\nFrom me\r\n"]
    out = [len(piece) for piece in mbox._quoted(with_lf(pieces))]
    assert max(out) <= 1010
    assert sum(out) == 50_000 + len(b"\n>From me\n")


def test_line_ends() -> None:
    assert with_crlf(b"a\nb\r\n\n\rc") == b"a\r\nb\r\n\r\n\rc\r\n"
    rng = random.Random(1)
    text = bytes(rng.choices(b"\r\na", k=500))
    for size in (1, 2, 3, 7):
        cut = [text[i : i + size] for i in range(0, len(text), size)]
        assert b"".join(with_lf(cut)) == text.replace(b"\r\n", b"\n")


def test_keywords_that_have_a_bit() -> None:
    flags = int(Flag.JUNK | Flag.FORWARDED)
    assert words(flags | Flag.SEEN, ("x",)) == ("$Forwarded", "$Junk", "x")
    assert bits(["$Forwarded", "$Junk", "x"]) == (flags, ("x",))
