"""What systemd is told, and what it gives; with a socket of our own in its place."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastsmtp.net.systemd import Notifier, inherited


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_every_word_arrives(listening: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "3000000"}
    notifier = Notifier(environ)
    assert environ == {}  # no child takes it for its own
    assert notifier.asked
    assert notifier.interval == 3.0
    before = time.monotonic_ns() // 1000
    notifier.ready()
    notifier.reloading()
    notifier.status("two\nlines")
    notifier.status("two\nlines")
    notifier.alive()
    notifier.stopping()
    said = [listening.recv(200).decode() for _ in range(5)]
    reloading, _, at = said.pop(1).partition("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert before <= int(at) <= time.monotonic_ns() // 1000
    assert said == ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"fastsmtp-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
    ],
)
def test_nobody_who_asks_and_nobody_who_hears(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert notifier.interval == 0.0
    notifier.ready()


def test_a_full_socket_does_not_stop_us(listening: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": listening.getsockname()})
    for _ in range(10_000):
        notifier.ready()


CHILD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
from fastsmtp.net.systemd import inherited
for name, sock in inherited():
    inheritable = os.get_inheritable(sock.fileno())
    print(name, sock.getsockname()[1], inheritable, sock.gettimeout())
print(sorted(k for k in os.environ if k.startswith("LISTEN")))
"""


def test_inherited_sockets_come_with_their_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(sock.fileno())],
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp:more"},
            pass_fds=[sock.fileno()],
            text=True,
            capture_output=True,
            check=True,
        )
        port = sock.getsockname()[1]
        assert done.stdout == f"smtp {port} False 0.0\n[]\n"


def test_what_is_meant_for_another_process_is_left_alone() -> None:
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert inherited({}) == []
