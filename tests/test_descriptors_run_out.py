"""No descriptors left, for real: nothing spins, nobody is forgotten, it passes."""

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import prepared, until, workers

from fastsmtp_bench.process import cpu_seconds
from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
CLIENTS = 40


@pytest.fixture(params=["one", "split"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    fresh = prepared(tmp_path, mode=request.param)
    fresh.start()
    until(fresh.ready, "ready")
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


def receiver(of: Served) -> int:
    return workers(of).get("receive", of.pid)


def limit(pid: int, descriptors: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))


def test_attack_12_running_out_of_descriptors_passes(served: Served) -> None:
    pid = receiver(served)
    allowed = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    limit(pid, len(os.listdir(f"/proc/{pid}/fd")) + 10)
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", served.port), timeout=20)
            stack.enter_context(client)
        until(lambda: "accepting pauses" in served.log.read_text(), "it is said")
        waiting = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        stack.enter_context(waiting)
        spent = cpu_seconds(pid)
        waiting.settimeout(2)
        with pytest.raises(TimeoutError):
            waiting.recv(100)  # it is left in the queue, not dropped
        assert cpu_seconds(pid) - spent < 0.5
        waiting.settimeout(20)
        limit(pid, allowed)
        assert waiting.recv(100).startswith(b"220")
    until(served.greets, "who comes later is served")
    until(lambda: "accepting goes on" in served.log.read_text(), "that is said too")
    assert served.log.read_text().count("accepting pauses") == 1


def test_the_limit_is_raised_at_the_start(tmp_path: Path) -> None:
    server = prepared(tmp_path, mode="split")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        for pid in (server.pid, receiver(server)):
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        server.stop()
