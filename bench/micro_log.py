"""What the message log costs: append, flush, scan, checksum, and bodies apart.

    python -m pytest bench/micro_log.py --benchmark-enable -c pyproject.toml

It writes to $FASTSMTP_BENCH_DIR, or ./var: name the file system beside the figures,
and see docs/decisions for those of a growing file against one that is filled ahead.
"""

import os
import select
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastsmtp.store import record
from fastsmtp.store.msglog import LogWriter

KIB, MIB = 1 << 10, 1 << 20
ENVELOPE, HEAD, BODY = b"e" * 120, b"h" * 250, os.urandom(4 * KIB)
BATCH = 16


@pytest.fixture
def directory() -> Iterator[Path]:
    place = os.environ.get("FASTSMTP_BENCH_DIR", "var")
    Path(place).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as path:
        yield Path(path)


@pytest.fixture
def log(directory: Path) -> Iterator[LogWriter]:
    with LogWriter(str(directory), 1, 7, 64 * MIB, 1, BATCH) as log:
        yield log


class Sessions:
    """Each appends, waits until that is durable, and appends again."""

    def __init__(self, log: LogWriter, count: int) -> None:
        self.log = log
        self.poll = select.poll()
        self.poll.register(log.fileno(), select.POLLIN)
        self.settled = 0
        self.append(count)

    def append(self, count: int) -> None:
        for _ in range(count):
            self.log.append(1, 1, ENVELOPE, HEAD, BODY)
        self.log.flush()

    def until(self, messages: int) -> None:
        """Until so many more messages are durable."""
        goal = self.settled + messages
        while self.settled < goal:
            self.poll.poll()
            ticket, failed, *_ = self.log.collect()
            assert not failed
            self.append(ticket - self.settled)
            self.settled = ticket


@pytest.mark.parametrize("sessions", [1, 20, 200])
def test_flush(benchmark: Any, log: LogWriter, sessions: int) -> None:
    """One round is one message of every session, durable."""
    running = Sessions(log, sessions)
    benchmark.pedantic(
        running.until, args=(sessions,), rounds=2000 // sessions + 50, warmup_rounds=10
    )
    flushes = log.flushes()
    each = sorted(micros for micros, _, _ in flushes)
    benchmark.extra_info["messages_per_second"] = int(
        sessions / benchmark.stats.stats.mean
    )
    benchmark.extra_info["flush_p50_us"] = each[len(each) // 2]
    benchmark.extra_info["records_per_flush"] = round(
        sum(records for _, records, _ in flushes) / len(flushes), 1
    )


def test_append(benchmark: Any, log: LogWriter) -> None:
    """The loop's side alone, 4 KiB: a copy into native memory."""

    def some() -> None:
        for _ in range(100):
            log.append(1, 1, ENVELOPE, HEAD, BODY)

    def settle() -> None:
        log.sync()

    benchmark.pedantic(some, setup=settle, rounds=100)
    benchmark.extra_info["ns_each"] = int(benchmark.stats.stats.median * 1e7)


def test_scan(benchmark: Any, log: LogWriter, directory: Path) -> None:
    """What the keeper spends on finding 1,000 records of 4 KiB."""
    for _ in range(200):
        log.append(1, 1, ENVELOPE, HEAD, BODY)
    log.sync()
    [path] = sorted(directory.glob("*.log"))[:1]
    data = path.read_bytes()
    header = record.read_segment_header(data)
    found, end, _ = record.scan(data[64:], 64, header.salt, len(data))
    view = memoryview(data)[64:end]
    benchmark(record.scan, view, 64, header.salt, end)
    benchmark.extra_info["records"] = len(found)


@pytest.mark.parametrize("size", [KIB, 4 * KIB, MIB])
def test_checksum(benchmark: Any, size: int) -> None:
    data = os.urandom(size)
    benchmark(record.crc32c, data)
    benchmark.extra_info["GB_per_s"] = round(size / benchmark.stats.stats.min / 1e9, 1)


def test_spool(benchmark: Any, log: LogWriter) -> None:
    """Ten sessions with bodies of 1 MiB (W4); a round is ten of them, durable."""

    def ten() -> None:
        for id in range(10):
            spool = log.spool(id, HEAD)
            for _ in range(16):
                spool.write(BODY * 16)
            spool.finish(1, ENVELOPE)
        done = 0
        while done < 10:
            select.select([log.fileno()], [], [])
            done += len(log.collect()[2])

    benchmark.pedantic(ten, rounds=20, warmup_rounds=2)
    benchmark.extra_info["MB_per_s"] = int(10 * MIB / benchmark.stats.stats.mean / 1e6)


@pytest.mark.parametrize("blocks", ["growing", "allocated", "filled"])
def test_blocks(benchmark: Any, directory: Path, blocks: str) -> None:
    """One record of 4 KiB and fdatasync: why segments are filled with zeros ahead."""
    rounds = 500
    size = rounds * len(BODY)
    fd = os.open(directory / "plain", os.O_RDWR | os.O_CREAT)
    if blocks == "filled":
        os.pwrite(fd, bytes(size), 0)
    elif blocks == "allocated":
        os.posix_fallocate(fd, 0, size)
    os.fsync(fd)
    place = iter(range(0, 1 << 40, len(BODY)))
    begun = time.process_time()

    def one() -> None:
        os.pwrite(fd, BODY, next(place))
        os.fdatasync(fd)

    benchmark.pedantic(one, rounds=rounds)
    os.close(fd)
    spent = (time.process_time() - begun) / rounds
    benchmark.extra_info["cpu_us"] = round(spent * 1e6)


def test_disk(benchmark: Any, directory: Path) -> None:
    """What `test_spool` is held against: ten times 1 MiB into one file, a sync each."""
    data = os.urandom(MIB)
    fd = os.open(directory / "plain", os.O_RDWR | os.O_CREAT)
    place = iter(range(0, 1 << 40, MIB))

    def ten() -> None:
        for _ in range(10):
            os.pwrite(fd, data, next(place))
            os.fdatasync(fd)

    benchmark.pedantic(ten, rounds=20, warmup_rounds=2)
    os.close(fd)
    benchmark.extra_info["MB_per_s"] = int(10 * MIB / benchmark.stats.stats.mean / 1e6)
