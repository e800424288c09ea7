"""A whole POP3 session as a target: any octets in any pieces, a door that answers now
or later, and `tests/model/pop3.py`, which must have said the same."""

from __future__ import annotations

import zlib
from array import array
from typing import Any

from fastsmtp.cells import fresh
from fastsmtp.errors import PENDING, Refused
from fastsmtp.pop3 import counts
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.pop3.session import Service, Session
from tests.model.pop3 import Dialogue, Verdict

WRONG = Refused(535, "5.7.8", "Wrong name or password", "auth")
BLOCKED = Refused(421, "4.7.0", "Too many failed logins", "auth")
BROKEN = Refused(451, "4.3.0", "Cannot be removed now", "store_error")
SIZES, UIDS, VALIDITY = (120, 0, 5000, 1 << 33), (3, 6, 9, 4_000_000_000), 7
SMALL = Pop3Options(max_errors=12)


def login(name: bytes, password: bytes) -> Verdict:
    if (name, password) == (b"alice", b"secret"):
        return None
    return BLOCKED if password == b"block" else WRONG


def exchange(mechanism: str, response: bytes | None) -> Verdict:
    if response is None:
        return b"go on"
    if response == b"yes":
        return None
    return b"again" if response == b"more" else WRONG


def removed(uids: list[int]) -> Verdict:
    return BROKEN if UIDS[1] in uids else None


class Maildrop:
    validity, uids, sizes = VALIDITY, array("I", UIDS), array("Q", SIZES)


class Fetch:
    """One session and its twin. `feed` both, `end` them; the seed says what is offered
    and which answers come late."""

    def __init__(self, seed: int) -> None:
        self.mood = seed
        offers = Offers(stls=bool(seed & 1), mechanisms=("PLAIN",) if seed & 2 else ())
        self.troubles: list[Exception] = []
        self.cells = fresh(counts.CELLS)
        self.service = Service(
            *(SMALL, self, self.cells, lambda: 0.0, self.troubles.append, offers)
        )
        self.session = Session(self.service, self)
        self.twin = Dialogue(
            *(SIZES, UIDS, VALIDITY, offers),
            private=bool(seed & 4),
            max_errors=SMALL.max_errors,
        )
        self.session.private = self.twin.private
        self.twin.login, self.twin.auth, self.twin.update = login, exchange, removed
        self.late: tuple[Verdict, bool] | None = None
        self.said = self.wanted = b""

    # the door

    def _answer(self, verdict: Verdict, enters: bool) -> Any:
        self.mood = self.mood * 1103515245 + 12345 & 0x7FFFFFFF
        if self.mood >> 16 & 3 == 0:
            self.late = verdict, enters
            return PENDING
        if verdict is None and enters:
            self._enter()
        return verdict

    def _enter(self) -> None:
        self.session.login, self.session.drop = "alice", Maildrop()

    def password(self, session: Session, name: bytes, password: bytes) -> Any:
        return self._answer(login(name, password), True)

    def auth(self, session: Session, mechanism: str, response: bytes | None) -> Any:
        return self._answer(exchange(mechanism, response), True)

    def auth_cancelled(self, session: Session) -> None: ...

    def update(self, session: Session, marked: Any) -> Any:
        return self._answer(removed(list(marked)), False)

    # the target

    def feed(self, data: bytes | memoryview) -> None:
        session = self.session
        self.wanted += self.twin.hear(bytes(data))
        self._say(session.receive(data, len(data)))
        while session.pending or session.holding:
            if session.pending:
                assert self.late is not None
                (verdict, enters), self.late = self.late, None
                if verdict is None and enters:
                    self._enter()
                self._say(session.answer(verdict))
            else:
                self._say(session.resume())
        if session.upgrade:
            session.secure("TLSv1.3")
            self.twin.secure()

    def _say(self, pieces: list[Any] | None) -> None:
        for piece in pieces or ():
            if isinstance(piece, tuple):
                piece = b"<%d top %d>" % piece
            self.said += piece if isinstance(piece, bytes) else b"<%d>" % piece

    def end(self) -> int:
        """What happened, in 16 bits; AssertionError if it must not."""
        session, twin = self.session, self.twin
        facts = bytes((session.state, min(session.marked, 9), bool(session.login)))
        assert self.said == self.wanted, (self.said, self.wanted)
        session.lost()
        assert not self.troubles, self.troubles
        assert self.service.kept == 0
        assert min(self.cells) >= 0
        heads = {line[:12] for line in self.said.split(b"\r\n")}
        known = bytes((twin.known,))
        return zlib.crc32(b"".join(sorted(heads)) + facts + known) & 0xFFFF


def fetch(data: bytes) -> None:
    """As a target of one function: cut where its first octet says."""
    talk = Fetch(len(data) ^ (data[0] if data else 0) << 3)
    step = 1 + (data[0] if data else 0)
    for at in range(0, len(data), step):
        talk.feed(data[at : at + step])
    talk.end()
