"""What happens to a mailbox while a session goes on changes nothing that the session
was told (RFC 1939 3, number 76): on the store that is used, whose bodies move about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from model import popbody
from postoffice import ALICE, BOB, Collector, PostOffice
from storebench import keeper, logs, options
from village import NOW, Village, envelope

from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.queue.message import Envelope, Filing, encode_envelope
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore

pytestmark = pytest.mark.slow
PINNED = options(pin=600.0)
AT_ONCE = options(pin=0.0, compact_rate=1 << 40)
COUNT = 40
TOLD = (b"STAT", b"LIST", b"UIDL")
ENDED = b"\r\n.\r\n"

Story = Callable[[PostOffice, LmdbStore], Awaitable[None]]


def letter(n: int) -> bytes:
    return b"Subject: letter %d\r\n\r\n" % n + b".line\r\n" * 8000 + b"%d\r\n" % n


def in_office(place: Path, story: Story, settings: Any = PINNED) -> None:
    """Alice has letters, bob has one, in a store on disk."""
    villages: list[Village] = []

    async def run() -> None:
        def apply(*told: Any) -> Any:
            return villages[0].deliver(*told)

        async with keeper(place, settings, apply=apply) as store:
            village = Village(store)  # type: ignore[arg-type]
            villages.append(village)
            await village.settle("alice", "bob")
            for n in range(1, COUNT + 1):
                await arrive(store, envelope("alice"), letter(n))
            await arrive(store, envelope("bob"), letter(0))
            office = PostOffice(village)
            try:
                await story(office, store)
            finally:
                office.pop3d.close()
                office.logins.close()

    asyncio.run(asyncio.wait_for(run(), 60))


async def arrive(store: LmdbStore, wrapped: bytes, body: bytes) -> None:
    id = await store.append(Kind.MAIL, wrapped, body)
    await store.applied(id)


async def told(c: Collector) -> list[bytes]:
    ends = (b"\r\n", ENDED, ENDED)
    return [await c.send(w + b"\r\n", end) for w, end in zip(TOLD, ends, strict=True)]


async def retrieved(c: Collector, n: int) -> bytes:
    return await c.send(b"RETR %d\r\n" % n, ENDED)


def whole(n: int) -> bytes:
    return b"+OK %d octets\r\n" % len(letter(n)) + popbody.given(letter(n))


async def logged_in(office: PostOffice, name: str = ALICE) -> Collector:
    c = Collector(office)
    assert (await c.login(name)).startswith(b"+OK ")
    return c


def test_rfc_76_a_compaction_changes_nothing_that_was_told(tmp_path: Path) -> None:
    async def story(office: PostOffice, store: LmdbStore) -> None:
        one, two = await logged_in(office), await logged_in(office)
        before, files = await told(one), set(logs(tmp_path))
        assert await retrieved(one, 10) == whole(10)
        gone = [n for n in range(1, COUNT + 1) if n % 10]
        for n in gone:
            await two.say(f"DELE {n}")
        assert await two.say("QUIT") == b"+OK Bye, %d removed\r\n" % len(gone)
        assert store.keeper is not None
        for _ in range(10):
            await store.keeper.clean()
            await asyncio.gather(*store.keeper.pending)
        assert not set(logs(tmp_path)) > files, "nothing was compacted"
        assert await told(one) == before
        for n in range(10, COUNT + 1, 10):
            assert await retrieved(one, n) == whole(n)
        await one.say("DELE 20")
        assert await one.say("QUIT") == b"+OK Bye, 1 removed\r\n"
        after = await logged_in(office)
        assert (await after.say("STAT")).split()[1] == b"%d" % (COUNT // 10 - 1)
        assert await retrieved(after, 2) == whole(30)

    in_office(tmp_path, story, AT_ONCE)


def test_rfc_76_an_import_and_new_mail_change_nothing_that_was_told(
    tmp_path: Path,
) -> None:
    async def story(office: PostOffice, store: LmdbStore) -> None:
        one = await logged_in(office)
        before = await told(one)
        part = office.village.ids["alice"]
        filing = Filing(part, INBOX, 0, (), False)
        imported = encode_envelope(Envelope("", (), NOW, filing=filing))
        await arrive(store, imported, letter(77))
        await arrive(store, envelope("alice"), letter(78))
        assert await told(one) == before
        assert await one.say(f"LIST {COUNT + 1}") == b"-ERR No such message\r\n"
        await one.say("DELE 1")
        assert await one.say("QUIT") == b"+OK Bye, 1 removed\r\n"
        two = await logged_in(office)
        assert (await two.say("STAT")).split()[1] == b"%d" % (COUNT + 1)
        assert await retrieved(two, COUNT + 1) == whole(78)

    in_office(tmp_path, story)


def test_rfc_76_an_account_that_goes_changes_nothing_that_was_told(
    tmp_path: Path,
) -> None:
    """QUIT of its session fails then, and touches no other account: nor the new one
    of that name."""

    async def story(office: PostOffice, store: LmdbStore) -> None:
        one = await logged_in(office)
        before = await told(one)
        await office.village.leave("alice")
        assert await told(one) == before
        assert await retrieved(one, 3) == whole(3)
        await office.village.settle("alice")
        await arrive(store, envelope("alice"), letter(5))
        await one.say("DELE 1")
        assert (await one.say("QUIT")).startswith(b"-ERR [SYS/TEMP] ")
        new = PostOffice(office.village)
        for name, n in ((ALICE, 5), (BOB, 0)):
            c = await logged_in(new, name)
            assert (await c.say("STAT")).split()[1] == b"1"
            assert await retrieved(c, 1) == whole(n)
        new.logins.close()

    in_office(tmp_path, story)
