"""kill -9 at every step of the store, one by one; then everything must be there."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from contract.bench import PART
from storebench import body, entry, faults, keeper, mail, options, run, until

from fastsmtp.store.lmdb.index import Index

TESTS = Path(__file__).parent
SETTINGS = options(pin=0.0, compact_rate=1 << 40)


def live(place: Path, step: int) -> dict[str, set[int]]:
    """What the program said before it was gone."""
    command = [sys.executable, "-m", "crash.store_steps", str(place), str(step)]
    paths = os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=paths
    )
    said: dict[str, set[int]] = defaultdict(set)
    for line in done.stdout.splitlines():
        word, number = line.split()
        said[word].add(int(number))
    assert said["end"] or done.returncode == -9, done.stderr
    return said


async def check(place: Path, said: dict[str, set[int]]) -> None:
    async with keeper(place, SETTINGS) as store:
        await mail(store, b"after")
        there = {id for id in said["sent"] if store.peek(PART, entry(id)[1])}
        assert said["kept"] - said["deleting"] <= there
        assert not there & said["deleted"]
        applied = int(store.peek(PART, b"n") or b"0") - 1
        assert len(said["kept"]) <= applied <= len(said["sent"])
        for id in there:
            assert set_of(await body(store, id)) == {id}
        assert store.keeper is not None
        for _ in range(3):
            await store.keeper.clean()
            await asyncio.gather(*store.keeper.pending)
        for id in there:
            assert set_of(await body(store, id)) == {id}
    assert faults(place) == []
    index = Index(place, SETTINGS, readonly=True)
    held = {f"{s}-{n:08}" for s, n in index.segments()}
    index.close()
    files = {p.stem for p in (place / "log").iterdir() if p.suffix == ".big"}
    assert files <= held  # nothing is left behind that no one knows


def set_of(data: bytes) -> set[int]:
    return {int.from_bytes(data[n : n + 8], "big") for n in range(0, len(data), 8)}


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1, 50, 400])
def test_a_killed_receivers_mail_is_all_there(tmp_path: Path, kept: int) -> None:
    """The keeper lives; it reads on to the end when the lock of the log is free."""

    async def case() -> None:
        async with keeper(tmp_path, socket=True) as store:
            ids = await asyncio.to_thread(receive, tmp_path, kept)
            await until(lambda: all(store.peek(PART, entry(id)[1]) for id in ids))
            for id in ids:
                assert set_of(await body(store, id)) == {id}
            assert store.keeper is not None
            await until(lambda: not store.keeper.series[1].plan)
            applied = int(store.peek(PART, b"n") or b"0")
            assert len(ids) <= applied <= len(ids) + 8  # unacknowledged: one a client
        assert faults(tmp_path) == []

    run(case())


def receive(place: Path, count: int) -> set[int]:
    """Run a receiver, kill it after so many messages; what it said was durable."""
    command = [sys.executable, "-m", "crash.store_receiver", str(place)]
    paths = os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=paths)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    process.kill()
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    return {int(line.split()[1]) for line in lines if line.endswith(b"\n")}


@pytest.mark.slow
def test_nothing_is_lost_whatever_step_is_the_last(tmp_path: Path) -> None:
    steps = min(live(tmp_path / "whole", 0)["end"])
    assert steps > 40
    for step in range(1, steps, max(1, steps // 60)):
        place = tmp_path / str(step)
        run(check(place, live(place, step)))
