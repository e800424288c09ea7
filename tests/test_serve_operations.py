"""What commands change, on a memory store; the socket and the verbs are elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from village import DOMAIN, Village

from fastsmtp.auth.accounts import ScramKeys, decode_account
from fastsmtp.cli import Failure
from fastsmtp.cli.remote import Local, ask
from fastsmtp.mailbox import account
from fastsmtp.serve.operations import (
    SPOOLED,
    Backup,
    Mail,
    MailImport,
    Operations,
    Password,
    Status,
    UserAdd,
    UserPasswd,
    UserRemove,
)
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore

NOW = 1_795_493_520_000
ALICE = f"alice@{DOMAIN}"
RECORD = Password("$argon2id$…", ScramKeys(b"salt", 4096, b"stored", b"server"))

Story = Callable[[Village, Local, list[str]], Awaitable[None]]


def play(story: Story) -> None:
    """Run a story in a village where alice lives; the list notes what was called."""

    async def scene() -> None:
        town = Village(MemoryStore())
        await town.settle("alice")
        called: list[str] = []

        async def backup(target: Path) -> None:
            called.append(f"backup {target}")

        operations = Operations(
            town.store,
            {DOMAIN},
            backup,
            changed=lambda: called.append("changed"),
            now=lambda: NOW,
        )
        async with town.keeping():
            await story(town, Local(operations.table()), called)

    asyncio.run(scene())


def test_an_account_is_made_with_its_records() -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        address = f"Bob@{DOMAIN.upper()}"
        last = await ask(local, "user.add", UserAdd(address, RECORD))
        entry = await town.store.get(keys.DIRECTORY, keys.account(address))
        assert entry is not None
        made = decode_account(entry)
        assert (made.id, made.address, made.created) == (last["id"], address, NOW)
        assert (made.password, made.scram) == (RECORD.record, RECORD.scram)
        assert called == ["changed"]

    play(story)


def test_an_account_without_a_password_lets_nobody_in() -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        await ask(local, "user.add", UserAdd(f"bob@{DOMAIN}"))
        entry = await town.store.get(keys.DIRECTORY, keys.account(f"bob@{DOMAIN}"))
        assert entry is not None
        assert decode_account(entry).password == ""

    play(story)


def test_a_new_password_keeps_the_rest() -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        await ask(local, "user.passwd", UserPasswd(ALICE.upper(), RECORD))
        entry = await town.store.get(keys.DIRECTORY, keys.account(ALICE))
        assert entry is not None
        assert decode_account(entry).id == town.ids["alice"]
        assert decode_account(entry).scram == RECORD.scram

    play(story)


def test_an_account_goes_with_its_mail() -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        await ask(local, "mail.import", MailImport(ALICE, (Mail(3, NOW),)), [b"x\r\n"])
        await ask(local, "user.remove", UserRemove(ALICE))
        assert await town.store.scan(town.ids["alice"], b"", b"\xff", 1) == []
        assert called == ["changed"]

    play(story)


@pytest.mark.parametrize(
    ("op", "request_", "text"),
    [
        ("user.add", UserAdd("bob@far.test"), "far.test is not a domain"),
        ("user.add", UserAdd(ALICE), "has an account already"),
        ("user.add", UserAdd(f"b@{DOMAIN}", Password("$1$x", RECORD.scram)), "argon2"),
        ("user.passwd", UserPasswd(f"b@{DOMAIN}", RECORD), "has no account"),
        ("user.remove", UserRemove(f"b@{DOMAIN}"), "has no account"),
        ("mail.import", MailImport(f"b@{DOMAIN}", ()), "has no account"),
        ("mail.import", MailImport(ALICE, (), "Nope"), "there are INBOX, Drafts"),
        ("backup", Backup("relative"), "is not an absolute path"),
    ],
)
def test_what_is_declined_changes_nothing(op: str, request_: object, text: str) -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        with pytest.raises(Failure, match=text):
            await ask(local, op, request_)  # type: ignore[arg-type]
        assert called == []

    play(story)


def test_small_and_large_bodies_keep_their_order() -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        bodies = [b"a", b"b" * (SPOOLED + 1), b"c", b"", b"d" * SPOOLED]
        mails = tuple(
            Mail(len(body), NOW + n, n, n == 2, ("k",)) for n, body in enumerate(bodies)
        )
        request = MailImport(ALICE, mails, "archive".capitalize())
        assert await ask(local, "mail.import", request, bodies) == {"imported": 5}
        part = town.ids["alice"]
        found = await account.emails(town.store, part, 6)
        assert [email.size for _, _, email in found] == [len(body) for body in bodies]
        assert [email.date for _, _, email in found] == [NOW + n for n in range(5)]
        assert [email.deleted for _, _, email in found] == [(), (), (6,), (), ()]
        for (_, _, email), body in zip(found, bodies, strict=True):
            blob = await town.store.blob_open(email.blob)
            assert blob.read(0, len(body)) == body

    play(story)


def test_status_and_backup() -> None:
    async def story(town: Village, local: Local, called: list[str]) -> None:
        assert (await ask(local, "status", Status()))["trouble"] is None
        await ask(local, "backup", Backup("/copy"))
        assert called == ["backup /copy"]

    play(story)


def test_a_store_that_cannot_be_copied() -> None:
    async def scene() -> None:
        local = Local(Operations(MemoryStore(), {DOMAIN}).table())
        with pytest.raises(Failure, match="cannot be copied"):
            await ask(local, "backup", Backup("/copy"))

    asyncio.run(scene())
