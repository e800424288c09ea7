"""Every verb of fastsmtp-bench has one way to be asked for help, and to complain."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from fastsmtp_bench import arguments, cli
from fastsmtp_bench.client import Unfinished

FOLDER = Path(cli.__file__).parent
SOURCES = sorted(FOLDER.glob("*.py"))


def helped(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_verb_helps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = helped(verb, capsys)
    assert said.startswith(f"usage: fastsmtp-bench {verb} ")
    assert re.search(rf"^fastsmtp-bench {verb}\b.*: ", said, re.MULTILINE)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_verb_refuses_what_it_does_not_know(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--no-such-option"])
    assert ended.value.code == 2
    assert f"fastsmtp-bench {verb}: error: " in capsys.readouterr().err


def test_the_list_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    lines = [line.split()[0] for line in said.split("\n") if line.startswith("  ")]
    assert lines == list(cli.VERBS)
    assert max(map(len, said.split("\n"))) <= 88


def test_every_module_with_a_command_line_is_a_verb() -> None:
    commands = {
        path.stem
        for path in SOURCES
        if re.search(r"^def main\(words", path.read_text(), re.MULTILINE)
    }
    assert commands - {"cli"} == {module for module, _ in cli.VERBS.values()}


def test_there_is_one_kind_of_parser() -> None:
    for path in SOURCES:
        text = path.read_text()
        if path.stem != "arguments":
            assert "= argparse.ArgumentParser(" not in text, path
            assert not re.search(r"type=(int|float)\b", text), path
        assert "raise SystemExit(f" not in text, path


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("per", "no verb per; did you mean peers?"),
        ("fillqueue", "no verb fillqueue; did you mean fill-queue?"),
        ("xyzzy", "no verb xyzzy; there are run, compare, peers"),
    ],
)
def test_a_wrong_verb(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("why", [Unfinished("it hangs"), RuntimeError("it hangs")])
def test_trouble_is_a_line_and_a_status(
    why: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trouble(words: list[str]) -> int:
        raise why

    monkeypatch.setattr(import_module("fastsmtp_bench.disk"), "main", trouble)
    assert cli.main(["disk"]) == 2
    assert capsys.readouterr().err == "fastsmtp-bench disk: it hangs\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("destinations --dead 2", "2 is not a share, from 0 to 1"),
        ("destinations --messages 10", "each destination gets a message"),
        ("pop3 --messages 100", "each round deletes 1,000 messages"),
        ("memory --mailboxes -1", "-1 is not a whole number from 0 on"),
        ("fill-queue /nowhere.toml", "/nowhere.toml is not a file"),
        ("compare /a.json /b.json", "/a.json is not a file"),
        ("backlog --home /nowhere/q", "there is no folder /nowhere"),
        ("tls --directory /nowhere", "/nowhere is not a folder"),
        ("instructions pop", "no case 'pop'; there are session, 4 KiB"),
        ("instructions enveloppe", "did you mean envelope?"),
    ],
)
def test_bad_words(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_nearest_name() -> None:
    names = ["mx", "mx-brief", "submission"]
    assert arguments.nearest("submit", names) == "did you mean submission?"
    assert arguments.nearest("MX", names) == "did you mean mx?"
    assert arguments.nearest("q", names) == "there are mx, mx-brief, submission"
