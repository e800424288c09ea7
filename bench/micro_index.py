"""What the keeper spends on one message, from its log into the index.

    python -m pytest bench/micro_index.py --benchmark-enable -c pyproject.toml

A receiver's log of 4 KiB messages is read, applied with the real delivery and put into
LMDB; commits are made, so the disk is part of the time, not of the processor time.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from fastsmtp.cells import fresh
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope
from fastsmtp.store.base import Kind
from fastsmtp.store.counts import SIZE
from fastsmtp.store.lmdb import index as lmdb_index
from fastsmtp.store.lmdb.follow import Follower, Reports
from fastsmtp.store.lmdb.series import Series
from fastsmtp.store.msglog import LogWriter
from fastsmtp.store.options import StoreOptions
from fastsmtp_bench.micro_apply import NOW, Index, delivery

MESSAGES = 20_000
BODY = b"x" * 4096
SERIES = 1


def write_log(
    log: Path, accounts: int, messages: int = MESSAGES
) -> tuple[tuple[int, int], int]:
    """Gives (its durable end, its first segment)."""
    log.mkdir()
    with LogWriter(str(log), SERIES, 1, 64 << 20) as writer:
        for n in range(messages):
            to = (Recipient(f"user{n % accounts}@example.test"),)
            envelope = Envelope("s@x.test", to, NOW + n, 30, "7BIT", "192.0.2.1", "x")
            octets = encode_envelope(envelope)
            writer.append((1 << 36) + n, Kind.MAIL, octets, b"Received: x\r\n", BODY)
            if n % 1000 == 0:
                writer.sync()
        writer.sync()
        return writer.position(), writer.first


def apply_all(
    data: Path,
    accounts: int,
    told: tuple[tuple[int, int], int],
    options: StoreOptions | None = None,
) -> tuple[float, float, int]:
    """(processor seconds, seconds, commits), in the largest portions there are, read
    as a living receiver's log is."""
    start = Index(accounts)
    index = lmdb_index.Index(data, options or StoreOptions(), readonly=False)
    with index.env.begin(write=True, db=index.main) as txn:
        for key, value in start.values.items():
            txn.put(key, value)
    series = {SERIES: Series(data / "log", SERIES, index.applied(SERIES))}
    series[SERIES].tell(*told)
    reports = Reports(lambda *_: None, lambda *_: None)
    follower = Follower(index, delivery(start), series, reports, fresh(SIZE))
    cpu, began, commits, more = time.thread_time(), time.monotonic(), 0, True
    while more:
        with index.env.begin(write=True, db=index.main) as txn:
            more = follower.step(txn)
        follower.committed()
        commits += 1
    spent = time.thread_time() - cpu, time.monotonic() - began, commits
    with index.env.begin() as txn:
        assert txn.stat(index.blob)["entries"] > 0
    follower.close()
    index.close()
    return spent


@pytest.mark.parametrize("accounts", [1, 1000])
def test_index_apply(benchmark: Any, accounts: int) -> None:
    best = (1e9, 0.0, 0)

    def once() -> None:
        nonlocal best
        with tempfile.TemporaryDirectory(dir=".") as place:
            told = write_log(Path(place) / "log", accounts)
            best = min(best, apply_all(Path(place), accounts, told))

    benchmark.pedantic(once, rounds=3 if benchmark.enabled else 1)
    cpu, seconds, commits = best
    benchmark.extra_info["µs of processor per message"] = round(cpu / MESSAGES * 1e6, 2)
    benchmark.extra_info["µs per message"] = round(seconds / MESSAGES * 1e6, 2)
    benchmark.extra_info["commits"] = commits
