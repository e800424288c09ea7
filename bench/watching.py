"""Watches a server while it is under load: its metrics, threads, memory, the machine.

How busy a thread is: the time it ran plus the time it was ready and waited for a
processor (/proc/PID/task/TID/schedstat), so that a loop that shares its processor with
others is seen as what it is: the limit.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastsmtp_bench.process import PROC, anonymous_bytes, tree
from fastsmtp_bench.scraped import Page

NANO: Final = 1e9
PARTS: Final = ("loop", "flusher", "keeper", "rest", "generator")


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one thread so far, in seconds."""

    ran: float
    waited: float


def role_of(pid: int) -> str:
    """`receive`, `keep` or another role of a fastsmtp; else its name."""
    with suppress(OSError):
        words = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        roles = ("receive", "keep", "send", "read")
        return next((w for w in words.split("\0") if w in roles), "serve")
    return "serve"


def part_of(role: str, thread: str) -> str:
    """The part of the path that a thread does; the loop of one process is `loop`."""
    if role in ("keep", "send", "read"):
        return {"keep": "keeper"}.get(role, role)
    return {"main": "loop", "log flusher": "flusher"}.get(thread, "rest")


def threads(pid: int) -> dict[tuple[str, int], Spent]:
    """(part, thread id) -> what it has spent, over the process and its descendants."""
    found = {}
    for one in tree(pid):
        role = role_of(one)
        for task in (PROC / str(one) / "task").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                name = (task / "comm").read_text().strip()
                ran, waited, _ = (task / "schedstat").read_text().split()
                part = part_of(role, "main" if task.name == str(one) else name)
                spent = Spent(int(ran) / NANO, int(waited) / NANO)
                found[part, int(task.name)] = spent
    return found


def machine_busy() -> tuple[float, float]:
    """(seconds its processors were busy, seconds there were) so far, all together."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    ticks = [int(word) for word in words]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / 100, sum(ticks) / 100


@dataclass(slots=True)
class Look:
    """One look at everything."""

    at: float  # time.monotonic()
    threads: dict[tuple[str, int], Spent]
    machine: tuple[float, float]
    memory: int
    page: Page | None


@dataclass(slots=True)
class Watcher:
    """Looks every `pause` seconds until it is stopped.

    pid    of the server; None: one that runs elsewhere
    more   processes of the generator, whose threads count as `generator`
    """

    pid: int | None
    metrics: str | None
    pause: float = 0.5
    more: Callable[[], list[int]] = list
    looks: list[Look] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def look(self) -> Look:
        page = None
        if self.metrics:
            with suppress(OSError, ValueError):
                page = Page.fetch(self.metrics)
        found = threads(self.pid) if self.pid else {}
        for pid in self.more():
            for (_, tid), spent in threads(pid).items():
                found["generator", tid] = spent
        memory = anonymous_bytes(self.pid) if self.pid else 0
        return Look(time.monotonic(), found, machine_busy(), memory, page)

    def __enter__(self) -> "Watcher":
        self.looks.append(self.look())
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(self.pause):
            self.looks.append(self.look())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        assert self._thread
        self._thread.join()
        self.looks.append(self.look())


def busy(first: Look, last: Look) -> dict[str, float]:
    """Part -> how busy its busiest thread was, 0 to 1, waiting to run included."""
    took = max(last.at - first.at, 1e-9)
    found: dict[str, float] = {}
    for (part, tid), spent in last.threads.items():
        before = first.threads.get((part, tid), Spent(0, 0))
        share = (spent.ran - before.ran + spent.waited - before.waited) / took
        found[part] = max(found.get(part, 0.0), min(share, 1.0))
    return found


def cpu(first: Look, last: Look) -> dict[str, float]:
    """Part -> seconds of processor time between two looks."""
    found: dict[str, float] = {}
    for (part, tid), spent in last.threads.items():
        before = first.threads.get((part, tid), Spent(0, 0))
        found[part] = found.get(part, 0.0) + max(0.0, spent.ran - before.ran)
    return found
