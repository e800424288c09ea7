"""A whole SMTP session as a target: any octets in any pieces, and a moody door."""

import re
import zlib
from typing import Any

from fastsmtp.cells import fresh
from fastsmtp.errors import Refused, StoreUnavailable
from fastsmtp.smtp import counts
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.smtp.session import Service, Session
from fastsmtp.smtp.states import CLOSED
from tests.fakes import FakeDoor

LATER = Refused(452, "4.3.1", "Later", "store_error")
MOODS = (None, None, PENDING, None, LATER, PENDING, None, StoreUnavailable("full"))
REPLIES = re.compile(rb"(?:[2-5][0-9]{2}[ -][ -~]{0,506}\r\n)*")
# Limits that an input of a few hundred octets reaches.
SMALL = SmtpOptions(
    max_message_size=400,
    memory_per_message=100,
    max_recipients=3,
    max_command_line=90,
    max_line=80,
    max_received=2,
    max_errors=12,
    max_idle_commands=8,
)
EVERYTHING = Offers(
    starttls=True,
    mechanisms=("PLAIN", "LOGIN"),
    chunking=True,
    smtputf8=True,
    dsn=True,
    limits=True,
    requiretls=True,
    xclient=True,
)


class Talk:
    """One session. `feed` it, `end` it; the same seed gives the same door."""

    def __init__(self, seed: int) -> None:
        self.mood = seed
        self.door = FakeDoor()
        asked = ("mail", "recipient", "data", "message", "xclient")
        self.door.says = dict.fromkeys(asked, self)
        self.door.says["auth"] = self.challenge
        self.troubles: list[Exception] = []
        self.cells = fresh(counts.CELLS)
        self.service = Service(
            *(SMALL, "mx.test", self.door, self.cells, lambda: 0.0),
            self.troubles.append,
            EVERYTHING,
        )
        self.session = Session(self.service, self)
        self.session.trusted = bool(seed & 1)
        self.session.private = bool(seed & 2)
        self.said = self.session.greet()

    def __call__(self, *heard: Any) -> Any:
        """What the door says to any question."""
        self.mood = self.mood * 1103515245 + 12345 & 0x7FFFFFFF
        answer = MOODS[self.mood >> 16 & 7]
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer

    def challenge(self, *heard: Any) -> Any:
        """What it says to AUTH."""
        return self() if self.mood & 1 << 19 else b"x" * (self.mood >> 16 & 3)

    def feed(self, data: "bytes | memoryview") -> None:
        session = self.session
        self.said += session.receive(data, len(data)) or b""
        while session.pending or (session.holding and session.state != CLOSED):
            if session.pending:
                answer = LATER if self.mood & 1 << 20 else None
                self.mood += 1 << 18
                if answer is None:
                    session.login = session.login or session.mechanism
                self.said += session.answer(answer) or b""
            else:
                self.said += session.resume() or b""
        if session.upgrade:
            session.secure("TLSv1.3")

    def end(self) -> int:
        """What happened, in 16 bits; AssertionError if it must not."""
        session = self.session
        state = session.state
        session.lost()
        assert REPLIES.fullmatch(self.said), self.said
        assert not self.troubles, self.troubles
        assert self.service.kept == 0
        assert min(self.cells) >= 0
        for _, recipients, body in self.door.messages:
            assert 1 <= len(recipients) <= SMALL.max_recipients
            assert len(body) <= SMALL.max_message_size + 2  # the end of a last line
            assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", body)
        codes = sorted(set(re.findall(rb"^\d+[ -][\d.]*", self.said, re.MULTILINE)))
        facts = (state, len(self.door.messages), len(self.door.streams))
        return zlib.crc32(b"".join(codes) + bytes(min(f, 9) for f in facts)) & 0xFFFF


def session(data: bytes) -> None:
    """As a target of one function: cut where its first octet says."""
    talk = Talk(len(data))
    step = 1 + (data[0] if data else 0)
    for at in range(0, len(data), step):
        talk.feed(data[at : at + step])
    talk.end()
