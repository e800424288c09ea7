"""fastsmtp-bench tls: what TLS costs: messages, handshakes, idle connections.

Messages over TLS 1.3 stand beside the same workload in clear, in turn, on one server;
handshakes beside `openssl s_time` against `openssl s_server`, which do nothing else;
idle connections beside uvloop's own TLS (`tls_peer.py`). All wants STARTTLS but the
peers, which begin with it.
"""

import json
import os
import re
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import create_connection, socket
from statistics import median
from typing import Any, TypeVar

from fastsmtp.net.selfsigned import make
from fastsmtp_bench import arguments, machine
from fastsmtp_bench.accounts import serving
from fastsmtp_bench.client import Run, Target, Unfinished, run
from fastsmtp_bench.memory import SPARE, Figure, markdown
from fastsmtp_bench.native import program
from fastsmtp_bench.process import anonymous_bytes, comes, cpu_seconds
from fastsmtp_bench.served import Served, free_port
from fastsmtp_bench.workloads import WORKLOADS

SESSIONS = 20  # that shake hands at the same time
HANDSHAKES = 3000  # in one run
IDLE = 10_000  # connections
TALKED = 100_000  # octets that a client sends before it is idle
LINE = b"NOOP " + b"x" * 995 + b"\r\n"
GROUP = 16  # lines in a record, which then is nearly as large as one can be
T = TypeVar("T")
MORE = """
[tls]
certificates = [{ certificate = "tls.crt", key = "tls.key" }]
"""
COLUMNS = [
    *("", "messages/s", "in clear", "TLS / clear", "CPU µs", "in clear"),
    *("TLS − clear, µs", "p50 ms", "p99 ms", "client µs"),
]


def sealed(home: Path, mode: Any) -> AbstractContextManager[Served]:
    """Our server with a certificate of its own."""
    return serving(Served(home, mode=mode, more=MORE), prepare=certify)


def certify(home: Path) -> None:
    make(home / "tls.crt", home / "tls.key", ["mx.example.test"])


def beside_clear(server: Served, name: str, rounds: int) -> list[str]:
    """One row: the workload over TLS and in clear, in turn, after a warm-up."""
    clear = Target(server.port, server.pid, metrics=server.metrics)
    over = Target(server.port, server.pid, metrics=server.metrics, starttls=True)
    work = WORKLOADS[name]
    run("load", work.scaled(0.1), over)
    pairs: list[tuple[Run, Run]] = []
    for _ in range(rounds):
        pairs.append((run("load", work, over), run("load", work, clear)))
    tls, plain = ([pair[n] for pair in pairs] for n in (0, 1))
    return [
        name,
        f"{median(r.rate for r in tls):,.0f}",
        f"{median(r.rate for r in plain):,.0f}",
        f"{median(a.rate / b.rate for a, b in pairs):.2f}",
        f"{median(r.server_cpu for r in tls):.1f}",
        f"{median(r.server_cpu for r in plain):.1f}",
        f"{median(a.server_cpu - b.server_cpu for a, b in pairs):.1f}",
        f"{median(r.p50 for r in tls) / 1000:.2f}",
        f"{median(r.p99 for r in tls) / 1000:.2f}",
        f"{median(r.client_cpu for r in tls):.1f}",
    ]


def handshakes(server: Served, *words: str) -> tuple[float, float]:
    """(handshakes/s, server CPU µs of each) of connections that do nothing else."""
    command = [str(program("load")), "--port", str(server.port), "--handshakes"]
    command += ["--sessions", str(SESSIONS), "--messages", str(HANDSHAKES), *words]
    before = cpu_seconds(server.pid)
    done = subprocess.run(command, check=True, capture_output=True)
    report = json.loads(done.stdout)
    spent = cpu_seconds(server.pid) - before
    return report["rate"], spent / report["acknowledged"] * 1e6


def ceiling(home: Path, version: str, way: str) -> tuple[float, float]:
    """The same of s_server, driven by s_time."""
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet"]
    command += ["-cert", str(home / "tls.crt"), "-key", str(home / "tls.key")]
    peer = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        listening(port)
        before, begun = cpu_seconds(peer.pid), time.perf_counter()
        words = ["-connect", f"127.0.0.1:{port}", version, way, "-time", "3"]
        done = subprocess.run(
            ["openssl", "s_time", *words], check=True, capture_output=True
        )
        took, spent = time.perf_counter() - begun, cpu_seconds(peer.pid) - before
        count = int(re.findall(rb"(\d+) connections in [\d.]+s", done.stdout)[-1])
        return count / took, spent / count * 1e6
    finally:
        peer.terminate()
        peer.wait()


def listening(port: int) -> None:
    """Returns when somebody does. Raises Unfinished."""

    def listens() -> bool:
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    if not comes(listens, 10):
        raise Unfinished(f"nobody listens on port {port}")


def handshake_rows(server: Served, rounds: int) -> list[list[str]]:
    """Ours and OpenSSL's, in turn."""
    ours = {
        "connection and EHLO, in clear": (),
        "fastsmtp, TLS 1.3, full": ("--starttls",),
        "fastsmtp, TLS 1.3, resumed": ("--starttls", "--resume"),
    }
    theirs = {
        "openssl s_time and s_server, TLS 1.3, full": ("-tls1_3", "-new"),
        "the same, TLS 1.2, full": ("-tls1_2", "-new"),
        "the same, TLS 1.2, resumed": ("-tls1_2", "-reuse"),
    }
    measures: dict[str, Callable[[], tuple[float, float]]] = {
        **{name: partial(handshakes, server, *words) for name, words in ours.items()},
        **{name: partial(ceiling, server.home, *how) for name, how in theirs.items()},
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return [
        [name, f"{median(r for r, _ in got):,.0f}", f"{median(c for _, c in got):.0f}"]
        for name, got in found.items()
    ]


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def held(port: int, count: int, starttls: bool, talked: int) -> Iterator[None]:
    """Connections that talk TLS and then say nothing; the client's own SSL is given
    up, so that only descriptors are held here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + SPARE), hard))
    context = client_context()
    clients: list[socket] = []
    try:
        for _ in range(count):
            clients.append(begun(context, port, starttls, talked))
        time.sleep(1)  # until the server has heard the last of them
        yield
    finally:
        for client in clients:
            client.close()


def begun(context: ssl.SSLContext, port: int, starttls: bool, talked: int) -> socket:
    raw = create_connection(("127.0.0.1", port), timeout=30)
    if starttls:
        raw.recv(512)
        raw.sendall(b"EHLO load.invalid\r\n")
        raw.recv(4096)
        raw.sendall(b"STARTTLS\r\n")
        raw.recv(512)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)

    def done(step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
            finally:
                raw.sendall(outgoing.read())

    def ask(lines: bytes) -> None:
        """Everything is read: what nobody reads the server would have to keep."""
        tls.write(lines)
        raw.sendall(outgoing.read())
        due = lines.count(b"\n")
        while due > 0:
            due -= done(lambda: tls.read(65536)).count(b"\n")

    done(tls.do_handshake)
    if not starttls:
        done(lambda: tls.read(512))  # the greeting
    for _ in range(talked // (GROUP * len(LINE))):
        ask(GROUP * LINE)
    ask(b"NOOP\r\n")
    return raw


def idle(pid: int, port: int, count: int, starttls: bool, talked: int) -> str:
    with held(port, 20, starttls, talked):
        before = anonymous_bytes(pid)
    with held(port, count, starttls, talked):
        each = (anonymous_bytes(pid) - before) / count
    return f"{each / 1024:.1f} KiB"


@contextmanager
def uvloop_peer(home: Path) -> Iterator[tuple[int, int]]:
    """(port, pid) of the least server over uvloop's own TLS."""
    words = [
        "-m",
        "fastsmtp_bench.tls_peer",
        str(home / "tls.crt"),
        str(home / "tls.key"),
    ]
    peer = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert peer.stdout
    try:
        yield int(peer.stdout.readline()), peer.pid
    finally:
        peer.terminate()
        peer.wait()
        peer.stdout.close()


def memory_figures(directory: Path, mode: str, count: int) -> list[Figure]:
    """Each of servers that start fresh: memory that was used once stays theirs."""
    found = []
    for talked, what in ((0, "that has not talked"), (TALKED, "after 100 kB")):
        with tempfile.TemporaryDirectory(dir=directory) as name:
            home = Path(name)
            with sealed(home, mode) as server:
                ours = idle(server.pid, server.port, count, True, talked)
            with uvloop_peer(home) as (port, pid):
                theirs = idle(pid, port, count, False, talked)
        note = f"{count:,} held"
        found.append(Figure(f"idle TLS connection {what}, fastsmtp", ours, note))
        found.append(Figure("the same, uvloop's own TLS, no SMTP", theirs, note))
    return found


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measure(directory: Path, mode: str, rounds: int, count: int) -> str:
    """Three tables, of one server."""
    with (
        tempfile.TemporaryDirectory(dir=directory) as name,
        sealed(Path(name), mode) as server,
    ):
        rows = [beside_clear(server, work, rounds) for work in ("W1", "W3")]
        shaken = handshake_rows(server, rounds)
    figures = memory_figures(directory, mode, count)
    facts = (
        f"{machine.processor()}; {machine.versions()}; {ssl.OPENSSL_VERSION}; mode "
        f"{mode}; {rounds} rounds, medians; client load, TLS 1.3 by STARTTLS, EC P-256."
    )
    columns = ["", "handshakes/s", "server CPU µs"]
    parts = [facts, table(COLUMNS, rows), table(columns, shaken), markdown(figures)]
    return "\n\n".join(parts)


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("tls", __doc__)
    add = parser.add_argument
    add("--idle", type=arguments.count, default=IDLE, help="connections held")
    arguments.measured(parser, rounds=3, mode="split")
    options = parser.parse_args(words)
    print(measure(options.directory, options.mode, options.rounds, options.idle))
