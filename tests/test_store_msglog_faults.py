"""The log's writer when the disk fails: each case in a process with failing calls."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from shims.faults import Faults
from test_store_msglog import Read, ids, segments

from fastsmtp.store import record

SERVANT = """
import os, sys
import msgspec
from fastsmtp.store.msglog import LogWriter

log, spools = None, {}

def start(directory, size=1 << 20):
    global log
    log = LogWriter(directory, 1, 7, size)
    return log.error()

def append(id, size=1000):
    try:
        return log.append(id, 1, b"e%d" % id, b"", bytes(size))
    except OSError as error:
        return -error.errno

def settle():
    log.sync()
    return log.collect()[:3]

def state():
    return log.position(), log.error(), log.backlog()

def spool(id, size):
    spools[id] = log.spool(id, b"")
    for _ in range(size // 100_000):
        spools[id].write(bytes(100_000))

def finish(id):
    spools[id].finish(1, b"e")

def close():
    log.close()
    return log.collect()[:3]

for line in sys.stdin:
    call, *arguments = msgspec.json.decode(line)
    answer = globals()[call](*arguments)
    print(msgspec.json.encode(answer).decode(), flush=True)
"""


class Servant:
    """A process with a writer; calls what it is told and answers."""

    def __init__(self, faults: Faults) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVANT],
            env=faults.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, call: str) -> Callable[..., Any]:
        def ask(*arguments: object) -> Any:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            line = msgspec.json.encode([call, *arguments]).decode()
            print(line, file=self.process.stdin, flush=True)
            return msgspec.json.decode(self.process.stdout.readline())

        return ask

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults.build(tmp_path_factory.mktemp("shim"), on="/thelog")


@pytest.fixture
def faults(library: Faults) -> Faults:
    library.clear()
    return library


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "thelog"
    path.mkdir()
    return path


@pytest.fixture
def servant(faults: Faults, directory: Path) -> Iterator[Servant]:
    servant = Servant(faults)
    assert servant.start(str(directory)) == 0
    yield servant
    servant.process.kill()
    servant.process.wait()


def applied(directory: Path) -> list[int]:
    """What a keeper applies: every segment up to the end that the next one tells."""
    read = segments(directory)
    ends = {s.header.previous: s.header.previous_end for s in read}
    return [
        one.id
        for s in read
        for one in s.found
        if one.next_offset <= ends.get(s.header.number, s.size)
    ]


@pytest.mark.slow
class TestFailures:
    @pytest.mark.parametrize(
        ("call", "error"),
        [
            ("fdatasync", errno.EIO),
            ("write", errno.EIO),
            ("write", errno.ENOSPC),
            ("fdatasync", errno.ENOSPC),
        ],
    )
    def test_the_segment_ends_and_a_new_one_goes_on(
        self, servant: Servant, faults: Faults, directory: Path, call: str, error: int
    ) -> None:
        assert servant.append(1) == 1
        assert servant.settle() == [1, [], []]
        [[number, end], _, _] = servant.state()
        faults.set(call, error)
        assert servant.append(2) == 2
        assert servant.settle() == [2, [[2, 2, error]], []]
        assert servant.state() == [[number, end], 0, 0]
        assert servant.append(3) == 3
        assert servant.settle() == [3, [], []]
        old, new = segments(directory)
        assert new.header.previous == old.header.number
        assert (new.header.previous_end, new.header.previous_failed) == (end, True)
        assert old.size == end, "cut where its durable part ends"
        assert applied(directory) == [1, 3]
        assert servant.append(4) == 4
        assert servant.close() == [4, [], []]
        assert applied(directory) == [1, 3, 4]

    def test_a_failed_sync_is_not_tried_again_on_the_same_file(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        for n in range(1, 20, 2):
            faults.set("fdatasync", errno.EIO, on=".log")
            servant.append(n)
            assert servant.settle()[1] == [[n, n, errno.EIO]]
            servant.append(n + 1)
            assert servant.settle() == [n + 1, [], []]
            faults.clear()
        assert applied(directory) == [*range(2, 21, 2)]
        assert len(segments(directory)) >= 11, "each failure began a new one"

    def test_short_writes_lose_nothing(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        faults.set("write", 0, 1, 0)
        for n in range(1, 40):
            servant.append(n, 3000)
        assert servant.settle() == [39, [], []]
        servant.close()
        assert ids(directory) == [*range(1, 40)]

    def test_interrupted_calls_are_repeated(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        for n in range(1, 5):
            faults.set("any", errno.EINTR, 1, n)
            servant.append(n)
            assert servant.settle() == [n, [], []]
        assert ids(directory) == [1, 2, 3, 4]

    @pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
    def test_without_a_new_segment_appends_are_refused_until_it_opens(
        self, servant: Servant, faults: Faults, directory: Path, call: str
    ) -> None:
        servant.append(1)
        servant.settle()
        faults.set("fdatasync", errno.EIO)
        servant.append(2)
        assert servant.settle()[1] == [[2, 2, errno.EIO]]
        faults.set(call, errno.ENOSPC, 1, 0)
        ticket = servant.append(3)
        assert servant.settle() == [ticket, [[ticket, ticket, errno.ENOSPC]], []]
        assert servant.append(4) == -errno.ENOSPC, "at once, without a ticket"
        assert servant.state()[1] == errno.ENOSPC
        old = segments(directory)[0]
        assert record.is_locked(str(directory / "1-00000001.log")), "it still lives"
        faults.clear()
        while (ticket := servant.append(5)) < 0:
            os.sched_yield()
        assert servant.settle() == [ticket, [], []]
        assert servant.state()[1] == 0
        assert applied(directory) == [1, 5]
        assert segments(directory)[-1].header.previous_end == old.size
        servant.close()
        assert not [*directory.glob("*.new")]

    def test_starts_on_a_full_disk(self, faults: Faults, directory: Path) -> None:
        faults.set("write", errno.ENOSPC, 1, 0)
        servant = Servant(faults)
        assert servant.start(str(directory)) == errno.ENOSPC
        assert servant.append(1) == 1, "the first append tries again"
        assert servant.settle() == [1, [[1, 1, errno.ENOSPC]], []]
        faults.clear()
        while (ticket := servant.append(2)) < 0:
            os.sched_yield()
        assert servant.settle() == [ticket, [], []]
        servant.close()
        servant.end()
        assert applied(directory) == [2]

    def test_preparing_may_fail(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        """Nothing is refused while the present segment has room."""
        faults.set("open", errno.ENOSPC, 1, 0)
        servant.append(1, 900_000)
        servant.append(2)
        assert servant.settle() == [2, [], []]
        faults.clear()
        servant.append(3, 900_000)
        assert servant.settle() == [3, [], []]
        servant.close()
        assert ids(directory) == [1, 2, 3]

    def test_every_single_call_fails_once(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        """Over rotations and preparations: what was settled well is there, all of it,
        and nothing else is."""
        kept, lost = [], set()
        for n in range(60):
            faults.set("any", errno.EIO, n % 20 + 1)
            tickets = {servant.append(n * 10 + k, 30_000): n * 10 + k for k in range(3)}
            for first, last, _ in servant.settle()[1]:
                lost |= {*range(first, last + 1)}
            kept += [id for t, id in tickets.items() if t > 0 and t not in lost]
            faults.clear()
            while (ticket := servant.append(n * 10 + 9)) < 0:
                os.sched_yield()
            assert servant.settle() == [ticket, [], []]
            kept.append(n * 10 + 9)
        servant.close()
        assert applied(directory) == kept
        assert len(lost) > 10


@pytest.mark.slow
class TestSpoolFailures:
    @pytest.mark.parametrize(
        ("call", "error"),
        [
            ("open", errno.EMFILE),
            ("write", errno.ENOSPC),
            ("fdatasync", errno.EIO),
            ("fsync", errno.EIO),
        ],
    )
    def test_it_is_told_at_the_end_and_the_file_goes(
        self, servant: Servant, faults: Faults, directory: Path, call: str, error: int
    ) -> None:
        faults.set(call, error)
        servant.spool(5, 900_000)
        servant.finish(5)
        assert servant.settle() == [0, [], [[5, error]]]
        assert [*directory.glob("*.big")] == []
        servant.append(6)
        assert servant.settle() == [1, [], []]
        assert ids(directory) == [6]

    def test_short_writes(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        faults.set("write", 0, 1, 0)
        servant.spool(5, 900_000)
        servant.finish(5)
        assert servant.settle() == [1, [], [[5, 0]]]
        [path] = directory.glob("*.big")
        big = Read(path)
        assert big.found[0].body_length == 900_000
        assert big.end == big.size

    def test_its_record_fails(
        self, servant: Servant, faults: Faults, directory: Path
    ) -> None:
        faults.set("fdatasync", errno.EIO, 2)
        servant.spool(5, 100_000)
        servant.finish(5)
        assert servant.settle() == [1, [[1, 1, errno.EIO]], [[5, errno.EIO]]]
        servant.close()
        servant.end()
        removed = record.remove_orphans(str(directory), 1, 99, set().__contains__)
        assert len(removed) == 1

    def test_killed_before_its_record(self, servant: Servant, directory: Path) -> None:
        servant.append(1)
        servant.settle()
        servant.spool(5, 900_000)
        while not [*directory.glob("*.big")]:
            os.sched_yield()
        servant.process.kill()
        servant.process.wait()
        [path] = directory.glob("*.big")
        name = path.name
        assert ids(directory) == [1]
        assert record.remove_orphans(str(directory), 1, 99, {1}.__contains__) == [name]


@pytest.mark.slow
def test_killed_at_any_moment(faults: Faults, directory: Path) -> None:
    """What was settled is there; what was not is whole or absent."""
    kept: list[int] = []
    for life in range(10):
        servant = Servant(faults)
        servant.start(str(directory))
        for n in range(life * 7):
            servant.append(life * 1000 + n, 20_000 + n)
        if life % 2:
            servant.settle()
            kept += [life * 1000 + n for n in range(life * 7)]
        servant.process.kill()
        servant.process.wait()
    assert {*kept} <= {*ids(directory)}
    assert not any(segment.rotten for segment in segments(directory))
    names = list(directory.glob("*.log"))
    assert not any(record.is_locked(str(path)) for path in names)


@pytest.mark.root
@pytest.mark.slow
def test_a_full_disk_and_space_again(faults: Faults, tmp_path: Path) -> None:
    """A real one: a file system in memory of 6 MiB."""
    place = tmp_path / "thelog"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount")
    servant = Servant(faults)
    try:
        servant.start(str(place))
        kept = fill_up(servant)
        assert len(kept) > 40
        assert servant.state()[1] == 0 or servant.append(900) == -errno.ENOSPC
        filler = sorted(place.glob("*.log"))[0]
        kept = [id for id in kept if id not in {one.id for one in Read(filler).found}]
        filler.unlink()
        while (ticket := servant.append(1000, 10_000)) < 0:
            os.sched_yield()
        assert servant.settle() == [ticket, [], []]
        servant.close()
        assert applied(place) == [*kept, 1000]
    finally:
        servant.process.kill()
        servant.process.wait()
        subprocess.run(["umount", str(place)], check=True)


def fill_up(servant: Servant) -> list[int]:
    """Append until the disk is full; the ids that are durable."""
    kept = []
    for id in range(1, 200):
        ticket = servant.append(id, 100_000)
        if ticket < 0:
            break
        _, failed, _ = servant.settle()
        if not failed:
            kept.append(id)
    return kept
