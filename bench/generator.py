"""Runs load.c in one process or several, and adds up what they tell as it comes."""

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fastsmtp_bench.histogram import Histogram
from fastsmtp_bench.native import program
from fastsmtp_bench.profiles import Profile

COUNTS = ("started", "acknowledged", "refused", "broken")


class Failed(Exception):
    """A generator could not do its work; says why."""


@dataclass(slots=True)
class Slice:
    """What came in one interval, of all processes.

    at        seconds since the begin, at its end
    behind    messages that were due and had no session at its end (open loop)
    cpu       seconds of the generator in it
    """

    at: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    behind: int = 0
    cpu: float = 0.0
    waited: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the generator is to do.

    port       of a server at `host`; loopback, or with `remote` a private address
    rate       messages/s, open loop; 0: closed loop
    seconds    how long, or `messages`: how many
    acked      folder for the ids of acknowledged messages
    logins     (address, password) of users
    """

    profile: Profile
    port: int
    host: str = "127.0.0.1"
    remote: bool = False
    recipient: str = "user"
    domain: str = "example.test"
    sender: str = "load@sender.example"
    rate: float = 0.0
    seconds: float = 0.0
    messages: int = 0
    processes: int = 1
    tolerant: bool = False
    tag: str = ""
    acked: Path | None = None
    logins: tuple[tuple[str, str], ...] = ()
    interval: float = 0.5

    def command(self, number: int, logins: str) -> list[str]:
        """Of process `number`: its share of sessions, rate and messages."""
        count, of = self.processes, self.profile

        def share(whole: int) -> int:
            return whole // count + (number < whole % count)

        words = [str(program("load")), "--port", str(self.port), "--host", self.host]
        words += ["--to", f"{self.recipient}@{self.domain}", "--from", self.sender]
        words += ["--tag", f"{self.tag}{number}-", *of.arguments()]
        words += ["--sessions", str(max(1, share(of.sessions)))]
        words += ["--interval", str(self.interval), "--seed", str(number + 1)]
        words += ["--rate", str(self.rate / count)] if self.rate else []
        words += ["--seconds", str(self.seconds)] if self.seconds else []
        words += (
            ["--messages", str(max(1, share(self.messages)))] if self.messages else []
        )
        words += ["--tolerant"] if self.tolerant else []
        words += ["--remote"] if self.remote else []
        words += ["--logins", logins] if logins else []
        if self.acked:
            words += ["--acked", str(self.acked / f"acked-{self.tag}{number}")]
        return words


@dataclass(slots=True)
class Outcome:
    """A whole run: its slices, and all of it together."""

    slices: list[Slice]
    total: Slice
    seconds: float  # from the first connection to the last acknowledgement
    errors: list[str]

    @property
    def rate(self) -> float:
        """Acknowledged messages a second."""
        return self.total.counts["acknowledged"] / max(self.seconds, 1e-9)


class Generator:
    """Processes of load.c that run."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._logins = tempfile.NamedTemporaryFile("w")  # noqa: SIM115  closed by run()
        self._logins.writelines(f"{who} {word}\n" for who, word in order.logins)
        self._logins.flush()
        name = self._logins.name if order.logins else ""
        self.processes = [
            subprocess.Popen(
                order.command(number, name),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(order.processes)
        ]
        self._said: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(n, p.stdout), daemon=True)
            for n, p in enumerate(self.processes)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def _read(self, number: int, lines: IO[str]) -> None:
        for line in lines:
            self._said.put((number, json.loads(line)))
        self._said.put((number, None))

    def stop(self) -> None:
        """Ends it early; what it knows by then is in the outcome."""
        for process in self.processes:
            process.terminate()

    def run(self, tell: Callable[[Slice], None] = lambda _: None) -> Outcome:
        """Returns when all have ended; `tell` hears of each interval. Raises Failed."""
        slices: list[Slice] = []
        reports: list[dict[str, Any]] = []
        try:
            for found in self._slices(reports):
                slices.append(found)
                tell(found)
        except BaseException:
            for process in self.processes:
                process.kill()
            raise
        finally:
            self._end()
        self._complain(reports)
        total = Slice(at=slices[-1].at if slices else 0.0)
        for one in slices:
            add(total, one)
        seconds = max(report["seconds"] for report in reports)
        errors = [r["first_error"] for r in reports if r["first_error"]]
        return Outcome(slices, total, seconds, errors)

    def _slices(self, reports: list[dict[str, Any]]) -> Iterator[Slice]:
        """A slice for each round of intervals; what comes last is one of its own."""
        waiting: dict[int, list[dict[str, Any]]] = {n: [] for n in self._numbers()}
        before: dict[int, dict[str, Any]] = {}
        alive = set(waiting)
        while alive:
            number, line = self._said.get()
            if line is None:
                alive.discard(number)
            elif "at" in line:
                waiting[number].append(line)
            else:
                reports.append(line)
            while alive and all(waiting[n] for n in alive):
                yield self._joined(waiting, before)
        while any(waiting.values()):
            yield self._joined(waiting, before)

    def _numbers(self) -> range:
        return range(len(self.processes))

    @staticmethod
    def _joined(
        waiting: dict[int, list[dict[str, Any]]], before: dict[int, dict[str, Any]]
    ) -> Slice:
        made = Slice()
        for number, lines in waiting.items():
            if not lines:
                continue
            line = lines.pop(0)
            last = before.get(number, {})
            before[number] = line
            made.at = max(made.at, line["at"])
            made.behind += line["behind"]
            made.cpu += line["cpu_seconds"] - last.get("cpu_seconds", 0.0)
            for name in COUNTS:
                made.counts[name] += line[name] - last.get(name, 0)
            made.replies.update(line["replies"])
            made.replies.subtract(last.get("replies", {}))
            made.waited.add(line["waited"])
            made.whole.add(line["whole"])
        return made

    def _end(self) -> None:
        for process in self.processes:
            process.wait()
        for reader in self._readers:
            reader.join()
        self._logins.close()

    def _complain(self, reports: list[dict[str, Any]]) -> None:
        """Raises Failed when one ended early or was used badly."""
        said = []
        for process in self.processes:
            assert process.stdout
            assert process.stderr
            said.append(process.stderr.read().strip())
            process.stderr.close()
            process.stdout.close()
        codes = [process.returncode for process in self.processes]
        if len(reports) < len(self.processes) or any(code == 2 for code in codes):
            raise Failed(f"the generator ended with {codes}: {' '.join(said)}")


def add(whole: Slice, part: Slice) -> None:
    """Takes a slice into a larger one."""
    whole.counts.update(part.counts)
    whole.replies.update(part.replies)
    whole.behind = part.behind
    whole.cpu += part.cpu
    whole.waited.merge(part.waited)
    whole.whole.merge(part.whole)


def cores() -> int:
    return len(os.sched_getaffinity(0))
