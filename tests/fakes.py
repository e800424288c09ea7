"""Stand-ins for the world: a door that remembers, a clock and a transport by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastsmtp.cells import fresh
from fastsmtp.errors import NoSuchName, Refused, StoreUnavailable
from fastsmtp.smtp import counts
from fastsmtp.smtp.door import Answer, Challenge, Stream
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.smtp.session import Body, Service, Session


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeResolver:
    """Answers from a dict: ("A", "name") to records or to the exception raised.

    What is not there does not exist. A name in `held` is answered when its future is.
    """

    def __init__(self, answers: dict[tuple[str, str], Any] | None = None) -> None:
        self.answers = answers or {}
        self.held: dict[str, asyncio.Future[None]] = {}
        self.asked: list[tuple[str, str]] = []

    async def ask(self, kind: str, name: str) -> tuple[Any, ...]:
        self.asked.append((kind, name))
        if name in self.held:
            await self.held[name]
        answer = self.answers.get((kind, name), NoSuchName(name))
        if isinstance(answer, Exception):
            raise answer
        return tuple(answer)

    async def close(self) -> None:
        pass


class FakeStream:
    """A spool that keeps what it is given."""

    def __init__(self) -> None:
        self.octets = b""
        self.writes = 0
        self.aborted = False
        self.broken = False

    def write(self, data: bytes | memoryview) -> None:
        if self.broken:
            raise StoreUnavailable("disk full")
        self.octets += bytes(data)
        self.writes += 1

    def backlog(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class FakeDoor:
    """Says what the test put into `says`, by method; yes by default."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {}
        self.heard: list[tuple[Any, ...]] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.refusals: list[tuple[str, int]] = []
        self.streams: list[FakeStream] = []
        self.bodies: list[Body] = []
        self.aborts = 0
        self.number = 0

    def _answer(self, question: str, *heard: Any) -> Any:
        self.heard.append((question, *heard))
        said = self.says.get(question)
        if isinstance(said, Exception) and not isinstance(said, Refused):
            raise said
        return said(*heard) if callable(said) else said

    def hello(self, session: Session) -> Answer:
        return self._answer("hello", session.helo)

    def auth(
        self, session: Session, mechanism: str, response: bytes | None
    ) -> Challenge:
        """None, as the test says it, logs "alice" in."""
        answer = self._answer("auth", mechanism, response)
        if answer is None:
            session.login = "alice"
        return answer

    def auth_cancelled(self, session: Session) -> None:
        self.heard.append(("auth_cancelled",))

    def xclient(self, session: Session, attributes: dict[str, str]) -> Answer:
        return self._answer("xclient", attributes)

    def mail(self, session: Session) -> Answer:
        self.number += 1
        session.queue_id = f"Q{self.number}"
        return self._answer("mail", session.reverse_path)

    def recipient(self, session: Session, address: str) -> Answer:
        return self._answer("recipient", address)

    def data(self, session: Session) -> Answer:
        return self._answer("data", list(session.recipients))

    def stream(self, session: Session) -> Stream:
        self._answer("stream")
        self.streams.append(FakeStream())
        return self.streams[-1]

    def message(self, session: Session, body: Body) -> Answer:
        stored = bytes(memoryview(body))
        if session.stream is not None:
            stored = self.streams[-1].octets
        self.bodies.append(body)
        self.messages.append((session.reverse_path, list(session.recipients), stored))
        return self._answer("message")

    def refused(self, session: Session, stage: str, refused: Refused) -> None:
        self.refusals.append((stage, refused.code))

    def aborted(self, session: Session) -> None:
        self.aborts += 1


class Dialogue:
    """One session with a fake door: text in, text out."""

    def __init__(
        self,
        door: FakeDoor | None = None,
        offers: Offers | None = None,
        **options: Any,
    ) -> None:
        self.door = door or FakeDoor()
        self.clock = FakeClock()
        self.cells = fresh(counts.CELLS)
        self.troubles: list[Exception] = []
        self.service = Service(
            SmtpOptions(**options),
            "mx.example.test",
            self.door,
            self.cells,
            self.clock,
            self.troubles.append,
            offers,
        )
        self.session = Session(self.service, "peer")

    def feed(self, data: bytes) -> bytes:
        """Everything in one read; what is written because of it."""
        out = self.session.receive(data, len(data)) or b""
        while self.session.holding and not self.session.pending:
            out += self.session.resume() or b""
        return out

    def say(self, *lines: str) -> list[str]:
        """Each line with CRLF, one at a time; the reply lines without theirs."""
        out = b"".join(self.feed(line.encode() + b"\r\n") for line in lines)
        return out.decode().split("\r\n")[:-1]

    def start(self, *recipients: str) -> Dialogue:
        """Up to the 354."""
        said = self.say("EHLO client.test", "MAIL FROM:<a@client.test>")
        for address in recipients or ("bob@example.test",):
            said += self.say(f"RCPT TO:<{address}>")
        assert self.say("DATA")[0].startswith("354"), said
        return self

    def count(self, family: Any, *labels: str) -> int:
        return self.cells[family.place(*labels)]


class FakeTransport(asyncio.Transport):
    """Keeps what is written and whether it is read; never full unless told."""

    def __init__(self, peer: Any = ("192.0.2.7", 4711)) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closed = False
        self.aborted = False
        self.ended = False  # we have said all we had to say, and listen on
        self.peer = peer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peer if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written += bytes(data)

    def take(self) -> bytes:
        taken, self.written = self.written, b""
        return taken

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        pass

    def write_eof(self) -> None:
        self.ended = self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed


class FakeReport:
    """Remembers the name of each fact and what it was told with it."""

    def __init__(self) -> None:
        self.facts: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *told: self.facts.append((name, *told))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [fact for fact in self.facts if fact[0] == name]


async def turns_until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until it holds; who calls bounds the time."""
    while True:
        if holds():
            return
        await asyncio.sleep(0)
