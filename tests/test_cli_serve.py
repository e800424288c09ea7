"""`fastsmtp serve` before it serves: what keeps it from starting, in words."""

import socket
from pathlib import Path

import pytest

from fastsmtp import server
from fastsmtp.cli import main
from fastsmtp.config import Config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(
        'hostname = "mx.example.test"\ndata = "data"\n'
        '[smtp]\nlisten = ["127.0.0.1:0"]\n'
        '[metrics]\nlisten = ""\n[domains."example.test"]\n'
    )
    return path


def test_it_is_given_the_checked_configuration(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[Config, Path]] = []
    monkeypatch.setattr(server, "serve", lambda *args: given.append(args) or 7)
    assert main(["serve", "-c", str(file)]) == 7
    (config, path) = given[0]
    assert (config.hostname, path) == ("mx.example.test", file)
    assert "warning: domains" in capsys.readouterr().err


def test_a_bad_configuration_is_2(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("x = 1\n")
    assert main(["serve", "-c", str(file)]) == 2
    assert "x = 1: is not a setting" in capsys.readouterr().err


def test_a_port_that_is_taken(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(file.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        assert main(["serve", "-c", str(file)]) == 1
    text = capsys.readouterr().err
    assert f"fastsmtp: port {port}: in use by " in text
    assert "or listen elsewhere" in text


def test_serving_as_root_is_warned_of(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "serve", lambda *args: 0)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(["serve", "-c", str(file)]) == 0
    assert "this serves as root" in capsys.readouterr().err
    file.write_text('user = "nobody"\n' + file.read_text())
    assert main(["serve", "-c", str(file)]) == 0
    assert "as root" not in capsys.readouterr().err


def test_a_user_that_is_not_there(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text('user = "nobody-of-this-name"\n' + file.read_text())
    assert main(["serve", "-c", str(file)]) == 2
    assert "is no user of this machine" in capsys.readouterr().err
