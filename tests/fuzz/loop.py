"""The process that fuzzes; `python -m tests.fuzz` builds and starts it."""

import mmap
import sys
import time
from pathlib import Path

import fuzz_native

from tests.fuzz.corpus import TARGETS

ROUND = 100_000  # executions at a time
SLOW = {"session": 2, "replies": 2, "transfer": 2, "fetch": 2}
"""Shares of the executions; the others have 25."""


def fuzz(target: str, executions: int, seed: int, place: "mmap.mmap") -> None:
    inputs, words = TARGETS[target]
    fuzzer = fuzz_native.Fuzzer(target, inputs, words, seed)
    done = 0
    begin = time.monotonic()
    while done < executions:
        now = min(ROUND, executions - done)
        fuzzer.run(now, place)
        done += now
    seconds = time.monotonic() - begin
    print(
        f"{target:8} {done:>12,} executions, {done / seconds:>9,.0f}/s,"
        f" {fuzzer.size} inputs kept, seed {seed}",
        flush=True,
    )


def main(noted: str, executions: str, seed: str, *targets: str) -> None:
    """`noted` is the file where the input of each execution can be found."""
    path = Path(noted)
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), mmap.PAGESIZE) as place:
        shares = sum(SLOW.get(target, 25) for target in targets)
        for target in targets:
            if target == "control":
                fuzz_native.overrun(7)
            else:
                share = -(-int(executions) * SLOW.get(target, 25) // shares)
                fuzz(target, share, int(seed), place)


if __name__ == "__main__":
    main(*sys.argv[1:])
