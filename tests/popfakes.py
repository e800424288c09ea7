"""A POP3 session with a door by hand: text in, text out."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from fakes import FakeClock

from fastsmtp.cells import fresh
from fastsmtp.errors import Refused
from fastsmtp.pop3 import counts
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.pop3.session import Service, Session

WRONG = Refused(535, "5.7.8", "Wrong name or password", "auth")
BUSY = Refused(454, "4.7.0", "Too many logins at once, try again", "auth")
BLOCKED = Refused(421, "4.7.0", "Too many failed logins", "auth")
BROKEN = Refused(451, "4.3.0", "Cannot be removed now", "store_error")
PLAIN = Offers(stls=True, mechanisms=("SCRAM-SHA-256", "PLAIN"))


class FakeDrop:
    """Messages of these sizes; UIDs 3, 6, 9, …"""

    def __init__(self, *sizes: int, validity: int = 7) -> None:
        self.validity = validity
        self.sizes = array("Q", sizes)
        self.uids = array("I", range(3, 3 * len(sizes) + 3, 3))


class FakePopDoor:
    """alice has the password "secret"; says what the test put into `says`."""

    def __init__(self, drop: FakeDrop) -> None:
        self.drop = drop
        self.says: dict[str, Any] = {}
        self.heard: list[tuple[Any, ...]] = []
        self.removed: list[list[int]] = []

    def _answer(self, session: Session, question: str, *heard: Any) -> Any:
        self.heard.append((question, *heard))
        said = self.says.get(question)
        if isinstance(said, Exception) and not isinstance(said, Refused):
            raise said
        return said(*heard) if callable(said) else said

    def enter(self, session: Session) -> None:
        session.login, session.drop = "alice", self.drop

    def password(self, session: Session, name: bytes, password: bytes) -> Any:
        answer = self._answer(session, "password", name, password)
        if answer is not None or (name, password) != (b"alice", b"secret"):
            return answer or WRONG
        return self.enter(session)

    def auth(self, session: Session, mechanism: str, response: bytes | None) -> Any:
        answer = self._answer(session, "auth", mechanism, response)
        return self.enter(session) if answer is None else answer

    def auth_cancelled(self, session: Session) -> None:
        self.heard.append(("cancelled",))

    def update(self, session: Session, marked: Sequence[int]) -> Any:
        self.removed.append(list(marked))
        return self._answer(session, "update", list(marked))


class PopTalk:
    """One session. Messages come out as "<n>" or "<n top lines>"."""

    def __init__(
        self,
        *sizes: int,
        offers: Offers = PLAIN,
        private: bool = True,
        **options: Any,
    ) -> None:
        self.door = FakePopDoor(FakeDrop(*sizes))
        self.clock = FakeClock()
        self.cells = fresh(counts.CELLS)
        self.troubles: list[Exception] = []
        self.service = Service(
            *(Pop3Options(**options), self.door, self.cells, self.clock),
            *(self.troubles.append, offers),
        )
        self.session = Session(self.service, "peer")
        self.session.private = private

    def text(self, pieces: list[Any] | None) -> bytes:
        out = b""
        for piece in pieces or ():
            if isinstance(piece, bytes):
                out += piece
                continue
            top = isinstance(piece, tuple)
            out += b"<%d top %d>\r\n" % piece if top else b"<%d>\r\n" % piece
            self.session.handed(top, True)
        return out

    def feed(self, data: bytes) -> bytes:
        """Everything in one read; what is written because of it."""
        out = self.text(self.session.receive(data, len(data)))
        while self.session.holding and not self.session.pending:
            out += self.text(self.session.resume())
        return out

    def answer(self, answer: Any) -> bytes:
        out = self.text(self.session.answer(answer))
        while self.session.holding and not self.session.pending:
            out += self.text(self.session.resume())
        return out

    def say(self, *lines: str) -> list[str]:
        """Each line with CRLF, one at a time; the reply lines without theirs."""
        out = b"".join(self.feed(line.encode() + b"\r\n") for line in lines)
        return out.decode().split("\r\n")[:-1]

    def login(self) -> PopTalk:
        said = self.say("USER alice", "PASS secret")
        assert said[1].startswith("+OK"), said
        return self

    def count(self, command: str, result: str = "ok") -> int:
        return self.cells[counts.COMMANDS.place(command, result)]
