"""The transcripts in tests/dialogues, each played whole, by halves and by octets.

    O: name=value …   options of [smtp]
    C: text           what the client sends, with CRLF
    R: text           the same without CRLF; backslash escapes as in Python
    L: n              a line of n times "x", with CRLF
    S: text           a reply line; "..." at its end stands for anything
    M: text           at the end: envelope and body of each message that was taken

What stands between two S: lines arrives in one read, as far as the cut allows.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
from fakes import Dialogue, FakeDoor

from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Local, Recipients, Unknown
from fastsmtp.serve.refusals import RELAY, UNKNOWN

DIALOGUES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))
POLICY = Recipients(
    {"example.test": DomainOptions()},
    {"alice@example.test", "bob@example.test"}.__contains__,
    "alice@example.test",
)


class Script(NamedTuple):
    options: dict[str, str | int]
    turns: list[tuple[bytes, list[str]]]
    messages: list[str]


def read(path: Path) -> Script:
    script = Script({}, [(b"", [])], [])
    for line in path.read_text().splitlines():
        kind, text = line[:2], line[3:]
        if kind == "O:":
            pairs = (word.split("=") for word in text.split())
            script.options.update({k: int(v) if v.isdigit() else v for k, v in pairs})
        elif kind == "S:":
            script.turns[-1][1].append(text)
        elif kind == "M:":
            script.messages.append(text)
        elif not line.startswith("#"):
            sent, heard = script.turns[-1]
            if heard:
                script.turns.append((b"", []))
                sent = b""
            script.turns[-1] = (sent + octets(kind, text), [])
    return script


def octets(kind: str, text: str) -> bytes:
    if kind == "L:":
        return b"x" * int(text) + b"\r\n"
    if kind == "R:":
        return text.encode().decode("unicode_escape").encode("latin-1")
    assert kind == "C:", kind
    return text.encode() + b"\r\n"


def policy_door() -> FakeDoor:
    door = FakeDoor()

    def recipient(address: str) -> object:
        verdict = POLICY.resolve(address)
        if isinstance(verdict, Local):
            return None
        return UNKNOWN if isinstance(verdict, Unknown) else RELAY

    door.says["recipient"] = recipient
    return door


def cut(data: bytes, how: str) -> list[bytes]:
    if how == "octets":
        return [data[n : n + 1] for n in range(len(data))]
    if how == "halves":
        return [data[: len(data) // 2], data[len(data) // 2 :]]
    return [data]


def fits(said: str, expected: str) -> bool:
    if expected.endswith("..."):
        return said.startswith(expected[:-3])
    return said == expected


@pytest.mark.parametrize("how", ["whole", "halves", "octets"])
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogue(path: Path, how: str) -> None:
    script = read(path)
    d = Dialogue(policy_door(), **script.options)
    out = d.session.greet()
    for sent, expected in script.turns:
        for piece in cut(sent, how):
            out += d.feed(piece)
        said = out.decode().split("\r\n")
        assert said.pop() == ""
        assert len(said) == len(expected), (sent[:200], said)
        for got, wanted in zip(said, expected, strict=True):
            assert fits(got, wanted), (sent[:200], got, wanted)
        out = b""
    taken = []
    for sender, recipients, body in d.door.messages:
        taken.append(f"{sender or '<>'} -> {' '.join(recipients)}")
        taken.append(body.decode().replace("\r\n", "\\r\\n"))
    assert taken == script.messages
    assert d.troubles == []


def test_there_are_dialogues() -> None:
    assert len(DIALOGUES) >= 9
