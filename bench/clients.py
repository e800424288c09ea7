"""fastsmtp-bench clients [W1 W3 …]: what our client costs beside smtp-source.

Both drive the same fastsmtp, and then the null sink, in turn: CPU is that of the client
for each message, the ceiling what it reaches where nothing is done with a message.
"""

import tempfile
from pathlib import Path
from statistics import median
from typing import Final, get_args

from fastsmtp_bench import arguments, machine
from fastsmtp_bench.client import Client, Run, Target, run
from fastsmtp_bench.peers import null_sink
from fastsmtp_bench.side_by_side import fastsmtp
from fastsmtp_bench.workloads import WORKLOADS, Workload

COLUMNS: Final = (
    *("", "load µs", "smtp-source µs", "load / smtp-source"),
    *("ceiling of load", "ceiling of smtp-source"),
)


def rounds(work: Workload, target: Target, count: int) -> dict[Client, list[Run]]:
    """Each client in turn, after a short run."""
    found: dict[Client, list[Run]] = {client: [] for client in get_args(Client)}
    for client in found:
        run(client, work.scaled(0.1), target)
    for _ in range(count):
        for client, runs in found.items():
            runs.append(run(client, work, target))
    return found


def row(work: Workload, server: Target, sink: Target, count: int) -> list[str]:
    done = rounds(work, server, count)
    ours, theirs = done["load"], done["smtp-source"]
    ceilings = rounds(work, sink, count)
    pairs = list(zip(ours, theirs, strict=True))
    return [
        work.name,
        f"{median(r.client_cpu for r in ours):.1f}",
        f"{median(r.client_cpu for r in theirs):.1f}",
        f"{median(a.client_cpu / b.client_cpu for a, b in pairs):.2f}",
        *(f"{median(r.rate for r in runs):,.0f}" for runs in ceilings.values()),
    ]


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("clients", __doc__)
    add = parser.add_argument
    add("workloads", nargs="*", type=arguments.workload, default=["W1", "W3"])
    arguments.measured(parser, rounds=3, scale=0.5)
    options = parser.parse_args(words)
    print(f"{machine.processor()}; {options.rounds} rounds, medians; mode split.\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    where = options.directory.resolve()
    with (
        tempfile.TemporaryDirectory(dir=where, prefix="bench-") as home,
        fastsmtp(Path(home), "split") as server,
        null_sink() as sink,
    ):
        ours = Target(server.port, server.pid, metrics=server.metrics)
        for name in options.workloads:
            work = WORKLOADS[name].scaled(options.scale)
            cells = row(work, ours, Target(*sink), options.rounds)
            print("| " + " | ".join(cells) + " |", flush=True)
