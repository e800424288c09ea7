"""`fastsmtp queue`: what could not be delivered at once, why, and orders about it."""

import argparse
import asyncio
import json
from typing import Any, Final

from fastsmtp.cli import OK, Failure
from fastsmtp.cli.choosing import (
    being_tried,
    counted,
    filter_arguments,
    numbers,
    searching,
    tell_damaged,
)
from fastsmtp.cli.terminal import (
    config_argument,
    json_argument,
    listing,
    moment,
    plain,
)
from fastsmtp.config import Config

MAIL_PARAMETERS: Final = (
    *("body", "smtputf8", "requiretls", "ret", "envid", "submitter"),
    *("priority", "by_mode"),
)
RCPT_PARAMETERS: Final = ("notify", "orcpt")
COLUMNS: Final = {
    "id": "id",
    "state": "state",
    "arrived": "arrived",
    "octets": "octets",
    "sender": "sender",
    "waiting": "waiting",
    "due": "next attempt",
    "error": "because",
}
ORDERS: Final = {
    "hold": "try nothing until they are released",
    "release": "off hold, and try them now",
    "retry": "try them now, whatever was planned",
    "bounce": "give them up now, and tell the sender",
    "delete": "give them up, and tell nobody",
    "move": "send them to another next hop",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = verbs.add_parser("list", help="the queue, oldest first")
    shown = verbs.add_parser("show", help="one message of it, recipient by recipient")
    shown.add_argument("id", metavar="ID", help="as in the 250 and in the log")
    filter_arguments(listed, ids=False)
    for action, about in ORDERS.items():
        _order_arguments(verbs.add_parser(action, help=about), action)
    top = verbs.add_parser("top", help="where most waits, and for how long; live")
    top.add_argument("--limit", metavar="N", type=int, default=20, help="destinations")
    top.add_argument("--once", action="store_true", help="do not go on")
    suspend = verbs.add_parser("suspend", help="try nothing for a domain")
    resume = verbs.add_parser("resume", help="try it again")
    for verb in (suspend, resume):
        verb.add_argument("domain", metavar="DOMAIN", help="as `queue top` has it")
    for verb in (listed, shown, top, suspend, resume):
        json_argument(verb)
        config_argument(verb)


def _order_arguments(verb: argparse.ArgumentParser, action: str) -> None:
    filter_arguments(verb)
    verb.add_argument("--all", action="store_true", help="the whole queue")
    if action == "bounce":
        verb.add_argument("--reason", default="", help="what the sender is told")
    if action == "move":
        verb.add_argument(
            "--to",
            required=True,
            metavar="HOP",
            help='as `via` in the configuration: "smtp://host:25", "mx";'
            ' "usual": as the tables say',
        )
    verb.add_argument("--preview", action="store_true", help="say what is meant, only")
    verb.add_argument("--yes", action="store_true", help="do not ask")
    json_argument(verb)
    config_argument(verb)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.cli import queue_orders, queue_top

    loaded = config.load(config.find(args.config))
    asyncio.run(_upgrade(loaded))
    if args.what == "top":
        return queue_top.run(loaded, args)
    if args.what in ("suspend", "resume"):
        return asyncio.run(queue_orders.suspend(loaded, args))
    if args.what in ORDERS:
        return asyncio.run(queue_orders.order(loaded, args))
    show = _show if args.what == "show" else _list
    return asyncio.run(show(loaded, args))


async def _upgrade(config: Config) -> None:
    """See that an older queue has the layout that is read."""
    from fastsmtp.cli.reading import reading
    from fastsmtp.queue import layout

    async with reading(config) as store:
        old = await layout.is_old(store)
    if old:
        from fastsmtp.cli import access

        async with access.operations(config):
            pass  # the server, or this, has made it new


async def _list(config: Config, args: argparse.Namespace) -> int:
    rows = []
    async with searching(config, args) as search:
        async for entry in search.entries():
            row = _row(entry)
            if args.json:
                print(json.dumps(row, ensure_ascii=False))
            else:
                rows.append(row)
    if not args.json:
        listing(rows, False, COLUMNS, "nothing waits")
    tell_damaged(search.damaged)
    return OK


def _row(entry: Any) -> dict[str, Any]:
    from fastsmtp.queue.message import Standing, queue_id

    queued = entry.queued
    waiting = [t for t in queued.targets if t.standing == Standing.WAITING]
    return {
        "id": queue_id(entry.id),
        "state": entry.state.value,
        "arrived": moment(queued.envelope.arrived),
        "octets": queued.octets,
        "sender": f"<{queued.envelope.reverse_path}>",
        "recipients": len(queued.targets),
        "waiting": len(waiting),
        "attempts": max((t.attempts for t in queued.targets), default=0),
        "due": moment(queued.due) if queued.state != "hold" else "",
        "error": next((t.error for t in waiting if t.error), ""),
    }


async def _show(config: Config, args: argparse.Namespace) -> int:
    from fastsmtp import ways
    from fastsmtp.cli.reading import reading
    from fastsmtp.queue.selection import show

    (id,) = numbers([args.id])
    active = await being_tried(config)
    async with reading(config) as store:
        entry = await show(store, id, active)
    if entry is None:
        raise Failure(
            f"{args.id.upper()} is not in the queue",
            f"it was delivered, or never accepted here; `fastsmtp why {args.id}`",
        )
    queued, envelope = entry.queued, entry.queued.envelope
    hop_of = ways.hop_of(ways.relaying(config))
    targets = [_target(t, envelope, hop_of(queued, t)) for t in queued.targets]
    found = {**_row(entry), "client": envelope.client, "helo": envelope.helo}
    found |= {name: getattr(envelope, name) for name in MAIL_PARAMETERS}
    for name in ("release", "by"):
        at = getattr(envelope, name)
        found[name] = moment(at) if at else ""
    found["login"], found["via"], found["warned"] = (
        *(envelope.login, queued.via, queued.warned),
    )
    found["targets"] = targets
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        _print(found)
    return OK


def _print(found: dict[str, Any]) -> None:
    for key in ("id", "state", "arrived", "octets", "sender", "client", "due"):
        print(f"{key + ':':<9} {plain(str(found[key]))}")
    for key in ("login", "release", "by", "via"):
        if found[key]:
            print(f"{key + ':':<9} {plain(str(found[key]))}")
    if said := _said(found, MAIL_PARAMETERS):
        print(plain(f"with:     {said}"))
    for target in found["targets"]:
        print(plain(f"to:       {target['recipient']}: {target['standing']}"))
        if said := _said(target, RCPT_PARAMETERS):
            print(plain(f"          with {said}"))
        tried = counted(target["attempts"], "attempt")
        print(f"          {tried}, next {target['due'] or 'none'}")
        if target["hop"]:
            print(plain(f"          goes to {target['hop']}"))
        if target["error"]:
            print(plain(f"          {target['error']}"))


def _said(found: dict[str, Any], parameters: tuple[str, ...]) -> str:
    """The parameters that were given, as one would write them."""
    given = ((name.upper(), found[name]) for name in parameters if found[name])
    return " ".join(n if value is True else f"{n}={value}" for n, value in given)


def _target(target: Any, envelope: Any, hop: str) -> dict[str, Any]:
    from fastsmtp.queue.message import Recipient, Standing

    standing = Standing(target.standing)
    asked = {to.address: to for to in envelope.recipients}
    to = asked.get(target.recipient, Recipient(target.recipient))
    waits = standing == Standing.WAITING
    return {
        "recipient": target.recipient,
        **{name: getattr(to, name) for name in RCPT_PARAMETERS},
        "address": target.address,
        "standing": standing.name.lower().replace("_", " "),
        "attempts": target.attempts,
        "due": moment(target.due) if waits else "",
        "hop": hop if waits else target.hop,
        "error": target.error,
    }
