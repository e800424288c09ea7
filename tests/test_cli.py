"""The command as a whole: verbs, exit codes, how trouble is said."""

import subprocess
import sys

import pytest

from fastsmtp import __version__, cli
from fastsmtp.cli import Failure, main
from fastsmtp.errors import StoreUnavailable


def test_help_names_every_verb_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in cli.VERBS.items():
        assert name in text
        assert summary.split(",")[0] in text
    assert "2  wrong usage, or a configuration" in text


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    assert "exit codes:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastsmtp {__version__}\n"


@pytest.mark.parametrize("words", [[], ["unheard-of"], ["check", "--unheard-of"]])
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: fastsmtp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Failure("no such thing", "look there"), 1, "no such thing\n    look there\n"),
        (Failure("not so", code=2), 2, "not so\n"),
        (StoreUnavailable("the disk is full"), 1, "the disk is full\n"),
        (OSError(2, "No such file", "x"), 1, "x: No such file\n"),
        (OSError(5, "Input/output error"), 1, "input/output: Input/output error\n"),
    ],
)
def test_expected_trouble_is_said_in_words(
    error: Exception,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fastsmtp.cli.check.run", _raising(error))
    assert main(["check"]) == code
    assert capsys.readouterr().err == f"fastsmtp: {text}"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsmtp.cli.check.run", _raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["check"])


def test_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fastsmtp.cli.check.run", _raising(KeyboardInterrupt()))
    assert main(["check"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def _raising(error: BaseException):  # type: ignore[no-untyped-def]
    def run(args: object) -> int:
        raise error

    return run


def test_help_imports_nothing_heavy() -> None:
    """What makes `fastsmtp --help` quick; the figure is in bench/."""
    code = (
        "import sys; from fastsmtp.cli import main; main(['--help']);"
        "print([m for m in ('asyncio', 'msgspec', 'uvloop', 'lmdb', 'argon2',"
        " 'fastsmtp.config') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m fastsmtp.cli check --defaults | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""
