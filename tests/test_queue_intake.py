import asyncio

import pytest

from fastsmtp.errors import StoreUnavailable
from fastsmtp.queue.intake import accept
from fastsmtp.queue.message import Envelope, Recipient, decode_envelope
from fastsmtp.store.base import Kind
from fastsmtp.store.memory import MemoryStore


def test_a_message_is_durable_when_it_is_said() -> None:
    async def case() -> None:
        store = MemoryStore()
        said: asyncio.Future[Exception | None] = asyncio.Future()
        envelope = Envelope("s@x.test", (Recipient("a@y.test"),), 17)
        id = store.next_id()
        accept(store, id, envelope, b"head\r\n", b"body\r\n", said.set_result)
        assert await said is None
        ((record, body),) = store.disk.log
        assert (record.id, record.kind, record.length) == (id, Kind.MAIL, 12)
        assert decode_envelope(record.envelope) == envelope
        assert body == b"head\r\nbody\r\n"

    asyncio.run(case())


def test_a_store_that_cannot_is_heard_at_once() -> None:
    async def case() -> None:
        store = MemoryStore()
        store.trouble = "disk full"
        with pytest.raises(StoreUnavailable):
            accept(store, 1, Envelope("", (), 1), b"", b"", lambda error: None)

    asyncio.run(case())
