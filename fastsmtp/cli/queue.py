"""`fastsmtp queue`: what could not be delivered at once, and why."""

import argparse
import asyncio
import json
import time
from typing import Any

from fastsmtp.cli import MISUSED, OK, Failure
from fastsmtp.cli.terminal import (
    config_argument,
    json_argument,
    listing,
    moment,
    plain,
)
from fastsmtp.config import Config

STATES = ("active", "deferred", "hold", "scheduled")
MAIL_PARAMETERS = ("body", "smtputf8", "requiretls", "ret", "envid", "submitter")
RCPT_PARAMETERS = ("notify", "orcpt")


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = verbs.add_parser("list", help="the queue, oldest first")
    shown = verbs.add_parser("show", help="one message of it, recipient by recipient")
    shown.add_argument("id", metavar="ID", help="as in the 250 and in the log")
    whom = "whole address, or @domain"
    listed.add_argument("--sender", metavar="WHO", help=whom)
    listed.add_argument("--recipient", metavar="WHO", help=whom)
    listed.add_argument("--state", choices=STATES)
    listed.add_argument(
        "--older", metavar="TIME", help='arrived longer ago than, such as "4 h"'
    )
    for verb in (listed, shown):
        json_argument(verb)
        config_argument(verb)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config

    loaded = config.load(config.find(args.config))
    show = _show if args.what == "show" else _list
    return asyncio.run(show(loaded, args))


async def _list(config: Config, args: argparse.Namespace) -> int:
    from fastsmtp.cli.access import reading
    from fastsmtp.queue.listing import Filter, entries
    from fastsmtp.queue.message import State

    wanted = Filter(
        sender=args.sender,
        recipient=args.recipient,
        state=State(args.state) if args.state else None,
        before=_before(args.older),
    )
    columns = {
        "id": "id",
        "state": "state",
        "arrived": "arrived",
        "octets": "octets",
        "sender": "sender",
        "waiting": "waiting",
        "due": "next attempt",
        "error": "because",
    }
    rows = []
    async with reading(config) as store:
        async for entry in entries(store, wanted):
            row = _row(entry)
            if args.json:
                print(json.dumps(row, ensure_ascii=False))
            else:
                rows.append(row)
    if not args.json:
        listing(rows, False, columns, "nothing waits")
    return OK


def _before(older: str | None) -> int | None:
    """The moment so long ago, in milliseconds."""
    if older is None:
        return None
    from fastsmtp.config.kinds import Setting, Wrong, allowed, read
    from fastsmtp.options import DURATION

    setting = Setting(DURATION, float, {})
    try:
        seconds = read(older, setting)
    except Wrong as wrong:
        raise Failure(
            f'--older "{older}" {wrong}', f"allowed: {allowed(setting)}", MISUSED
        ) from None
    return int((time.time() - seconds) * 1000)


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
        "due": moment(queued.due) if entry.state != "hold" else "",
        "error": next((t.error for t in waiting if t.error), ""),
    }


async def _show(config: Config, args: argparse.Namespace) -> int:
    from fastsmtp.cli.access import reading
    from fastsmtp.queue.listing import show
    from fastsmtp.queue.message import parse_queue_id

    try:
        id = parse_queue_id(args.id)
    except ValueError as error:
        raise Failure(str(error), code=MISUSED) from None
    async with reading(config) as store:
        entry = await show(store, id)
    if entry is None:
        raise Failure(
            f"{args.id.upper()} is not in the queue",
            "it was delivered, or never accepted here; the log knows",
        )
    envelope = entry.queued.envelope
    targets = [_target(t, envelope) for t in entry.queued.targets]
    found = {**_row(entry), "client": envelope.client, "helo": envelope.helo}
    found |= {name: getattr(envelope, name) for name in MAIL_PARAMETERS}
    found["targets"] = targets
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return OK
    for key in ("id", "state", "arrived", "octets", "sender", "client", "due"):
        print(f"{key + ':':<9} {plain(str(found[key]))}")
    if said := _said(found, MAIL_PARAMETERS):
        print(plain(f"with:     {said}"))
    for target in found["targets"]:
        print(plain(f"to:       {target['recipient']}: {target['standing']}"))
        if said := _said(target, RCPT_PARAMETERS):
            print(plain(f"          with {said}"))
        print(
            f"          {target['attempts']} attempts, next {target['due'] or 'none'}"
        )
        if target["error"]:
            print(plain(f"          {target['error']}"))
    return OK


def _said(found: dict[str, Any], parameters: tuple[str, ...]) -> str:
    """The parameters that were given, as one would write them."""
    given = ((name.upper(), found[name]) for name in parameters if found[name])
    return " ".join(n if value is True else f"{n}={value}" for n, value in given)


def _target(target: Any, envelope: Any) -> dict[str, Any]:
    from fastsmtp.queue.message import Recipient, Standing

    standing = Standing(target.standing)
    asked = {to.address: to for to in envelope.recipients}
    to = asked.get(target.recipient, Recipient(target.recipient))
    return {
        "recipient": target.recipient,
        **{name: getattr(to, name) for name in RCPT_PARAMETERS},
        "address": target.address,
        "standing": standing.name.lower().replace("_", " "),
        "attempts": target.attempts,
        "due": moment(target.due) if standing == Standing.WAITING else "",
        "error": target.error,
    }
