"""The transcripts in tests/dialogues/out, each with the server's words cut three ways.

    O: name=value …      manners of the client; "pipelining=0" and the like are options
    G: from to[,to] …    a letter is given; words behind it are its fields; a recipient
                         may be followed by ;NOTIFY;orcpt
    B: text              from now on bodies are this, escapes as in Python
    S: text              the server says a line
    R: text              the same without CRLF; escapes as in Python
    T: version           the driver has shaken hands
    Q:                   the client is asked to leave
    L: text              the connection is lost
    C: text              a line that the client says
    A: code stage, …     the next letter that is answered: each recipient; a * behind
                         it: we said so, not the server
    E: code stage        it has ended, and this is why; "E: -" after QUIT

Everything the client says has a C: line.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_smtp_client import Bytes, Call

from fastsmtp.auth.login import Login
from fastsmtp.smtp.letter import Answer, By, Letter, Rcpt
from fastsmtp.smtp.options import SendOptions

DIALOGUES = sorted((Path(__file__).parent / "dialogues/out").glob("*.txt"))
SWITCHES = {"pipelining", "chunking"}


def told(answers: list[Answer]) -> str:
    return ", ".join(
        f"{a.code} {a.stage}{'*' if a.local and a.code else ''}" for a in answers
    )


def value(word: str) -> Any:
    name, _, text = word.partition("=")
    if name == "by":
        seconds, mode = text.split(";")
        return By(int(seconds), mode)
    if name == "login":
        return Login(*text.split(":"))
    return int(text) if text.lstrip("-").isdigit() else text


def fields(words: list[str]) -> dict[str, Any]:
    return {word.partition("=")[0]: value(word) for word in words}


def manners(words: list[str]) -> dict[str, Any]:
    found = fields(words)
    switches = {name: bool(found.pop(name)) for name in SWITCHES & set(found)}
    return {**found, "options": SendOptions(**switches)}


def a_letter(text: str, body: bytes) -> Letter:
    sender, recipients, *rest = text.split()
    rcpts = tuple(Rcpt(*one.split(";", 2)) for one in recipients.split(","))
    reverse_path = "" if sender == "<>" else sender
    return Letter(reverse_path, rcpts, Bytes(body), **fields(rest))


def cut(data: bytes, how: str) -> Iterator[bytes]:
    if how == "octets":
        yield from (data[n : n + 1] for n in range(len(data)))
    elif how == "halves":
        yield data[: len(data) // 2]
        yield data[len(data) // 2 :]
    else:
        yield data


def octets(kind: str, text: str) -> bytes:
    if kind == "R:":
        return text.encode().decode("unicode_escape").encode("latin-1")
    return text.encode() + b"\r\n"


class Play:
    """One transcript under way."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.manners: dict[str, Any] = {}
        self.body = b"x\r\n"
        self.call: Call | None = None
        self.coming = b""  # from the server, not heard yet
        self.said = b""  # by the client, not looked at yet

    def line(self, kind: str, text: str) -> None:
        if kind == "O:":
            self.manners = manners(text.split())
            return
        if kind in ("S:", "R:"):
            self.coming += octets(kind, text)
            return
        call = self.call = self.call or Call(**self.manners)
        for piece in cut(self.coming, self.how):
            self.said += call.octets(piece)
        self.coming = b""
        getattr(self, {"C:": "_says"}.get(kind, kind[0].lower()))(text)

    def b(self, text: str) -> None:
        self.body = octets("R:", text)

    def g(self, text: str) -> None:
        assert self.call
        refused = self.call.client.give(
            a_letter(text, self.body), self.call.answers.append
        )
        if refused is not None:
            self.call.answers.append(refused)
        self.said += self.call.client.take() or b""

    def t(self, text: str) -> None:
        assert self.call
        assert self.call.client.upgrade
        self.said += self.call.client.secure(text) or b""

    def q(self, text: str) -> None:
        assert self.call
        self.said += self.call.client.quit() or b""

    def l(self, text: str) -> None:  # noqa: E743
        assert self.call
        self.call.client.lost("4.4.2", text)

    def a(self, text: str) -> None:
        assert self.call
        assert self.call.answers
        assert told(self.call.answers.pop(0)) == text

    def e(self, text: str) -> None:
        assert self.call
        assert self.call.client.finished
        parting = self.call.client.parting
        assert (told([parting]) if parting else "-") == text

    def _says(self, text: str) -> None:
        line, crlf, self.said = self.said.partition(b"\r\n")
        assert (line + crlf).decode() == text + "\r\n"

    def end(self) -> None:
        if self.coming:
            self.line("_:", "")
        assert self.said == b""
        assert self.call
        assert self.call.answers == []
        assert self.call.troubles == []

    def _(self, text: str) -> None:
        """Nothing but what is still to be heard."""


@pytest.mark.parametrize("how", ["whole", "halves", "octets"])
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_a_dialogue(path: Path, how: str) -> None:
    play = Play(how)
    for text in path.read_text().splitlines():
        if text and not text.startswith("#"):
            play.line(text[:2], text[3:])
    play.end()


def test_there_are_dialogues() -> None:
    assert len(DIALOGUES) >= 20
