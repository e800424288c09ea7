"""fastsmtp-bench memory: what a connection, a large message and an idle server cost.

Memory is RssAnon over all processes of the server: mapped files are not counted.
"""

import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection, socket
from statistics import median
from threading import Event, Thread

from fastsmtp_bench import arguments
from fastsmtp_bench.client import Target, Unfinished, run
from fastsmtp_bench.native import program
from fastsmtp_bench.process import anonymous_bytes, resident_bytes
from fastsmtp_bench.served import Served
from fastsmtp_bench.side_by_side import fastsmtp
from fastsmtp_bench.workloads import WORKLOADS

IDLE = 10_000  # connections
LARGE = 52_000_000  # octets; with its header section just below 50 MiB
SPARE = 1000  # file descriptors besides the connections
LOOK = 0.01  # seconds between two looks at the memory


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    value: str
    note: str = ""


def fresh(server: Served) -> Figure:
    anonymous, resident = anonymous_bytes(server.pid), resident_bytes(server.pid)
    note = f"RSS with mapped files {resident / 2**20:.1f} MiB"
    return Figure("fresh server, RssAnon", f"{anonymous / 2**20:.1f} MiB", note)


def idle_connection(server: Served) -> Figure:
    """Bytes each of IDLE greeted connections that say nothing."""
    before = anonymous_bytes(server.pid)
    with held(server.port, IDLE):
        each = (anonymous_bytes(server.pid) - before) / IDLE
    return Figure(f"idle connection ({IDLE:,} held)", f"{each / 1024:.2f} KiB")


def rate_while_idle(server: Served, rounds: int) -> Figure:
    """W1 with IDLE connections held over W1 without, in turn."""
    target = Target(server.port, server.pid, metrics=server.metrics)
    ratios, rates = [], []
    for _ in range(rounds):
        free = run("load", WORKLOADS["W1"], target).rate
        with held(server.port, IDLE):
            busy = run("load", WORKLOADS["W1"], target).rate
        ratios.append(busy / free)
        rates.append(busy)
    note = f"{median(rates):,.0f} messages/s; our client"
    what = f"W1 with {IDLE:,} idle connections / without"
    return Figure(what, f"{median(ratios):.2f}", note)


def large_message(server: Served) -> Figure:
    """How far RssAnon rises while one large message is received."""
    before = anonymous_bytes(server.pid)
    with peak(server.pid) as seen:
        large = ["--messages", "1", "--sessions", "1", "--size", str(LARGE)]
        command = [str(program("load")), "--port", str(server.port), *large]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rise = max(seen) - before
    return Figure("receiving one 50 MiB message", f"+ {rise / 2**20:.1f} MiB")


def mailboxes_ratio(server: Served, rounds: int, count: int) -> Figure:
    """W1 spread over many accounts over W1 into one, in turn."""
    one = Target(server.port, server.pid, metrics=server.metrics)
    many = Target(server.port, server.pid, metrics=server.metrics, mailboxes=count)
    ratios, rates = [], []
    for _ in range(rounds):
        alone = run("load", WORKLOADS["W1"], one).rate
        rates.append(run("load", WORKLOADS["W1"], many).rate)
        ratios.append(rates[-1] / alone)
    note = f"{median(rates):,.0f} messages/s; our client"
    what = f"W1 into {count:,} mailboxes / into one"
    return Figure(what, f"{median(ratios):.2f}", note)


@contextmanager
def held(port: int, count: int) -> Iterator[None]:
    """Greeted connections that say nothing until the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + SPARE), hard))
    clients: list[socket] = []
    try:
        for _ in range(count):
            clients.append(create_connection(("127.0.0.1", port), timeout=30))
            if not clients[-1].recv(512).startswith(b"220"):
                raise Unfinished(f"connection {len(clients)} was not greeted with 220")
        yield
    finally:
        for client in clients:
            client.close()


@contextmanager
def peak(pid: int) -> Iterator[list[int]]:
    """Looks at RssAnon again and again; the list holds what it saw."""
    seen, ended = [anonymous_bytes(pid)], Event()

    def look() -> None:
        while not ended.wait(LOOK):
            seen.append(anonymous_bytes(pid))

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def markdown(figures: list[Figure]) -> str:
    lines = ["| what | figure | note |", "|---|---|---|"]
    lines += [f"| {f.what} | {f.value} | {f.note} |" for f in figures]
    return "\n".join(lines)


def measure(directory: Path, mode: str, rounds: int, mailboxes: int) -> list[Figure]:
    """All figures, of one server that starts fresh."""
    with (
        tempfile.TemporaryDirectory(dir=directory) as home,
        fastsmtp(Path(home), mode, mailboxes) as server,
    ):
        figures = [fresh(server), idle_connection(server), large_message(server)]
        figures.append(rate_while_idle(server, rounds))
        if mailboxes:
            figures.append(mailboxes_ratio(server, rounds, mailboxes))
        return figures


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("memory", __doc__)
    add = parser.add_argument
    add("--mailboxes", type=arguments.whole, default=1000, help="0: leave that out")
    arguments.measured(parser, rounds=3, mode="one")
    options = parser.parse_args(words)
    found = measure(options.directory, options.mode, options.rounds, options.mailboxes)
    print(markdown(found))
