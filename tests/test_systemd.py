"""A server under systemd, with a socket of our own in its place, and its unit files."""

import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.kill_rig import USER, prepared, workers

from fastsmtp_bench.served import Served

UNITS = Path(__file__).parent.parent / "deploy" / "systemd"
BASH = 'exec 3<&"$1"; shift; export LISTEN_PID=$$; exec "$@"'


class Manager:
    """What systemd is to a service: hears what it says, gives it sockets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.path))
        self.sock.settimeout(20)
        self.said: list[str] = []

    def hear(self, wanted: Callable[[str], bool]) -> str:
        """The next thing said that is wanted; what comes before is in `said`."""
        while True:
            text = self.sock.recv(4096).decode()
            self.said.append(text)
            if wanted(text):
                return text

    def silent(self, text: str) -> bool:
        """Whether this is not said again before the patience is over."""
        try:
            while True:
                self.hear(lambda said: said == text)
        except TimeoutError:
            return True

    def start(self, server: Served, *sockets: socket.socket, **more: str) -> None:
        command: list[Any] = [sys.executable, "-m", "fastsmtp.cli", "serve"]
        command += ["-c", server.configuration]
        if sockets:
            (sock,) = sockets
            command = ["bash", "-c", BASH, "bash", str(sock.fileno()), *command]
        with server.log.open("ab") as log:
            server.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self.path), **more},
                pass_fds=[sock.fileno() for sock in sockets],
                start_new_session=True,
            )


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path)
    yield one
    one.sock.close()


@pytest.fixture(params=["one", "split"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    fresh = prepared(tmp_path / "home", mode=request.param)
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


def ready(text: str) -> bool:
    return text == "READY=1"


@pytest.mark.slow
def test_a_life_as_it_is_told(server: Served, manager: Manager) -> None:
    manager.start(server)
    manager.hear(ready)
    assert server.greets()  # ready is ready
    manager.hear(lambda text: text == "STATUS=taking mail")
    now = time.monotonic_ns() // 1000
    os.kill(server.pid, signal.SIGHUP)
    reloading = manager.hear(lambda text: text.startswith("RELOADING=1\n"))
    assert int(reloading.partition("MONOTONIC_USEC=")[2]) >= now
    manager.hear(ready)
    server.command("drain")
    manager.hear(lambda text: text == "STATUS=draining")
    os.kill(server.pid, signal.SIGTERM)
    manager.hear(lambda text: text == "STOPPING=1")
    assert server.process is not None
    assert server.process.wait(20) == 0
    assert not any("WATCHDOG" in text for text in manager.said)


@pytest.mark.slow
def test_the_watchdog_hears_nothing_while_a_worker_hangs(
    tmp_path: Path, manager: Manager
) -> None:
    server = prepared(tmp_path / "home", mode="split")
    manager.start(server, WATCHDOG_USEC="400000")
    try:
        manager.hear(ready)
        for _ in range(3):
            manager.hear(lambda text: text == "WATCHDOG=1")
        victim = workers(server)["receive"]
        os.kill(victim, signal.SIGSTOP)
        manager.sock.settimeout(1.5)
        assert manager.silent("WATCHDOG=1")
        manager.sock.settimeout(20)
        os.kill(victim, signal.SIGCONT)
        manager.hear(lambda text: text == "WATCHDOG=1")
        server.stop()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.mark.slow
def test_it_serves_on_the_socket_that_it_is_given(
    server: Served, manager: Manager
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        port = sock.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port), timeout=20)
        manager.start(server, sock, LISTEN_FDS="1", LISTEN_FDNAMES="smtp")
        assert early.recv(100).startswith(b"220")  # it waited for the server
        manager.hear(ready)
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("a@example.org", [USER], "Subject: x\r\n\r\nx\r\n")
        assert not server.greets()  # and nowhere else
        server.command("reload")
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("a@example.org", [USER], "Subject: x\r\n\r\nx\r\n")
        server.stop()
        late = socket.create_connection(("127.0.0.1", port), timeout=20)
        manager.start(server, sock, LISTEN_FDS="1", LISTEN_FDNAMES="smtp")
        assert late.recv(100).startswith(b"220")  # and for the next one
        server.stop()


@pytest.mark.slow
def test_a_socket_nobody_knows_the_use_of_is_refused(
    server: Served, manager: Manager
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        manager.start(server, sock, LISTEN_FDS="1", LISTEN_FDNAMES="what")
        assert server.process is not None
        assert server.process.wait(20) == 1
    text = server.log.read_text()
    assert "set FileDescriptorName= to one of smtp" in text
    assert "Traceback" not in text


# the unit files


def unit(folder: Path) -> Path:
    """As installed, with a program and a user that this machine has."""
    text = (UNITS / "fastsmtp.service").read_text()
    text = text.replace("/usr/local/bin/fastsmtp", "/bin/true")
    text = text.replace("=fastsmtp\n", "=daemon\n")
    path = folder / "fastsmtp.service"
    path.write_text(text)
    shutil.copy(UNITS / "fastsmtp.socket", folder)
    return path


@pytest.mark.slow
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = unit(tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path, tmp_path / "fastsmtp.socket"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=20", path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_units_name_what_the_program_has() -> None:
    from fastsmtp.cli import VERBS
    from fastsmtp.smtp.counts import LISTENERS

    service = (UNITS / "fastsmtp.service").read_text()
    verbs = [
        line.partition("/fastsmtp ")[2].split()[0]
        for line in service.split("\n")
        if line.startswith("Exec")
    ]
    assert verbs == ["serve", "reload"]
    assert set(verbs) <= set(VERBS)
    names = (UNITS / "fastsmtp.socket").read_text().split("FileDescriptorName=")
    assert names[-1].split()[0] in LISTENERS
