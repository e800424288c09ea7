"""Which messages of the queue a command means: one set of filters for all of them, and
what was found with it before anything happens."""

import argparse
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from fastsmtp.cli import MISUSED, Failure
from fastsmtp.cli.terminal import above_zero, amount

if TYPE_CHECKING:
    from fastsmtp.config import Config
    from fastsmtp.queue.selection import Entry, Filter, Sight, Survey
    from fastsmtp.store.lmdb import LmdbStore

STATES: Final = ("active", "deferred", "hold", "scheduled")
UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def filter_arguments(parser: argparse.ArgumentParser, ids: bool = True) -> None:
    """The filters. All that are given must hold."""
    add = parser.add_argument_group("which messages (all that is given must hold)")
    whom = "whole address, or @domain"
    if ids:
        parser.add_argument("ids", metavar="ID", nargs="*", help="these, by id")
    add.add_argument("--sender", metavar="WHO", help=f'{whom}; "<>": bounces')
    add.add_argument("--recipient", metavar="WHO", help=f"{whom}, who still waits")
    add.add_argument("--domain", metavar="DOMAIN", help="with somebody waiting there")
    add.add_argument(
        "--next-hop", metavar="HOP", help="as `queue show` has it, or host"
    )
    add.add_argument("--state", choices=STATES)
    add.add_argument("--older", metavar="TIME", help='arrived before, such as "4 h"')
    add.add_argument("--younger", metavar="TIME", help="arrived since")
    add.add_argument("--attempts", metavar="N", type=int, help="at least so many")
    add.add_argument("--error", metavar="TEXT", help="part of the last error, any case")
    add.add_argument("--larger", metavar="SIZE", help='at least, such as "1 MiB"')
    add.add_argument("--smaller", metavar="SIZE", help="at most")
    add.add_argument("--limit", metavar="N", type=int, help="the oldest N of them")


def wanted(args: argparse.Namespace) -> "Filter":
    """What the arguments say; `Failure` when a value has no meaning."""
    from fastsmtp.queue.message import State
    from fastsmtp.queue.selection import Filter

    for name in ("limit", "attempts"):
        above_zero(name, getattr(args, name))
    return Filter(
        sender="" if args.sender == "<>" else args.sender,
        recipient=args.recipient,
        domain=args.domain,
        hop=args.next_hop,
        error=args.error,
        attempts=args.attempts or 0,
        state=State(args.state) if args.state else None,
        before=_ago("--older", args.older),
        since=_ago("--younger", args.younger),
        larger=_octets("--larger", args.larger),
        smaller=_octets("--smaller", args.smaller),
    )


def _ago(name: str, text: str | None) -> int | None:
    """The moment so long ago, in milliseconds."""
    from fastsmtp.options import DURATION

    seconds = _value(name, text, DURATION, float)
    return None if seconds is None else int((time.time() - seconds) * 1000)


def _octets(name: str, text: str | None) -> int | None:
    from fastsmtp.options import SIZE

    octets: int | None = _value(name, text, SIZE, int)
    return octets


def _value(name: str, text: str | None, kind: str, form: type) -> Any:
    if text is None:
        return None
    from fastsmtp.config.kinds import Setting, Wrong, allowed, read

    setting = Setting(kind, form, {})
    try:
        return read(text, setting)
    except Wrong as wrong:
        raise Failure(
            f'{name} "{text}" {wrong}', f"allowed: {allowed(setting)}", MISUSED
        ) from None


def numbers(names: Sequence[str]) -> list[int]:
    """Of queue ids; `Failure` when one of them is none."""
    from fastsmtp.queue.message import parse_queue_id

    try:
        return sorted({parse_queue_id(name) for name in names})
    except ValueError as error:
        raise Failure(str(error), code=MISUSED) from None


def words(survey: "Survey") -> str:
    """As in "12,431 messages, 3 domains, oldest 2 d, 1.2 GiB"."""
    messages, domains = len(survey.ids), len(survey.domains)
    age = int(time.time() - survey.oldest / 1000) if survey.oldest else 0
    return (
        f"{counted(messages, 'message')}, {counted(domains, 'domain')},"
        f" oldest {age_words(age)}, {amount(survey.octets)}"
    )


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def age_words(seconds: int) -> str:
    """The largest unit that it has one of: "2 d", "59 min"."""
    for unit, size in UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"


class Search:
    """The open queue, and what the arguments ask of it.

    damaged  ids of entries that cannot be read, as they are met
    """

    def __init__(
        self, store: "LmdbStore", sight: "Sight", args: argparse.Namespace
    ) -> None:
        self.store = store
        self.wanted = wanted(args)
        self.damaged: list[int] = []
        self._sight = sight._replace(damaged=self.damaged.append)
        self._ids = numbers(getattr(args, "ids", ()))
        self._most = args.limit

    async def entries(self) -> AsyncIterator["Entry"]:
        """Oldest first."""
        from fastsmtp.queue.selection import entries, named

        if self._ids:
            meant = named(self.store, self._ids, self.wanted, self._sight)
        else:
            meant = entries(self.store, self.wanted, self._sight)
        left = self._most
        async for entry in meant:
            yield entry
            left = left and left - 1
            if left == 0:
                return

    async def survey(self) -> "Survey":
        """What they come to."""
        from fastsmtp.queue.selection import Survey, survey

        found = Survey()
        if not self._ids and self._most is None:
            await survey(self.store, self.wanted, found, self._sight)
            return found
        async for entry in self.entries():
            found.add(entry)
        found.end()
        return found


@asynccontextmanager
async def searching(
    config: "Config", args: argparse.Namespace
) -> AsyncIterator[Search]:
    from fastsmtp import ways
    from fastsmtp.cli.reading import reading
    from fastsmtp.queue.selection import Sight

    active = await being_tried(config)
    table = ways.relaying(config)
    sight = Sight(active, ways.hop_of(table), hop_at=ways.hop_at(table))
    async with reading(config) as store:
        yield Search(store, sight, args)


async def being_tried(config: "Config") -> frozenset[int]:
    """Ids of what the server is trying right now; none when it cannot be asked."""
    from fastsmtp.cli.remote import Remote
    from fastsmtp.serve.operations_queue import QueueActive

    try:
        remote = await Remote.connect(config.run)
    except OSError:
        return frozenset()
    if remote is None:
        return frozenset()
    ids: set[int] = set()
    try:
        async for item in remote.call("queue.active", QueueActive()):
            ids.update(item.get("ids", ()))
    finally:
        await remote.close()
    return frozenset(ids)


def tell_damaged(damaged: Iterable[int]) -> None:
    """On standard error: what is left out because nobody can read it."""
    import sys

    from fastsmtp.queue.message import queue_id

    for id in damaged:
        print(f"{queue_id(id)} cannot be read; `fastsmtp verify`", file=sys.stderr)
