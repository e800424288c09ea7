"""`fastsmtp check`: what it prints and how it ends."""

import json
from pathlib import Path

import pytest

from fastsmtp.cli import main

GOOD = """\
hostname = "mx.example.test"
data = "data"
[domains."example.test"]
aliases = { postmaster = ["alice@example.test"] }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(GOOD)
    return path


def test_nothing_to_complain_about(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_every_mistake_and_a_count(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"{GOOD}catch_al = 1\n[log]\nlevel = 3\n[domains.b]\n")
    assert main(["check", "-c", str(file)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("catch_al = 1: is not a setting")
    assert lines[1] == "    did you mean catch_all?"
    assert lines[-1] == f"{file}: 2 errors, 1 warning"


def test_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"{GOOD}[log]\nlevel = 3\n")
    assert main(["check", "--json", "-c", str(file)]) == 2
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["line"], found["column"], found["key"]) == (6, 1, "log.level")
    assert found["value"] == "3"
    assert '"warning"' in found["allowed"]


def test_without_a_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fastsmtp.config.PLACES", ("fastsmtp.toml",))
    assert main(["check"]) == 2
    assert "quickstart DIR --domain D" in capsys.readouterr().err
    Path("fastsmtp.toml").write_text(GOOD)
    assert main(["check"]) == 0


def test_defaults_are_a_configuration(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--defaults"]) == 0
    file.write_text(capsys.readouterr().out)
    assert main(["check", "-c", str(file)]) == 0
