import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fastsmtp.errors import StoreUnavailable
from fastsmtp.mailbox import account
from fastsmtp.mailbox.account import MAILBOXES, AccountExists, NoAccount
from fastsmtp.mailbox.mailbox import INBOX, Box, Mail
from fastsmtp.mailbox.values import Flag, What, decode_change, references
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Store, Writes
from fastsmtp.store.memory import Disk, MemoryStore

ALICE = "Alice@example.test"


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


def entry(id: int) -> bytes:
    return b"account %d" % id


def part_of(value: bytes) -> int:
    return int(value.removeprefix(b"account "))


async def fill(store: MemoryStore, part: int, count: int) -> int:
    """Add emails that all refer to one body; gives its id."""
    blob = await store.append(Kind.BLOB, b"", b"body\r\n")
    keeper = asyncio.ensure_future(store.follow(lambda record, read: Writes()))
    await store.applied(blob)
    keeper.cancel()
    for _ in range(count):
        box = await account.open_box(store, part, INBOX)
        checks = box.checks()
        puts = [(key, value) for _, key, value in box.add(Mail(blob, 6, 0))]
        await store.commit(part, checks=checks, puts=puts, refs={blob: 1})
    return blob


def test_a_new_account_has_its_mailboxes() -> None:
    async def case() -> None:
        store: Store = MemoryStore()
        part = await account.create(store, ALICE, entry)
        assert part == keys.FIRST_ACCOUNT
        assert await store.get(0, keys.account("aLICE@example.test")) == entry(part)
        found = await account.mailboxes(store, part)
        assert [(m.name, m.role) for _, m in found] == list(MAILBOXES)
        assert [m.uidvalidity for _, m in found] == [1, 2, 3, 4, 5, 6]
        assert found[0][0] == INBOX
        box = await account.open_box(store, part, INBOX)
        assert (box.head.modseq, box.head.next_mailbox) == (6, 7)
        for modseq in range(1, 7):
            change = decode_change(await store.get(part, keys.change(modseq)) or b"")
            assert (change.what, change.mailbox) == (What.MAILBOX_MADE, modseq)

    run(case())


def test_an_address_is_given_once() -> None:
    async def case() -> None:
        store = MemoryStore()
        await account.create(store, ALICE, entry)
        with pytest.raises(AccountExists):
            await account.create(store, ALICE.upper(), entry)
        names = ["x@y", "z@y", "x@y", "X@y", "w@y"]
        made = await asyncio.gather(
            *(account.create(store, name, entry) for name in names),
            return_exceptions=True,
        )
        ids = [id for id in made if isinstance(id, int)]
        assert len(ids) == len(set(ids)) == 3
        listed = [name async for name, _ in account.accounts(store)]
        assert listed == ["alice@example.test", "w@y", "x@y", "z@y"]
        # nothing is left of those that came second
        used = {id for id, p in store.disk.parts.items() if p.values}
        assert used == {0, 256, *ids}

    run(case())


def test_every_mailbox_has_its_own_validity() -> None:
    async def case() -> None:
        store = MemoryStore()
        seen: list[int] = []
        for _ in range(3):
            part = await account.create(store, ALICE, entry)
            seen += [m.uidvalidity for _, m in await account.mailboxes(store, part)]
            await account.remove(store, ALICE, part_of)
        assert seen == sorted(set(seen))

    run(case())


def test_changes_of_the_directory_are_counted() -> None:
    async def case() -> None:
        store = MemoryStore()

        def version() -> int:
            return int.from_bytes(store.peek(0, keys.DIRECTORY_VERSION) or b"", "big")

        await account.create(store, ALICE, entry)
        assert version() == 1
        await account.replace(store, ALICE, lambda old: old + b"!")
        assert version() == 2
        assert store.peek(0, keys.account(ALICE)) == b"account 256!"
        await account.remove(store, ALICE, lambda value: 256)
        assert version() == 3

    run(case())


def test_who_is_not_there_is_said() -> None:
    async def case() -> None:
        store = MemoryStore()
        with pytest.raises(NoAccount):
            await account.remove(store, ALICE, part_of)
        with pytest.raises(NoAccount):
            await account.replace(store, ALICE, lambda old: old)
        with pytest.raises(KeyError):
            await account.open_box(store, 256, INBOX)

    run(case())


def test_a_removed_account_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "PAGE", 7)

    async def case() -> None:
        store = MemoryStore()
        part = await account.create(store, ALICE, entry)
        blob = await fill(store, part, 20)
        assert store.disk.blobs[blob].refs == 20
        await account.remove(store, ALICE, part_of)
        assert store.disk.blobs[blob].refs == 0
        assert store.disk.parts[part].values == {}
        assert await store.scan(0, b"a", b"b", 10) == []
        assert await store.scan(0, b"r", b"s", 10) == []

    run(case())


class Crash(Exception):
    """The process ends here."""


class Stops(MemoryStore):
    """Dies at the n-th commit: instead of it, or right behind it."""

    def __init__(self, disk: Disk, steps: int, behind: bool) -> None:
        super().__init__(disk)
        self.steps = steps
        self.behind = behind

    async def commit(self, part: int, **what: Any) -> int:
        self.steps -= 1
        if self.steps < 0 and not self.behind:
            raise Crash
        version = await super().commit(part, **what)
        if self.steps < 0:
            raise Crash
        return version


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("steps", range(6))
def test_an_account_is_removed_whatever_the_crash(
    steps: int, behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "PAGE", 9)

    async def case() -> None:
        disk = Disk()
        store = MemoryStore(disk)
        part = await account.create(store, ALICE, entry)
        blob = await fill(store, part, 5)
        with pytest.raises(Crash):
            await account.remove(Stops(disk, steps, behind), ALICE, part_of)
        store = MemoryStore(disk)
        await account.finish_removals(store)
        if store.peek(0, keys.account(ALICE)):  # it had not begun: all is there
            assert (steps, behind) == (0, False)
            assert len(await account.emails(store, part, INBOX)) == 5
        else:
            assert disk.blobs[blob].refs == 0
            assert disk.parts[part].values == {}
        assert await store.scan(0, b"r", b"s", 10) == []

    run(case())


def test_emails_are_listed_in_pages() -> None:
    async def case() -> None:
        store = MemoryStore()
        part = await account.create(store, ALICE, entry)
        await fill(store, part, 5)
        await account.expunge(store, part, INBOX, [2])
        first = await account.emails(store, part, INBOX, limit=2)
        assert [uid for uid, _, _ in first] == [1, 3]
        rest = await account.emails(store, part, INBOX, after=3, limit=9)
        assert [(uid, number) for uid, number, _ in rest] == [(4, 4), (5, 5)]
        assert await account.emails(store, part, INBOX, after=5) == []
        assert await account.emails(store, part, 2) == []

    run(case())


def test_expunging_is_paged_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "PAGE", 3)

    async def case() -> None:
        store = MemoryStore()
        part = await account.create(store, ALICE, entry)
        blob = await fill(store, part, 10)
        wanted = [1, 2, 3, 4, 5, 6, 7, 99, 7]
        assert await account.expunge(store, part, INBOX, set(wanted)) == 7
        assert await account.expunge(store, part, INBOX, wanted) == 0
        assert store.disk.blobs[blob].refs == 3
        box = await account.open_box(store, part, INBOX)
        assert box.mailbox.messages == box.head.messages == 3

    run(case())


def test_flags_are_changed_by_what_they_were() -> None:
    async def case() -> None:
        store = MemoryStore()
        part = await account.create(store, ALICE, entry)
        await fill(store, part, 1)
        for flag in (Flag.SEEN, Flag.FLAGGED):
            await account.flag(
                store, part, INBOX, 1, lambda f, k, d, flag=flag: (f | flag, k, d)
            )
        ((_, _, email),) = await account.emails(store, part, INBOX)
        assert email.flags == Flag.SEEN | Flag.FLAGGED
        with pytest.raises(KeyError):
            await account.flag(store, part, INBOX, 2, lambda *old: old)

    run(case())


def test_writers_do_not_lose_each_others_changes() -> None:
    async def case() -> None:
        class Slow(MemoryStore):
            """Lets others run between a read and the commit that follows."""

            async def get(self, part: int, key: bytes) -> bytes | None:
                await asyncio.sleep(0)
                return await super().get(part, key)

        disk = Disk()
        store = MemoryStore(disk)
        part = await account.create(store, ALICE, entry)
        blob = await fill(store, part, 12)
        slow = Slow(disk)
        uids = range(1, 13)
        await asyncio.gather(
            *(account.expunge(slow, part, INBOX, [uid]) for uid in uids if uid % 3),
            *(
                account.flag(slow, part, INBOX, uid, lambda f, k, d: (1, k, d))
                for uid in uids
                if not uid % 3
            ),
            *(account.reserve(slow, "uidvalidity", 2) for _ in uids),
        )
        box: Box = await account.open_box(store, part, INBOX)
        assert (box.mailbox.messages, box.mailbox.unseen) == (4, 0)
        assert store.disk.blobs[blob].refs == 4
        assert box.head.modseq == 6 + 12 + 12
        assert await account.reserve(store, "uidvalidity", 1) == 1 + 6 + 24
        refs = [
            blob
            for key, value in await store.scan(part, b"", b"\xff", 1000)
            for blob in references(part, key, value)
        ]
        assert len(refs) == 4

    run(case())


def test_trouble_of_the_store_is_passed_on() -> None:
    async def case() -> None:
        store = MemoryStore()
        store.trouble = "disk full"
        with pytest.raises(StoreUnavailable):
            await account.create(store, ALICE, entry)

    run(case())
