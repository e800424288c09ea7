"""`fastsmtp user`: who has mail here."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastsmtp.cli import FAILED, MISUSED, OK, Failure
from fastsmtp.cli.terminal import (
    ask_password,
    config_argument,
    confirm,
    json_argument,
    listing,
    moment,
)
from fastsmtp.config import Config


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    add = verbs.add_parser("add", help="make an account")
    passwd = verbs.add_parser("passwd", help="set a new password")
    remove = verbs.add_parser("remove", help="remove an account and all its mail")
    listed = verbs.add_parser("list", help="all accounts")
    for verb in (add, passwd, remove):
        verb.add_argument("address", metavar="ADDRESS")
    for verb in (add, passwd):
        source = verb.add_mutually_exclusive_group()
        source.add_argument(
            "--password-stdin",
            action="store_true",
            help="the password is the first line of standard input",
        )
        source.add_argument(
            "--generate",
            action="store_true",
            help="make a password and print it, this once",
        )
    remove.add_argument("--yes", action="store_true", help="do not ask")
    json_argument(listed)
    for verb in (add, passwd, remove, listed):
        config_argument(verb)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config

    loaded = config.load(config.find(args.config))
    if args.what == "list":
        return asyncio.run(_list(loaded, args.json))
    _demand_address(args.address)
    if args.what == "remove":
        return asyncio.run(_remove(loaded, args.address, args.yes))
    return _set(loaded, args)


def _demand_address(address: str) -> None:
    from fastsmtp.config.words import mailbox_fault

    if fault := mailbox_fault(address):
        raise Failure(f'"{address}" {fault}', "write it as name@domain", MISUSED)


def _set(config: Config, args: argparse.Namespace) -> int:
    """`add` and `passwd`: the password is asked for before anything is opened."""
    from fastsmtp.auth.passwords import generate_password

    if args.generate:
        password = generate_password()
    else:
        password = ask_password(args.password_stdin, args.address)
    asyncio.run(set_password(config, args.address, password, args.what == "add"))
    print(f"{args.address}: {'added' if args.what == 'add' else 'password changed'}")
    if args.generate:
        print(f"password: {password}")
    if _hidden(config, args.address):
        print(
            f"but mail for {args.address} goes where the alias of this name leads",
            file=sys.stderr,
        )
    return OK


def _hidden(config: Config, address: str) -> bool:
    """Whether an alias of the same name takes the mail and does not lead here."""
    local, _, domain = address.lower().rpartition("@")
    aliases = config.domains[domain].aliases if domain in config.domains else {}
    return any(
        name.lower() == local and address.lower() not in map(str.lower, targets)
        for name, targets in aliases.items()
    )


async def set_password(config: Config, address: str, password: str, new: bool) -> None:
    """Make an account (`new`) or change its password; only records leave this
    process, never the password."""
    from fastsmtp.auth.passwords import hash_password, scram_keys
    from fastsmtp.cli.access import operations
    from fastsmtp.cli.remote import ask
    from fastsmtp.serve.operations import Password, UserAdd, UserPasswd

    try:
        record = Password(hash_password(password), scram_keys(password))
    except ValueError as error:
        raise Failure(str(error), code=MISUSED) from None
    async with operations(config) as caller:
        if new:
            await ask(caller, "user.add", UserAdd(address, record))
        else:
            await ask(caller, "user.passwd", UserPasswd(address, record))


async def _list(config: Config, as_json: bool) -> int:
    rows = [row async for row in accounts(config)]
    columns = {
        "address": "address",
        "messages": "messages",
        "octets": "octets",
        "created": "created",
    }
    listing(rows, as_json, columns, "no accounts; `fastsmtp user add` makes one")
    return OK


async def accounts(config: Config) -> AsyncIterator[dict[str, Any]]:
    """One row for each account."""
    from fastsmtp.auth.accounts import decode_account
    from fastsmtp.cli.reading import reading
    from fastsmtp.mailbox import account
    from fastsmtp.mailbox.values import decode_head
    from fastsmtp.store import keys

    async with reading(config) as store:
        async for _, entry in account.accounts(store):
            found = decode_account(entry)
            value = await store.get(found.id, keys.HEAD)
            head = None if value is None else decode_head(value)
            yield {
                "address": found.address,
                "id": found.id,
                "messages": head.messages if head else 0,
                "octets": head.octets if head else 0,
                "created": moment(found.created),
                "password": bool(found.password),
            }


async def _remove(config: Config, address: str, yes: bool) -> int:
    from fastsmtp.cli.access import operations
    from fastsmtp.cli.remote import ask
    from fastsmtp.serve.operations import UserRemove

    count = await _messages(config, address)
    question = f"Remove {address} with {count} message{'s' if count != 1 else ''}?"
    if not yes and not confirm(question):
        print("Not removed.")
        return FAILED
    async with operations(config) as caller:
        await ask(caller, "user.remove", UserRemove(address))
    print(f"{address}: removed with {count} message{'s' if count != 1 else ''}")
    return OK


async def _messages(config: Config, address: str) -> int:
    """How many an account has; `Failure` when there is no such account."""
    from fastsmtp.cli.reading import reading
    from fastsmtp.mailbox.values import decode_head
    from fastsmtp.serve.control import Declined
    from fastsmtp.serve.operations import find
    from fastsmtp.store import keys

    async with reading(config) as store:
        try:
            part = (await find(store, address)).id
        except Declined as error:
            raise Failure(str(error)) from None
        value = await store.get(part, keys.HEAD)
        return decode_head(value).messages if value is not None else 0
