"""The accounts a measurement delivers to; nobody can log in to them."""

import asyncio

from fastsmtp import config
from fastsmtp.cli.access import operations
from fastsmtp.cli.remote import ask
from fastsmtp.serve.operations import UserAdd
from fastsmtp_bench.served import Served

DOMAIN = "example.test"
USERS = ["user", *(f"{n}user" for n in range(2, 11))]  # as smtp-source names them


def create(server: Served, mailboxes: int = 0) -> None:
    """Makes user@ and 2user@ … 10user@, and user0001@ … up to `mailboxes`."""
    names = USERS + [f"user{n:04}" for n in range(1, mailboxes + 1)]
    asyncio.run(_add(server, [f"{name}@{DOMAIN}" for name in names]))


async def _add(server: Served, addresses: list[str]) -> None:
    async with operations(config.load(server.configuration)) as caller:
        # Together: commits that wait are joined into one. No server runs yet.
        adding = (ask(caller, "user.add", UserAdd(address)) for address in addresses)
        await asyncio.gather(*adding)
