"""Reading by POP3 without sockets: the engine, the driver, and a message on its way.

python -m pytest bench/micro_pop3.py --benchmark-enable -c pyproject.toml
"""

import time
from array import array
from collections.abc import Callable
from typing import Any, Final, cast

import pytest

from fastsmtp.cells import fresh
from fastsmtp.mailbox.drop import Drop
from fastsmtp.net.clock import Clock
from fastsmtp.pop3 import counts
from fastsmtp.pop3.body import Giver
from fastsmtp.pop3.door import Answer
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.pop3.session import Service, Session
from fastsmtp.report import Report
from fastsmtp.serve.fetcher import Fetcher
from fastsmtp.serve.pop3d import Pop3d, Terms

MESSAGES: Final = 500  # in the maildrop, all fetched in one timed call
LINE: Final = b"x" * 70 + b"\r\n"
TEXT: Final = b"Subject: load\r\n\r\n" + LINE * 56  # 4 KiB
LOGIN: Final = (b"USER alice\r\n", b"PASS secret\r\n")
RETRIEVALS: Final = [b"RETR %d\r\n" % n for n in range(1, MESSAGES + 1)]


def maildrop() -> Drop:
    found = Drop(1, 1, 7, 1)
    found.uids = array("I", range(1, MESSAGES + 1))
    found.sizes = array("Q", [len(TEXT)] * MESSAGES)
    found.blobs = array("Q", range(1, MESSAGES + 1))
    found.offsets = array("I", [0] * MESSAGES)
    return found


class Body:
    """A message of a store without files."""

    length = len(TEXT)

    def read(self, offset: int, size: int) -> bytes:
        return TEXT[offset : offset + size]

    def close(self) -> None: ...


class Store:
    def open_now(self, blobs: list[int]) -> list[Body]:
        return [Body() for _ in blobs]


class Open(Pop3d):
    """Whoever comes is alice and has this maildrop."""

    drop = maildrop()

    def password(self, session: Session, name: bytes, password: bytes) -> Answer:
        session.login, session.drop = "alice", self.drop
        if session.peer is not None:
            cast(Fetcher, session.peer).drop = self.drop
        return None


class Transport:
    """Takes all that is written."""

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 4711) if name == "peername" else None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def server() -> Open:
    nobody: Any = None
    terms = Terms(
        Pop3Options(), fresh(counts.CELLS), nobody, lambda _: None, private=True
    )
    store: Any = Store()
    return Open(terms, store, Report(level="warning"), Clock())


def engine() -> Callable[[], None]:
    """What a client types, and which message is then to be given."""
    trouble: Any = print
    service = Service(
        *(Pop3Options(), server(), fresh(counts.CELLS), time.monotonic, trouble),
        Offers(stls=False, mechanisms=()),
    )
    one = Session(service, None)
    one.private = True
    one.greet()
    for line in LOGIN:
        one.receive(line, len(line))

    def run() -> None:
        for line in RETRIEVALS:
            given = one.receive(line, len(line))
            assert given
            one.handed(False, True)

    return run


def fetcher() -> Callable[[], None]:
    """The same with the driver, up to the octets that go out."""
    one = server().guest()
    one.connection_made(Transport())  # type: ignore[arg-type]

    def type_(line: bytes) -> None:
        one.get_buffer(-1)[: len(line)] = line
        one.buffer_updated(len(line))

    for line in LOGIN:
        type_(line)
    assert one.session.count == MESSAGES

    def run() -> None:
        for line in RETRIEVALS:
            type_(line)

    return run


def giver() -> Callable[[], None]:
    def run() -> None:
        for _ in range(MESSAGES):
            one = Giver()
            one.give(TEXT)
            one.end()

    return run


MAKERS: Final = {"engine": engine, "fetcher": fetcher, "giver": giver}


@pytest.mark.parametrize("maker", MAKERS)
def test_messages(benchmark: Any, maker: str) -> None:
    benchmark.extra_info["messages"] = MESSAGES
    benchmark(MAKERS[maker]())
