"""fastsmtp-bench disk [DIR]: what one durable 4 KiB write costs on this disk.

Three ways: append to a growing file; write into allocated but unwritten blocks;
overwrite blocks that were written before. Each is followed by fdatasync.
"""

import os
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from fastsmtp_bench import arguments

BLOCK = 4096
WRITES = 1000


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one write with its fdatasync, in microseconds."""

    how: str
    p50: float
    p99: float
    cpu: float


def measure(directory: Path, writes: int = WRITES) -> list[Cost]:
    """Runs the three ways in a temporary file of `directory`."""
    size = writes * BLOCK
    costs = []
    with tempfile.TemporaryFile(dir=directory) as growing:
        costs.append(_run("append to a growing file", growing.fileno(), writes))
    with tempfile.TemporaryFile(dir=directory) as allocated:
        os.posix_fallocate(allocated.fileno(), 0, size)
        os.fsync(allocated.fileno())
        costs.append(_run("write into allocated blocks", allocated.fileno(), writes))
        os.fsync(allocated.fileno())
        costs.append(_run("overwrite written blocks", allocated.fileno(), writes))
    return costs


def _run(how: str, fd: int, writes: int) -> Cost:
    block = os.urandom(BLOCK)
    took = []
    before = _cpu()
    for n in range(writes):
        start = perf_counter()
        os.pwrite(fd, block, n * BLOCK)
        os.fdatasync(fd)
        took.append((perf_counter() - start) * 1e6)
    cpu = (_cpu() - before) / writes * 1e6
    return Cost(how, median(took), quantiles(took, n=100)[98], cpu)


def _cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def table(costs: list[Cost]) -> str:
    rows = ["| 4 KiB and fdatasync | p50 µs | p99 µs | CPU µs |", "|---|---|---|---|"]
    rows += [f"| {c.how} | {c.p50:.0f} | {c.p99:.0f} | {c.cpu:.0f} |" for c in costs]
    return "\n".join(rows)


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("disk", __doc__)
    parser.add_argument("directory", type=arguments.folder, nargs="?", default=Path())
    print(table(measure(parser.parse_args(words).directory)))
