"""Clients that cost much and bring nothing: nobody else waits 50 ms because of them.

A prober in a process of its own sends NOOPs meanwhile. The machine may stall too: a
story is told up to three times, and what the server causes comes every time.
"""

import itertools
import json
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from crash.kill_rig import USER, Load, prepared, until

from fastsmtp_bench.native import program
from fastsmtp_bench.process import anonymous_bytes
from fastsmtp_bench.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
STALL = 50.0  # milliseconds
MIB = 1 << 20
LAG = re.compile(
    r'^fastsmtp_event_loop_lag_seconds_bucket\{[^}]*le="(0\.05|\+Inf)"[^}]*\} (\S+)',
    re.MULTILINE,
)


@pytest.fixture(params=["one", "split"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    made = prepared(tmp_path / "home", mode=request.param)
    made.start()
    until(lambda: beats(made)["+Inf"] > 0, "the server measures its loop")
    yield made
    made.stop()


@contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Greeted clients that say nothing more. Skips where descriptors are few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip(f"needs {count + 1000} file descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 1000), hard))
    with ExitStack() as opened:
        held = []
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            held.append(opened.enter_context(client))
            assert client.recv(512).startswith(b"220")
        yield held
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def beats(server: Served) -> dict[str, float]:
    """How often the loop was measured, and how often it was at most 50 ms late."""
    found: dict[str, float] = {"0.05": 0.0, "+Inf": 0.0}
    for edge, value in LAG.findall(server.read_metrics()):
        found[edge] += float(value)
    return found


def late(server: Served) -> float:
    """How often the loop was more than 50 ms late, by its own account."""
    found = beats(server)
    return found["+Inf"] - found["0.05"]


def stalls(server: Served, seconds: float) -> str:
    """What the prober and the server saw; "" when nobody waited too long."""
    before = late(server)
    command = [
        sys.executable,
        "-m",
        "fastsmtp_bench.prober",
        str(server.port),
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    probed = json.loads(done.stdout)
    missed = late(server) - before
    print(f"{server.mode}: prober {probed}, loop late {missed:.0f} times")
    if probed["worst"] <= STALL and not missed:
        return ""
    return f"prober {probed}, loop late {missed:.0f} times"


def nobody_waits(server: Served, seconds: float = 3.0) -> None:
    """Raises AssertionError when every one of three tries shows a stall."""
    seen = list(itertools.takewhile(bool, (stalls(server, seconds) for _ in range(3))))
    assert len(seen) < 3, seen


@contextmanager
def always(act: Callable[[], None], pause: float) -> Iterator[None]:
    """Acts again and again in another thread."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(pause):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


def test_10_000_idle_connections(server: Served) -> None:
    with connections(server.port, 10_000):
        nobody_waits(server)


def test_1_000_clients_that_send_an_octet_every_ten_seconds(server: Served) -> None:
    """A thousand of them send a hundred octets a second; here for some seconds."""
    with connections(server.port, 1000) as clients:
        turns = itertools.cycle(clients)
        with always(lambda: next(turns).sendall(b"M"), pause=0.01):
            nobody_waits(server)


def test_a_client_that_never_reads_its_replies(server: Served) -> None:
    before = anonymous_bytes(server.pid)
    with connections(server.port, 8) as clients:
        for client in clients:
            client.setblocking(False)
        turns = itertools.cycle(clients)

        def ask() -> None:
            with suppress(OSError):  # full, or sent away by the server
                next(turns).send(b"NOOP\r\n" * 10_000)

        with always(ask, pause=0.001):
            nobody_waits(server)
    assert anonymous_bytes(server.pid) - before < 32 * MIB


def test_a_message_of_50_mib_while_others_are_served(
    server: Served, tmp_path: Path
) -> None:
    load = Load(server.port, tmp_path / "acked", sessions=20, size=4096).start()
    large = ["--messages", "1", "--sessions", "1", "--size", "52000000", "--to", USER]
    command = [program("load"), "--port", str(server.port), *large]
    try:
        load.more(1000)
        with always(lambda: subprocess.run(command, check=True) and None, pause=0.3):
            nobody_waits(server)
    finally:
        load.stop()
