"""The rules of recovery, each with its test; numbers are those of the design."""

import fcntl
import os
from pathlib import Path

import lmdb
import pytest
from contract.bench import PART, following, order
from storebench import (
    OPTIONS,
    body,
    entry,
    faults,
    keeper,
    logs,
    mail,
    options,
    receiver,
    refuse,
    remove,
    run,
    until,
)

from fastsmtp.errors import FormatTooNew
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore, next_epoch
from fastsmtp.store.lmdb.index import Index
from fastsmtp.store.msglog import LogWriter
from fastsmtp.store.record import FORMAT, SEGMENT_HEADER, crc32c, read_segment_header

SERIES = 3


def writer(place: Path, epoch: int = 77, size: int = 1 << 20) -> LogWriter:
    """The log of a receiver that has no link."""
    (place / "log").mkdir(exist_ok=True)
    return LogWriter(str(place / "log"), SERIES, epoch, size)


def append(log: LogWriter, first: int, count: int, size: int = 100) -> list[int]:
    ids = [(77 << 36) + n for n in range(first, first + count)]
    for id in ids:
        envelope = order(puts=[entry(id)], refs=1, count=b"n")
        log.append(id, Kind.MAIL, envelope, b"head\r\n", id.to_bytes(8, "big") * size)
    log.sync()
    return ids


async def all_there(store: LmdbStore, ids: list[int], size: int = 100) -> None:
    await until(lambda: store.peek(PART, entry(ids[-1])[1]) is not None)
    for id in ids:
        assert await body(store, id) == b"head\r\n" + id.to_bytes(8, "big") * size


def count(store: LmdbStore) -> int:
    return int(store.peek(PART, b"n") or b"0")


def test_rule_1_leftovers_of_a_file_never_validate(tmp_path: Path) -> None:
    """A second segment's octets in the place of the first one's tail are no records."""
    with writer(tmp_path) as log:
        ids = append(log, 1, 3)
        end = log.position()[1]
    with writer(tmp_path, epoch=78) as log:
        append(log, 10, 8)
    first, second = (tmp_path / "log" / name for name in logs(tmp_path))
    data = bytearray(first.read_bytes())
    other = second.read_bytes()
    data[end:] = other[end:]
    first.write_bytes(data)
    second.unlink()

    async def case() -> None:
        async with keeper(tmp_path) as store:
            await all_there(store, ids)
            await mail(store, b"x")
            assert count(store) == len(ids) + 1

    run(case())


def test_rule_2_a_life_begins_a_new_segment(tmp_path: Path) -> None:
    async def case() -> None:
        for _ in range(3):
            async with keeper(tmp_path) as store:
                await mail(store, b"x")
                assert await store.get(PART, b"n") is not None
        headers = [
            read_segment_header((tmp_path / "log" / n).read_bytes()[:SEGMENT_HEADER])
            for n in logs(tmp_path)
        ]
        assert len({h.number for h in headers}) == 3
        assert len({h.salt for h in headers}) == 3

    run(case())


def test_rule_3_a_dead_writers_log_is_applied(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        ids = append(log, 1, 20)

    async def case() -> None:
        async with keeper(tmp_path) as store:
            await all_there(store, ids)
            assert count(store) == 20
        assert faults(tmp_path) == []

    run(case())


def test_rule_3_a_living_writers_log_is_left_alone(tmp_path: Path) -> None:
    async def case() -> None:
        log = writer(tmp_path)
        ids = append(log, 1, 5)
        async with keeper(tmp_path) as store:
            for _ in range(3):
                await mail(store, b"the keeper's own")
            assert store.keeper is not None
            assert store.keeper.series[SERIES].silent
            assert count(store) == 3
            log.close()  # dies
            await all_there(store, ids)
            assert count(store) == 8

    run(case())


def test_rule_3_nothing_is_read_past_what_was_told(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path) as store:
            log = writer(tmp_path)
            one = append(log, 1, 1)
            told = log.position()
            append(log, 2, 1)
            assert store.keeper is not None
            store.keeper.tell(SERIES, told, log.first)
            await all_there(store, one)
            await mail(store, b"x")
            assert count(store) == 2
            store.keeper.tell(SERIES, log.position(), log.first)
            await until(lambda: count(store) == 3)
            log.close()

    run(case())


def test_rule_4_a_torn_end_is_where_it_stops(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        ids = append(log, 1, 5)
        end = log.position()[1]
    name = tmp_path / "log" / logs(tmp_path)[0]
    os.truncate(name, end - 10)

    async def case() -> None:
        damaged: list[str] = []
        async with keeper(tmp_path) as store:
            assert store.keeper is not None
            store.keeper.on_damaged = lambda where, why: damaged.append(where)
            await all_there(store, ids[:-1])
            await mail(store, b"x")
            assert count(store) == 5
        assert damaged == []

    run(case())


@pytest.mark.parametrize("hit", ["body", "header"])
def test_rule_4_rot_is_isolated_and_reported(tmp_path: Path, hit: str) -> None:
    async def case() -> None:
        damaged: list[str] = []
        async with keeper(tmp_path, apply=None) as store:
            keep = store.keeper
            assert keep is not None
            keep.on_damaged = lambda where, why: damaged.append(where)
            log = writer(tmp_path)
            ids = append(log, 1, 2)
            middle = log.position()[1]
            ids += append(log, 3, 3)
            keep.tell(SERIES, log.position(), log.first)
            log.close()
            name = next(n for n in logs(tmp_path) if n.startswith(f"{SERIES}-"))
            with (tmp_path / "log" / name).open("r+b") as file:
                file.seek(middle + (500 if hit == "body" else 2))
                file.write(b"\xa5\xa5")
            keep.gone(SERIES)
            async with following(store):
                await all_there(store, ids[:2] + ids[3:])
                await until(lambda: len(damaged) == 1)
            assert count(store) == 4
            assert name in damaged[0]
            aside = store.set_aside()
            assert [a.record.id for a in aside] == ([ids[2]] if hit == "body" else [])

    run(case())


def test_rule_5_a_segment_ends_where_the_next_one_says(tmp_path: Path) -> None:
    """What a writer left behind its last good flush is never applied."""
    with writer(tmp_path) as log:
        ids = append(log, 1, 40, size=8000)
        assert log.position()[0] > 1
    names = logs(tmp_path)
    headers = [
        read_segment_header((tmp_path / "log" / n).read_bytes()[:SEGMENT_HEADER])
        for n in names
    ]
    assert headers[1].previous == headers[0].number
    with (tmp_path / "log" / names[0]).open("r+b") as file:
        file.seek(headers[1].previous_end)
        file.write(b"left behind by a write that failed" * 10)

    async def case() -> None:
        async with keeper(tmp_path) as store:
            await all_there(store, ids, size=8000)
            assert count(store) == 40
        assert faults(tmp_path) == []

    run(case())


def test_rule_6_what_a_crash_left_to_unlink_is_unlinked(tmp_path: Path) -> None:
    settings = options(pin=0.0)

    async def case() -> None:
        async with keeper(tmp_path, settings) as store:
            id = await mail(store, b"x" * 1000)
        (name,) = (tmp_path / "log" / n for n in logs(tmp_path))
        data = name.read_bytes()
        async with keeper(tmp_path, settings) as store:
            await mail(store, b"y")
            assert store.keeper is not None
            await remove(store, [id])
            await store.keeper.clean()
            await until(lambda: not name.exists())
        name.write_bytes(data)  # as if it had never been unlinked
        async with keeper(tmp_path, settings) as store:
            await mail(store, b"z")
            assert not name.exists()
            assert count(store) == 3  # nothing of it was applied again
        assert faults(tmp_path) == []

    run(case())


def test_rule_7_a_newer_index_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path) as store:
            await mail(store, b"x")

    run(case())
    env = lmdb.open(str(tmp_path / "index"), max_dbs=8, map_size=1 << 28)
    with env.begin(write=True, db=env.open_db(b"meta")) as txn:
        txn.put(b"format", b"\x00\x00\x00\x09")
    env.close()
    with pytest.raises(FormatTooNew, match="format 9"):
        next_epoch(tmp_path, OPTIONS)
    with pytest.raises(FormatTooNew):
        LmdbStore.read(tmp_path, OPTIONS)


def test_rule_7_a_newer_segment_is_refused(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        append(log, 1, 1)
    (name,) = (tmp_path / "log" / n for n in logs(tmp_path))
    data = bytearray(name.read_bytes())
    data[8] = FORMAT + 1
    data[60:64] = crc32c(data[:60]).to_bytes(4, "little")
    name.write_bytes(data)

    async def case() -> None:
        with pytest.raises(FormatTooNew):
            async with keeper(tmp_path):
                pass

    run(case())
    assert [(tmp_path / "log" / n).read_bytes() for n in logs(tmp_path)] == [data]


def test_a_new_life_may_tell_before_the_end_of_the_old_is_seen(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        async with keeper(tmp_path) as store:
            assert store.keeper is not None
            old = writer(tmp_path)
            ids = append(old, 1, 3)
            store.keeper.tell(SERIES, old.position(), old.first)
            await all_there(store, ids)
            ids += append(old, 4, 3)
            old.close()
            with writer(tmp_path, epoch=78) as new:
                ids += append(new, 7, 3)
                store.keeper.tell(SERIES, new.position(), new.first)
                await all_there(store, ids)
            assert count(store) == 9
        assert faults(tmp_path) == []

    run(case())


def test_orphans_of_a_dead_writer_are_removed(tmp_path: Path) -> None:
    async def case() -> None:
        log = writer(tmp_path)
        spool = log.spool(5, b"head")
        spool.write(b"x" * 1_000_000)
        append(log, 1, 1)
        await until(lambda: any(n.endswith(".big") for n in logs(tmp_path)))
        copies = {n: (tmp_path / "log" / n).read_bytes() for n in logs(tmp_path)}
        spool.abort()
        log.close()
        for name, data in copies.items():
            (tmp_path / "log" / name).write_bytes(data)
        async with keeper(tmp_path) as store:
            await until(lambda: count(store) == 1)
            await until(lambda: not any(n.endswith(".big") for n in logs(tmp_path)))

    run(case())


def test_large_bodies_are_segments_of_their_own(tmp_path: Path) -> None:
    settings = options(pin=0.0)

    async def case() -> None:
        async with keeper(tmp_path, settings) as store:
            id = store.next_id()
            spool = store.spool(id, b"head\r\n")
            spool.write(b"x" * 500_000)
            done: list[object] = []
            envelope = order(puts=[entry(id)], refs=1)
            spool.finish(Kind.MAIL, envelope, done.append)
            await until(lambda: bool(done))
            assert done == [None]
            await store.applied(id)
            assert len(await body(store, id)) == 500_006
        assert faults(tmp_path) == []
        async with keeper(tmp_path, settings) as store:
            assert len(await body(store, id)) == 500_006
            await remove(store, [id])
            assert store.keeper is not None
            await store.keeper.clean()
            await until(lambda: not any(n.endswith(".big") for n in logs(tmp_path)))
        assert faults(tmp_path) == []

    run(case())


def test_what_cannot_be_applied_is_tried_again_by_the_next_life(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        async with keeper(tmp_path, apply=refuse) as store:
            id = await mail(store, b"b", wait=False)
            await until(lambda: bool(store.set_aside()))
            (aside,) = store.set_aside()
            assert aside.record.id == id
            assert "told to fail" in aside.error
        assert faults(tmp_path) == []
        async with keeper(tmp_path) as store:
            await until(lambda: count(store) == 1)
            assert store.set_aside() == []
            assert await body(store, id) == b"b"
        assert faults(tmp_path) == []

    run(case())


def test_a_receiver_tells_and_is_told(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path, socket=True) as keep:
            heard: list[int] = []
            async with receiver(tmp_path) as store:
                store.watch(PART, lambda: heard.append(1))
                ids = [await mail(store, b"by the link") for _ in range(5)]
                assert count(store) == 5
                assert await body(store, ids[0]) == b"by the link"
                await until(lambda: bool(heard))
                assert keep.keeper is not None
                assert keep.keeper.link is not None
                for peer in tuple(keep.keeper.link.connected):
                    assert peer.transport is not None
                    peer.transport.abort()
                await mail(store, b"it connects again")
                assert count(store) == 6
            await until(lambda: len(keep.keeper.series[1].plan) == 0)
        assert faults(tmp_path) == []

    run(case())


def test_a_receiver_goes_on_without_a_keeper(tmp_path: Path) -> None:
    settings = options(unapplied_bytes=1 << 20)

    async def case() -> None:
        next_epoch(tmp_path, settings)
        Index(tmp_path, settings, readonly=False).close()
        async with receiver(tmp_path, settings) as store:
            ids = [await mail(store, b"x" * 50_000, wait=False) for _ in range(10)]
            assert store.healthy() is None
            for _ in range(20):
                ids.append(await mail(store, b"x" * 50_000, wait=False))
                if store.healthy():
                    break
                await until(lambda: True)
            await until(lambda: store.healthy() is not None)
            why = store.healthy()
            assert why is not None
            assert (why.kind, "behind" in why.text) == ("unapplied", True)
        async with keeper(tmp_path, settings) as keep:
            await until(lambda: count(keep) == len(ids))
        assert faults(tmp_path) == []

    run(case())


def test_the_lock_is_the_segments_own(tmp_path: Path) -> None:
    with writer(tmp_path):
        name = tmp_path / "log" / logs(tmp_path)[0]
        fd = os.open(name, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
