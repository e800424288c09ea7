"""Sending without a disk: CPU per message of the engine, and of whole conversations.

    pytest bench/micro_client.py --benchmark-only
    python bench/micro_client.py                 # without sockets, best of five
    python bench/micro_client.py conversations   # user and system time with smtp-sink

`engine` is given the replies of a server that says yes to everything; `link` adds the
driver with a transport that does nothing. Conversations run on uvloop and have two
letters inside each, whose bodies are in memory.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from fastsmtp.cells import fresh
from fastsmtp.delivery.conversation import Conversation, Switchboard, Terms
from fastsmtp.delivery.link import Link
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import shared_buffer
from fastsmtp.net.dial import Place
from fastsmtp.smtp.client import Client
from fastsmtp.smtp.counts import OUT_CELLS
from fastsmtp.smtp.letter import Answer, Letter, Rcpt
from fastsmtp.smtp.manners import Manners
from fastsmtp.smtp.options import SendOptions

ROUNDS = 500  # messages in one timed call
MESSAGES = 40_000  # over all conversations
CONNECTIONS = (1, 20)
LINE = b"x" * 70 + b"\r\n"


class Memory:
    """A body that is there already."""

    def __init__(self, octets: int) -> None:
        self.octets = b"Subject: load\r\n\r\n" + LINE * (octets // len(LINE))
        self.length = len(self.octets)

    def read(self, offset: int, size: int) -> bytes:
        return self.octets[offset : offset + size]


def letter(octets: int, recipients: int = 1) -> Letter:
    to = tuple(Rcpt(f"user{n}@example.test") for n in range(recipients))
    return Letter("load@sender.example", to, Memory(octets))


WORKLOADS = {
    "4 KiB": (letter(4096), True),
    "4 KiB, step by step": (letter(4096), False),
    "4 KiB, 10 recipients": (letter(4096, 10), True),
    "200 KiB": (letter(200 * 1024), True),
}


class Transport:
    """Takes everything."""

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return "192.0.2.7", 25

    def write(self, data: bytes) -> None: ...


class Yes:
    """A client in front of a server that says yes; `hear` is how it is told so."""

    def __init__(self, one: Letter, grouped: bool) -> None:
        options = SendOptions(pipelining=grouped)
        manners = Manners(hostname="client.test", options=options)
        self.client = Client(manners, fresh(OUT_CELLS), lambda answer: None, print)
        self.letter = one
        self.left = 0
        said = [b"250 2.1.0 Ok\r\n", *[b"250 2.1.5 Ok\r\n"] * len(one.recipients)]
        said.append(b"354 go on\r\n")
        self.replies = [b"".join(said)] if grouped else said
        self.end = b"250 2.0.0 Ok: queued as 0000060000001\r\n"

    def begin(self, hear: Callable[[bytes], None]) -> None:
        """Up to two letters inside: there is always a next one."""
        self.hear = hear
        for said in (b"220 mx\r\n", b"250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n"):
            hear(said)
        for _ in range(2):
            self.client.give(self.letter, self.done)
        self.client.take()

    def done(self, answers: list[Answer]) -> None:
        self.left -= 1
        self.client.give(self.letter, self.done)

    def __call__(self) -> None:
        self.left = ROUNDS
        hear, replies, end = self.hear, self.replies, self.end
        while self.left:
            for said in replies:
                hear(said)
            hear(end)


def engine(one: Letter, grouped: bool) -> Callable[[], None]:
    made = Yes(one, grouped)
    client = made.client

    def hear(said: bytes) -> None:
        client.hear(said, len(said))
        while client.pouring:
            client.more()

    made.begin(hear)
    return made


def link(one: Letter, grouped: bool) -> Callable[[], None]:
    made = Yes(one, grouped)
    shared = shared_buffer()
    driver = Link(made.client, Clock(), shared)
    driver.connection_made(Transport())  # type: ignore[arg-type]

    def hear(said: bytes) -> None:
        shared[: len(said)] = said
        driver.buffer_updated(len(said))

    made.begin(hear)
    return made


MAKERS = {"engine": engine, "link": link}


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("maker", MAKERS)
def test_messages(benchmark: Any, maker: str, workload: str) -> None:
    benchmark.extra_info["messages"] = ROUNDS
    benchmark(MAKERS[maker](*WORKLOADS[workload]))


async def converse(port: int, connections: int, messages: int) -> float:
    """Microseconds of user and system time per message."""
    board = Switchboard("client.test", SendOptions(), trouble=print)
    board.open()
    place = Place("127.0.0.1", port)
    calls = [await board.connect([place], Terms()) for _ in range(connections)]
    one = letter(4096)
    left, answered = messages, 0
    over = asyncio.get_running_loop().create_future()

    def feed(call: Conversation) -> Callable[[list[Answer]], None]:
        def done(answers: list[Answer]) -> None:
            nonlocal left, answered
            assert answers[0].accepted
            answered += 1
            if answered == messages:
                over.set_result(None)
            if left:
                left -= 1
                call.give(one, done)

        return done

    began = spent()
    for call in calls:
        done = feed(call)
        for _ in range(2):
            left -= 1
            call.give(one, done)
    await over
    seconds = spent() - began
    for call in calls:
        await call.quit()
    board.close()
    return seconds / messages * 1e6


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def conversations() -> None:
    from fastsmtp_bench.peers import smtp_sink

    with smtp_sink() as (port, _):
        for connections in CONNECTIONS:
            best = min(
                uvloop.run(converse(port, connections, MESSAGES)) for _ in range(3)
            )
            print(f"{connections:3} connections: {best:6.1f} us/message, user and sys")


def main(*what: str) -> None:
    if what == ("conversations",):
        conversations()
        return
    for name, workload in WORKLOADS.items():
        for maker, make in MAKERS.items():
            run = make(*workload)
            best = min(_timed(run) for _ in range(5))
            print(f"{maker:7} {name:22} {best / ROUNDS * 1e9:12,.0f} ns/message")


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
