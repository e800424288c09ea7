"""fastsmtp-bench compaction: what deleting 90 % of a gibibyte gives back, under load.

W1 runs into one account first: that gives its rate. Then ten accounts are filled with
64 KiB messages, and nine are removed while W1 runs on. Prints how long the disk needs
to fall below the goal, what W1 keeps of its rate, and whether every reading of the
surviving account, with two seconds between them, gave the same bytes. Each reads all
its bodies, 100 MiB, out of the server's store: what W1 loses to that alone is measured
before. Rates are messages by time over all runs of W1, for readings come and go.
"""

import asyncio
import hashlib
import json
import os
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import harmonic_mean

from fastsmtp.cli.contents import Contents
from fastsmtp.cli.reading import reading
from fastsmtp.config import load
from fastsmtp.mailbox.values import Email
from fastsmtp_bench import arguments
from fastsmtp_bench.accounts import serving
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
    """Reads the surviving account again and again; `seen` has a digest of each."""

    def __init__(self, server: Served) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.ended = threading.Event()
        self._config = load(server.configuration)

    def run(self) -> None:
        self.read()
        while not self.ended.wait(PAUSE):
            self.read()

    def __enter__(self) -> "Reader":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def read(self) -> None:
        self.seen.append(asyncio.run(self._digest()))

    async def _digest(self) -> str:
        digest = hashlib.sha256()
        async with reading(self._config) as store:
            contents = await Contents.open(store, "user0001@example.test", "INBOX")
            async for uid, email in contents.emails():
                digest.update(uid.to_bytes(4, "big"))
                await self._take(digest, contents, email)
        return digest.hexdigest()

    @staticmethod
    async def _take(digest: "hashlib._Hash", contents: Contents, email: Email) -> None:
        async with contents.body(email) as pieces:
            for piece in pieces:
                digest.update(piece)


def remove(server: Served) -> None:
    for number in range(2, 11):
        server.command("user", "remove", "--yes", f"user{number:04}@example.test")


def measure(place: Path) -> dict[str, object]:
    """The figures; raises `Unfinished` when the load fails."""
    log = place / "data" / "log"
    with serving(Served(place, mode="split", more=STORE), 10) as server:
        target = Target(server.port, server.pid, metrics=server.metrics)
        before = rate(target)
        others = set(os.listdir(log))
        run("load", FILL, replace(target, mailboxes=10))
        filled = set(os.listdir(log)) - others
        with Reader(server):
            beside = rate(target)
        return {
            "W1 before, messages/s": round(before),
            "W1 beside readings alone, messages/s": round(beside),
            **clean(server, target, filled),
        }


def rate(target: Target) -> float:
    return harmonic_mean([run("load", WORKLOADS["W1"], target).rate for _ in range(5)])


def clean(server: Served, target: Target, filled: set[str]) -> dict[str, object]:
    """Remove the accounts under W1 and watch the disk."""
    log = server.home / "data" / "log"
    full = left = used(log, filled)
    removing = threading.Thread(target=remove, args=(server,))
    rates: list[float] = []
    with Reader(server) as reader:
        begun = time.monotonic()
        removing.start()
        while left > GOAL and time.monotonic() - begun < PATIENCE:
            rates.append(run("load", WORKLOADS["W1"], target).rate)
            left = used(log, filled)
        took = time.monotonic() - begun
        removing.join()
    reader.read()
    return {
        "W1 meanwhile, messages/s": round(harmonic_mean(rates)),
        "disk before, MiB": full // MIB,
        "disk after, MiB": left // MIB,
        "seconds": round(took, 1),
        "readings": len(reader.seen),
        "readings alike": len(set(reader.seen)) == 1,
    }


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("compaction", __doc__)
    arguments.measured(parser)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        print(json.dumps(measure(Path(place)), indent=1))
