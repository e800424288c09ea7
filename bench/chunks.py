"""fastsmtp-bench chunks: whether a message costs more as one chunk than behind DATA.

The same workload by BDAT and by DATA, in turn, on one server: W4 has messages of 1 MiB,
W1 those of 4 KiB, where the reply that DATA waits for counts.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from fastsmtp_bench import arguments, machine
from fastsmtp_bench.accounts import serving
from fastsmtp_bench.client import Run, Target, run
from fastsmtp_bench.served import Served
from fastsmtp_bench.workloads import WORKLOADS

COLUMNS = [
    *("", "BDAT /s", "DATA /s", "BDAT / DATA", "CPU µs", "DATA", "BDAT − DATA, µs"),
    *("p50 ms", "DATA"),
]


def row(server: Served, name: str, rounds: int, scale: float) -> list[str]:
    """One workload, after a warm-up."""
    data = Target(server.port, server.pid, metrics=server.metrics)
    chunk = replace(data, chunk=True)
    work = WORKLOADS[name].scaled(scale)
    run("load", work.scaled(0.1), chunk)
    pairs: list[tuple[Run, Run]] = []
    for _ in range(rounds):
        pairs.append((run("load", work, chunk), run("load", work, data)))
    ours, theirs = ([pair[n] for pair in pairs] for n in (0, 1))
    return [
        name,
        f"{median(r.rate for r in ours):,.0f}",
        f"{median(r.rate for r in theirs):,.0f}",
        f"{median(a.rate / b.rate for a, b in pairs):.2f}",
        f"{median(r.server_cpu for r in ours):.1f}",
        f"{median(r.server_cpu for r in theirs):.1f}",
        f"{median(a.server_cpu - b.server_cpu for a, b in pairs):+.1f}",
        f"{median(r.p50 for r in ours) / 1000:.2f}",
        f"{median(r.p50 for r in theirs) / 1000:.2f}",
    ]


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("chunks", __doc__)
    parser.add_argument(
        "workloads", nargs="*", type=arguments.workload, default=["W4", "W1"]
    )
    arguments.measured(parser, rounds=5, scale=1.0, mode="one")
    options = parser.parse_args(words)
    where = machine.file_system(options.directory)
    print(f"{machine.processor()}; {where}; mode {options.mode}.\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * len(COLUMNS))
    with (
        tempfile.TemporaryDirectory(dir=options.directory) as home,
        serving(Served(Path(home), mode=options.mode)) as server,
    ):
        for name in options.workloads:
            cells = row(server, name, options.rounds, options.scale)
            print("| " + " | ".join(cells) + " |", flush=True)
