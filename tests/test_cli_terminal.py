"""What people see, with a terminal and a clock that are not real."""

import io
import sys

import pytest

from fastsmtp.cli import Failure
from fastsmtp.cli.terminal import (
    Progress,
    amount,
    ask_password,
    confirm,
    listing,
    plain,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "a", "size": 5}, {"name": "long\x1b[2J", "size": 1234}]
    listing(rows, False, {"name": "name", "size": "octets"}, "none")
    assert capsys.readouterr().out == (
        "name      octets\na              5\nlong\ufffd[2J    1234\n"
    )


def test_a_listing_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    listing([{"a": "é", "b": 1}], True, {"a": "a"}, "none")
    assert capsys.readouterr().out == '{"a": "é", "b": 1}\n'
    listing([], True, {"a": "a"}, "none")
    assert capsys.readouterr().out == ""


def test_an_empty_listing(capsys: pytest.CaptureFixture[str]) -> None:
    listing([], False, {"a": "a"}, "nobody")
    assert capsys.readouterr().out == "nobody\n"


def test_text_of_strangers_commands_no_terminal() -> None:
    assert plain("hello é") == "hello é"
    assert plain("a\x1b]0;x\x07\u202eb") == "a\ufffd]0;x\ufffd\ufffdb"


def test_short_work_shows_no_bar() -> None:
    out, clock = Terminal(), Clock()
    with Progress("importing", 10, stream=out, clock=clock) as bar:
        bar.add(5)
        clock.now = 1.9
        bar.add(5)
    assert out.getvalue() == ""


def test_long_work_shows_one() -> None:
    out, clock = Terminal(), Clock()
    with Progress("importing", 100, stream=out, clock=clock) as bar:
        clock.now = 2.0
        bar.add(50)
        bar.add(1)  # too soon to be drawn again
        clock.now = 4.0
        bar.add(49)
    first, second, last = out.getvalue().split("\r")[1:]
    assert first.startswith("importing 50 messages [###############....")
    assert " 50%, 2 s left, 25 messages/s" in first
    assert "100%, 0 s left, 25 messages/s" in second
    assert last.endswith("\n")


def test_work_of_unknown_length() -> None:
    out, clock = Terminal(), Clock()
    with Progress("reading", 0, "B", stream=out, clock=clock) as bar:
        clock.now = 2.0
        bar.add(3 << 20)
    assert "reading 3.0 MiB, 1.5 MiB/s" in out.getvalue()


def test_no_bar_without_a_terminal() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("importing", 10, stream=out, clock=clock) as bar:
        clock.now = 9.0
        bar.add(5)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")],
)
def test_amounts(count: int, text: str) -> None:
    assert amount(count) == text


def test_password_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("pass word \r\nmore\n"))
    assert ask_password(True, "a@b") == "pass word "
    with pytest.raises(Failure, match="no terminal"):
        ask_password(False, "a@b")


def test_password_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["one", "two", "three", "three"]
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: answers.pop(0))
    assert ask_password(False, "a@b") == "three"
    assert capsys.readouterr().err == "They differ.\n"
    answers += ["1", "2"] * 3
    with pytest.raises(Failure, match="three times"):
        ask_password(False, "a@b")


def test_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Failure, match="Not done"):
        confirm("Really?")
    monkeypatch.setattr(sys, "stdin", Terminal())
    for answer, agreed in (("y", True), ("YES", True), ("", False), ("n", False)):
        monkeypatch.setattr("builtins.input", lambda prompt, said=answer: said)
        assert confirm("Really?") is agreed
