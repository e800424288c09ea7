"""fastsmtp-bench fill-queue FILE: a queue of a million messages, without sending any.

FILE is a configuration whose data folder nobody serves. Entries go straight into the
index, in transactions of 2,000, each with its body in the message log: what the server
would have written. They are of ages up to 5 days, three quarters deferred; a twentieth
has two recipients, at two domains if there are so many.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastsmtp.cli.access import keeping
from fastsmtp.config import load
from fastsmtp.owner import as_owner
from fastsmtp.queue import layout, moves
from fastsmtp.queue.message import Envelope, Queued, Recipient, State, Target
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore, lock
from fastsmtp_bench import arguments

TOGETHER = 2000  # messages in one transaction
DAY = 86_400_000  # milliseconds
HOUR = DAY // 24
BODY = b"Received: x\r\nSubject: hello\r\n\r\n" + b"x" * 200 + b"\r\n"
ERRORS = (
    *("451 4.7.1 Try again later", "421 4.7.0 Too many connections", ""),
    "connection refused by 192.0.2.1",
)


class Plan(NamedTuple):
    """What the queue is to be.

    due  "now": all of it is; "later": within hours, none in the next one; "mixed":
         from an hour ago to three hours from now
    """

    messages: int = 1_000_000
    domains: int = 1000
    due: str = "mixed"

    def __str__(self) -> str:
        domains = f"{self.domains:,} domain{'' if self.domains == 1 else 's'}"
        return f"{domains}, due {self.due}"


EARLIEST = {"now": -4 * HOUR, "later": HOUR, "mixed": -HOUR}
"""Milliseconds from now of what is due first; the others follow within three hours."""


def entry(number: int, plan: Plan, now: int) -> Queued:
    """The same for the same number."""
    mix = number * 2_654_435_761 % 2**32
    places = [mix % plan.domains]
    if number % 20 == 0:
        places.append((mix + 1) % plan.domains)
    names = [
        f"{prefix}{number % 5000}@dest{place}.example"
        for prefix, place in zip(("user", "also"), places, strict=False)
    ]
    arrived = now - mix * 5 * DAY // 2**32
    error = ERRORS[number % len(ERRORS)]
    due = now + EARLIEST[plan.due] + mix % (3 * HOUR)
    targets = tuple(
        Target(name, name, 0, 3 if error else 0, due, error, f"smtp:{name[-10:]}")
        for name in names
    )
    envelope = Envelope(
        f"news{mix % 100}@sender{mix % 10}.example",
        tuple(Recipient(name) for name in names),
        *(arrived, 40, "8BITMIME", "192.0.2.7", "client.example"),
    )
    state = State.DEFERRED if error else State.SCHEDULED
    return Queued(envelope, len(BODY), state, due, targets)


def portions(messages: int) -> Iterator[range]:
    for first in range(0, messages, TOGETHER):
        yield range(first, min(first + TOGETHER, messages))


async def fill(store: LmdbStore, plan: Plan, now: int) -> None:
    await layout.upgrade(store, now)  # it says that the queue is of today's
    for portion in portions(plan.messages):
        durable = [store.append(Kind.BLOB, b"", BODY) for _ in portion]
        ids = await asyncio.gather(*durable)
        await store.applied(ids[-1])
        move = moves.Move()
        for id, number in zip(ids, portion, strict=True):
            one = moves.enter(id, entry(number, plan, now))
            one.refs[id] = 1
            move.join(one)
        await moves.make(store, move)


async def run(file: Path, plan: Plan) -> None:
    config = load(file)
    with as_owner(config.data), lock(config.data):
        async with keeping(config) as store:
            await fill(store, plan, time.time_ns() // 1_000_000)


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--messages", type=arguments.count, default=1_000_000)
    add("--domains", type=arguments.count, default=1000)
    add("--due", choices=list(EARLIEST), default="later")


def plan_of(args: argparse.Namespace) -> Plan:
    return Plan(args.messages, args.domains, args.due)


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("fill-queue", __doc__)
    parser.add_argument("file", type=arguments.file, metavar="FILE")
    plan_arguments(parser)
    args = parser.parse_args(words)
    plan = plan_of(args)
    began = time.perf_counter()
    asyncio.run(run(args.file, plan))
    took = time.perf_counter() - began
    print(f"{plan.messages:,} messages, {plan}, in {took:.0f} s")
