"""fastsmtp-bench relaying: how fast mail is accepted and passed on, beside Postfix.

smtp-source sends messages of 4 KiB over 20 sessions; the next hop is one smtp-sink.
Time runs from the first message in to the last one out: until the sink has them all.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from fastsmtp_bench import arguments, peers
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.postfix import Postfix
from fastsmtp_bench.process import cpu_seconds
from fastsmtp_bench.served import MANY, Served, free_port

PATIENCE = 300.0  # seconds for all messages to arrive
MAIN = """\
mynetworks = 127.0.0.0/8
relay_domains = far.test
relay_transport = smtp:[127.0.0.1]:{sink}
smtp_tls_security_level = none
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
anvil unix - - n - 1 anvil
relay unix - - n - - smtp
"""
RELAY = """\
[relay_domains."far.test"]
next_hop = "smtp://127.0.0.1:{sink}"

[destinations."127.0.0.1"]
connections = {connections}
reuse = 1000

[log]
level = "warning"
"""


class Result(NamedTuple):
    """rate in messages a second; cpu of the server in microseconds a message."""

    rate: float
    cpu: float


class Sink:
    """smtp-sink that says how many messages it has."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        binary, environment = peers.tool("smtp-sink")
        self._counts = folder / "sink.out"
        with self._counts.open("wb") as out:
            user = ["-u", "nobody"] if os.geteuid() == 0 else []
            self._process = subprocess.Popen(
                [str(binary), *user, "-c", f"127.0.0.1:{self.port}", "1000"],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def messages(self) -> int:
        """As it last said: it writes over its own line."""
        with self._counts.open("rb") as file:
            file.seek(max(0, self._counts.stat().st_size - 200))
            words = file.read().replace(b"\r", b" ").split()
        counts = [word[5:] for word in words if word.startswith(b"mesg=")]
        return int(counts[-1].removesuffix(b"sess")) if counts else 0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def ours(
    folder: Path, sink: int, mode: str, connections: int
) -> Iterator[tuple[int, int]]:
    """fastsmtp in front of the sink: port and pid."""
    more = RELAY.format(sink=sink, connections=connections)
    served = Served(folder / "served", smtp=MANY, more=more)
    served.mode = "one" if mode == "one" else "split"
    served.configure()
    served.start()
    try:
        yield served.port, served.pid
    finally:
        served.stop()


def measure(port: int, pid: int, sink: Sink, messages: int) -> Result:
    binary, environment = peers.tool("smtp-source")
    before, target = cpu_seconds(pid), sink.messages + messages
    words = ["-s", "20", "-d", "-l", "4096", "-m", str(messages)]
    addresses = ["-f", "s@near.test", "-t", "r@far.test"]
    start = time.monotonic()
    subprocess.run(
        [str(binary), *words, *addresses, f"127.0.0.1:{port}"],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    while sink.messages < target:
        if time.monotonic() - start > PATIENCE:
            missing = target - sink.messages
            raise Unfinished(f"{missing} of {messages} messages did not arrive")
        time.sleep(0.01)
    seconds = time.monotonic() - start
    used = cpu_seconds(pid) - before
    return Result(messages / seconds, used / messages * 1e6)


@contextmanager
def postfix(folder: Path, sink: int) -> Iterator[tuple[int, int]]:
    """Postfix in front of the sink, with the settings it comes with: port and pid."""
    port = free_port()
    (folder / "postfix").mkdir()
    master = MASTER.format(port=port)
    server = Postfix(folder / "postfix", MAIN.format(sink=sink), master)
    try:
        server.start()
        yield port, server.pid
    finally:
        server.stop()


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("relaying", __doc__)
    add, count = parser.add_argument, arguments.count
    add("--messages", type=count, default=10_000)
    add("--connections", type=count, default=50, help="to the sink")
    add("--alone", action="store_true", help="without Postfix")
    arguments.measured(parser, rounds=3, mode="split")
    args = parser.parse_args(words)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=args.directory))
        )
        folder = folder.resolve()
        folder.chmod(0o755)
        sinks = [Sink(folder / name) for name in ("a", "b")]
        for sink in sinks:
            stack.callback(sink.stop)
        servers = {"fastsmtp": ours(folder, sinks[0].port, args.mode, args.connections)}
        if not args.alone:
            servers["Postfix"] = postfix(folder, sinks[1].port)
        places = {name: stack.enter_context(one) for name, one in servers.items()}
        found: dict[str, list[Result]] = {name: [] for name in places}
        for _ in range(args.rounds):
            for (name, place), sink in zip(places.items(), sinks, strict=False):
                share = args.messages if name == "fastsmtp" else args.messages // 5
                found[name].append(measure(*place, sink, share))
        for name, results in found.items():
            rate = statistics.median(one.rate for one in results)
            cpu = statistics.median(one.cpu for one in results)
            print(f"{name:10} {rate:9,.0f} messages/s {cpu:8.0f} µs CPU a message")
        if not args.alone:
            pairs = zip(found["fastsmtp"], found["Postfix"], strict=True)
            ratio = statistics.median(a.rate / b.rate for a, b in pairs)
            print(f"fastsmtp / Postfix {ratio:.1f}")
