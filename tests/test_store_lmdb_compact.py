import asyncio
import errno
import os
import random
import shutil
from pathlib import Path

import pytest
from contract.bench import PART
from storebench import (
    MIB,
    body,
    faults,
    keeper,
    logs,
    mail,
    options,
    remove,
    run,
    until,
)

from fastsmtp.errors import StoreUnavailable
from fastsmtp.store.lmdb import LmdbStore, backup
from fastsmtp.store.lmdb.compact import Compactor
from fastsmtp.store.lmdb.keeper import Keeper

SETTINGS = options(pin=0.0, compact_rate=1 << 40)


def keep(store: LmdbStore) -> Keeper:
    assert store.keeper is not None
    return store.keeper


async def fill(store: LmdbStore, count: int, size: int) -> dict[int, bytes]:
    texts = [random.Random(n).randbytes(size) for n in range(count)]
    ids = await asyncio.gather(*(mail(store, text, wait=False) for text in texts))
    await store.applied(ids[-1])
    return dict(zip(ids, texts, strict=True))


async def settle(store: LmdbStore) -> None:
    for _ in range(10):
        await keep(store).clean()
        await asyncio.gather(*keep(store).pending)


def test_a_dead_segment_goes_after_the_commit(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path, SETTINGS) as store:
            bodies = await fill(store, 30, 100_000)
            assert len(logs(tmp_path)) >= 3
            await remove(store, bodies)
            await settle(store)
            assert keep(store).index.segments().keys() == set() or (
                len(keep(store).index.segments()) == 1
            )
            sealed = [n for n in logs(tmp_path) if n.endswith(".log")]
            assert len(sealed) == 1  # the one that is written to
        assert faults(tmp_path) == []

    run(case())


def test_a_mostly_dead_segment_is_copied_and_readers_notice_nothing(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        async with keeper(tmp_path, SETTINGS) as store:
            bodies = await fill(store, 60, 60_000)
            kept = dict(list(bodies.items())[::10])
            open_ones = {id: await store.blob_open(id) for id in kept}
            before = disk_use(tmp_path)
            await remove(store, bodies.keys() - kept.keys())
            await settle(store)
            for id, text in kept.items():
                assert open_ones[id].read(0, 1 << 20) == text
                assert await body(store, id) == text
                open_ones[id].close()
            assert disk_use(tmp_path) < before / 2
        assert faults(tmp_path) == []
        async with keeper(tmp_path, SETTINGS) as store:
            for id, text in kept.items():
                assert await body(store, id) == text
            assert store.peek(PART, b"n") == b"60"
        assert faults(tmp_path) == []

    run(case())


def disk_use(place: Path) -> int:
    return sum(
        p.stat().st_size
        for p in (place / "log").iterdir()
        if p.suffix in (".log", ".big")
    )


def test_a_body_without_references_stays_for_the_pin_time(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path, options(pin=600.0)) as store:
            bodies = await fill(store, 30, 60_000)
            await remove(store, bodies)
            await settle(store)
            for id, text in bodies.items():
                assert await body(store, id) == text
            (one, *_) = bodies
            await store.commit(PART, refs={one: 1})
        async with keeper(tmp_path, SETTINGS) as store:
            await settle(store)
            assert await body(store, one) == bodies[one]
            assert len(dict(keep(store).index.places())) == 1

    run(case())


def test_copying_is_throttled(tmp_path: Path) -> None:
    async def case() -> None:
        slow = options(pin=0.0, compact_rate=1 << 20)
        async with keeper(tmp_path, slow) as store:
            bodies = await fill(store, 40, 60_000)
            await remove(store, list(bodies)[4:])
            await keep(store).sweep()
            compactor = Compactor(keep(store), keep(store).own_log())
            loop = asyncio.get_running_loop()
            began = loop.time()
            copied = await compactor.step()
            assert copied == 240_000
            assert loop.time() - began > 0.9 * copied / (1 << 20)

    run(case())


def test_deleting_while_copying_is_right_either_way(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path, SETTINGS) as store:
            bodies = await fill(store, 40, 60_000)
            ids = list(bodies)
            kept = ids[::8]
            await remove(store, [id for id in ids if id not in kept])
            await keep(store).sweep()
            compactor = Compactor(keep(store), keep(store).own_log())
            step = asyncio.ensure_future(compactor.step())
            await remove(store, kept[:3])
            await step
            await settle(store)
            for id in kept[3:]:
                assert await body(store, id) == bodies[id]
            live = {i for i, p in keep(store).index.places() if p.refs}
            assert live == set(kept[3:])
        assert faults(tmp_path) == []

    run(case())


def test_a_damaged_body_keeps_its_segment(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path, SETTINGS) as store:
            bodies = await fill(store, 40, 60_000)
            (first, *rest) = bodies
            place = keep(store).index.place(first)
            assert place is not None
            name = tmp_path / "log" / logs(tmp_path)[0]
            with name.open("r+b") as file:
                file.seek(place.offset + 10)
                file.write(b"rot!")
            await remove(store, rest[:-1])
            await settle(store)
            assert name.exists()
            assert await body(store, rest[-1]) == bodies[rest[-1]]
        assert [f.id for f in faults(tmp_path) if f.id] == [first]

    run(case())


def test_nothing_is_unlinked_while_a_backup_runs(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path / "a", SETTINGS) as store:
            bodies = await fill(store, 30, 60_000)
            keep(store).holds += 1
            names = logs(tmp_path / "a")
            await remove(store, bodies)
            await settle(store)
            assert set(names) <= set(logs(tmp_path / "a"))
            keep(store).release()
            await until(lambda: names[0] not in logs(tmp_path / "a"))

    run(case())


def test_a_backup_goes_on_when_a_large_body_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        async with keeper(tmp_path / "a", SETTINGS) as store:
            spool = store.spool(store.next_id(), b"head\r\n")
            spool.write(b"x" * MIB)
            [name] = await until_big(tmp_path / "a")
            copy = backup.copy

            def abort(source: Path, target: Path) -> None:
                if source.name == name:
                    spool.abort()
                    while source.exists():
                        os.sched_yield()
                copy(source, target)

            monkeypatch.setattr(backup, "copy", abort)
            await store.backup(tmp_path / "b")
            assert not (tmp_path / "b" / "log" / name).exists()
        assert faults(tmp_path / "b") == []

    run(case())


async def until_big(place: Path) -> list[str]:
    """Names of large bodies, as soon as there is one."""
    await until(lambda: any(n.endswith(".big") for n in logs(place)))
    return [n for n in logs(place) if n.endswith(".big")]


def test_a_backup_holds_all_that_was_acknowledged(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path / "a", SETTINGS) as store:
            bodies = await fill(store, 30, 60_000)
            gone = set(list(bodies)[:15])
            await remove(store, gone)
            last = [await mail(store, b"not applied yet", wait=False)]
            stop = False

            async def traffic() -> None:
                while not stop:
                    await mail(store, b"meanwhile" * 1000)

            busy = asyncio.ensure_future(traffic())
            await store.backup(tmp_path / "b")
            stop = True
            await busy
        assert faults(tmp_path / "b") == []
        async with keeper(tmp_path / "b", SETTINGS) as copy:
            await mail(copy, b"x")
            for id in bodies.keys() - gone:
                assert await body(copy, id) == bodies[id]
            assert await body(copy, last[0]) == b"not applied yet"
        assert faults(tmp_path / "b") == []

    run(case())


@pytest.mark.parametrize("end", ["full disk", "crash"])
def test_a_backup_that_was_cut_short_is_never_taken_for_one(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is copied first and would open; half of the log is missing."""
    target = tmp_path / "b"

    def stop(_source: Path, _target: Path) -> None:
        if end == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        shutil.copytree(target, tmp_path / "left by a crash")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def case() -> None:
        async with keeper(tmp_path / "a", SETTINGS) as store:
            await mail(store, b"x")
            with monkeypatch.context() as patch:
                patch.setattr(backup, "copy", stop)
                with pytest.raises(StoreUnavailable, match=r"/b: (No space|Input)"):
                    await store.backup(target)
            assert list(target.iterdir()) == []
            await store.backup(target)
        assert faults(target) == []
        if end == "crash":
            with pytest.raises(StoreUnavailable, match="was not finished"):
                async with keeper(tmp_path / "left by a crash", SETTINGS):
                    pass

    run(case())


def test_a_backup_goes_elsewhere(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path / "a", SETTINGS) as store:
            with pytest.raises(StoreUnavailable, match="a backup goes elsewhere"):
                await store.backup(tmp_path / "a" / "today")

    run(case())
