"""fastsmtp-bench side-by-side [W1 W3 …]: fastsmtp beside smtp-sink, in turn.

smtp-sink (C, of postfix) stores nothing: it is the floor of the protocol. fastsmtp
stores every message durably before its 250 and delivers it: a run ends, and CPU is
read, when its metrics say that the last message is in its mailbox. Machines are noisy,
so a figure counts as the median of ratios between runs that stood side by side.

The ceiling is what the same client reaches against our own null sink in the same
rounds. A result above 80 % of it is marked: it says more about the client.
"""

import argparse
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fastsmtp_bench import arguments, machine, peers
from fastsmtp_bench.accounts import serving
from fastsmtp_bench.client import Client, Run, Target, run
from fastsmtp_bench.served import Served
from fastsmtp_bench.workloads import WORKLOADS, Workload

LIMITED = 0.8  # of the ceiling
COLUMNS = [
    *("", "messages/s", "CPU µs", "sink messages/s", "sink CPU µs", "rate / sink"),
    *("CPU / sink", "p50 ms", "p99 ms", "client µs", "ceiling", "limited by"),
]


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds of one workload."""

    name: str
    rate: float
    cpu: float
    sink_rate: float
    sink_cpu: float
    rate_ratio: float
    cpu_ratio: float
    p50: float
    p99: float
    client_cpu: float
    ceiling: float

    @property
    def limited(self) -> str:
        return "client" if self.rate > LIMITED * self.ceiling else "server"

    def cells(self) -> list[str]:
        return [
            *(self.name, f"{self.rate:,.0f}", f"{self.cpu:.1f}"),
            *(f"{self.sink_rate:,.0f}", f"{self.sink_cpu:.1f}"),
            *(f"{self.rate_ratio:.2f}", f"{self.cpu_ratio:.2f}"),
            *(_milliseconds(self.p50), _milliseconds(self.p99)),
            *(f"{self.client_cpu:.1f}", f"{self.ceiling:,.0f}", self.limited),
        ]


def compare(
    client: Client, work: Workload, targets: dict[str, Target], rounds: int
) -> Row:
    """Runs `server`, `sink` and `null` of `targets` in turn, after one warm-up."""
    run(client, work.scaled(0.1), targets["server"])
    done: dict[str, list[Run]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name in ("null", "sink", "server"):
            done[name].append(run(client, work, targets[name]))
    return summarize(work.name, done)


def summarize(name: str, done: dict[str, list[Run]]) -> Row:
    """The medians of each column; ratios are taken inside a round."""
    server, sink = done["server"], done["sink"]
    pairs = list(zip(server, sink, strict=True))
    return Row(
        name=name,
        rate=median(r.rate for r in server),
        cpu=median(r.server_cpu for r in server),
        sink_rate=median(r.rate for r in sink),
        sink_cpu=median(r.server_cpu for r in sink),
        rate_ratio=median(a.rate / b.rate for a, b in pairs),
        cpu_ratio=median(a.server_cpu / max(b.server_cpu, 1e-9) for a, b in pairs),
        p50=median(r.p50 for r in server),
        p99=median(r.p99 for r in server),
        client_cpu=median(r.client_cpu for r in server),
        ceiling=median(r.rate for r in done["null"]),
    )


def fastsmtp(
    home: Path, mode: Any = "one", mailboxes: int = 0
) -> AbstractContextManager[Served]:
    """Our server in the bench profile: limits per client network raised."""
    return serving(Served(home, mode=mode), mailboxes)


def markdown(rows: list[Row], heading: str) -> str:
    lines = [
        heading,
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines)


def facts(directory: Path, options: argparse.Namespace) -> str:
    """The line above a table."""
    return (
        f"{machine.processor()}; {machine.file_system(directory)}; "
        f"{machine.versions()}; smtp-sink of postfix {peers.version()}; client "
        f"{options.client}; mode {options.mode}; {options.rounds} rounds, medians; "
        "limit per client network raised."
    )


def _milliseconds(us: float) -> str:
    return f"{us / 1000:.2f}" if us else "–"


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = arguments.parser("side-by-side", __doc__)
    add = parser.add_argument
    add(
        "workloads",
        nargs="*",
        type=arguments.workload,
        default=list(WORKLOADS),
        help="W1 … W7, default all",
    )
    add("--client", choices=["load", "smtp-source"], default="smtp-source")
    spread = "over so many accounts (only --client load)"
    add("--mailboxes", type=arguments.whole, default=0, help=spread)
    arguments.measured(parser, rounds=3, scale=1.0, mode="one")
    return parser.parse_args(words)


def measure(words: list[str] | None = None) -> str:
    """The table, with the facts above it; `words` as on the command line."""
    options = _options(words)
    with (
        tempfile.TemporaryDirectory(dir=options.directory) as home,
        fastsmtp(Path(home), options.mode, options.mailboxes) as server,
        peers.smtp_sink() as sink,
        peers.null_sink() as null,
    ):
        ours = Target(
            server.port,
            server.pid,
            metrics=server.metrics,
            mailboxes=options.mailboxes,
        )
        targets = {"server": ours, "sink": Target(*sink), "null": Target(*null)}
        rows = []
        for name in options.workloads:
            work = WORKLOADS[name].scaled(options.scale)
            rows.append(compare(options.client, work, targets, options.rounds))
        return markdown(rows, facts(Path(home), options))


def main(words: list[str] | None = None) -> None:
    print(measure(words))
