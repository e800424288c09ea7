"""Accounts on a memory store, and a keeper that delivers to them: for tests of what
happens to mail behind the door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastsmtp.auth.accounts import Account, Directory, decode_account, encode_account
from fastsmtp.cells import fresh
from fastsmtp.delivery import counts
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.delivery.route import Route
from fastsmtp.mailbox import account
from fastsmtp.mailbox import values as mailbox_values
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.queue import counts as events
from fastsmtp.queue import listing
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope
from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.memory import MemoryStore

NOW = 1_700_000_000_000
DOMAIN = "example.test"
ALIASES = {
    "all": [f"alice@{DOMAIN}", f"bob@{DOMAIN}", f"carol@{DOMAIN}"],
    "some": [f"bob@{DOMAIN}", f"carol@{DOMAIN}"],
}


def at(name: str) -> str:
    return name if "@" in name else f"{name}@{DOMAIN}"


def envelope(*recipients: str, sender: str = "s@far.test", arrived: int = NOW) -> bytes:
    to = tuple(Recipient(at(name)) for name in recipients)
    return encode_envelope(Envelope(sender, to, arrived, 10))


class Village:
    """A store and all that stands between it and the mailboxes."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.ids: dict[str, int] = {}
        self.directory = Directory(
            lambda name: store.peek(keys.DIRECTORY, keys.account(name))
        )
        domains = {DOMAIN: DomainOptions(aliases=ALIASES)}
        policy = Recipients(
            domains, lambda name: self.directory.lookup(name) is not None
        )
        self.route = Route(policy.resolve, self.directory.lookup)
        self.deliveries = fresh(counts.CELLS)
        self.events = fresh(events.CELLS)
        self.failures: list[str] = []
        self.deliver = LocalDelivery(
            self.route,
            self.deliveries,
            self.events,
            clock=lambda: NOW / 1000 + 1,
            failed=lambda id, address, error: self.failures.append(address),
        )

    async def settle(self, *names: str) -> None:
        """Make accounts of these names."""
        for name in names:
            self.ids[name] = await account.create(
                self.store,
                at(name),
                lambda id, name=name: encode_account(Account(id, at(name))),
            )
        self.changed()

    async def leave(self, name: str) -> None:
        await account.remove(self.store, at(name), lambda v: decode_account(v).id)
        self.changed()

    def changed(self) -> None:
        self.directory.changed()
        self.route.changed()

    async def send(self, *recipients: str, body: bytes = b"body\r\n") -> int:
        """Append a message and wait until it is applied."""
        id = await self.store.append(Kind.MAIL, envelope(*recipients), body)
        async with self.keeping():
            await self.store.applied(id)
        return id

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.store.follow(self.deliver))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def inbox(self, name: str) -> list[int]:
        """The bodies in the INBOX of an account, by UID."""
        part = self.ids[name]
        return [e.blob for _, _, e in await account.emails(self.store, part, INBOX)]

    async def queue(self) -> list[listing.Entry]:
        return [entry async for entry in listing.entries(self.store)]

    def refs(self, id: int) -> int:
        """How often something refers to a body, by the store's own count."""
        return self.store.disk.blobs[id].refs

    def verify(self) -> None:
        """Reference counts, mailbox counts and queue counters are those of what is
        there, and no mark stands without its entry."""
        refs: dict[int, int] = {}
        for number, part in self.store.disk.parts.items():
            for key, value in part.values.items():
                for references in (listing.references, mailbox_values.references):
                    for id in references(number, key, value):
                        refs[id] = refs.get(id, 0) + 1
        aside = [record.id for record, _ in self.store.disk.aside]
        for id, blob in self.store.disk.blobs.items():
            assert blob.refs == refs.get(id, 0) + aside.count(id)
