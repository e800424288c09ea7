"""A receiver that takes mail as fast as it can until it is killed.

python -m crash.store_receiver PLACE

It writes "kept ID" for each message that is durable.
"""

import asyncio
import os
import sys
from pathlib import Path

from contract.bench import order
from storebench import entry, receiver

from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore


async def take(store: LmdbStore, size: int) -> None:
    while True:
        id = store.next_id()
        done = asyncio.get_running_loop().create_future()
        envelope = order(puts=[entry(id)], refs=1, count=b"n")
        body = id.to_bytes(8, "big") * size
        store.submit(id, Kind.MAIL, envelope, b"", body, done.set_result)
        assert await done is None
        os.write(1, b"kept %d\n" % id)


async def main(place: Path) -> None:
    async with receiver(place) as store:
        await asyncio.gather(*(take(store, 50 * n) for n in range(1, 9)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
