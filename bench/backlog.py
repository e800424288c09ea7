"""fastsmtp-bench backlog: a server with a million queued messages, beside an empty one.

The queue is made first (see `fill-queue`). Then a server starts on it, and these are
measured: until it greets and until it is ready, the memory of each process, /metrics,
the verbs about the queue, and what a client, the loops and a message to a next hop
that works notice of it. Memory is RssAnon: mapped files are not counted.

    --domains 1      all to one domain, whose next hop refuses connections
    --due now        everything is due when the server starts; the default is later
"""

import argparse
import asyncio
import json
import os
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from statistics import median

from fastsmtp_bench import arguments, fill_queue
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.fill_queue import Plan
from fastsmtp_bench.memory import Figure, markdown
from fastsmtp_bench.scraped import Page
from fastsmtp_bench.served import MANY, Served
from fastsmtp_bench.sink import running

SETTLE = 10.0  # seconds after which the memory is read
SCRAPES = 20
PATIENCE = 60.0  # seconds for one message to arrive
LETTER = b"Subject: one\r\n\r\nhello\r\n"
SENT = 20  # messages to the next hop that works
MEMORY = "fastsmtp_process_anonymous_memory_bytes"
LAG = "fastsmtp_event_loop_lag_seconds"
MORE = """\
receivers = {receivers}

[relay_domains."alive.test"]
next_hop = "smtp://127.0.0.1:{alive}"

[[relay]]
via = "smtp://127.0.0.1:{dead}"

[log]
level = "warning"
"""
VERBS = (
    ("list", "--limit", "50"),
    ("list", "--sender", "news7@sender7.example", "--limit", "50"),
    ("list", "--sender", "nobody@nowhere.example"),
    ("list", "--recipient", "user77@dest0.example"),
    ("list", "--recipient", "nobody@dest0.example"),
    ("list", "--domain", "dest0.example", "--limit", "50"),
    ("list", "--next-hop", "127.0.0.1", "--limit", "50"),
    ("list", "--next-hop", "nowhere.example"),
    ("list", "--older", "5 d"),
    ("list", "--younger", "10 s"),
    ("list", "--attempts", "4"),
    ("list", "--error", "no such words"),
    ("list", "--larger", "1 MiB"),
    ("list", "--state", "hold"),
    ("top", "--once"),
    ("hold", "--domain", "dest0.example", "--preview"),
    ("hold", "--error", "too many", "--preview"),
    ("delete", "--all", "--preview"),
)


@dataclass(frozen=True, slots=True)
class Started:
    """One server that runs: seconds until it greeted and was ready, and what each
    process took `SETTLE` seconds later, by role."""

    greets: float
    ready: float
    memory: dict[str, float]


def start(server: Served) -> Started:
    begun = time.monotonic()
    greets = server.start(PATIENCE)
    while not server.ready():
        time.sleep(0.005)
    ready = time.monotonic() - begun
    time.sleep(SETTLE)
    memory = Page.parse(server.read_metrics()).by(MEMORY, "role")
    return Started(greets, ready, {role: n for role, n in memory.items() if n})


def growth(full: Started, empty: Started, messages: int) -> Iterator[Figure]:
    """Octets a message of each process, and of all together."""
    roles = {
        role: (empty.memory.get(role, 0.0), octets)
        for role, octets in full.memory.items()
    }
    sums = tuple(map(sum, zip(*roles.values(), strict=True)))
    for role, (before, after) in {**roles, "all": sums}.items():
        each = (after - before) / messages
        note = f"{before / 2**20:.1f} → {after / 2**20:.1f} MiB"
        yield Figure(f"memory, {role}", f"{each:+.1f} octets a message", note)


def scrapes(server: Served) -> Figure:
    times = sorted(timed(server.read_metrics) for _ in range(SCRAPES))
    value = f"{median(times) * 1e3:.1f} ms, worst {times[-1] * 1e3:.1f}"
    return Figure(f"/metrics, median of {SCRAPES}", value)


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def verb(server: Served, words: tuple[str, ...], rounds: int) -> Figure:
    """Seconds until the command has ended; its start is part of it."""
    said = ""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        said = server.command("queue", *words)
        times.append(time.perf_counter() - begun)
    lines = said.splitlines()
    note = f"{len(lines):,} lines" if len(lines) > 1 else "".join(lines)
    shown = " ".join(f'"{word}"' if " " in word else word for word in words)
    return Figure(f"`queue {shown}`", f"{median(times):.2f} s", note)


def noop(server: Served, seconds: float) -> "subprocess.Popen[str]":
    """A client that asks NOOP again and again, as a process of its own."""
    words = ["-m", "fastsmtp_bench.prober", str(server.port), str(seconds)]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)


def noticed(server: Served, record: Path, seconds: float) -> Iterator[Figure]:
    """What others notice while the server works on its queue."""
    before = Page.parse(server.read_metrics())
    prober = noop(server, seconds)
    times = sorted(send_one(server, record) for _ in range(SENT))
    heard = json.loads(prober.communicate()[0])
    value = f"{median(times) * 1e3:.0f} ms, worst {times[-1] * 1e3:.0f}"
    yield Figure("a message to a next hop that works", value)
    value = f"p99 {heard['p99']:.1f} ms, worst {heard['worst']:.1f}"
    asleep = f"the client itself was asleep for {heard['asleep']:.1f} ms"
    yield Figure("NOOP of a client meanwhile", value, asleep)
    after = Page.parse(server.read_metrics())
    then, now = before.buckets(LAG), after.buckets(LAG)
    late = {edge: int(now[edge] - then.get(edge, 0)) for edge in now}
    text = ", ".join(f"≤ {edge} s: {n}" for edge, n in late.items() if n)
    yield Figure("loops of all processes were late", text)


def send_one(server: Served, record: Path) -> float:
    """Seconds from its 250 until the next hop has the message."""
    before = record.stat().st_size
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        client.sendmail("a@alive.test", "b@alive.test", LETTER)
        begun = time.perf_counter()
        while record.stat().st_size == before:
            if time.perf_counter() - begun > PATIENCE:
                raise Unfinished("a message to a next hop that works did not arrive")
            time.sleep(0.001)
        return time.perf_counter() - begun


@contextmanager
def refusing() -> Iterator[int]:
    """A port where connections are refused."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def filled(home: Path, server: Served, plan: Plan) -> Iterator[Figure]:
    """Makes the queue, unless an earlier run has left it."""
    made = home / "made"
    if made.exists() and made.read_text() == repr(plan):
        return
    took = timed(lambda: asyncio.run(fill_queue.run(server.configuration, plan)))
    made.write_text(repr(plan))
    what = f"filling the queue with {plan.messages:,} messages"
    yield Figure(what, f"{took:.0f} s", str(plan))


def measure(home: Path, plan: Plan, options: argparse.Namespace) -> list[Figure]:
    record = home / "arrived"
    record.unlink(missing_ok=True)
    record.touch()
    with running(None, "--record", str(record)) as sink, refusing() as dead:
        more = MORE.format(receivers=options.receivers, alive=sink.port, dead=dead)
        servers = {
            name: Served(home / name, options.mode, MANY, more)
            for name in ("empty", "full")
        }
        for server in servers.values():
            server.configure()
        full = servers["full"]
        figures = list(filled(home, full, plan))
        empty = start(servers["empty"])
        servers["empty"].stop()
        try:
            loaded = start(full)
            for name, one in (("empty", empty), ("full", loaded)):
                value = f"{one.greets:.2f} s, ready {one.ready:.2f} s"
                figures.append(Figure(f"{name} queue, until it greets", value))
            figures += growth(loaded, empty, plan.messages)
            figures.append(scrapes(full))
            figures += noticed(full, record, options.seconds)
            figures += [verb(full, words, options.rounds) for words in VERBS]
        finally:
            full.stop()
    return figures


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("backlog", __doc__)
    add = parser.add_argument
    fill_queue.plan_arguments(parser)
    add("--receivers", type=arguments.count, default=1)
    positive, stays = arguments.positive, "an empty folder; the queue stays there"
    add("--seconds", type=positive, default=10.0, help="how long a client asks NOOP")
    add("--home", type=arguments.home, help=f"{stays} for the next run")
    arguments.measured(parser, rounds=3, mode="split")
    options = parser.parse_args(words)
    plan = fill_queue.plan_of(options)
    if options.home:
        options.home.mkdir(exist_ok=True)
        print(markdown(measure(options.home.resolve(), plan, options)))
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as home:
        os.chmod(home, 0o755)
        print(markdown(measure(Path(home).resolve(), plan, options)))
