import asyncio

import pytest
from contract.bench import Answers, obey

from fastsmtp.store.base import Kind, Store
from fastsmtp.store.null import NullStore


def test_everything_is_taken_and_nothing_kept() -> None:
    async def case() -> None:
        store: Store = NullStore()
        answers = Answers()
        id = store.next_id()
        store.submit(id, Kind.MAIL, b"", b"head", b"body", answers)
        spool = store.spool(store.next_id(), b"head")
        spool.write(b"body")
        assert spool.backlog() == 0
        spool.finish(Kind.MAIL, b"", answers)
        assert answers.got == []
        assert await answers.wait(2) == [None, None]
        await store.applied(await store.append(Kind.MAIL, b"", b"body"))
        with pytest.raises(KeyError):
            await store.blob_open(id)

    asyncio.run(case())


def test_the_index_is_always_empty() -> None:
    async def case() -> None:
        store: Store = NullStore()
        first = await store.commit(300, puts=[(b"a", b"1")])
        assert await store.commit(300, deletes=[b"a"]) > first
        assert await store.get(300, b"a") is None
        assert store.peek(300, b"a") is None
        assert await store.scan(300, b"", b"\xff", 10) == []
        assert store.healthy() is None
        store.watch(300, lambda: None)()
        store.spool(1, b"").abort()
        await store.close()

    asyncio.run(case())


def test_following_it_waits_for_ever() -> None:
    async def case() -> None:
        task = asyncio.ensure_future(NullStore().follow(obey))
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(case())
