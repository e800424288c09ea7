"""fastsmtp-bench destinations: many next hops, some dead: what that costs others.

Our client sends messages of 4 KiB over 20 sessions, each to the next of so many
domains. Each domain has a next hop of its own, by its name. A third of the dead ones
refuses connections, a third takes them and never says a word, a third answers each RCPT
451; the good ones take all. Time runs from the first message in to the last good one
out. The peer is the same server with the mail for the good domains alone: a new server
for each round, in turn.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastsmtp_bench import arguments, sink
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.names import names
from fastsmtp_bench.native import program
from fastsmtp_bench.process import cpu_seconds, stop
from fastsmtp_bench.served import MANY, Served, free_port

PATIENCE: Final = 120.0  # seconds for all good messages to arrive
KINDS: Final[dict[str, dict[str, Any]]] = {
    "refused": {},
    "silent": {"rule": [{"when": "connect", "do": "hang"}]},
    "451": {"rule": [{"when": "rcpt", "reply": "451 4.3.2 Not now"}]},
}
"""Ways to be dead, and the rules of such a sink; where one refuses nobody listens."""
SETTINGS: Final = """\
[dns]
servers = ["{dns}"]

[log]
level = "warning"

"""
ROW: Final = """\
[relay_domains."d{number:04}.far.test"]
next_hop = "smtp://mx{number:04}.far.test:{port}"

"""


@dataclass(slots=True)
class Good:
    """The sink of the good ones; a line of its record is a message."""

    port: int
    record: Path
    messages: int = 0
    _read: int = 0

    def look(self) -> int:
        """How many it has."""
        with self.record.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        self.messages += new.count(b"\n")
        return self.messages


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds until the last good message was out, and CPU seconds of the server."""

    seconds: float
    cpu: float


@contextmanager
def ports() -> Iterator[dict[str, int]]:
    """Where the dead ones are."""
    with ExitStack() as stack:
        found = {}
        for kind, rules in KINDS.items():
            if rules:
                found[kind] = stack.enter_context(sink.running(rules)).port
            else:
                found[kind] = free_port()
        yield found


def relays(good: int, dead: dict[str, int], destinations: int, count: int) -> str:
    """The relay domains of a configuration, of which the last `count` are dead."""
    kinds, first = list(dead), destinations - count
    rows = []
    for number in range(1, destinations + 1):
        port = good if number <= first else dead[kinds[number % len(kinds)]]
        rows.append(ROW.format(number=number, port=port))
    return "".join(rows)


def measure(folder: Path, more: str, good: Good, load: list[str], wanted: int) -> Round:
    """One round on a new server: `wanted` messages are for good ones."""
    folder.mkdir()
    served = Served(folder, mode="split", smtp=MANY, more=more)
    served.configure()
    stack = ExitStack()
    served.start()
    try:
        before, target = cpu_seconds(served.pid), good.look() + wanted
        start = time.monotonic()
        command = [str(program("load")), "--port", str(served.port), *load]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        stack.callback(stop, client)
        while good.look() < target:
            if time.monotonic() - start > PATIENCE:
                raise Unfinished(f"{target - good.messages} messages did not arrive")
            time.sleep(0.005)
        seconds = time.monotonic() - start
        cpu = cpu_seconds(served.pid) - before
        if client.wait():
            raise Unfinished("the client was refused")
    finally:
        stack.close()
        served.kill()  # a clean end would wait for those that are silent
    return Round(seconds, cpu)


def _told(what: str, rounds: list[Round], messages: int) -> str:
    seconds = statistics.median(one.seconds for one in rounds)
    cpu = statistics.median(one.cpu for one in rounds) / messages * 1e6
    rate = messages / seconds
    each = " ".join(f"{one.seconds:.2f}" for one in rounds)
    shown = f"{what:8} {seconds:7.2f} s {rate:9,.0f} messages/s {cpu:7.0f} µs CPU"
    return f"{shown}   rounds: {each}"


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("destinations", __doc__)
    add = parser.add_argument
    add("--messages", type=arguments.count, default=10_000)
    add("--destinations", type=arguments.count, default=1000)
    add("--dead", type=arguments.share, default=0.05, help="share of them")
    arguments.measured(parser, rounds=3)
    args = parser.parse_args(words)
    if args.messages < args.destinations or args.dead == 1:
        parser.error("each destination gets a message, and some of them are alive")
    count = round(args.dead * args.destinations)
    alive = args.destinations - count
    wanted = args.messages // args.destinations * alive
    shapes = {"without": (alive, wanted), "with": (args.destinations, args.messages)}
    found: dict[str, list[Round]] = {name: [] for name in shapes}
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(dir=args.directory)
        folder = Path(stack.enter_context(place)).resolve()
        record = folder / "good"
        record.touch()
        into = stack.enter_context(sink.running({}, "--record", str(record)))
        good, dead = Good(into.port, record), stack.enter_context(ports())
        dns = stack.enter_context(names())
        more = SETTINGS.format(dns=dns)
        more += relays(good.port, dead, args.destinations, count)
        for number in range(args.rounds):
            for name, (domains, messages) in shapes.items():
                load = ["--messages", str(messages), "--domains", str(domains)]
                load += ["--to", "user@far.test"]
                place = folder / f"{name}{number}"
                found[name].append(measure(place, more, good, load, wanted))
    for name, rounds in found.items():
        print(_told(name, rounds, shapes[name][1]))
    pairs = zip(found["with"], found["without"], strict=True)
    ratio = statistics.median(a.seconds / b.seconds for a, b in pairs)
    print(f"with {count} dead of {args.destinations} / without: {ratio:.2f}")
