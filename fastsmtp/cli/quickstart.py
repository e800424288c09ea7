"""`fastsmtp quickstart DIR --domain D`: a commented configuration to begin with."""

import argparse
import asyncio
import os
import socket
from pathlib import Path
from typing import Any, Final

from fastsmtp.auth.passwords import generate_password
from fastsmtp.cli import MISUSED, OK, Failure
from fastsmtp.cli.user import set_password
from fastsmtp.config import check, load
from fastsmtp.config.document import defaults
from fastsmtp.config.words import local_part_fault, name_fault
from fastsmtp.net.selfsigned import make

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder to write to")
    parser.add_argument(
        "--domain", required=True, metavar="D", help="the domain whose mail is taken"
    )
    parser.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="NAME",
        help="make an account NAME@D with a generated password; may be repeated",
    )
    parser.add_argument(
        "--hostname", help="this machine's name; default: its own, else mx.D"
    )


def run(args: argparse.Namespace) -> int:
    domain = args.domain.lower()
    _demand(name_fault(domain), "domain", domain)
    hostname = args.hostname or _own_name(domain)
    _demand(name_fault(hostname), "hostname", hostname)
    names = [name.removesuffix(f"@{domain}") for name in args.account]
    for name in names:
        _demand(local_part_fault(name), "account", name)
    file = args.dir / "fastsmtp.toml"
    for taken in (file, args.dir / CERTIFICATE, args.dir / KEY):
        if taken.exists():
            raise Failure(
                f"{taken} exists; nothing was written",
                "quickstart never overwrites: name another folder, or remove the file",
            )
    _write(file, _text(hostname, domain, names), hostname)
    print(f"{file}: written; every other setting is in it as a comment")
    print(f"{args.dir / CERTIFICATE}: written; signed by itself, for {hostname}")
    if names:
        asyncio.run(_accounts(file, [f"{name}@{domain}" for name in names]))
    return OK


async def _accounts(file: Path, addresses: list[str]) -> None:
    """Make the accounts; their passwords are printed here and never again."""
    config = load(file, {})
    print("Passwords, shown this once (`fastsmtp user passwd` sets another):")
    for address in addresses:
        password = generate_password()
        await set_password(config, address, password, new=True)
        print(f"    {address}  {password}")


def _demand(fault: str | None, what: str, value: str) -> None:
    if fault:
        raise Failure(f'{what} "{value}" {fault}', code=MISUSED)


def _own_name(domain: str) -> str:
    """What this machine is called, if that is a full name that others may know."""
    name = socket.gethostname().lower()
    usable = "." in name and not name_fault(name) and not name.endswith(".local")
    return name if usable else f"mx.{domain}"


def _text(hostname: str, domain: str, names: list[str]) -> str:
    """Mail for postmaster goes to the first account: somebody must read it."""
    aliases = {"postmaster": [f"{names[0]}@{domain}"]} if names else {}
    values: dict[str, Any] = {
        "hostname": hostname,
        "data": "data",
        "smtp.listen": ["127.0.0.1:2525"],
        "submission.listen": ["127.0.0.1:2587"],
        "pop3.listen": ["127.0.0.1:2110"],
        "pop3.listen_tls": ["127.0.0.1:2995"],
        "tls.certificates": [{"certificate": CERTIFICATE, "key": KEY}],
        "domains": {domain: {"aliases": aliases} if aliases else {}},
    }
    return defaults(values)


def _write(file: Path, text: str, hostname: str) -> None:
    """The file appears whole or not at all, and beside it a certificate of this name
    and the data folder (0700)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    pair = file.with_name(CERTIFICATE), file.with_name(KEY)
    try:
        make(*pair, [hostname])
        draft.write_text(text)
        config, problems = check(draft, {})
        if config is None:
            raise Failure(f"{problems[0]}", "give --hostname or another folder")
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.link(draft, file)  # unlike a rename, it never replaces
    except BaseException:
        for path in pair:
            path.unlink(missing_ok=True)
        raise
    finally:
        draft.unlink(missing_ok=True)
