"""A server with users, on fake transports: they log in and submit, strangers do not."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from argon2 import PasswordHasher
from fakes import FakeClock, FakeReport, FakeTransport, turns_until

from fastsmtp.auth import counts as auth_counts
from fastsmtp.auth.accounts import Account
from fastsmtp.auth.options import AuthOptions
from fastsmtp.auth.passwords import scram_keys
from fastsmtp.cells import fresh
from fastsmtp.net.clock import Clock
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.policy.senders import Senders
from fastsmtp.queue.message import Envelope, decode_envelope
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.login import Logins
from fastsmtp.serve.smtpd import Guest, Smtpd, Terms
from fastsmtp.serve.submission import Submission
from fastsmtp.smtp import counts
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.store.memory import MemoryStore

PASSWORD = "correct horse"
ALICE, BOB = "alice@example.test", "bob@example.test"
_CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
_RECORD = _CHEAP.hash(PASSWORD)  # so that a test does not wait 25 ms for each login
_KEYS = scram_keys(PASSWORD)
ACCOUNTS = {
    name: Account(number, name, _RECORD, _KEYS)
    for number, name in enumerate((ALICE, BOB), 10)
}
DOMAINS = {
    "example.test": DomainOptions(
        aliases={"sales": [ALICE, BOB], "chief": [BOB]}, catch_all=ALICE
    )
}
SENDERS = {ALICE: ["news@far.test", "@lists.test"], BOB: ["*"]}
OFFERS = Offers(mechanisms=("SCRAM-SHA-256", "PLAIN", "LOGIN"), auth_required=True)


class Club:
    """`allow` is the [auth] table, `options` the [smtp] one."""

    def __init__(
        self,
        allow: AuthOptions | None = None,
        offers: Offers = OFFERS,
        **options: Any,
    ) -> None:
        self.time = FakeClock()
        self.store = MemoryStore()
        self.report = FakeReport()
        self.cells = fresh(counts.CELLS)
        self.auth_cells = fresh(auth_counts.CELLS)
        self.accounts = dict(ACCOUNTS)
        self.logins = Logins(
            *(
                allow or AuthOptions(),
                self.accounts.get,
                b"secret",
                self.auth_cells,
                self.report,
            ),
            self.time,
        )
        self.pauses: list[float] = []
        self.gate = asyncio.Event()  # those who have to wait pass here
        self.logins.pause = self._pause  # type: ignore[method-assign]
        known = self.accounts.__contains__
        self.terms = Terms(
            *("mx.example.test", SmtpOptions(**options), self.cells, "submission"),
            offers=offers,
            private=True,
            logins=self.logins,
            submission=Submission(
                "mx.example.test", Senders(DOMAINS, known, SENDERS), True
            ),
        )
        self.policy = Recipients(DOMAINS, known)
        self.use(self.terms)

    def use(self, terms: Terms) -> None:
        self.smtpd = Smtpd(
            *(terms, self.store, self.policy.resolve, self.report),
            Clock(self.time),
        )

    def check(self, **checks: Any) -> None:
        self.use(replace(self.terms, checks=Checks(**checks)))

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.gate.wait()

    def count(self, mechanism: str, result: str) -> int:
        return self.auth_cells[auth_counts.ATTEMPTS.place("smtp", mechanism, result)]

    def mail(self) -> list[tuple[Envelope, bytes]]:
        """What was stored, without Return-Path and Received."""
        found = []
        for record, body in self.store.disk.log:
            envelope = decode_envelope(record.envelope)
            trace = body[envelope.skip :].partition(b"; ")[2].partition(b"\r\n")[2]
            if not trace:  # the date stands on a line of its own
                trace = body[envelope.skip :].partition(b";\r\n\t")[2]
                trace = trace.partition(b"\r\n")[2]
            found.append((envelope, trace))
        return found


class Visitor:
    """One connection from an address; a loopback one may log in without TLS."""

    def __init__(self, club: Club, address: str = "127.0.0.1") -> None:
        self.guest: Guest = club.smtpd.guest()
        self.transport = FakeTransport((address, 4711))
        self.guest.connection_made(self.transport)
        self.transport.take()

    @property
    def session(self) -> Any:
        return self.guest.session

    def secure(self) -> Visitor:
        """As a TLS handshake does."""
        self.guest.secured("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        return self

    def feed(self, data: bytes) -> str:
        """What is said at once."""
        while data:
            buffer = self.guest.get_buffer(-1)
            piece = data[: len(buffer)]
            buffer[: len(piece)] = piece
            self.guest.buffer_updated(len(piece))
            data = data[len(piece) :]
        return self.transport.take().decode()

    async def say(self, *lines: str) -> str:
        """The reply to the last line, whenever it comes."""
        said = ""
        for line in lines:
            said = await self.send(line.encode() + b"\r\n")
        return said

    async def send(self, data: bytes) -> str:
        said = self.feed(data)
        if not said:
            await turns_until(lambda: bool(self.transport.written))
            said = self.transport.take().decode()
        return said

    def begin(self, line: str) -> None:
        """Say this behind a greeting; its answer is not waited for."""
        self.feed(b"EHLO client.test\r\n")
        self.feed(line.encode() + b"\r\n")

    async def login(self, name: str = ALICE, password: str = PASSWORD) -> str:
        await self.say("EHLO client.test")
        return await self.say(plain(name, password))

    async def submit(
        self, body: bytes, sender: str = ALICE, to: tuple[str, ...] = (BOB,)
    ) -> str:
        """The whole way of a message; the first refusal, or the last reply."""
        for line in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{who}>" for who in to)):
            said = await self.say(line)
            if not said.startswith("250"):
                return said
        await self.say("DATA")
        return await self.send(body + b".\r\n")


def coded(text: bytes) -> str:
    return b64encode(text).decode()


def plain(name: str, password: str) -> str:
    return f"AUTH PLAIN {coded(f'{chr(0)}{name}{chr(0)}{password}'.encode())}"


def in_club(test: Callable[[Club], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        club = Club(**settings)
        try:
            await asyncio.wait_for(test(club), 60)
        finally:
            club.logins.close()

    asyncio.run(run())
