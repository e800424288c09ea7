"""`fastsmtp queue hold|release|retry|bounce|delete|move`, `suspend` and `resume`.

The queue is read here, beside a server that may be running, and what was found is shown
before anything happens. Then the ids go to whoever writes the queue; see
`serve.operations_queue`.
"""

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from fastsmtp.cli import FAILED, MISUSED, OK, Failure
from fastsmtp.cli.choosing import counted, searching, tell_damaged, words
from fastsmtp.cli.terminal import Progress, confirm
from fastsmtp.config import Config
from fastsmtp.queue.selection import EVERYTHING, Filter, Survey

if TYPE_CHECKING:
    from fastsmtp.cli.remote import Caller

BATCH: Final = 1000  # messages in one request
DONE: Final = {
    "hold": "put on hold",
    "release": "released",
    "retry": "due now",
    "bounce": "bounced",
    "delete": "deleted",
    "move": "moved",
}
LEFT: Final = {
    "gone": "gone meanwhile",
    "changed": "changed meanwhile and left alone",
    "active": "being tried at this moment and left alone",
    "same": "so already",
    "damaged": "that cannot be read",
}
SAME: Final = {"retry": "on hold (`queue release`), or due already"}


async def order(config: Config, args: argparse.Namespace) -> int:
    async with searching(config, args) as search:
        if search.wanted == EVERYTHING and not (args.ids or args.all or args.limit):
            raise Failure(
                f"which messages? Nothing was {DONE[args.what]}",
                "name ids or a filter, or say --all",
                MISUSED,
            )
        found = await search.survey()
    _preview(found, args)
    tell_damaged(search.damaged)
    if args.preview or not found.ids:
        return OK
    question = f"{args.what.capitalize()} {counted(len(found.ids), 'message')}?"
    if not args.yes and not confirm(question):
        print("Nothing was changed.")
        return FAILED
    return await _send(config, args, search.wanted, found)


def _preview(found: Survey, args: argparse.Namespace) -> None:
    if not args.json:
        print(words(found) if found.ids else "no such message in the queue")
        return
    about = {
        "messages": len(found.ids),
        "domains": sorted(found.domains),
        "octets": found.octets,
        "oldest": found.oldest // 1000,
    }
    print(json.dumps({"found": about}, ensure_ascii=False))


async def _send(
    config: Config, args: argparse.Namespace, wanted: Filter, found: Survey
) -> int:
    """Have it done in batches; what was done stays when one of them fails."""
    sums: dict[str, int] = {}
    try:
        await _batches(config, found.ids, (args, wanted), sums)
    except (Failure, asyncio.CancelledError):
        if sums:
            _tell(sums, args)
        raise
    return _tell(sums, args)


async def _batches(
    config: Config,
    ids: list[int],
    order: tuple[argparse.Namespace, Filter],
    sums: dict[str, int],
) -> None:
    from fastsmtp.cli.access import operations

    async with operations(config) as caller:
        with Progress(order[0].what, len(ids)) as bar:
            for first in range(0, len(ids), BATCH):
                batch = ids[first : first + BATCH]
                await _batch(caller, batch, order, sums)
                bar.add(len(batch))


async def _batch(
    caller: "Caller",
    ids: list[int],
    order: tuple[argparse.Namespace, Filter],
    sums: dict[str, int],
) -> None:
    from fastsmtp.cli.remote import ask
    from fastsmtp.serve.operations_queue import QueueChange

    args, wanted = order
    to, reason = getattr(args, "to", ""), getattr(args, "reason", "")
    via = "" if to == "usual" else to
    raw = b"".join(id.to_bytes(8, "big") for id in ids)
    request = QueueChange(args.what, len(ids), wanted, reason, via)
    made = await ask(caller, "queue.change", request, [raw])
    for name, count in made.items():
        sums[name] = sums.get(name, 0) + count


def _tell(sums: dict[str, int], args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps({"action": args.what, **sums}))
    else:
        print(f"{counted(sums.get('done', 0), 'message')} {DONE[args.what]}")
        left = LEFT | {"same": SAME.get(args.what, LEFT["same"])}
        for name, words in left.items():
            if sums.get(name):
                print(f"{sums[name]:,} {words}", file=sys.stderr)
    return FAILED if sums.get("active") or sums.get("damaged") else OK


async def suspend(config: Config, args: argparse.Namespace) -> int:
    from fastsmtp.cli.access import operations
    from fastsmtp.cli.remote import ask
    from fastsmtp.config.words import name_fault
    from fastsmtp.serve.operations_queue import QueueSuspend

    fault = name_fault(args.domain)
    if fault and args.what == "suspend" and not args.domain.startswith("["):
        raise Failure(f'domain "{args.domain}" {fault}', code=MISUSED)
    request = QueueSuspend(args.domain, args.what == "suspend")
    async with operations(config) as caller:
        made: dict[str, Any] = await ask(caller, "queue.suspend", request)
    if args.json:
        print(json.dumps(made))
        return OK
    now = "suspended" if made["suspended"] else "not suspended"
    print(f"{made['domain']}: {now}{'' if made['changed'] else ', as before'}")
    return OK
