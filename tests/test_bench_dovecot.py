"""A Dovecot that is slow, gone, or whose port somebody else took."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fastsmtp_bench import dovecot
from fastsmtp_bench.peers import Unavailable
from fastsmtp_bench.process import alive

GREETS = """\
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    server.accept()[0].sendall(b"+OK here\\r\\n")
"""
Server = tuple[int, "subprocess.Popen[bytes]"]


def greeting() -> Server:
    """One that greets, in a process of its own."""
    words = [sys.executable, "-c", GREETS]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout
    with child.stdout:
        return int(child.stdout.readline()), child


def ended() -> Server:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    child = subprocess.Popen(["true"], start_new_session=True)
    child.wait()
    return port, child


@pytest.mark.slow
def test_it_is_asked_once_more_when_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that was held up has not seen it start; that is no failure of it."""
    monkeypatch.setattr(dovecot, "START_SECONDS", -1.0)
    port, child = greeting()
    try:
        assert dovecot.answers(child, port)
    finally:
        child.kill()
        child.wait()


def test_nobody_waits_for_one_that_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Fatal: no such user\n")
    with pytest.raises(Unavailable, match="does not answer: Fatal: no such user"):
        dovecot.started(ended, log)


@pytest.mark.slow
def test_another_port_when_somebody_took_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tried: list[Server] = []

    def start() -> Server:
        tried.append(greeting() if tried else ended())
        if len(tried) == 1:
            log.write_text("Error: listen(127.0.0.1, 7) failed: Address already in use")
        return tried[-1]

    port, child = dovecot.started(start, log)
    assert (port, child) == tried[1]
    child.kill()
    child.wait()


def test_not_for_ever(tmp_path: Path) -> None:
    log, tried = tmp_path / "log", []

    def start() -> Server:
        log.write_text("Error: listen(127.0.0.1, 7) failed: Address already in use")
        tried.append(ended())
        return tried[-1]

    with pytest.raises(Unavailable, match="Address already in use"):
        dovecot.started(start, log)
    assert len(tried) == dovecot.PORTS
    assert not any(alive(child.pid) for _, child in tried)
