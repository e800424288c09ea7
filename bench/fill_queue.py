"""A queue of a million messages, for start-up, memory and listing figures.

    python -m fastsmtp_bench.fill_queue FILE [--messages N] [--domains N]

FILE is a configuration whose data folder nobody serves. Entries go straight into the
index, in transactions of 2,000, each with its body in the message log: what the server
would have written. They are deferred, due within the next day or overdue, of ages up to
5 days; a twentieth has two recipients at two domains.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from fastsmtp.cli.access import keeping
from fastsmtp.config import load
from fastsmtp.owner import as_owner
from fastsmtp.queue import moves
from fastsmtp.queue.message import Envelope, Queued, Recipient, State, Target
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb import LmdbStore, lock

TOGETHER = 2000  # messages in one transaction
DAY = 86_400_000  # milliseconds
BODY = b"Received: x\r\nSubject: hello\r\n\r\n" + b"x" * 200 + b"\r\n"
ERRORS = (
    *("451 4.7.1 Try again later", "421 4.7.0 Too many connections", ""),
    "connection refused by 192.0.2.1",
)


def entry(number: int, domains: int, now: int) -> Queued:
    """The same for the same number."""
    mix = number * 2_654_435_761 % 2**32
    places = [mix % domains]
    if number % 20 == 0:
        places.append((mix + 1) % domains)
    names = [f"user{number % 5000}@dest{place}.example" for place in places]
    arrived = now - mix * 5 * DAY // 2**32
    error = ERRORS[number % len(ERRORS)]
    due = now - DAY // 24 + mix % DAY
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


async def fill(store: LmdbStore, messages: int, domains: int, now: int) -> None:
    for portion in portions(messages):
        durable = [store.append(Kind.BLOB, b"", BODY) for _ in portion]
        ids = await asyncio.gather(*durable)
        await store.applied(ids[-1])
        move = moves.Move()
        for id, number in zip(ids, portion, strict=True):
            one = moves.enter(id, entry(number, domains, now))
            one.refs[id] = 1
            move.join(one)
        await moves.make(store, move)


async def run(file: Path, messages: int, domains: int) -> None:
    config = load(file)
    began = time.perf_counter()
    with as_owner(config.data), lock(config.data):
        async with keeping(config) as store:
            now = time.time_ns() // 1_000_000
            await fill(store, messages, domains, now)
    took = time.perf_counter() - began
    print(f"{messages:,} messages to {domains:,} domains in {took:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=1000)
    args = parser.parse_args()
    asyncio.run(run(args.file, args.messages, args.domains))


if __name__ == "__main__":
    main()
