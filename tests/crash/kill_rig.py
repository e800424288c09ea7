"""What the tests share that kill a real server under a real client.

The client (bench/load.c) gives every message an id of its own, sends it once and
writes down the ids whose 250 it has seen. What was written down must be in the mailbox
once; what was not may be there once or not at all; nothing else may be there.
"""

import json
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastsmtp_bench.native import program
from fastsmtp_bench.process import PROC, tree
from fastsmtp_bench.served import Served

USER = "user@example.test"
PASSWORD = "only for tests\n"
PATIENCE = 120  # seconds for what is no promise of time: a busy machine takes its own
ID = re.compile(rb"^Message-ID: <([^@>]+)@load\.invalid>\r?$", re.MULTILINE)


def until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Returns when it holds. Raises AssertionError, with `what`, when time is over."""
    tick = threading.Event()
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        tick.wait(0.005)


def prepared(home: Path, **settings: object) -> Served:
    """A configured server, not started, with the account the client writes to."""
    server = Served(home, **settings)  # type: ignore[arg-type]
    server.configure()
    server.command("user", "add", USER, "--password-stdin", given=PASSWORD)
    return server


@dataclass(slots=True)
class Load:
    """Clients that go on whatever happens to the server, until they are stopped."""

    port: int
    acked_file: Path
    tag: str = "m"
    sessions: int = 8
    size: int = 512
    to: str = USER
    sender: str = "load@sender.example"
    rate: int = 0  # messages a second; 0: as many as are taken
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Load":
        self.process = subprocess.Popen(
            [
                *(str(program("load")), "--port", str(self.port), "--tolerant"),
                *("--acked", str(self.acked_file), "--tag", self.tag),
                *("--to", self.to, "--from", self.sender, "--rate", str(self.rate)),
                *("--sessions", str(self.sessions), "--size", str(self.size)),
                *("--seconds", "1200", "--timeout", "600"),
            ],
            stdout=subprocess.PIPE,
        )
        return self

    def acked(self) -> list[str]:
        """The ids written down so far."""
        return self.acked_file.read_text().split() if self.acked_file.exists() else []

    def count(self) -> int:
        """How many, without reading them: every line has the same length."""
        line = len(self.tag) + 13
        there = self.acked_file.exists()
        return self.acked_file.stat().st_size // line if there else 0

    def more(self, count: int, seconds: float = PATIENCE) -> None:
        """Returns when `count` more messages were acknowledged."""
        goal = self.count() + count
        until(lambda: self.count() >= goal, f"{count} more acknowledged", seconds)

    def end(self) -> None:
        """Without a report; whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> dict[str, int]:
        """Ends the clients; their report. Raises AssertionError when they failed."""
        assert self.process
        assert self.process.stdout
        self.process.send_signal(signal.SIGTERM)
        said = self.process.stdout.read()
        assert self.process.wait(60) in (0, 3), said
        self.process.stdout.close()
        return dict(json.loads(said))


def stored_ids(server: Served, folder: Path) -> Counter[str]:
    """How often each id is in the mailbox of the client's recipient."""
    target = folder / "export.mbox"
    target.unlink(missing_ok=True)
    server.command("mail", "export", USER, str(target))
    return Counter(found.decode() for found in ID.findall(target.read_bytes()))


def check_ledger(
    stored: Counter[str], acked: list[str], started: int, tag: str
) -> None:
    """Nothing lost, nothing twice, nothing that was never sent."""
    assert len(set(acked)) == len(acked)
    lost = [one for one in acked if not stored[one]]
    assert not lost, f"{len(lost)} of {len(acked)} acknowledged lost, {lost[:3]}"
    twice = [one for one, times in stored.items() if times > 1]
    assert not twice, f"{len(twice)} stored twice, {twice[:3]}"
    phantom = [
        one for one in stored if not one.startswith(tag) or int(one[-12:]) >= started
    ]
    assert not phantom, f"{len(phantom)} were never sent, {phantom[:3]}"


def workers(server: Served) -> dict[str, int]:
    """The processes of a split server by their role, such as {"keep": 4711}."""
    found = {}
    for pid in tree(server.pid):
        try:
            words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if b"fastsmtp.worker" in words:
            role = words[words.index(b"fastsmtp.worker") + 2].decode()
            found[role] = pid
    return found


def shim(folder: Path, source: Path) -> Path:
    """A library for LD_PRELOAD, compiled from one of tests/shims."""
    target = folder / f"{source.stem}.so"
    flags = ["-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"]
    subprocess.run(["cc", *flags], check=True)
    return target
