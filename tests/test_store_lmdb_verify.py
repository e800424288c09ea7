import random
from pathlib import Path

import pytest
from contract.bench import PART
from storebench import (
    OPTIONS,
    body,
    entry,
    faults,
    findings,
    keeper,
    logs,
    mail,
    references,
    remove,
    run,
)

from fastsmtp.errors import Damaged
from fastsmtp.store.lmdb.index import Index


async def fill(place: Path, n: int, size: int = 300) -> dict[int, bytes]:
    bodies: dict[int, bytes] = {}
    async with keeper(place) as store:
        for k in range(n):
            text = random.Random(k).randbytes(size)
            bodies[await mail(store, text)] = text
    return bodies


def test_a_whole_store_has_no_findings(tmp_path: Path) -> None:
    async def case() -> None:
        await fill(tmp_path, 10)
        assert findings(tmp_path) == []
        async with keeper(tmp_path, apply=None) as store:
            await mail(store, b"waits", wait=False)
        (found,) = findings(tmp_path)
        assert (found.what, found.text) == ("waiting", "1 records to apply")
        async with keeper(tmp_path) as store:
            await mail(store, b"x")
        assert findings(tmp_path) == []

    run(case())


def test_wrong_references_are_found(tmp_path: Path) -> None:
    async def case() -> None:
        async with keeper(tmp_path) as store:
            one, two = await mail(store, b"1"), await mail(store, b"2")
            await store.commit(PART, deletes=[entry(one)[1]])
            await store.commit(PART, puts=[(b"e twice", entry(two)[2])])
            await store.commit(PART, puts=[(b"e none", bytes(7) + b"\x05")])
        found = {(f.what, f.id) for f in findings(tmp_path)}
        assert found == {("references", one), ("references", two), ("body", 5)}

    run(case())


def test_a_missing_segment_is_found(tmp_path: Path) -> None:
    async def case() -> None:
        bodies = await fill(tmp_path, 3)
        (tmp_path / "log" / logs(tmp_path)[0]).unlink()
        found = faults(tmp_path)
        assert {f.id for f in found} == set(bodies)
        assert all(f.what == "body" for f in found)
        assert all(f.entries == ((PART, entry(f.id)[1]),) for f in found)

    run(case())


@pytest.mark.slow
def test_every_flip_in_live_data_is_named_and_nothing_else(tmp_path: Path) -> None:
    async def case() -> None:
        bodies = await fill(tmp_path, 400, 700)
        index = Index(tmp_path, OPTIONS, readonly=True)
        places = dict(index.places())
        index.close()
        chance = random.Random(1)
        name = tmp_path / "log" / logs(tmp_path)[0]
        end = max(p.offset + p.length for p in places.values())
        data = bytearray(name.read_bytes())
        hurt: set[int] = set()
        for _ in range(200):
            at = chance.randrange(end)
            data[at] ^= 1 << chance.randrange(8)
            hurt |= {
                i for i, p in places.items() if p.offset <= at < p.offset + p.length
            }
        name.write_bytes(data)
        found = faults(tmp_path)
        assert {f.id for f in found if f.what == "body"} == hurt
        for f in found:
            assert not f.id or f.entries == ((PART, entry(f.id)[1]),)
        async with keeper(tmp_path) as store:
            for id, text in bodies.items():
                if id in hurt:
                    with pytest.raises(Damaged):
                        await body(store, id)
                else:
                    assert await body(store, id) == text

    run(case())


def test_entries_name_who_refers() -> None:
    assert list(references(*entry(7))) == [7]


def test_removed_mail_leaves_no_fault(tmp_path: Path) -> None:
    async def case() -> None:
        bodies = await fill(tmp_path, 5)
        async with keeper(tmp_path) as store:
            await remove(store, list(bodies)[:3])
        assert findings(tmp_path) == []

    run(case())
