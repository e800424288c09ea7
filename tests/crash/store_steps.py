"""A program that keeps mail and kills itself at a given step of the store.

    python -m crash.store_steps PLACE STEP

It delivers, deletes and compacts; every step of the store that changes something on
disk counts twice, before and after it. At count STEP the process is gone (SIGKILL). It
writes a line as soon as something is settled:

    sent ID / kept ID / deleting ID / deleted ID / end COUNT
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.bench import PART, order
from storebench import entry, keeper, options

from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import backup
from fastsmtp.store.lmdb import keeper as keeping
from fastsmtp.store.lmdb.batch import Batch
from fastsmtp.store.lmdb.intake import Intake
from fastsmtp.store.lmdb.keeper import Keeper
from fastsmtp.store.lmdb.store import LmdbStore
from fastsmtp.store.lmdb.writer import Writer

SETTINGS = options(pin=0.0, compact_rate=1 << 40)
SIZE = 40_000
count = 0
last = 0


def step() -> None:
    global count
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)


def stepping(owner: Any, name: str) -> None:
    """Count before and after each call."""
    real: Callable[..., Any] = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        step()
        result = real(*args, **kwargs)
        step()
        return result

    setattr(owner, name, call)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def send(store: LmdbStore, n: int) -> int:
    id = store.next_id()
    say("sent", id)
    done = asyncio.get_running_loop().create_future()
    envelope = order(puts=[entry(id)], refs=1, count=b"n")
    if n % 9 == 8:
        spool = store.spool(id, id.to_bytes(8, "big"))
        spool.write(id.to_bytes(8, "big") * (10 * SIZE // 8))
        spool.finish(Kind.MAIL, envelope, done.set_result)
    else:
        body = id.to_bytes(8, "big") * (SIZE // 8)
        store.submit(id, Kind.MAIL, envelope, b"", body, done.set_result)
    assert await done is None
    say("kept", id)
    return id


async def delete(store: LmdbStore, id: int) -> None:
    say("deleting", id)
    await store.commit(PART, deletes=[entry(id)[1]], refs={id: -1})
    say("deleted", id)


async def scenario(place: Path) -> None:
    async with keeper(place, SETTINGS) as store:
        ids = await asyncio.gather(*(send(store, n) for n in range(60)))
        await store.applied(ids[-1])
        await asyncio.gather(*(delete(store, id) for id in ids if id % 7))
        keep = store.keeper
        assert keep is not None
        for n in range(4):
            await keep.clean()
            await asyncio.gather(*keep.pending)
            await send(store, n)
    say("end", count)


for owner, name in (
    (Writer, "_transact"),
    (Batch, "write"),
    (Keeper, "_unlink"),
    (Keeper, "_remove_orphans"),
    (Intake, "_collect"),
    (keeping, "sync_directory"),
    (Path, "unlink"),
    (backup, "sync"),
):
    stepping(owner, name)

if __name__ == "__main__":
    last = int(sys.argv[2])
    asyncio.run(scenario(Path(sys.argv[1])))
