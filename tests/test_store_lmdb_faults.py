"""The index when its disk fails or is full: each case in a process of its own."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from contract.bench import PART
from shims.faults import Faults
from storebench import body, faults, keeper, mail, options, run, until

from fastsmtp.errors import StoreUnavailable
from fastsmtp.store.lmdb import LmdbStore

TESTS = Path(__file__).parent
ROOM = options(reserve=1 << 20)


async def delete_with_a_full_disk(place: Path, disk: Faults) -> None:
    """A put finds no room; a delete is given the reserve, which comes back."""
    async with keeper(place, ROOM, apply=None) as store:
        await store.commit(PART, puts=[(b"a", b"1"), (b"b", b"2")])
        reserve = place / "reserve"
        assert reserve.stat().st_blocks * 512 >= 1 << 20
        disk.set("write", errno.ENOSPC, on="/index/")
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await store.commit(PART, puts=[(b"c", b"3")])
        assert reserve.exists()
        disk.set("write", errno.ENOSPC, on="/index/")
        await store.commit(PART, deletes=[b"a"])
        assert not reserve.exists()
        assert await store.get(PART, b"a") is None
        disk.clear()
        await store.commit(PART, puts=[(b"c", b"3")])
        await until(reserve.exists)
        await until(lambda: store.healthy() is None)


async def acknowledge_nothing_after_a_failed_sync(place: Path, disk: Faults) -> None:
    reasons: list[str] = []
    async with keeper(place, ROOM) as store:
        store.on_fatal(reasons.append)
        await store.commit(PART, puts=[(b"a", b"1")])
        disk.set("fdatasync", errno.EIO, on="/index/")
        with pytest.raises(StoreUnavailable):
            await store.commit(PART, puts=[(b"b", b"2")])
        await until(lambda: bool(reasons))
        disk.clear()
        for _ in range(2):  # for good: what the kernel dropped cannot be known
            with pytest.raises(StoreUnavailable):
                await store.commit(PART, puts=[(b"b", b"2")])
        await until(lambda: store.healthy() is not None)
        assert "disk" in str(store.healthy())
        with pytest.raises(StoreUnavailable):
            await mail(store, b"refused")


async def refuse_mail_while_the_log_fails(place: Path, disk: Faults) -> None:
    async with keeper(place, ROOM) as store:
        first = await mail(store, b"first")
        disk.set("fdatasync", errno.EIO, count=0, on="/log/")
        with pytest.raises(StoreUnavailable):
            await mail(store, b"lost, and said so", wait=False)
        disk.clear()
        second = await delivered_soon(store)
        assert await body(store, first) == b"first"
        assert await body(store, second) == b"second"
        await until(lambda: store.healthy() is None)
    assert faults(place) == []


async def find_out_itself_that_the_log_works(place: Path, disk: Faults) -> None:
    """The door is shut meanwhile, so no mail comes that would try it."""
    async with keeper(place, ROOM) as store:
        await mail(store, b"first")
        disk.set("any", errno.ENOSPC, count=0, on="/log/")
        while store.healthy() is None:
            with pytest.raises(StoreUnavailable):
                await mail(store, b"lost, and said so", wait=False)
            await asyncio.sleep(0)
        disk.clear()
        await until(lambda: store.healthy() is None)
        await mail(store, b"taken")
    assert faults(place) == []


async def delivered_soon(store: LmdbStore) -> int:
    """The log opens a new segment by itself when the disk works again."""
    while True:
        try:
            return await mail(store, b"second")
        except StoreUnavailable:
            await until(lambda: True)


async def keep_what_a_full_disk_held_up(place: Path, disk: Faults) -> None:
    """The log takes it, the index cannot: applied as soon as there is room."""
    async with keeper(place, ROOM) as store:
        disk.set("write", errno.ENOSPC, count=0, on="/index/")
        id = await mail(store, b"kept", wait=False)
        await until(lambda: store.healthy() is not None)
        assert "full" in str(store.healthy())
        with pytest.raises(StoreUnavailable):
            await mail(store, b"refused")
        disk.clear()
        await until(lambda: store.healthy() is None)
        await mail(store, b"taken")
        assert await body(store, id) == b"kept"
    assert faults(place) == []


CASES = (
    delete_with_a_full_disk,
    acknowledge_nothing_after_a_failed_sync,
    refuse_mail_while_the_log_fails,
    keep_what_a_full_disk_held_up,
    find_out_itself_that_the_log_works,
)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case.__name__ for case in CASES])
def test_the_store_can(case: str, tmp_path: Path) -> None:
    disk = Faults.build(tmp_path, on="/data/")
    paths = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    done = subprocess.run(
        [sys.executable, "-m", "test_store_lmdb_faults", case, tmp_path / "data"],
        env=disk.environment() | paths,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


async def fill(store: LmdbStore) -> int:
    """Put until there is no room; returns how many there are."""
    for n in range(1000):
        try:
            await store.commit(PART, puts=[(b"%06d" % n, bytes(20_000))])
        except StoreUnavailable as error:
            assert "map_size" in str(error)  # noqa: PT017
            return n
    raise AssertionError("the map is never full")


def test_deletes_work_in_a_full_map(tmp_path: Path) -> None:
    small = options(map_size=1 << 20)

    async def case() -> None:
        async with keeper(tmp_path, small) as store:
            n = await fill(store)
            await until(lambda: store.healthy() is not None)
            assert "map_size" in str(store.healthy())
            for k in range(n // 2):
                await store.commit(PART, deletes=[b"%06d" % k])
            await store.commit(PART, puts=[(b"again", bytes(20_000))])
            await until(lambda: store.healthy() is None)

    run(case())


if __name__ == "__main__":
    disk = Faults(Path(os.environ["LD_PRELOAD"]), os.environ["FAULTS_PATH"])
    chosen = {case.__name__: case for case in CASES}[sys.argv[1]]
    asyncio.run(asyncio.wait_for(chosen(Path(sys.argv[2]), disk), 50))
