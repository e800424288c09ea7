"""`fastsmtp mail`: the messages of an account, listed, shown, taken out and in."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastsmtp.cli import OK, Failure
from fastsmtp.cli.terminal import (
    above_zero,
    config_argument,
    json_argument,
    listing,
    moment,
    plain,
)
from fastsmtp.config import Config

EXPORT = """\
TARGET is an mbox file to be made, `-` for standard output (mbox), or a folder: one
that exists, or whose name ends with /, is written as a Maildir. In files a line ends
with LF. Flags and dates are kept; Maildir has no place for keywords."""

IMPORT = """\
SOURCE is an mbox file, `-` for standard input (mbox), or a Maildir. Lines get CRLF;
what was exported comes back unchanged. While a server runs, it does the work."""


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = verbs.add_parser("list", help="the messages of a mailbox")
    shown = verbs.add_parser("show", help="one message, exactly as it is stored")
    out = verbs.add_parser("export", help="write mbox or Maildir", description=EXPORT)
    into = verbs.add_parser("import", help="read mbox or Maildir", description=IMPORT)
    for verb in (listed, shown, out, into):
        verb.add_argument("address", metavar="ADDRESS")
        verb.add_argument("--mailbox", default="INBOX", metavar="NAME")
        config_argument(verb)
    shown.add_argument("uid", metavar="UID", type=int, help="as `mail list` gives it")
    out.add_argument("target", metavar="TARGET")
    into.add_argument("source", metavar="SOURCE")
    listed.add_argument("--limit", type=int, metavar="N", help="only the last N")
    json_argument(listed)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config

    loaded = config.load(config.find(args.config))
    if args.what == "list":
        above_zero("limit", args.limit)
        return asyncio.run(_list(loaded, args))
    if args.what == "show":
        return asyncio.run(_show(loaded, args))
    from fastsmtp.cli import transfer

    if args.what == "export":
        folder = args.target.endswith("/") or Path(args.target).is_dir()
        write = transfer.export_maildir if folder else transfer.export_mbox
        return asyncio.run(write(loaded, args))
    return asyncio.run(transfer.import_mail(loaded, args))


async def _list(config: Config, args: argparse.Namespace) -> int:
    columns = {
        "uid": "uid",
        "date": "date",
        "size": "octets",
        "flags": "flags",
        "from": "from",
        "subject": "subject",
    }
    rows: list[dict[str, Any]] = []
    async for row in _rows(config, args):
        if args.json:
            listing([row], True, columns, "")
        else:
            rows.append(_short(row))
    if not args.json:
        listing(rows, False, columns, "no messages")
    return OK


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """As much of a row as fits a line."""
    return {
        **row,
        "flags": " ".join(row["flags"]),
        "from": row["from"][:30],
        "subject": row["subject"][:60],
    }


async def _rows(
    config: Config, args: argparse.Namespace
) -> AsyncIterator[dict[str, Any]]:
    from fastsmtp.cli.contents import Contents, flag_names, summary
    from fastsmtp.cli.reading import reading

    async with reading(config) as store:
        contents = await Contents.open(store, args.address, args.mailbox)
        async for uid, email in contents.emails(args.limit or 0):
            head = await contents.start(email)
            yield {
                "uid": uid,
                "date": moment(email.date),
                "size": email.size,
                "flags": flag_names(email, contents.mailbox),
                **summary(head),
            }


async def _show(config: Config, args: argparse.Namespace) -> int:
    from fastsmtp.cli.contents import Contents
    from fastsmtp.cli.reading import reading

    async with reading(config) as store:
        contents = await Contents.open(store, args.address, args.mailbox)
        email = await contents.email(args.uid)
        if email is None:
            raise Failure(
                f"{args.address} has no message {args.uid} in {args.mailbox}",
                "`fastsmtp mail list` gives the numbers",
            )
        async with contents.body(email) as pieces:
            for piece in pieces:
                _print(piece)
    return OK


def _print(piece: bytes) -> None:
    """Exact octets, but to a terminal text that cannot command it."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(piece)
        return
    text = piece.decode("utf-8", "replace").replace("\r\n", "\n")
    for line in text.splitlines(keepends=True):
        print(plain(line.rstrip("\n").replace("\t", "    ")))
