"""The SMTP engine without sockets: nanoseconds per message, by workload.

    pytest bench/micro_session.py --benchmark-only --benchmark-group-by=func
    python bench/micro_session.py          # the table alone, best of five

A trivial door says yes to everything; `guest` adds the driver, the real door, a policy
with one account and a store that keeps nothing, so that the difference is their cost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastsmtp.cells import fresh
from fastsmtp.net.clock import Clock
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.report import Report
from fastsmtp.serve.smtpd import Smtpd, Terms
from fastsmtp.smtp import counts
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.smtp.session import Body, Service, Session
from fastsmtp.store.null import NullStore

ROUNDS = 500  # messages in one timed call
HEADER = b"From: <a@b.test>\r\nTo: <user@example.test>\r\nSubject: load\r\n\r\n"


class Yes:
    """A door that is no work."""

    def hello(self, session: Session) -> None: ...

    def mail(self, session: Session) -> None:
        session.queue_id = "0000000000000"

    def recipient(self, session: Session, address: str) -> None: ...

    def data(self, session: Session) -> None: ...

    def message(self, session: Session, body: Body) -> None: ...

    def refused(self, session: Session, stage: str, refused: object) -> None: ...

    def aborted(self, session: Session) -> None: ...


class Store(NullStore):
    """Durable at once, without a loop."""

    def submit(self, *told: Any) -> None:
        told[-1](None)


class Transport:
    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("192.0.2.7", 4711) if name == "peername" else None

    def write(self, data: bytes) -> None: ...


def pieces(octets: int, recipients: int = 1, grouped: bool = False) -> list[bytes]:
    """The reads of one message of about so many octets."""
    line = b"x" * 70 + b"\r\n"
    body = HEADER + line * max(1, (octets - len(HEADER)) // len(line)) + b".\r\n"
    commands = [b"MAIL FROM:<load@sender.example>\r\n"]
    commands += [b"RCPT TO:<user@example.test>\r\n"] * recipients
    commands += [b"DATA\r\n"]
    large = [body[at : at + 262_144] for at in range(0, len(body), 262_144)]
    return [b"".join(commands), *large] if grouped else [*commands, *large]


WORKLOADS = {
    "512 B": pieces(512),
    "4 KiB": pieces(4096),
    "4 KiB, 10 recipients": pieces(4096, 10),
    "4 KiB, pipelined": pieces(4096, grouped=True),
    "200 KiB": pieces(200 * 1024),
}


def session(reads: list[bytes]) -> Callable[[], None]:
    service = Service(
        *(SmtpOptions(), "mx.example.test", Yes(), fresh(counts.CELLS)),
        time.monotonic,
        print,  # type: ignore[arg-type]
    )
    one = Session(service, None)
    one.receive(b"EHLO client.test\r\n", 18)

    def run() -> None:
        for _ in range(ROUNDS):
            for read in reads:
                one.receive(read, len(read))

    return run


def guest(reads: list[bytes]) -> Callable[[], None]:
    known = {"user@example.test"}.__contains__
    server = Smtpd(
        Terms("mx.example.test", SmtpOptions(), fresh(counts.CELLS)),
        Store(),
        Recipients({"example.test": DomainOptions()}, known).resolve,
        Report(level="warning"),
        Clock(),
    )
    one = server.guest()
    one.connection_made(Transport())  # type: ignore[arg-type]
    buffer = server.crowd.shared
    held = [(len(read), memoryview(buffer)[: len(read)], read) for read in reads]
    one.shared[:18] = b"EHLO client.test\r\n"
    one.buffer_updated(18)

    def run() -> None:
        for _ in range(ROUNDS):
            for size, place, read in held:
                place[:] = read
                one.buffer_updated(size)

    return run


MAKERS = {"session": session, "guest": guest}


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("maker", MAKERS)
def test_messages(benchmark: Any, maker: str, workload: str) -> None:
    benchmark.extra_info["messages"] = ROUNDS
    benchmark(MAKERS[maker](WORKLOADS[workload]))


def main() -> None:
    for name, reads in WORKLOADS.items():
        for maker, make in MAKERS.items():
            run = make(reads)
            best = min(_timed(run) for _ in range(5))
            print(f"{maker:8} {name:22} {best / ROUNDS * 1e9:10,.0f} ns/message")


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
