"""What the tests of the LMDB store stand on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from contract.bench import PART, obey, order

from fastsmtp.cells import fresh
from fastsmtp.store import keys
from fastsmtp.store.base import Apply, Kind, Writes
from fastsmtp.store.counts import SIZE
from fastsmtp.store.lmdb import Finding, LmdbStore, next_epoch, verify
from fastsmtp.store.options import StoreOptions

MIB = 1 << 20
OPTIONS = StoreOptions(
    segment_size=MIB, map_size=1 << 28, reserve=0, min_free=0, commit_interval=0.0
)


def options(**changes: Any) -> StoreOptions:
    return replace(OPTIONS, **changes)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


@asynccontextmanager
async def keeper(
    place: Path,
    settings: StoreOptions = OPTIONS,
    *,
    apply: Apply | None = obey,
    socket: bool = False,
) -> AsyncIterator[LmdbStore]:
    """A keeper that follows, unless `apply` is None."""
    store = await LmdbStore.open(
        place,
        place / "run" if socket else None,
        settings,
        epoch=next_epoch(place, settings),
        series=0,
        cells=fresh(SIZE),
    )
    task = asyncio.ensure_future(store.follow(apply)) if apply else None
    try:
        yield store
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await store.close()


@asynccontextmanager
async def receiver(
    place: Path, settings: StoreOptions = OPTIONS, series: int = 1
) -> AsyncIterator[LmdbStore]:
    """A receiver; the index must exist."""
    epoch = 1000 + series
    store = await LmdbStore.open(
        *(place, place / "run", settings),
        epoch=epoch,
        series=series,
        cells=fresh(SIZE),
    )
    try:
        yield store
    finally:
        await store.close()


def entry(id: int) -> tuple[int, bytes, bytes]:
    """A put that refers to a blob, as `references` finds it."""
    return (PART, b"e" + keys.u64(id), keys.u64(id))


def references(part: int, key: bytes, value: bytes) -> Iterable[int]:
    return [int.from_bytes(value, "big")] if key[:1] == b"e" else []


async def mail(store: LmdbStore, body: bytes, *, wait: bool = True) -> int:
    """Deliver a message that its entry refers to."""
    id = store.next_id()
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: Exception | None) -> None:
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    envelope = order(puts=[entry(id)], refs=1, count=b"n")
    store.submit(id, Kind.MAIL, envelope, b"", body, done)
    await outcome
    if wait:
        await store.applied(id)
    return id


async def remove(store: LmdbStore, ids: Iterable[int]) -> None:
    """Delete entries and their references."""
    commits = (store.commit(PART, deletes=[entry(id)[1]], refs={id: -1}) for id in ids)
    await asyncio.gather(*commits)


async def body(store: LmdbStore, id: int) -> bytes:
    blob = await store.blob_open(id)
    try:
        blob.verify()
        return blob.read(0, blob.length)
    finally:
        blob.close()


def findings(place: Path, settings: StoreOptions = OPTIONS) -> list[Finding]:
    return list(verify(place, settings, references))


def faults(place: Path) -> list[Finding]:
    return [f for f in findings(place) if f.is_fault]


def logs(place: Path) -> list[str]:
    """The names of the log's segments that hold something."""
    return sorted(p.name for p in (place / "log").iterdir())


async def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread or process will do soon."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def refuse(*_: object) -> Writes:
    raise ValueError("told to fail")
