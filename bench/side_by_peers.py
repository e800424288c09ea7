"""fastsmtp-bench peers [W1 W3 …]: the same load on other servers, in turn, in one run.

Every server gets a private configuration in a folder that goes away; all run at the
same time and are loaded one after the other, round by round, by our own client. A rate
counts until the last message is where it belongs; CPU is that of all processes of the
server. --page writes the table and the plots into docs/performance.md and docs/images.

What cannot be had here is named with the reason. Wants root for Postfix, Exim, Dovecot.
"""

import argparse
import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from fastsmtp_bench import arguments, machine, plots
from fastsmtp_bench.client import Unfinished
from fastsmtp_bench.native import program
from fastsmtp_bench.peers import Unavailable, null_sink
from fastsmtp_bench.process import cpu_seconds
from fastsmtp_bench.rivals import RIVALS, Rival, Running, smtp_sink
from fastsmtp_bench.verdict import GENERATOR
from fastsmtp_bench.workloads import WORKLOADS

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN: Final = "<!-- peers: fastsmtp-bench peers --page -->"
END: Final = "<!-- end of peers -->"
SINK: Final = "smtp-sink"
NULL: Final = Rival("null sink", "receive", "no, discards", smtp_sink)


@dataclass(frozen=True, slots=True)
class Once:
    """One load: messages/s until all is done, server CPU µs per message, p99 in ms."""

    rate: float
    cpu: float
    p99: float


def load(rival: Rival, running: Running, workload: str, seconds: float) -> Once:
    """Raises Unfinished."""
    work = WORKLOADS[workload]
    words = ["--port", str(running.port), "--sessions", str(work.sessions)]
    words += ["--size", str(work.size), "--recipients", str(work.recipients)]
    words += ["--to", rival.to]
    words += [] if work.persistent else ["--per-connection"]
    words += ["--lmtp"] if rival.kind == "lmtp" else []
    before, began = cpu_seconds(running.pid), time.perf_counter()
    done = subprocess.run(
        [program("load"), *words, "--seconds", str(seconds), "--tolerant"],
        capture_output=True,
        timeout=seconds + 120,
    )
    if not done.stdout:
        raise Unfinished(f"{rival.name}: {done.stderr.decode(errors='replace')}")
    running.settle()
    took = time.perf_counter() - began
    said = json.loads(done.stdout)
    count = said["acknowledged"]
    if not count or said["refused"] > count / 100:
        raise Unfinished(f"{rival.name} refused: {said['first_error']}")
    spent = cpu_seconds(running.pid) - before
    return Once(count / took, spent / count * 1e6, said["whole_us"]["p99"] / 1000)


class Contest:
    """Servers that run, and what they reached."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running: dict[str, tuple[Rival, Running]] = {}
        self.found: dict[tuple[str, str], list[Once]] = {}
        self.absent: dict[str, str] = {}

    def enter(self, rival: Rival, home: Path, stack: ExitStack) -> None:
        """Starts one, or notes why it cannot."""
        home.mkdir()
        try:
            running = stack.enter_context(rival.start(home))
            load(rival, running, "W1", 0.5)
        except (Unavailable, Unfinished, OSError, RuntimeError) as why:
            self.absent[rival.name] = str(why).split("\n")[0][:120]
            return
        self.running[rival.name] = rival, running

    def go(self, workload: str) -> None:
        """One round of one workload, the null sink first."""
        with null_sink() as (port, pid):
            self.measure(NULL, Running(port, pid), workload)
        for rival, running in self.running.values():
            self.measure(rival, running, workload)

    def measure(self, rival: Rival, running: Running, workload: str) -> None:
        """One load, or why there is none."""
        try:
            once = load(rival, running, workload, self.seconds)
        except (Unfinished, OSError) as why:
            self.absent[f"{rival.name}, {workload}"] = str(why)[:120]
            return
        self.found.setdefault((rival.name, workload), []).append(once)
        print(f"{workload} {rival.name:22} {once.rate:10,.0f} messages/s", flush=True)

    def rate(self, name: str, workload: str) -> float:
        runs = self.found.get((name, workload), [])
        return median(r.rate for r in runs) if runs else 0.0

    def table(self, workloads: list[str]) -> str:
        head = ["", "durable before 250"]
        for workload in workloads:
            head += [f"{workload} /s", "/ sink", "CPU µs", "p99 ms"]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for name, (rival, _) in self.running.items():
            cells = [name, rival.durable]
            for workload in workloads:
                cells += self.cells(name, workload)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def cells(self, name: str, workload: str) -> list[str]:
        runs = self.found.get((name, workload))
        if not runs:
            return ["–"] * 4
        rate, sink = self.rate(name, workload), self.rate(SINK, workload)
        mark = " †" if self.limited(name, workload) else ""
        return [
            f"{rate:,.0f}{mark}",
            f"{rate / sink:.2f}" if sink else "–",
            f"{median(r.cpu for r in runs):,.0f}",
            f"{median(r.p99 for r in runs):,.1f}",
        ]

    def limited(self, name: str, workload: str) -> bool:
        """Whether it says more about the client than about the server."""
        ceiling = self.rate(NULL.name, workload)
        return bool(ceiling) and self.rate(name, workload) > GENERATOR * ceiling

    def notes(self, workloads: list[str]) -> list[str]:
        """What stands below the table."""
        found = []
        if any(self.limited(n, w) for n in self.running for w in workloads):
            found.append("†: limited by the generator, above 80 % of its ceiling.")
        found += [f"Not measured: {n}: {why}" for n, why in self.absent.items()]
        return found

    def picture(self, workload: str) -> str:
        """An SVG file of one workload, the fastest first."""
        rows = [
            (name, self.rate(name, workload), rival.durable.startswith("yes"))
            for name, (rival, _) in self.running.items()
            if self.rate(name, workload)
        ]
        rows.sort(key=lambda row: -row[1])
        return plots.ranking(f"{workload}, messages/s", rows)


def facts(contest: Contest, directory: Path, options: argparse.Namespace) -> str:
    ceilings = [
        f"{contest.rate(NULL.name, workload):,.0f} at {workload}"
        for workload in options.workloads
    ]
    return (
        f"{machine.processor()}; {machine.file_system(directory)}; "
        f"{machine.versions()}; client load, {options.rounds} × {options.seconds:g} s "
        f"each, medians; its ceiling against the null sink is "
        f"{', '.join(ceilings)} messages/s."
    )


def place(page: str, figures: str) -> str:
    """The page with these figures between its marks. Raises ValueError without them."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{figures.strip()}\n\n{END}{after}"


def options_of(words: list[str] | None) -> argparse.Namespace:
    parser = arguments.parser("peers", __doc__)
    add = parser.add_argument
    add("workloads", nargs="*", type=arguments.workload, default=["W1", "W3"])
    add("--only", nargs="+", metavar="NAME", help="parts of their names")
    add("--rounds", type=arguments.count, default=3)
    add("--seconds", type=arguments.positive, default=3.0, help="of each load")
    add("--directory", type=arguments.folder, default=".", help="of the mail")
    add("--page", action="store_true", help="write into docs/performance.md")
    options = parser.parse_args(words)
    options.rivals = [
        rival
        for rival in RIVALS
        if not options.only or any(part in rival.name for part in options.only)
    ]
    if not options.rivals:
        parser.error(f"there are only {', '.join(rival.name for rival in RIVALS)}")
    if options.page and not PAGE.exists():
        parser.error("--page wants a checkout: there is no docs/performance.md")
    return options


def main(words: list[str] | None = None) -> int:
    options = options_of(words)
    contest = Contest(options.seconds)
    where = options.directory.resolve()
    with (
        tempfile.TemporaryDirectory(dir=where, prefix="p-") as home,
        ExitStack() as stack,
    ):
        Path(home).chmod(0o755)  # several of them have users of their own
        for number, rival in enumerate(options.rivals):
            contest.enter(rival, Path(home) / str(number), stack)
        for workload in options.workloads:
            for _ in range(options.rounds):
                contest.go(workload)
        table = contest.table(options.workloads)
        parts = [facts(contest, Path(home), options), table]
        text = "\n\n".join(parts + contest.notes(options.workloads))
        print("\n" + text, flush=True)
        if options.page:
            write(contest, options.workloads, text)
    return 0 if contest.running else 1


def write(contest: Contest, workloads: list[str], text: str) -> None:
    images = PAGE.parent / "images"
    images.mkdir(exist_ok=True)
    for workload in workloads:
        (images / f"peers-{workload}.svg").write_text(contest.picture(workload))
        text += f"\n\n![{workload}](images/peers-{workload}.svg)"
    PAGE.write_text(place(PAGE.read_text(), text))
