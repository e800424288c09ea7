"""fastsmtp-bench peers [W1 W3 …]: the same load on other servers, in turn, in one run.

Every server gets a private configuration in a folder that goes away; all run at the
same time and are loaded one after the other, round by round, by our own client. A rate
counts until the last message is where it belongs, and the messages there are counted;
CPU is that of all processes of the server. --page writes the table and the plots into
docs/performance.md and docs/images.

One that fails, hangs or loses a message is said to in the table, and the others go on.
What cannot be had here is named with the reason. Postfix, Exim, OpenSMTPD and Dovecot
want root. Ctrl-C ends it with a table of what there is.
"""

import argparse
import json
import os
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
from fastsmtp_bench.interrupt import INTERRUPTED
from fastsmtp_bench.native import program
from fastsmtp_bench.peers import Unavailable, null_sink
from fastsmtp_bench.process import cpu_seconds
from fastsmtp_bench.rivals import PATIENCE, RIVALS, Rival, Running, smtp_sink
from fastsmtp_bench.verdict import GENERATOR
from fastsmtp_bench.workloads import WORKLOADS

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN: Final = "<!-- peers: fastsmtp-bench peers --page -->"
END: Final = "<!-- end of peers -->"
SINK: Final = "smtp-sink"
NULL: Final = Rival("null sink", "receive", "no, discards", smtp_sink)
WARM_UP: Final = "W1", 0.5  # seconds
REPLY_SECONDS: Final = 10.0  # without any reply: it hangs
HUNG: Final = 3  # what load exits with then
BESIDE: Final = 2.0  # seconds: to start a server, and beside each load


@dataclass(frozen=True, slots=True)
class Once:
    """One load: messages/s until all is done, server CPU µs per message, p99 in ms."""

    rate: float
    cpu: float
    p99: float


def load(rival: Rival, running: Running, workload: str, seconds: float) -> Once:
    """Raises Unfinished, OSError."""
    work = WORKLOADS[workload]
    words = ["--port", str(running.port), "--sessions", str(work.sessions)]
    words += ["--size", str(work.size), "--recipients", str(work.recipients)]
    words += ["--to", rival.to]
    words += [] if work.persistent else ["--per-connection"]
    words += ["--lmtp"] if rival.kind == "lmtp" else []
    words += ["--timeout", str(REPLY_SECONDS), "--seconds", str(seconds)]
    os.sync()  # what the one before has left to write is not this one's
    there = running.arrived() if running.arrived else 0
    before, began = cpu_seconds(running.pid), time.perf_counter()
    done = subprocess.run(
        [program("load"), *words, "--tolerant"],
        capture_output=True,
        timeout=seconds + PATIENCE,
    )
    if not done.stdout:
        raise Unfinished(done.stderr.decode(errors="replace"))
    said = json.loads(done.stdout)
    count = said["acknowledged"]
    if done.returncode == HUNG:
        raise Unfinished(f"no reply for {REPLY_SECONDS:g} s, after {count:,} messages")
    running.settle()
    took = time.perf_counter() - began
    spent = cpu_seconds(running.pid) - before
    refused, first = said["refused"], said["first_error"]
    if not count:
        raise Unfinished(f"took no message: {first or 'it says nothing'}")
    if refused > count / 100:
        raise Unfinished(f"acknowledged {count:,}, {refused:,} not: {first}")
    arrived = running.arrived() - there if running.arrived else count
    if arrived < count:
        raise Unfinished(f"acknowledged {count:,}, of which {arrived:,} are there")
    return Once(count / took, spent / count * 1e6, said["whole_us"]["p99"] / 1000)


class Contest:
    """Servers, and what they reached.

    seconds   of each load
    until     monotonic clock: no load begins after it
    running   those that started
    found     (name, workload) -> rounds; all that follow are left out after a failure
    failed    (name, workload), or (name, "") of one that did not start -> why
    absent    name -> why it cannot be had here
    """

    def __init__(self, seconds: float, until: float = float("inf")) -> None:
        self.seconds, self.until = seconds, until
        self.rivals: list[Rival] = []
        self.running: dict[str, tuple[Rival, Running]] = {}
        self.found: dict[tuple[str, str], list[Once]] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.absent: dict[str, str] = {}
        self.cut = ""  # why there are fewer rounds than were asked for

    def enter(self, rival: Rival, home: Path, stack: ExitStack) -> None:
        """Starts one, or notes why it cannot."""
        self.rivals.append(rival)
        if time.monotonic() > self.until:
            self.absent[rival.name] = "no time was left"
            return
        own = ExitStack()
        stack.callback(self.leave, rival, own)
        try:
            home.mkdir()
            running = own.enter_context(rival.start(home))
            load(rival, running, *WARM_UP)
        except Unavailable as why:
            self.absent[rival.name] = brief(why)
            self.leave(rival, own)
            return
        except Exception as why:
            self.failed[rival.name, ""] = brief(why)
            self.leave(rival, own)
            return
        self.running[rival.name] = rival, running

    @staticmethod
    def leave(rival: Rival, own: ExitStack) -> None:
        """Ends one; whatever that brings, the others are ended too."""
        try:
            own.close()
        except Exception as why:
            print(f"{rival.name} ended badly: {brief(why)}", flush=True)

    def rounds(self, workloads: list[str], count: int) -> None:
        """All of them, or fewer when the time is over: then `cut` says so."""
        for number in range(count):
            for workload in workloads:
                self.go(workload)
            if time.monotonic() > self.until:
                if number + 1 < count:
                    self.cut = f"the time was over in round {number + 1} of {count}"
                return

    def go(self, workload: str) -> None:
        """One round of one workload, the null sink first."""
        with null_sink() as (port, pid):
            self.measure(NULL, Running(port, pid), workload)
        for rival, running in self.running.values():
            self.measure(rival, running, workload)

    def measure(self, rival: Rival, running: Running, workload: str) -> None:
        """One load, or why there is none."""
        key = rival.name, workload
        if key in self.failed or time.monotonic() > self.until:
            return
        try:
            once = load(rival, running, workload, self.seconds)
        except Exception as why:
            self.failed[key] = brief(why)
            print(f"{workload} {rival.name:22} failed: {brief(why)}", flush=True)
            return
        self.found.setdefault(key, []).append(once)
        print(f"{workload} {rival.name:22} {once.rate:10,.0f} messages/s", flush=True)

    def rate(self, name: str, workload: str) -> float:
        runs = self.found.get((name, workload), [])
        return median(r.rate for r in runs) if runs else 0.0

    def table(self, workloads: list[str]) -> str:
        head = ["", "durable before 250"]
        for workload in workloads:
            head += [f"{workload} /s", "/ sink", "CPU µs", "p99 ms"]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for rival in self.rivals:
            cells = [rival.name, rival.durable]
            for workload in workloads:
                cells += self.cells(rival.name, workload)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def cells(self, name: str, workload: str) -> list[str]:
        runs = self.found.get((name, workload))
        if name in self.absent:
            return ["not here", *["–"] * 3]
        # what it reached in rounds before would flatter it
        if not self.failed.keys().isdisjoint({(name, ""), (name, workload)}):
            return ["failed", *["–"] * 3]
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
        for (name, workload), why in self.failed.items():
            what = f"{name}, {workload}" if workload else f"{name}, at its start"
            found.append(f"Failed: {what}: {why}.")
        found += [f"Not here: {name}: {why}." for name, why in self.absent.items()]
        return found + ([f"Shorter than it was to be: {self.cut}."] if self.cut else [])

    def picture(self, workload: str) -> str:
        """An SVG file of one workload, the fastest first."""
        rows = [
            (name, self.rate(name, workload), rival.durable.startswith("yes"))
            for name, (rival, _) in self.running.items()
            if self.rate(name, workload) and (name, workload) not in self.failed
        ]
        rows.sort(key=lambda row: -row[1])
        return plots.ranking(f"{workload}, messages/s", rows)


def brief(why: Exception) -> str:
    """Its first line, for a table."""
    if isinstance(why, subprocess.TimeoutExpired):
        return f"did not end within {why.timeout:g} s"
    return (str(why).strip() or type(why).__name__).split("\n")[0].strip(".")[:120]


def facts(contest: Contest, directory: Path, options: argparse.Namespace) -> str:
    ceilings = [
        f"{contest.rate(NULL.name, workload):,.0f} at {workload}"
        for workload in options.workloads
    ]
    rounds = min(map(len, contest.found.values()), default=0)
    return (
        f"{machine.processor()}; {machine.file_system(directory)}; "
        f"{machine.versions()}; client load, {rounds} × {options.seconds:g} s "
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
    add("--minutes", type=arguments.positive, default=15.0, help="no load after them")
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


def lasts(options: argparse.Namespace) -> str:
    """How long it takes: usually, and at most."""
    servers = len(options.rivals)
    loads = len(options.workloads) * options.rounds * (servers + 1)
    usual = servers * (BESIDE + WARM_UP[1]) + loads * (options.seconds + BESIDE)
    most = options.minutes * 60 + options.seconds + 3 * PATIENCE
    return (
        f"{servers} servers, {options.rounds} × {options.seconds:g} s of "
        f"{', '.join(options.workloads)} each: about {minutes(min(usual, most))}, at "
        f"most {minutes(most)}"
    )


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes"


def main(words: list[str] | None = None) -> int:
    options = options_of(words)
    print(lasts(options), flush=True)
    contest = Contest(options.seconds, time.monotonic() + options.minutes * 60)
    where = options.directory.resolve()
    interrupted = False
    with (
        tempfile.TemporaryDirectory(dir=where, prefix="p-") as home,
        ExitStack() as stack,
    ):
        Path(home).chmod(0o755)  # several of them have users of their own
        try:
            for number, rival in enumerate(options.rivals):
                contest.enter(rival, Path(home) / str(number), stack)
            contest.rounds(options.workloads, options.rounds)
        except KeyboardInterrupt:
            interrupted, contest.cut = True, "it was interrupted"
        parts = [facts(contest, Path(home), options), contest.table(options.workloads)]
        text = "\n\n".join(parts + contest.notes(options.workloads))
        print("\n" + text, flush=True)
    if interrupted:
        return INTERRUPTED
    if options.page:
        write(contest, options.workloads, text)
    return 0 if contest.found and not contest.failed else 1


def write(contest: Contest, workloads: list[str], text: str) -> None:
    images = PAGE.parent / "images"
    images.mkdir(exist_ok=True)
    for workload in workloads:
        (images / f"peers-{workload}.svg").write_text(contest.picture(workload))
        text += f"\n\n![{workload}](images/peers-{workload}.svg)"
    PAGE.write_text(place(PAGE.read_text(), text))
