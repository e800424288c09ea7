"""`fastsmtp why`: what became of a message, from the connection to its end."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsmtp.cli import FAILED, MISUSED, OK, Failure
from fastsmtp.cli.terminal import (
    above_zero,
    config_argument,
    json_argument,
    moment,
    plain,
)

if TYPE_CHECKING:
    from fastsmtp.trace.story import Event


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="ID|MESSAGE-ID|RECIPIENT",
        help="a queue id, a Message-ID, a recipient or a part of it, @domain, or the "
        "address of a client",
    )
    parser.add_argument(
        "--since", metavar="TIME", help='no longer ago than, such as "4 h"'
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="the latest N (20)"
    )
    json_argument(parser)
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.cli.reading import demand_data
    from fastsmtp.owner import as_owner
    from fastsmtp.trace import journal, story

    loaded = config.load(config.find(args.config))
    if not args.what.strip(" <>@"):
        raise Failure("say whom or what to look for", code=MISUSED)
    above_zero("limit", args.limit)
    demand_data(loaded)
    question = journal.question_of(args.what, queue_id_in(args.what))
    since = int((time.time() - loaded.why.keep) * 1000)
    if args.since is not None:
        since = max(since, before(args.since))
    with as_owner(loaded.data):
        found, oldest = journal.ask(loaded.data, question, since)
    if not found:
        return nothing(args.what, oldest, loaded.data)
    shown = found[-args.limit :]
    for rows in shown:
        show(rows[0][2], story.events(rows), args.json)
    if len(shown) < len(found) and not args.json:
        print(f"{len(found) - len(shown)} earlier ones are not shown: --limit")
    return OK


def before(since: str) -> int:
    """The moment so long ago, in milliseconds."""
    from fastsmtp.config.kinds import Setting, Wrong, allowed, read
    from fastsmtp.options import DURATION

    setting = Setting(DURATION, float, {})
    try:
        seconds = read(since, setting)
    except Wrong as wrong:
        advice = f"allowed: {allowed(setting)}"
        raise Failure(f'--since "{since}" {wrong}', advice, MISUSED) from None
    return int((time.time() - seconds) * 1000)


def queue_id_in(text: str) -> int:
    """The number, when it is a queue id, or a Message-ID that was made of one; or 0."""
    from fastsmtp.queue.message import parse_queue_id

    try:
        return parse_queue_id(text.strip().strip("<>").partition("@")[0])
    except ValueError:
        return 0


def nothing(what: str, oldest: int, data: Path) -> int:
    print(f"fastsmtp: nothing is known of {plain(what)}", file=sys.stderr)
    if oldest:
        hint = f"what is kept begins at {moment(oldest)}; the log may go back further"
    else:
        hint = f"nothing is kept in {data / 'why'}: [why] size and keep say how much is"
    print(f"    {hint}", file=sys.stderr)
    return FAILED


def show(id: int, events: list["Event"], as_json: bool) -> None:
    """One message."""
    from fastsmtp.queue.message import queue_id

    name = queue_id(id) if id else ""
    if as_json:
        print(json.dumps({"id": name, "events": [fields(e) for e in events]}))
        return
    print(name or "before any message")
    width = max(len(event.what) for event in events)
    for event in events:
        what = plain(event.what).ljust(width)
        print(f"  {stamp(event.when)}  {what}  {plain(event.text)}")
    print()


def fields(event: "Event") -> dict[str, Any]:
    return {"time": stamp(event.when), "event": event.what, **event.about}


def stamp(milliseconds: float) -> str:
    whole = int(milliseconds)
    return f"{moment(whole)[:-1]}.{whole % 1000:03}Z"
