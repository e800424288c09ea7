"""What commands change: accounts, imported mail, backups.

One set of functions, run by the keeper for its control socket, and by a command in its
own process when no server runs.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from fastsmtp import __version__
from fastsmtp.auth.accounts import Account, ScramKeys, decode_account, encode_account
from fastsmtp.mailbox import account
from fastsmtp.queue.message import Envelope, Filing, encode_envelope
from fastsmtp.serve.control import Declined, Items, Octets, Operation, Summary
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Store, keeping

SPOOLED: Final = 256 * 1024  # octets: larger bodies stream to disk
PIECE: Final = 64 * 1024  # octets read from the socket at once
PAUSE: Final = 0.002  # seconds until its backlog is looked at again
BACKLOG: Final = 1024 * 1024  # octets of a streaming body that may wait for the disk


class Password(msgspec.Struct):
    """What is stored of a password; the password itself never travels."""

    record: str
    scram: ScramKeys


class UserAdd(msgspec.Struct):
    address: str
    password: Password | None = None


class UserPasswd(msgspec.Struct):
    address: str
    password: Password


class UserRemove(msgspec.Struct):
    address: str


class Mail(msgspec.Struct, array_like=True):
    """One message of an import; its octets follow the request in the same order.

    date   milliseconds of the wall clock
    flags  `mailbox.values.Flag`s as a number
    """

    size: int
    date: int
    flags: int = 0
    deleted: bool = False
    keywords: tuple[str, ...] = ()


class MailImport(msgspec.Struct):
    address: str
    mails: tuple[Mail, ...]
    mailbox: str = "INBOX"


class Backup(msgspec.Struct):
    """`target` is an absolute path, as the server sees it."""

    target: str


class Status(msgspec.Struct):
    pass


def _now() -> int:
    return time.time_ns() // 1_000_000


class Operations:
    """The operations on one open store.

    domains  whose accounts may be made; lower case
    backup   copies the store; None where it cannot
    changed  called after each change of accounts, so that caches read again
    now      milliseconds of the wall clock
    """

    def __init__(
        self,
        store: Store,
        domains: Collection[str],
        backup: Callable[[Path], Awaitable[None]] | None = None,
        changed: Callable[[], None] = lambda: None,
        now: Callable[[], int] = _now,
    ) -> None:
        self.store = store
        self.domains = domains
        self._backup = backup
        self._changed = changed
        self._now = now

    def table(self) -> dict[str, Operation]:
        """By the name on the control socket."""
        return {
            "status": Operation(Status, self.status),
            "user.add": Operation(UserAdd, self.user_add),
            "user.passwd": Operation(UserPasswd, self.user_passwd),
            "user.remove": Operation(UserRemove, self.user_remove),
            "mail.import": Operation(MailImport, self.mail_import),
            "backup": Operation(Backup, self.backup),
        }

    async def status(self, request: Status, octets: Octets) -> Items:
        excuse = self.store.healthy()
        trouble = excuse.text if excuse else None
        yield Summary(pid=os.getpid(), version=__version__, trouble=trouble)

    async def user_add(self, request: UserAdd, octets: Octets) -> Items:
        address = request.address
        domain = address.rpartition("@")[2].lower()
        if domain not in self.domains:
            known = ", ".join(sorted(self.domains))
            raise Declined(f"{domain} is not a domain of this server ({known})")
        record, scram = _stored(request.password)
        created = self._now()

        def value(id: int) -> bytes:
            return encode_account(Account(id, address, record, scram, created))

        try:
            id = await account.create(self.store, address, value)
        except account.AccountExists:
            raise Declined(f"{address} has an account already") from None
        self._changed()
        yield Summary(address=address, id=id)

    async def user_passwd(self, request: UserPasswd, octets: Octets) -> Items:
        record, scram = _stored(request.password)

        def value(before: bytes) -> bytes:
            old = decode_account(before)
            return encode_account(
                msgspec.structs.replace(old, password=record, scram=scram)
            )

        try:
            await account.replace(self.store, request.address, value)
        except account.NoAccount:
            raise _nobody(request.address) from None
        self._changed()
        yield Summary(address=request.address)

    async def user_remove(self, request: UserRemove, octets: Octets) -> Items:
        try:
            await account.remove(
                self.store, request.address, lambda entry: decode_account(entry).id
            )
        except account.NoAccount:
            raise _nobody(request.address) from None
        self._changed()
        yield Summary(address=request.address)

    async def mail_import(self, request: MailImport, octets: Octets) -> Items:
        """A batch: durable and visible when it is answered. What came before a
        failure stays; the caller knows how many batches were answered."""
        part = (await find(self.store, request.address)).id
        box = await mailbox_id(self.store, part, request.mailbox)
        waiting = []
        last = 0
        for mail in request.mails:
            filing = Filing(part, box, mail.flags, mail.keywords, mail.deleted)
            envelope = encode_envelope(Envelope("", (), mail.date, filing=filing))
            last = self.store.next_id()
            waiting.append(await self._submit(last, envelope, mail.size, octets))
        await asyncio.gather(*waiting)
        if last:
            await self.store.applied(last)
        yield Summary(imported=len(waiting))

    async def _submit(
        self, id: int, envelope: bytes, size: int, octets: Octets
    ) -> "asyncio.Future[None]":
        """Hand one message over; the future resolves when it is durable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done = keeping(durable)
        if size <= SPOOLED:
            body = await octets(size)
            self.store.submit(id, Kind.MAIL, envelope, b"", body, done)
            return durable
        spool = self.store.spool(id, b"")
        try:
            while size:
                piece = await octets(min(size, PIECE))
                spool.write(piece)
                size -= len(piece)
                # A spool tells nobody when it has written.
                while spool.backlog() > BACKLOG:  # noqa: ASYNC110
                    await asyncio.sleep(PAUSE)
        except BaseException:
            spool.abort()
            raise
        spool.finish(Kind.MAIL, envelope, done)
        await asyncio.wait([durable])  # else what follows could overtake it
        return durable

    async def backup(self, request: Backup, octets: Octets) -> Items:
        if self._backup is None:
            raise Declined("this store cannot be copied while it is open")
        target = Path(request.target)
        if not target.is_absolute():
            raise Declined(f"{target} is not an absolute path")
        await self._backup(target)
        yield Summary(target=str(target))


def _stored(password: Password | None) -> tuple[str, ScramKeys | None]:
    """Only records that a login could use are taken."""
    if password is None:
        return "", None
    if not password.record.startswith("$argon2id$"):
        raise Declined("the record of the password is not argon2id")
    return password.record, password.scram


def _nobody(address: str) -> Declined:
    return Declined(f"{address} has no account; `fastsmtp user list` shows who has")


async def find(store: Store, address: str) -> Account:
    """The account of an address, any case; `Declined` when there is none."""
    entry = await store.get(keys.DIRECTORY, keys.account(address))
    if entry is None:
        raise _nobody(address)
    return decode_account(entry)


async def mailbox_id(store: Store, part: int, name: str) -> int:
    """The id of a mailbox by its name; INBOX in any case (RFC 9051 section 5.1)."""
    known = await account.mailboxes(store, part)
    wanted = "INBOX" if name.upper() == "INBOX" else name
    for id, mailbox in known:
        if mailbox.name == wanted:
            return id
    names = ", ".join(mailbox.name for _, mailbox in known)
    raise Declined(f"there is no mailbox {name!r}; there are {names}")
