"""Workers come, are told to end, and are replaced; nothing here serves mail."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import uvloop
from fakes import turns_until

from fastsmtp import supervisor
from fastsmtp.errors import StoreUnavailable
from fastsmtp.supervisor import (
    HOLD,
    STABLE,
    NotReplaced,
    Orders,
    Supervisor,
    Worker,
    read_orders,
)


def framed(data: bytes) -> int:
    theirs, ours = os.pipe()
    os.write(ours, data)
    os.close(ours)
    return theirs


@pytest.mark.slow
def test_a_worker_imports_nothing_from_the_folder_it_is_started_in(
    tmp_path: Path,
) -> None:
    """Root may start the server in anybody's folder, or in that of another version."""
    for name in ("fastsmtp.py", "uvloop.py", "msgspec.py"):
        (tmp_path / name).write_text("raise SystemExit('from here')")
    orders = framed(b"")  # none: it ends at once
    command = [*supervisor.COMMAND, str(orders)]
    done = subprocess.run(command, cwd=tmp_path, pass_fds=[orders], timeout=60)
    os.close(orders)
    assert done.returncode == 0


def test_a_worker_reads_its_orders_from_the_pipe() -> None:
    orders = Orders("receive", 1, 7, "{}", {"smtp": (5, 6), "lmtp": ()})
    data = msgspec.json.encode(orders)
    assert read_orders(framed(len(data).to_bytes(8, "big") + data)) == orders


@pytest.mark.parametrize("data", [b"", (9).to_bytes(8, "big") + b"{"])
def test_without_whole_orders_a_worker_says_who_died(data: bytes) -> None:
    with pytest.raises(EOFError, match="supervisor"):
        read_orders(framed(data))


def test_a_worker_that_keeps_dying_is_replaced_ever_more_slowly() -> None:
    worker = Worker("keep", 0)
    worker.started = 100.0
    pauses = [worker.pause(100.1) for _ in range(12)]
    assert pauses[:4] == [0.0, 0.05, 0.1, 0.2]
    assert pauses[-1] == 10.0
    assert worker.pause(100.0 + STABLE + 1) == 0.0


# stand-ins for workers: programs that only know the pipe

PATIENT = """
import os, sys
pipe = int(sys.argv[1])
os.read(pipe, int.from_bytes(os.read(pipe, 8), "big"))
word = b"~"
while word in (b"~", b"+"):
    word = os.read(pipe, 1)
sys.exit({b".": 0, b"-": 0, b"": 9}[word])
"""
DEAF = "import signal; [signal.pause() for _ in range(9)]"


class Rig:
    """A supervisor whose deaths are noted; `enough` is set at the third.

    ready  roles whose processes come to serve
    """

    def __init__(self, *programs: tuple[str, str]) -> None:
        self.births: list[tuple[Worker, int]] = []
        self.deaths: list[int | Exception] = []
        self.ends: list[Worker] = []
        self.ready = {"receive", "keep"}
        self.enough = asyncio.Event()
        self.epochs = itertools.count(1)
        self.workers = [Worker(role, n) for n, (role, _) in enumerate(programs)]
        self.lock = os.open(os.devnull, os.O_RDONLY)
        command = (sys.executable, "-I", "-S", "-c", programs[0][1])
        self.supervisor = Supervisor("{}", self.epoch, self.lock, self, command)

    def start(self) -> None:
        for worker in self.workers:
            self.supervisor.start(worker)

    def epoch(self) -> int:
        return next(self.epochs)

    def started(self, worker: Worker, epoch: int) -> None:
        self.births.append((worker, epoch))

    def died(self, worker: Worker, status: int | Exception) -> None:
        self.deaths.append(status)
        if len(self.deaths) >= 3:
            self.enough.set()

    def left(self, worker: Worker) -> None:
        self.ends.append(worker)

    def serves(self, worker: Worker) -> bool:
        return worker.role in self.ready

    async def alive(self) -> None:
        await turns_until(lambda: all(w.alive for w in self.workers))


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 10)

    uvloop.run(bounded())


@pytest.mark.slow
def test_workers_are_told_to_drain_and_then_are_not_replaced() -> None:
    async def work() -> None:
        rig = Rig(("receive", PATIENT), ("keep", PATIENT))
        rig.start()
        await rig.alive()
        await rig.supervisor.stop(("receive",), ("keep",))
        assert [w.process and w.process.returncode for w in rig.workers] == [0, 0]
        assert rig.deaths == []
        assert [w.lifeline for w in rig.workers] == [-1, -1]

    run(work)


@pytest.mark.slow
def test_a_stop_while_workers_start_ends_them_too() -> None:
    async def work() -> None:
        rig = Rig(("receive", PATIENT), ("keep", PATIENT))
        rig.start()
        await asyncio.sleep(0)
        await rig.supervisor.stop(("receive",), ("keep",))
        assert rig.deaths == []

    run(work)


@pytest.mark.slow
def test_what_does_not_drain_is_killed_at_the_second_word() -> None:
    async def work() -> None:
        rig = Rig(("keep", DEAF))
        rig.start()
        await rig.alive()
        stopping = asyncio.ensure_future(rig.supervisor.stop(("keep",)))
        await asyncio.sleep(0)
        rig.supervisor.stop_now()
        await stopping
        process = rig.workers[0].process
        assert process is not None
        assert process.returncode == -signal.SIGKILL

    run(work)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_under_a_new_epoch() -> None:
    async def work() -> None:
        rig = Rig(("keep", "raise SystemExit(3)"))
        rig.start()
        await rig.enough.wait()
        await rig.supervisor.stop(("keep",))
        assert rig.deaths[:3] == [3, 3, 3]
        assert rig.births[:3] == [(rig.workers[0], epoch) for epoch in (1, 2, 3)]
        assert next(rig.epochs) > 3

    run(work)


def test_a_worker_that_cannot_be_started_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk gives no epoch, however long the last life was."""
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.001)

    async def work() -> None:
        rig = Rig(("keep", PATIENT))

        def full() -> int:
            raise StoreUnavailable("the disk is full")

        rig.supervisor._next_epoch = full
        rig.workers[0].started = -1000.0
        rig.start()
        await rig.enough.wait()
        assert rig.workers[0].failures >= 3
        await rig.supervisor.stop(("keep",))
        assert {str(error) for error in rig.deaths} == {"the disk is full"}
        assert rig.workers[0].process is None

    run(work)


def test_the_end_does_not_wait_for_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(supervisor, "SLOWEST", 3600.0)

    async def work() -> None:
        rig = Rig(("keep", PATIENT))
        rig.supervisor._command = (str(tmp_path / "nothing"),)
        rig.start()
        await turns_until(lambda: len(rig.deaths) == 2)
        await rig.supervisor.stop(("keep",))
        assert all(isinstance(e, FileNotFoundError) for e in rig.deaths)

    run(work)


@pytest.mark.slow
def test_a_worker_is_replaced_beside_the_old_one() -> None:
    async def work() -> None:
        rig = Rig(("receive", PATIENT))
        old = rig.workers[0]
        rig.start()
        await rig.alive()
        new = Worker("receive", 7)
        rig.supervisor.config = '{"new": true}'
        await rig.supervisor.replace([old], [new], 5)
        assert rig.supervisor.of("receive") == [new]
        await turns_until(lambda: rig.ends == [old])
        assert old.process is not None
        assert old.process.returncode == 0
        assert rig.supervisor.workers == [new]
        await rig.supervisor.stop(("receive",))
        assert rig.deaths == []

    run(work)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["raise SystemExit(3)", DEAF])
def test_the_old_one_stays_when_the_new_one_does_not_serve(program: str) -> None:
    async def work() -> None:
        rig = Rig(("receive", PATIENT))
        old = rig.workers[0]
        rig.start()
        await rig.alive()
        rig.ready.clear()
        rig.supervisor._command = (sys.executable, "-I", "-S", "-c", program)
        with pytest.raises(NotReplaced, match=r"died at once|in time"):
            await rig.supervisor.replace([old], [Worker("receive", 7)], 0.3)
        assert rig.supervisor.workers == [old]
        assert old.alive
        await rig.supervisor.stop(("receive",))

    run(work)


@pytest.mark.slow
def test_the_keeper_is_renewed_in_its_place_and_once() -> None:
    async def work() -> None:
        rig = Rig(("keep", PATIENT))
        keeper = rig.workers[0]
        rig.start()
        await rig.alive()
        first = keeper.pid
        await rig.supervisor.renew(keeper, 5)
        assert keeper.pid == first  # it knows this configuration
        rig.supervisor.config = '{"new": true}'
        await rig.supervisor.renew(keeper, 5)
        assert keeper.pid != first
        assert (rig.ends, rig.deaths) == ([keeper], [])
        await rig.supervisor.stop(("keep",))
        assert rig.deaths == []

    run(work)


@pytest.mark.slow
def test_an_end_in_the_middle_of_a_replacement_is_an_end() -> None:
    async def work() -> None:
        rig = Rig(("receive", PATIENT))
        rig.start()
        await rig.alive()
        rig.ready.clear()
        new = Worker("receive", 7)
        turn = asyncio.ensure_future(
            rig.supervisor.replace([rig.workers[0]], [new], 60)
        )
        await turns_until(lambda: new.alive)
        await rig.supervisor.stop(("receive",))
        with pytest.raises(NotReplaced, match="ending"):
            await turn
        assert not any(w.alive for w in (*rig.workers, new))

    run(work)


@pytest.mark.slow
def test_who_comes_while_mail_is_held_hears_of_it() -> None:
    program = PATIENT.replace('word = b"~"', "sys.exit(os.read(pipe, 1)[0])")

    async def work() -> None:
        rig = Rig(("receive", program))
        rig.supervisor.hold(True)
        rig.start()
        await turns_until(lambda: bool(rig.deaths))
        assert rig.deaths[0] == HOLD[0]
        await rig.supervisor.stop(("receive",))

    run(work)
