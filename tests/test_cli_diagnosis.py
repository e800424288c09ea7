"""What `fastsmtp doctor` says of a machine, on folders and ports of its own."""

import json
import os
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastsmtp.cli import diagnosis, main
from fastsmtp.cli.diagnosis import Finding
from fastsmtp.config import Config, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(
        'hostname = "mx.example.test"\ndata = "data"\n'
        '[smtp]\nlisten = ["127.0.0.1:0"]\nmax_connections = 100\n'
        '[metrics]\nlisten = "127.0.0.1:0"\n'
        '[domains."example.test"]\naliases = { postmaster = "a@example.test" }\n'
    )
    (tmp_path / "data").mkdir(mode=0o700)
    return path


@pytest.fixture
def config(file: Path) -> Config:
    return load(file, {})


@pytest.fixture(autouse=True)
def no_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def known(host: str, *args: Any, **rest: Any) -> Any:
        if host == "mx.example.test":
            return real("192.0.2.1", *args, **rest)
        return real(host, *args, flags=rest.pop("flags", 0) | socket.AI_NUMERICHOST)

    monkeypatch.setattr(socket, "getaddrinfo", known)


def one(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    return found


def test_versions(config: Config) -> None:
    found = one(diagnosis.versions(config))
    assert found.verdict == "good"
    assert "uvloop " in found.text


def test_folder(config: Config) -> None:
    assert one(diagnosis.folder(config)).verdict == "good"
    config.data.chmod(0o755)
    open_to_all = one(diagnosis.folder(config))
    assert (open_to_all.verdict, open_to_all.advice) == (
        "doubtful",
        f"chmod 700 {config.data}",
    )
    config.data.rmdir()
    assert "is not there" in one(diagnosis.folder(config)).text


def test_folder_of_another_user(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    found = one(diagnosis.folder(config))
    assert (found.verdict, found.advice) == ("bad", "run as that user, or as root")


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("ext4", "good"), ("tmpfs", "doubtful"), ("nfs4", "bad")],
)
def test_file_system(
    config: Config, monkeypatch: pytest.MonkeyPatch, kind: str, verdict: str
) -> None:
    monkeypatch.setattr(diagnosis, "_mount", lambda path: ("/x", kind))
    assert one(diagnosis.file_system(config)).verdict == verdict


def test_mount_of_a_path(config: Config) -> None:
    where, kind = diagnosis._mount(Path("/proc/self"))
    assert (where, kind) == ("/proc", "proc")
    assert diagnosis._mount(config.data)[1] != "unknown"


def test_space(config: Config) -> None:
    assert one(diagnosis.space(config)).verdict == "good"
    greedy = replace(config, store=replace(config.store, min_free=1 << 60))
    found = one(diagnosis.space(greedy))
    assert (found.verdict, found.advice) == (
        "bad",
        "make room, or lower store.min_free",
    )


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.001, "good"), (0.05, "doubtful"), (0.0, "doubtful")]
)
def test_sync_speed(
    config: Config, monkeypatch: pytest.MonkeyPatch, seconds: float, verdict: str
) -> None:
    now = [0.0]

    def sync(fd: int) -> None:
        now[0] += seconds

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(diagnosis.time, "perf_counter", lambda: now[0])
    assert one(diagnosis.sync_speed(config)).verdict == verdict


@pytest.mark.parametrize(("limit", "verdict"), [(1024, "good"), (200, "doubtful")])
def test_open_files(
    config: Config, monkeypatch: pytest.MonkeyPatch, limit: int, verdict: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert one(diagnosis.open_files(config)).verdict == verdict


def test_free_ports(config: Config) -> None:
    assert [found.verdict for found in diagnosis.ports(config)] == ["good", "good"]


def test_a_port_that_is_taken_says_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = diagnosis._port(f"127.0.0.1:{port}")
        assert found.verdict == "bad"
        assert f"(pid {os.getpid()})" in found.text
        assert found.advice.endswith("or listen elsewhere")


def test_a_port_taken_by_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "listener", lambda port: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = diagnosis._port(f"127.0.0.1:{server.getsockname()[1]}")
    assert "a process of another user" in found.text


def test_a_port_taken_by_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "listener", lambda port: ("fastsmtp", 5))
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = diagnosis._port(f"127.0.0.1:{server.getsockname()[1]}")
    assert (found.verdict, found.text) == ("good", "in use by fastsmtp (pid 5)")


def test_a_port_taken_by_another_fastsmtp(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "listener", lambda port: ("fastsmtp", 5))
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = [f"127.0.0.1:{server.getsockname()[1]}"]
        taken = replace(config, smtp=replace(config.smtp, listen=listen))
        first, _ = diagnosis.ports(taken)
        monkeypatch.setattr(diagnosis, "alive", lambda run: True)
        mine, _ = diagnosis.ports(taken)
    assert (first.verdict, first.text) == ("bad", "in use by another fastsmtp (pid 5)")
    assert mine.verdict == "good"


@pytest.mark.parametrize(
    ("number", "text", "advice"),
    [
        (13, "may not be bound", "CAP_NET_BIND_SERVICE"),
        (99, "is no address of this machine", ""),
        (24, "Too many open files", ""),
    ],
)
def test_other_trouble_with_ports(number: int, text: str, advice: str) -> None:
    error = OSError(number, os.strerror(number))
    found = diagnosis._taken("192.0.2.1:25", 25, error)
    assert found.verdict == "bad"
    assert text in found.text
    assert advice in found.advice


def test_a_host_that_is_not_known() -> None:
    assert "is not known" in diagnosis._port("nowhere.invalid:25").text


def test_names_of_processes(tmp_path: Path) -> None:
    (tmp_path / "comm").write_text("python3\n")
    for line, name in (
        ("/usr/bin/python3\0/usr/bin/fastsmtp\0serve\0", "fastsmtp"),
        ("python3\0-m\0fastsmtp.worker\0", "fastsmtp"),
        ("master\0-w\0", "python3"),
    ):
        (tmp_path / "cmdline").write_text(line)
        assert diagnosis.process_name(tmp_path) == name


@pytest.mark.parametrize(
    ("addresses", "verdict", "text"),
    [
        (["192.0.2.1"], "good", "is 192.0.2.1"),
        (["127.0.1.1"], "doubtful", "this machine alone sees it so"),
        (["::1", "192.0.2.1"], "doubtful", "this machine alone"),
        ([], "doubtful", "does not resolve"),
    ],
)
def test_hostname(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    verdict: str,
    text: str,
) -> None:
    def resolve(host: str, port: None, type: int) -> list[Any]:
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(2, type, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = one(diagnosis.name(config))
    assert found.verdict == verdict
    assert text in found.text


def test_the_verb(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "-c", str(file)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["about"] == "configuration"
    assert {"versions", "fdatasync", "open files", "hostname"} <= {
        entry["about"] for entry in found
    }


def test_the_verb_fails_when_something_is_bad(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file.parent / "data").rmdir()
    assert main(["doctor", "-c", str(file)]) == 1
    assert "bad       data folder: " in capsys.readouterr().out
    file.write_text("x = 1\n")
    assert main(["doctor", "-c", str(file)]) == 2


def test_inodes(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    status = SimpleNamespace(
        f_bavail=1 << 40, f_frsize=4096, f_files=100_000, f_favail=5
    )
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    assert [found.verdict for found in diagnosis.space(config)] == ["good", "doubtful"]
