"""fastsmtp-bench compaction: what deleting 90 % of a gibibyte gives back, under load.

W1 runs into one account first: that gives its rate. Then ten accounts are filled with
64 KiB messages, and nine are removed while W1 runs on. Prints how long the disk needs
to fall below the goal, what W1 keeps of its rate, and whether every reading of the
surviving account, one every two seconds, gave the same bytes. Each reading is a process
that reads 100 MiB: what W1 loses to them alone is measured before.
"""

import argparse
import hashlib
import json
import os
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

from fastsmtp_bench.accounts import create
from fastsmtp_bench.client import Target, run
from fastsmtp_bench.served import Served
from fastsmtp_bench.workloads import KIB, WORKLOADS, Workload

MIB = 1024 * KIB
GOAL = 200 * MIB  # octets of disk that the gibibyte may still take
FILL = Workload("fill", 20, 64 * KIB, 16_384)
PATIENCE = 90.0  # seconds
PAUSE = 2.0  # seconds between two readings
STORE = '[store]\npin = "1 s"\n'


def used(log: Path, filled: set[str]) -> int:
    """Octets of disk that the gibibyte takes: what is left of the segments that it was
    written to, and all that the keeper writes, which is what it copied from them."""
    octets = 0
    for path in log.iterdir():
        if path.name in filled or path.name.startswith("0"):
            with suppress(FileNotFoundError):
                octets += path.stat().st_blocks * 512
    return octets


class Reader(threading.Thread):
    """Exports the surviving account again and again; `seen` has a digest of each."""

    def __init__(self, server: Served, place: Path) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.ended = threading.Event()
        self._server, self._place = server, place

    def run(self) -> None:
        while not self.ended.wait(PAUSE):
            self.read()

    def __enter__(self) -> "Reader":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def read(self) -> None:
        target = self._place / f"copy{len(self.seen)}.mbox"
        self._server.command("mail", "export", "user0001@example.test", str(target))
        self.seen.append(hashlib.sha256(target.read_bytes()).hexdigest())
        target.unlink()


def remove(server: Served) -> None:
    for number in range(2, 11):
        server.command("user", "remove", "--yes", f"user{number:04}@example.test")


def measure(place: Path) -> dict[str, object]:
    """The figures; raises `Unfinished` when the load fails."""
    server = Served(place, mode="split", more=STORE)
    server.configure()
    create(server, 10)
    server.start()
    log = place / "data" / "log"
    try:
        target = Target(server.port, server.pid, metrics=server.metrics)
        before = rate(target)
        others = set(os.listdir(log))
        run("load", FILL, replace(target, mailboxes=10))
        filled = set(os.listdir(log)) - others
        with Reader(server, server.home):
            beside = rate(target)
        return {
            "W1 before, messages/s": round(before),
            "W1 beside readings alone, messages/s": round(beside),
            **clean(server, target, filled),
        }
    finally:
        server.stop()


def rate(target: Target) -> float:
    return median(run("load", WORKLOADS["W1"], target).rate for _ in range(3))


def clean(server: Served, target: Target, filled: set[str]) -> dict[str, object]:
    """Remove the accounts under W1 and watch the disk."""
    log = server.home / "data" / "log"
    full = left = used(log, filled)
    removing = threading.Thread(target=remove, args=(server,))
    rates: list[float] = []
    with Reader(server, server.home) as reader:
        begun = time.monotonic()
        removing.start()
        while left > GOAL and time.monotonic() - begun < PATIENCE:
            rates.append(run("load", WORKLOADS["W1"], target).rate)
            left = used(log, filled)
        took = time.monotonic() - begun
        removing.join()
    reader.read()
    return {
        "W1 meanwhile, messages/s": round(median(rates)),
        "disk before, MiB": full // MIB,
        "disk after, MiB": left // MIB,
        "seconds": round(took, 1),
        "readings": len(reader.seen),
        "readings alike": len(set(reader.seen)) == 1,
    }


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="fastsmtp-bench compaction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--directory", type=Path, default=Path())
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        print(json.dumps(measure(Path(place)), indent=1))
