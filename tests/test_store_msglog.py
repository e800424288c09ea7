"""The message log's writer: tickets, group commit, segments, bodies apart."""

import itertools
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastsmtp.cells import fresh
from fastsmtp.errors import Misused
from fastsmtp.store import counts, record
from fastsmtp.store.msglog import LogWriter

MIB = 1 << 20
Settled = tuple[int, list[tuple[int, int, int]], list[tuple[int, int]]]


class Read:
    """What a keeper finds in one segment, read with all checksums."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        self.header = record.read_segment_header(os.pread(fd, 64, 0))
        self.size = os.fstat(fd).st_size
        salt, size = self.header.salt, self.size
        self.found, self.rotten, self.end, _ = record.recover(
            fd, 64, salt, 0, size, 10**6
        )
        self.data = os.pread(fd, size, 0)
        os.close(fd)

    def body(self, n: int) -> bytes:
        one = self.found[n]
        return self.data[one.body_offset : one.body_offset + one.body_length]


def segments(directory: Path) -> list[Read]:
    return [Read(path) for path in sorted(directory.glob("*.log"))]


def ids(directory: Path) -> list[int]:
    return [one.id for segment in segments(directory) for one in segment.found]


def await_signal(log: LogWriter) -> Settled:
    """Wait for the eventfd, as a loop does."""
    assert select.select([log.fileno()], [], [], 10)[0], "the flusher said nothing"
    return log.collect()[:3]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogWriter]:
    with LogWriter(str(tmp_path), 1, 7, 4 * MIB) as log:
        yield log


class TestAppend:
    def test_a_record_is_found_whole(self, log: LogWriter, tmp_path: Path) -> None:
        assert log.append(5, 2, b"envelope", b"head\r\n", b"body\r\n") == 1
        assert await_signal(log) == (1, [], [])
        [segment] = segments(tmp_path)
        [one] = segment.found
        assert (one.id, one.kind, one.envelope) == (5, 2, b"envelope")
        assert segment.body(0) == b"head\r\nbody\r\n"
        assert one.sequence == 1
        assert log.position() == (1, segment.end)
        assert log.backlog() == 0

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_the_body_is_copied_at_once(
        self, log: LogWriter, tmp_path: Path, kind: type
    ) -> None:
        source = bytearray(b"first")
        log.append(1, 1, b"", b"", kind(source) if kind is not memoryview else source)
        source[:] = b"XXXXX"
        log.sync()
        assert segments(tmp_path)[0].body(0) == b"first"

    def test_tickets_settle_in_order(self, log: LogWriter, tmp_path: Path) -> None:
        for n in range(1, 501):
            assert log.append(n, 1, b"", b"", b"x" * n) == n
        settled = [0]
        while settled[-1] < 500:
            ticket, failed, _ = await_signal(log)
            assert failed == []
            settled.append(ticket)
        assert settled == sorted(settled)
        assert ids(tmp_path) == [*range(1, 501)]

    def test_one_flush_serves_all_that_wait(self, log: LogWriter) -> None:
        for n in range(1000):
            log.append(n, 1, b"", b"", b"x" * 100)
        log.sync()
        flushes = log.flushes()
        assert sum(records for _, records, _ in flushes) == 1000
        assert len(flushes) < 500
        assert log.flushes() == []

    def test_what_is_settled_is_durable_at_the_position(
        self, log: LogWriter, tmp_path: Path
    ) -> None:
        for n in range(1, 200):
            log.append(n, 1, b"e", b"", b"x" * 5000)
            ticket = log.collect()[0]
            number, end = log.position()
            upto = [s for s in segments(tmp_path) if s.header.number <= number]
            seen = [one.sequence for s in upto for one in s.found]
            assert seen[-1:] >= [ticket] or ticket == 0
            assert upto[-1].end >= end

    def test_limits(self, log: LogWriter) -> None:
        with pytest.raises(ValueError, match="an envelope has at most"):
            log.append(1, 1, bytes((64 << 20) + 1), b"", b"")
        with pytest.raises(OverflowError):
            log.append(1, 256, b"", b"", b"")
        with pytest.raises(BufferError):
            log.append(1, 1, b"", b"", memoryview(b"abcd")[::2])

    def test_after_close(self, tmp_path: Path) -> None:
        log = LogWriter(str(tmp_path), 1, 7, MIB)
        log.append(1, 1, b"", b"", b"x")
        log.close()
        assert log.collect()[:3] == (1, [], []), "close flushes"
        log.close()
        with pytest.raises(Misused):
            log.append(1, 1, b"", b"", b"x")


class TestSegments:
    def test_a_life_opens_a_new_one_and_never_appends(self, tmp_path: Path) -> None:
        sizes = {}
        for life in range(1, 5):
            with LogWriter(str(tmp_path), 1, life, MIB) as log:
                assert log.first == life
                log.append(life, 1, b"", b"", b"x")
                log.sync()
            for path in tmp_path.glob("*.log"):
                assert (
                    sizes.setdefault(path, path.stat().st_size) == path.stat().st_size
                )
        assert [s.header.epoch for s in segments(tmp_path)] == [1, 2, 3, 4]
        assert len({s.header.salt for s in segments(tmp_path)}) == 4
        assert [s.header.previous for s in segments(tmp_path)] == [0, 0, 0, 0]

    def test_numbers_are_per_series_and_above_least(self, tmp_path: Path) -> None:
        LogWriter(str(tmp_path), 1, 1, MIB).close()
        (tmp_path / "1-00000007.big").touch()
        (tmp_path / "2-00000030.log").touch()
        assert LogWriter(str(tmp_path), 1, 1, MIB).first == 8
        assert LogWriter(str(tmp_path), 3, 1, MIB).first == 1
        assert LogWriter(str(tmp_path), 4, 1, MIB, least=9).first == 9

    def test_each_names_the_end_of_the_one_before(
        self, log: LogWriter, tmp_path: Path
    ) -> None:
        for n in range(1, 1200):
            log.append(n, 1, b"e" * 50, b"h", b"x" * 8000)
            if n % 20 == 0:
                log.sync()
        log.close()
        read = segments(tmp_path)
        assert len(read) >= 3
        assert ids(tmp_path) == [*range(1, 1200)]
        for before, after in itertools.pairwise(read):
            assert after.header.previous == before.header.number
            assert after.header.previous_end == before.end == before.size
            assert not after.header.previous_failed
            assert before.end <= 4 * MIB

    def test_the_newest_is_locked_while_the_writer_lives(
        self, log: LogWriter, tmp_path: Path
    ) -> None:
        for n in range(300):
            log.append(n, 1, b"", b"", b"x" * 8000)
        log.sync()
        paths = sorted(str(path) for path in tmp_path.glob("*.log"))
        assert len(paths) > 1
        assert [record.is_locked(path) for path in paths[:-1]] == [False] * (
            len(paths) - 1
        )
        assert record.is_locked(paths[-1])
        log.close()
        assert not record.is_locked(paths[-1])

    def test_a_record_larger_than_a_segment_has_one_alone(
        self, log: LogWriter, tmp_path: Path
    ) -> None:
        log.append(1, 1, b"", b"", b"x")
        log.append(2, 1, b"", b"", bytes(9 * MIB))
        log.append(3, 1, b"", b"", b"x")
        log.sync()
        assert [[one.id for one in s.found] for s in segments(tmp_path)] == [
            [1],
            [2],
            [3],
        ]

    def test_the_next_is_prepared_ahead_and_given_back(
        self, log: LogWriter, tmp_path: Path
    ) -> None:
        log.append(1, 1, b"", b"", bytes(600_000))
        log.sync()
        ready = tmp_path / "1-00000001.ready"
        while not (ready.exists() and ready.stat().st_size == 4 * MIB):
            os.sched_yield()
        log.close()
        assert [path.name for path in tmp_path.iterdir()] == ["1-00000001.log"]
        assert segments(tmp_path)[0].size == log.position()[1], "cut to what is used"

    def test_leftovers_of_a_failure_are_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "1-00000001.new").write_bytes(b"old" * 1000)
        (tmp_path / "1-00000001.ready").write_bytes(b"old" * 1000)
        with LogWriter(str(tmp_path), 1, 7, MIB) as log:
            log.append(1, 1, b"", b"", b"x")
            log.sync()
        assert ids(tmp_path) == [1]

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            LogWriter(str(tmp_path / "no"), 1, 7, MIB)


class TestSpool:
    def test_the_record_refers_to_a_file_of_its_own(
        self, log: LogWriter, tmp_path: Path
    ) -> None:
        body = os.urandom(700_001)
        spool = log.spool(77, b"head\r\n")
        for at in range(0, len(body), 70_000):
            spool.write(body[at : at + 70_000])
        spool.finish(1, b"envelope")
        log.sync()
        assert log.collect()[:3] == (1, [], [(77, 0)])
        [one] = segments(tmp_path)[0].found
        assert (one.id, one.kind, one.envelope) == (77, 1, b"envelope")
        assert (one.flags, one.number) == (record.BIG, spool.number)
        big = Read(tmp_path / record.segment_name(1, spool.number, big=True))
        assert big.header.big
        assert big.end == big.size
        assert (big.found[0].id, big.found[0].body_crc) == (77, one.body_crc)
        assert big.found[0].body_offset == one.body_offset == record.BIG_BODY
        assert big.body(0) == b"head\r\n" + body
        assert one.body_length == len(body) + 6

    def test_an_empty_body(self, log: LogWriter, tmp_path: Path) -> None:
        log.spool(1, b"").finish(1, b"e")
        log.sync()
        assert log.collect()[2] == [(1, 0)]
        assert segments(tmp_path)[0].found[0].body_length == 0

    def test_abort_leaves_nothing(self, log: LogWriter, tmp_path: Path) -> None:
        spool = log.spool(1, b"head")
        spool.write(bytes(MIB))
        spool.abort()
        spool.abort()
        with pytest.raises(Misused):
            spool.write(b"more")
        del spool
        log.spool(2, b"forgotten")
        log.close()
        assert [*tmp_path.glob("*.big")] == []
        assert log.collect()[:3] == (0, [], [])

    def test_close_aborts_what_is_unfinished(self, tmp_path: Path) -> None:
        log = LogWriter(str(tmp_path), 1, 7, MIB)
        spool, done = log.spool(1, b"head"), log.spool(2, b"head")
        spool.write(bytes(MIB))
        done.write(bytes(MIB))
        done.finish(1, b"")
        log.close()
        assert log.collect()[:3] == (1, [], [(2, 0)])
        with pytest.raises(Misused):
            spool.finish(1, b"")
        assert len([*tmp_path.glob("*.big")]) == 1

    def test_the_backlog_goes_down(self, log: LogWriter) -> None:
        spool = log.spool(1, b"")
        spool.write(bytes(3 * MIB))
        while spool.backlog():
            os.sched_yield()
        spool.abort()

    def test_many_at_once(self, log: LogWriter, tmp_path: Path) -> None:
        bodies = {n: os.urandom(300_000 + n) for n in range(10)}
        spools = {n: log.spool(n, b"") for n in bodies}
        for at in range(0, 400_000, 100_000):
            for n, spool in spools.items():
                spool.write(bodies[n][at : at + 100_000])
        for spool in spools.values():
            spool.finish(1, b"")
        log.sync()
        assert sorted(log.collect()[2]) == [(n, 0) for n in range(10)]
        for n, spool in spools.items():
            name = record.segment_name(1, spool.number, big=True)
            assert Read(tmp_path / name).body(0) == bodies[n]

    def test_orphans_are_removed(self, tmp_path: Path) -> None:
        for n in (3, 4, 5, 9):
            (tmp_path / record.segment_name(1, n, big=True)).touch()
        (tmp_path / record.segment_name(2, 3, big=True)).touch()
        (tmp_path / "1-00000002.ready").touch()
        with LogWriter(str(tmp_path), 1, 7, MIB) as log:
            assert log.first == 10
            spool = log.spool(1, b"")
            spool.write(bytes(MIB))
            while spool.backlog():
                os.sched_yield()
            removed = record.remove_orphans(str(tmp_path), 1, 9, {4}.__contains__)
            assert removed == ["1-00000002.ready", "1-00000003.big", "1-00000005.big"]
            removed = record.remove_orphans(str(tmp_path), 1, 99, {4}.__contains__)
            assert removed == ["1-00000009.big"], "what is being written is locked"
            spool.finish(1, b"")
        assert (tmp_path / record.segment_name(1, spool.number, big=True)).exists()

    def test_what_the_living_makes_is_none_before_it_is_locked(
        self, tmp_path: Path
    ) -> None:
        for name in ("1-00000009.new", "1-00000010.new", "1-00000010.ready"):
            (tmp_path / name).touch()
        removed = record.remove_orphans(str(tmp_path), 1, 10, {4}.__contains__)
        assert removed == ["1-00000009.new"]


class TestBatch:
    def test_fewer_wait_for_flush(self, tmp_path: Path) -> None:
        with LogWriter(str(tmp_path), 1, 7, MIB, batch=4) as log:
            log.append(1, 1, b"", b"", b"x")
            log.append(2, 1, b"", b"", b"x")
            assert log.backlog() > 0
            log.flush()
            assert await_signal(log)[0] == 2
            for n in range(4):
                log.append(n, 1, b"", b"", b"x")
            assert await_signal(log)[0] == 6, "four need no asking"
            log.append(7, 1, b"", b"", bytes(MIB))
            assert await_signal(log)[0] == 7, "nor do many octets"
            log.append(8, 1, b"", b"", b"x")
            assert log.sync() == 8
            assert [records for _, records, _ in log.flushes()] == [2, 4, 1, 1]
            log.append(9, 1, b"", b"", b"x")
        assert log.collect()[0] == 9

    def test_a_flush_is_counted_by_its_first_record(self, tmp_path: Path) -> None:
        cells = fresh(counts.SIZE)
        with LogWriter(str(tmp_path), 1, 7, MIB, batch=100) as log:
            for id in (20, 21, 22):
                log.append(id, 1, b"", b"", b"x")
            log.sync()
            log.count_flushes(cells)
            log.count_flushes(cells)  # they are counted once
            with pytest.raises(ValueError, match="cells"):
                log.count_flushes(fresh(counts.SIZE - 1))
        batch, commit, sync = counts.LOG_BATCH, counts.LOG_COMMIT, counts.LOG_SYNC
        assert cells[batch.first + batch.size - 1] == 3
        ends = [cells[one.first + one.size - 1] for one in (commit, sync)]
        assert ends[0] >= ends[1] > 0, "who waits for a flush waits for its sync"
        for seen in (counts.LOG_COMMIT_SEEN, counts.LOG_SYNC_SEEN):
            ids = set(cells[seen.first : seen.end : 3])
            assert ids == {0, 20}

    def test_a_finished_body_needs_no_asking(self, tmp_path: Path) -> None:
        with LogWriter(str(tmp_path), 1, 7, MIB, batch=100) as log:
            log.spool(1, b"x").finish(1, b"")
            assert await_signal(log)[2] == [(1, 0)]
