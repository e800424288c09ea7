"""fastsmtp-bench scaling: what each process form reaches, and which thread pays.

One process; a receiver and a keeper; two receivers and a keeper: the same workload on
each in turn, smtp-sink beside them. What a thread used is read from /proc: for
the loop of receivers (sessions, sockets), their flushers (write, fdatasync), and the
keeper (index). The kernel's own threads and the client are in none of them.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, Literal

from fastsmtp_bench import arguments, machine, peers
from fastsmtp_bench.accounts import serving
from fastsmtp_bench.client import Client, Run, Target, run
from fastsmtp_bench.process import thread_seconds
from fastsmtp_bench.served import Served
from fastsmtp_bench.workloads import WORKLOADS, Workload

PARTS: Final = ("loop", "flusher", "keeper", "rest")
COLUMNS: Final = ("", "processes", "messages/s", "rate / sink", "CPU µs", *PARTS)


@dataclass(frozen=True, slots=True)
class Form:
    """How the roles are spread over processes."""

    name: str
    mode: Literal["one", "split"]
    receivers: int = 1


FORMS: Final = (
    Form("one", "one"),
    Form("receiver + keeper", "split"),
    Form("2 receivers + keeper", "split", 2),
)


def formed(home: Path, form: Form) -> Served:
    """Our server in this form, in the bench profile."""
    extra = {"FASTSMTP_PROCESSES__RECEIVERS": str(form.receivers)}
    server = Served(home / form.name, mode=form.mode, extra=extra)
    server.home.mkdir()
    return server


def part_of(role: str, thread: str) -> str:
    """The part that a thread of a process belongs to; a supervisor's loop is idle."""
    if role == "keep":
        return "keeper"
    return {"main": "loop", "log flusher": "flusher"}.get(thread, "rest")


def parts(pid: int) -> Counter[str]:
    """Seconds of processor time so far, by part."""
    spent: Counter[str] = Counter()
    for (role, thread), seconds in thread_seconds(pid).items():
        spent[part_of(role, thread)] += seconds
    return spent


def measured(
    client: Client, work: Workload, target: Target
) -> tuple[Run, dict[str, float]]:
    """A run, and microseconds per message of each part."""
    before = parts(target.pid)
    done = run(client, work, target)
    after = parts(target.pid)
    return done, {p: (after[p] - before[p]) / work.messages * 1e6 for p in PARTS}


def table(directory: Path, options: argparse.Namespace) -> Iterator[str]:
    yield f"{machine.processor()}; {machine.file_system(directory)}; {options.client}."
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    with ExitStack() as stack:
        servers = {
            form: stack.enter_context(serving(formed(directory, form)))
            for form in FORMS
        }
        sink = Target(*stack.enter_context(peers.smtp_sink()))
        for name in options.workloads:
            yield from rows(
                WORKLOADS[name].scaled(options.scale), servers, sink, options
            )


def rows(
    work: Workload,
    servers: dict[Form, Served],
    sink: Target,
    options: argparse.Namespace,
) -> Iterator[str]:
    """One workload: medians of rounds in which all forms and the sink take turns."""
    targets = {f: Target(s.port, s.pid, metrics=s.metrics) for f, s in servers.items()}
    found: dict[Form, list[tuple[Run, dict[str, float], float]]] = {
        f: [] for f in FORMS
    }
    for target in targets.values():
        run(options.client, work.scaled(0.1), target)
    for _ in range(options.rounds):
        floor = run(options.client, work, sink).rate
        for form, target in targets.items():
            done, spent = measured(options.client, work, target)
            found[form].append((done, spent, done.rate / floor))
    for form, runs in found.items():
        cells = [
            *(work.name, form.name, f"{median(r.rate for r, _, _ in runs):,.0f}"),
            f"{median(ratio for _, _, ratio in runs):.2f}",
            f"{median(r.server_cpu for r, _, _ in runs):.1f}",
            *(f"{median(spent[p] for _, spent, _ in runs):.1f}" for p in PARTS),
        ]
        yield "| " + " | ".join(cells) + " |"


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("scaling", __doc__)
    add = parser.add_argument
    add("workloads", nargs="*", type=arguments.workload, default=["W1", "W3"])
    add("--client", choices=["load", "smtp-source"], default="smtp-source")
    arguments.measured(parser, rounds=3, scale=0.5)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.directory.resolve()) as home:
        for line in table(Path(home), options):
            print(line, flush=True)
