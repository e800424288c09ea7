"""A client as a target: any octets as a server's replies, in any pieces."""

import re
import zlib

from fastsmtp.auth.login import Login
from fastsmtp.cells import fresh
from fastsmtp.smtp import counts
from fastsmtp.smtp.client import Client
from fastsmtp.smtp.letter import STAGES, Answer, By, Letter, Rcpt
from fastsmtp.smtp.manners import Manners
from fastsmtp.smtp.options import SendOptions

LETTERS = 5  # given in one call
STATUS = re.compile(r"|[245]\.[0-9]{1,3}\.[0-9]{1,3}")
SAID = re.compile(rb"(?:[^\r\n\0]*\r\n)*")
OPEN = b"220 mx\r\n", b"250-mx\r\n250-PIPELINING\r\n250-DSN\r\n250 SIZE\r\n"
RCPTS = tuple(Rcpt(f"r{n}@t.test", "NEVER", "rfc822;x+y") for n in range(3))


class Large:
    """A body of which a chunk is worth a trip."""

    length = 300_000

    def read(self, offset: int, size: int) -> bytes:
        return b".\r\n" * (min(size, self.length - offset) // 3)


class Small:
    length = 5

    def read(self, offset: int, size: int) -> bytes:
        return b".\r\nx."[offset : offset + size]


class Call:
    """One client. `feed` it, `end` it; the seed says how it was brought up."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.said = b""
        self.opened: list[Answer | None] = []
        self.troubles: list[Exception] = []
        self.given: list[int] = []  # recipients of each letter
        self.answered: list[list[Answer]] = []
        self.cells = fresh(counts.OUT_CELLS)
        manners = Manners(
            hostname="c.test",
            options=SendOptions(pipelining=bool(seed & 1)),
            lmtp=bool(seed & 2),
            tls="may" if seed & 4 else "none",
            private=True,
            login=Login("a", "b") if seed & 24 == 24 else None,
        )
        self.client = Client(
            manners, self.cells, self.opened.append, self.troubles.append
        )
        for line in OPEN if seed & 32 else ():
            self.feed(line)

    def feed(self, data: "bytes | memoryview") -> None:
        client = self.client
        self._heard(client.hear(data, len(data)))
        if client.upgrade:
            self._heard(client.secure("TLSv1.3"))
        while client.room and len(self.given) < LETTERS:
            self._give(RCPTS[: 1 + len(self.given) % 3])
            self._heard(client.take())

    def _give(self, recipients: tuple[Rcpt, ...]) -> None:
        body = Large() if self.seed & 0x7C0 == 0x7C0 else Small()
        letter = Letter("a@c.test", recipients, body, ret="FULL", by=By(9, "N"))
        refused = self.client.give(letter, self.answered.append)
        self.given.append(len(recipients))
        if refused is not None:
            self.answered.append(refused)

    def _heard(self, out: bytes | None) -> None:
        self.said += out or b""
        while self.client.pouring:
            self.said += self.client.more() or b""
        self.said += self.client.take() or b""

    def end(self) -> int:
        """What happened, in 16 bits; AssertionError if it must not."""
        client = self.client
        state = client.state
        client.lost("4.4.2", "the end")
        assert client.finished
        assert len(self.opened) == 1
        assert not self.troubles, self.troubles
        assert SAID.fullmatch(self.said), self.said[-200:]
        assert sorted(map(len, self.answered)) == sorted(self.given)
        assert min(self.cells) >= 0
        answers = [answer for each in self.answered for answer in each]
        for answer in (*answers, *filter(None, (*self.opened, client.parting))):
            assert answer.code == 0 or 200 <= answer.code < 600
            assert not 300 <= answer.code < 400
            assert STATUS.fullmatch(answer.enhanced)
            assert answer.text.isprintable()
            assert len(answer.text) <= 1200
            assert answer.stage in STAGES
        assert not {answer.stage for answer in answers} & {"rset", "quit"}
        codes = sorted({(a.code // 100, a.stage) for a in answers})
        facts = (state, len(self.given), len(self.said).bit_length(), *codes)
        return zlib.crc32(repr(facts).encode()) & 0xFFFF


def replies(data: bytes) -> None:
    """As a target of one function: cut where its first octet says."""
    seed = zlib.crc32(data[:3])
    call = Call(seed)
    step = 1 + (data[0] if data else 0)
    for at in range(0, len(data), step):
        call.feed(data[at : at + step])
    call.end()
