"""fastsmtp-bench soak: hours at a fixed rate, with faults, and the books afterwards.

The load comes in stretches, each into an account of its own. In the middle of each a
fault strikes and is healed: a receiver, the keeper or all of it is killed, the disk is
full, the disk is slow. Then every acknowledged message must be there once; the account
is removed, so that the disk need not hold hours of mail. At the end memory and
descriptors must not have grown, the queue must be empty, and `fastsmtp verify` content.
Clients go on whatever happens; Ctrl-C ends it with what there is. Needs a C compiler,
for the faults of the disk.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError
from typing import Final

from fastsmtp_bench import accounts, arguments, ledger
from fastsmtp_bench.client import Unfinished, settle
from fastsmtp_bench.generator import Failed, Generator, Order
from fastsmtp_bench.interrupt import INTERRUPTED, Interrupt
from fastsmtp_bench.ledger import Balance
from fastsmtp_bench.native import preloaded
from fastsmtp_bench.process import anonymous_bytes, descriptors, tree
from fastsmtp_bench.profiles import PROFILES
from fastsmtp_bench.scraped import Page
from fastsmtp_bench.served import Served
from fastsmtp_bench.watching import role_of

FAULTS: Final = ("none", "kill-receive", "kill-keep", "kill-all", "full", "slow")
SLOW_MS: Final = 200  # that each fdatasync takes
GROWTH: Final = 0.15  # of memory, beside
SPARE_BYTES: Final = 8 << 20
SPARE_DESCRIPTORS: Final = 8
BACK_SECONDS: Final = 30.0  # a server that was killed has to serve again
STORE: Final = '[store]\npin = "1 s"\n'  # what was removed makes room at once


@dataclass(slots=True)
class Stretch:
    """What one part of the soak came to."""

    number: int
    fault: str
    started: int = 0
    acknowledged: int = 0
    refused: int = 0
    broken: int = 0
    p99: float = 0.0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    memory: int = 0
    descriptors: int = 0
    queue: float = 0.0

    def line(self) -> str:
        books = "all there once"
        if self.lost or self.doubled:
            books = f"{len(self.lost)} LOST, {len(self.doubled)} TWICE"
        return (
            f"{self.number:4} {self.fault:13} {self.acknowledged:9,} acknowledged, "
            f"{self.refused:5,} refused, {self.broken:4,} broken, p99 "
            f"{self.p99 * 1e3:7,.0f} ms; {books}; {self.memory / 2**20:.1f} MiB, "
            f"{self.descriptors} descriptors, queue {self.queue:,.0f}"
        )


class Soak:
    """A server under load, and what is done to it."""

    def __init__(
        self, home: Path, options: argparse.Namespace, interrupt: Interrupt
    ) -> None:
        self.home, self.options, self.interrupt = home, options, interrupt
        self.control = home / "trouble"
        self.control.write_text("")
        extra = {
            "LD_PRELOAD": str(preloaded("trouble")),
            "TROUBLE_PATH": str((home / "data").resolve()),
            "TROUBLE_CONTROL": str(self.control),
        }
        self.server = Served(home, mode="split", more=STORE, extra=extra)
        self.server.configure()

    # -- faults ----------------------------------------------------------------------

    def strike(self, fault: str) -> None:
        if fault.startswith("kill"):
            {"kill-all": self.kill_all}.get(fault, lambda: self.kill(fault[5:]))()
        elif fault == "full":
            self.control.write_text("full")
        elif fault == "slow":
            self.control.write_text(f"slow {SLOW_MS}")

    def kill(self, role: str) -> None:
        for pid in tree(self.server.pid):
            if role_of(pid) == role:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        self.server.kill()
        self.server.start(BACK_SECONDS)

    def heal(self) -> None:
        self.control.write_text("")

    def around(self, fault: str, seconds: float, over: threading.Event) -> None:
        """Strikes after a third of a stretch, heals after another."""
        if over.wait(seconds / 3):
            return
        self.strike(fault)
        over.wait(seconds / 3)
        self.heal()

    # -- stretches -------------------------------------------------------------------

    def stretch(self, number: int, fault: str) -> Stretch:
        """Raises Failed, Unfinished."""
        account = f"s{number}@{accounts.DOMAIN}"
        self.until_served()
        accounts.make(self.server.configuration, [account])
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            found = self.load(Stretch(number, fault), Path(folder))
            self.until_served()
            settle(self.server.metrics)
            acked = ledger.acknowledged(Path(folder))
        there = ledger.in_mailboxes(self.server.configuration, [account])
        balance: Balance = ledger.settle(acked, there, 1)
        found.lost, found.doubled = balance.lost, balance.doubled
        self.server.command("user", "remove", "--yes", account)
        self.weigh(found)
        return found

    def load(self, found: Stretch, folder: Path) -> Stretch:
        order = Order(
            profile=PROFILES[self.options.profile],
            port=self.server.port,
            recipient=f"s{found.number}",
            rate=self.options.rate,
            seconds=self.options.stretch,
            tolerant=True,
            tag=f"s{found.number}-",
            acked=folder,
        )
        over = threading.Event()
        told = (found.fault, self.options.stretch, over)
        trouble = threading.Thread(target=self.around, args=told)
        trouble.start()
        generator = Generator(order)
        try:
            with self.interrupt.ends(generator.stop):
                total = generator.run().total
        finally:
            over.set()
            trouble.join()
        counts = total.counts
        found.started, found.acknowledged = counts["started"], counts["acknowledged"]
        found.refused, found.broken = counts["refused"], counts["broken"]
        found.p99 = total.whole.quantile(0.99)
        return found

    def until_served(self) -> None:
        """Raises Failed when it does not come back."""
        end = time.monotonic() + BACK_SECONDS
        while not (self.server.greets() and self.server.ready()):
            if time.monotonic() > end:
                raise Failed("the server does not serve again")
            time.sleep(0.05)

    def weigh(self, found: Stretch) -> None:
        page = Page.fetch(self.server.metrics)
        found.queue = page.total("fastsmtp_queue_messages")
        found.memory = anonymous_bytes(self.server.pid)
        found.descriptors = descriptors(self.server.pid)


def faults(words: str) -> list[str]:
    """Raises argparse.ArgumentTypeError."""
    found = words.split(",")
    for word in found:
        if word not in FAULTS:
            raise argparse.ArgumentTypeError(
                f"{word} is not one of {', '.join(FAULTS)}"
            )
    return found


def grown(before: list[int], after: list[int], part: float, spare: int) -> bool:
    """Whether the median is larger than it may be."""
    return median(after) > median(before) * (1 + part) + spare


def judge(stretches: list[Stretch]) -> list[str]:
    """What is wrong; nothing when all is well. The first stretch warms up."""
    wrong = []
    for name in ("lost", "doubled"):
        count = sum(len(getattr(s, name)) for s in stretches)
        if count:
            wrong.append(f"{count:,} messages {name}")
    if left := stretches[-1].queue:
        wrong.append(f"{left:,.0f} messages left in the queue")
    warm = stretches[1:]
    quarter = max(1, len(warm) // 4)
    if len(warm) >= 2:
        memory = [s.memory for s in warm]
        if grown(memory[:quarter], memory[-quarter:], GROWTH, SPARE_BYTES):
            first, last = memory[0] / 2**20, memory[-1] / 2**20
            wrong.append(f"memory grew from {first:.1f} to {last:.1f} MiB")
        files = [s.descriptors for s in warm]
        if grown(files[:quarter], files[-quarter:], 0.0, SPARE_DESCRIPTORS):
            wrong.append(f"descriptors grew from {files[0]} to {files[-1]}")
    return wrong


def sentence(stretches: list[Stretch], seconds: float, wrong: list[str]) -> str:
    first, last = stretches[0], stretches[-1]
    acknowledged = sum(s.acknowledged for s in stretches)
    struck = sum(s.fault != "none" for s in stretches)
    mib = [f"{s.memory / 2**20:.1f}" for s in (first, last)]
    text = (
        f"soaked {seconds / 60:,.1f} minutes, {struck} faults, {acknowledged:,} "
        f"messages acknowledged; memory {mib[0]} to {mib[1]} MiB, "
        f"descriptors {first.descriptors} to {last.descriptors}"
    )
    return f"{text}: " + ("; ".join(wrong) if wrong else "nothing lost, nothing twice")


def perform(
    soak: Soak, options: argparse.Namespace, tell: Callable[[str], None]
) -> tuple[list[Stretch], float]:
    """Until the time is over, or Ctrl-C. Raises Failed, Unfinished, RuntimeError."""
    seconds = options.seconds or options.hours * 3600
    stretches: list[Stretch] = []
    began = time.monotonic()
    soak.server.start()
    try:
        while not (stretches and time.monotonic() - began >= seconds):
            if soak.interrupt.told:
                break
            fault = options.faults[len(stretches) % len(options.faults)]
            stretches.append(soak.stretch(len(stretches) + 1, fault))
            tell(stretches[-1].line())
    finally:
        soak.heal()
        soak.server.stop()
    soak.server.command("verify")
    return stretches, time.monotonic() - began


def options_of(words: list[str] | None) -> argparse.Namespace:
    parser = arguments.parser("soak", __doc__)
    add, positive = parser.add_argument, arguments.positive
    add("--hours", type=positive, default=1.0)
    add("--seconds", type=positive, help="instead of --hours")
    add("--rate", type=positive, default=500.0, help="messages/s")
    add("--stretch", type=positive, default=60.0, help="seconds of each")
    plain = [p.name for p in PROFILES.values() if not (p.auth or p.lmtp or p.mailboxes)]
    add("--profile", choices=plain, default="W1")
    known = ",".join(FAULTS)
    add("--faults", type=faults, default=list(FAULTS), help=f"in turn, of {known}")
    add("--directory", type=arguments.folder, default=".", help="where the mail is")
    report = Path("soak-report.json")
    add("--output", type=arguments.beside, default=report, metavar="FILE")
    return parser.parse_args(words)


def complain(what: object) -> None:
    sys.stderr.write(f"fastsmtp-bench soak: {what}\n")


def main(words: list[str] | None = None) -> int:
    options = options_of(words)
    where = options.directory.resolve()
    with (
        tempfile.TemporaryDirectory(dir=where, prefix="soak-") as home,
        Interrupt() as interrupt,
    ):
        try:
            soak = Soak(Path(home), options, interrupt)
            accounts.make(soak.server.configuration, [f"user@{accounts.DOMAIN}"])
            stretches, took = perform(
                soak, options, lambda line: print(line, flush=True)
            )
        except (Failed, Unfinished, RuntimeError, OSError, CalledProcessError) as why:
            complain(why)
            return 2
    if not stretches:
        complain("interrupted before anything was measured")
        return INTERRUPTED
    wrong = judge(stretches)
    said = sentence(stretches, took, wrong)
    print(said)
    found = {"sentence": said, "stretches": [asdict(s) for s in stretches]}
    try:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    except OSError as why:
        complain(f"the report is not written: {why}")
        return 2
    if wrong:
        return 1
    return INTERRUPTED if interrupt.told else 0
