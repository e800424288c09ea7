"""Notices as people read them: the texts in tests/notices, word for word."""

from pathlib import Path

import pytest
from dsn import read
from test_delivery_bounce import (
    BOB,
    HEADER,
    TEXT,
    delayed,
    octets,
    original,
    refused,
    write,
)

from fastsmtp.delivery import wording
from fastsmtp.delivery.outcomes import Fate, Outcome
from fastsmtp.delivery.reasons import THEIRS, Reason, ours, theirs

HERE = Path(__file__).parent
DOCS = (HERE.parent / "docs/bounces.md").read_text()
FULL = refused(
    *("carol@example.net",),
    code=452,
    enhanced="4.2.2",
    text="Mailbox full",
    remote="mx.example.net",
    attempts=67,
    reason=Reason.EXPIRED,
)
RELAYED = Outcome(
    *(BOB, Fate.RELAYED, "SUCCESS", "", 250, "2.6.0", "Queued", "mx1.example.org"),
)
TOLD = {
    "failed": (refused(), FULL),
    "delayed": (delayed(),),
    "relayed": (RELAYED,),
    "null_mx": (
        refused(code=0, enhanced="", text="", remote="", reason=Reason.NULL_MX),
    ),
}


def text(name: str) -> str:
    about = original(HEADER + b"Date: Wed, 25 Nov 2026 23:29:59 +0000\r\n\r\n" + TEXT)
    (notice,) = write(about, *TOLD[name])
    return octets(notice, about).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("name", TOLD)
def test_a_notice_is_the_one_in_the_folder(name: str) -> None:
    assert text(name) == (HERE / f"notices/{name}.txt").read_text()


def test_the_page_for_operators_shows_what_is_sent() -> None:
    shown = text("failed").partition("\n\n--=_")[2].partition("\n")[2]
    block = "".join(f"    {line}".rstrip() + "\n" for line in shown.split("\n"))
    assert block.strip("\n") in DOCS


@pytest.mark.parametrize(
    "enhanced", ["", "5", "5.", "x.y.z", "5.99.99", "5.1.99", "{0}"]
)
def test_any_code_has_words(enhanced: str) -> None:
    assert theirs(enhanced).what


@pytest.mark.parametrize("code", THEIRS)
def test_words_are_whole_sentences(code: str) -> None:
    for sentence in theirs(f"5.{code}"):
        assert sentence.endswith(".")
        assert "{" not in sentence.format(domain="d", host="h")


def test_a_subject_names_one_recipient_or_counts_them() -> None:
    one, many = [refused()], [refused(), refused("x@y.test")]
    assert wording.subject(one, "a@b.test", False) == (
        "Undelivered mail: your message to bob@example.org"
    )
    assert wording.subject(many, "a@b.test", True) == (
        "Undelivered mail: from <a@b.test> to 2 recipients"
    )
    assert wording.subject([refused("é@x.test")], "", False) == (
        "Undelivered mail: a message"
    )


def test_nothing_is_said_twice() -> None:
    what = ours(Reason.CONVERSION).what.format(domain="example.org", host="")
    about = original()
    outcome = refused(code=0, reason=Reason.CONVERSION, text=what)
    human = read(octets(write(about, outcome)[0], about)).human
    assert human.count("plain ASCII only") == 1
    assert "What happened" not in human


def test_what_was_tried_once_and_expired_is_said_so() -> None:
    about = original()
    (notice,) = write(about, FULL._replace(attempts=1, enhanced="", code=0, text="x"))
    human = " ".join(read(octets(notice, about)).human.split())
    assert (
        "tried again and again, without success. It was tried once, the last" in human
    )
    assert "What happened: x" in human
