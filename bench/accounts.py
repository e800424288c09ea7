"""The accounts a measurement delivers to, and those that log in."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastsmtp import config
from fastsmtp.auth.passwords import hash_password, scram_keys
from fastsmtp.cli.access import operations
from fastsmtp.cli.remote import ask
from fastsmtp.serve.operations import Password, UserAdd
from fastsmtp_bench.served import Served

DOMAIN = "example.test"
USERS = ["user", *(f"{n}user" for n in range(2, 11))]  # as smtp-source names them


def create(server: Served, mailboxes: int = 0) -> None:
    """Makes user@ and 2user@ … 10user@, and user0001@ … up to `mailboxes`."""
    names = USERS + [f"user{n:04}" for n in range(1, mailboxes + 1)]
    make(server.configuration, [f"{name}@{DOMAIN}" for name in names])


@contextmanager
def serving(
    server: Served, mailboxes: int = 0, prepare: Callable[[Path], None] | None = None
) -> Iterator[Served]:
    """Configures it, makes its accounts, and starts it until the end. `prepare` puts
    into its folder what its configuration speaks of."""
    server.configure()
    if prepare:
        prepare(server.home)
    create(server, mailboxes)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def make(
    configuration: Path,
    addresses: Sequence[str],
    logins: Sequence[str] = (),
    password: str = "",
) -> None:
    """Accounts that nobody can log in to, and `logins` that have one password; a server
    may run or not. One record serves all: registration is not what is measured."""
    record = Password(hash_password(password), scram_keys(password)) if logins else None
    users = [UserAdd(address) for address in addresses]
    users += [UserAdd(address, record) for address in logins]
    asyncio.run(_add(configuration, users))


async def _add(configuration: Path, users: list[UserAdd]) -> None:
    async with operations(config.load(configuration)) as caller:
        # Together: commits that wait are joined into one.
        await asyncio.gather(*(ask(caller, "user.add", user) for user in users))
