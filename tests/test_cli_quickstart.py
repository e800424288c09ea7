"""`fastsmtp quickstart`: a configuration to begin with, never in place of another."""

import socket
from pathlib import Path

import pytest

from fastsmtp.cli import main
from fastsmtp.config import load
from fastsmtp.net.certificates import facts


def test_writes_a_configuration_and_a_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    assert main(["quickstart", str(folder), "--domain", "Example.test"]) == 0
    config = load(folder / "fastsmtp.toml", {})
    assert list(config.domains) == ["example.test"]
    assert config.data == folder / "data"
    assert config.data.stat().st_mode & 0o777 == 0o700
    assert config.smtp.listen == ["127.0.0.1:2525"]
    assert config.submission.listen == ["127.0.0.1:2587"]
    assert config.pop3.listen == ["127.0.0.1:2110"]
    assert config.pop3.listen_tls == ["127.0.0.1:2995"]
    assert '# max_message_size = "50 MiB"' in (folder / "fastsmtp.toml").read_text()
    written = ["data", "fastsmtp.toml", "tls.crt", "tls.key"]
    assert sorted(path.name for path in folder.iterdir()) == written
    (pair,) = config.tls.certificates
    assert pair.key.stat().st_mode & 0o777 == 0o600
    assert facts(pair).covers(config.hostname)


@pytest.mark.parametrize("name", ["fastsmtp.toml", "tls.crt", "tls.key"])
def test_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["quickstart", str(tmp_path), "--domain", "example.test"]) == 1
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "never overwrites" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--domain", "exa mple.test"],
        ["--domain", "example.test", "--hostname", "mx_.test"],
        [],
    ],
)
def test_bad_names_write_nothing(tmp_path: Path, words: list[str]) -> None:
    assert main(["quickstart", str(tmp_path / "new"), *words]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("mail.example.test", "mail.example.test"),
        ("laptop", "mx.example.test"),
        ("laptop.local", "mx.example.test"),
        ("odd_name.test", "mx.example.test"),
    ],
)
def test_hostname_is_the_machines_when_that_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: own)
    assert main(["quickstart", str(tmp_path), "--domain", "example.test"]) == 0
    assert load(tmp_path / "fastsmtp.toml", {}).hostname == name


def test_a_path_too_long_for_sockets_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("x" * 100)
    assert main(["quickstart", str(folder), "--domain", "example.test"]) == 1
    assert "too long for a Unix socket" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
