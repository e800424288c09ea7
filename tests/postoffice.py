"""Accounts with mail, and a POP3 server on fake transports for who fetches it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from club import _KEYS, _RECORD
from fakes import FakeClock, FakeReport, FakeTransport, turns_until
from village import Village, at

from fastsmtp.auth import counts as auth_counts
from fastsmtp.auth.accounts import Account
from fastsmtp.auth.options import AuthOptions
from fastsmtp.cells import fresh
from fastsmtp.net.clock import Clock
from fastsmtp.pop3 import counts
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.serve.login import Logins
from fastsmtp.serve.pop3d import Guest, Pop3d, Terms
from fastsmtp.store.memory import MemoryStore

ALICE, BOB = at("alice"), at("bob")
BODY = b"Subject: hello\r\n\r\nA line\r\n.\r\n..two dots\r\n"


class PostOffice:
    """`allow` is the [auth] table, `options` the [pop3] one."""

    def __init__(
        self, village: Village, allow: AuthOptions | None = None, **options: Any
    ) -> None:
        self.village = village
        self.time = FakeClock()
        self.report = FakeReport()
        self.cells = fresh(counts.CELLS)
        self.auth_cells = fresh(auth_counts.CELLS)
        self.accounts = {
            at(name): Account(id, at(name), _RECORD, _KEYS)
            for name, id in village.ids.items()
        }
        self.logins = Logins(
            *(allow or AuthOptions(), self.accounts.get, b"secret"),
            *(self.auth_cells, self.report, self.time),
        )
        self.pauses: list[float] = []
        self.gate = asyncio.Event()  # those who have to wait pass here
        self.logins.pause = self._pause  # type: ignore[method-assign]
        self.terms = Terms(
            Pop3Options(**options),
            self.cells,
            self.logins,
            self.accounts.get,
            mechanisms=("SCRAM-SHA-256", "PLAIN"),
            private=True,
        )
        self.use(self.terms)

    def use(self, terms: Terms, **changes: Any) -> None:
        self.terms = replace(terms, **changes)
        clock = Clock(self.time)
        self.pop3d = Pop3d(self.terms, self.village.store, self.report, clock)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.gate.wait()

    def pass_time(self, seconds: float) -> None:
        self.time.advance(seconds)
        self.pop3d.clock.advance()

    def count(self, command: str, result: str = "ok") -> int:
        return self.cells[counts.COMMANDS.place(command, result)]

    def logins_counted(self, mechanism: str, result: str) -> int:
        place = auth_counts.ATTEMPTS.place("pop3", mechanism, result)
        return self.auth_cells[place]


class Collector:
    """One connection; a loopback one may log in without TLS."""

    def __init__(self, office: PostOffice, address: str = "127.0.0.1") -> None:
        self.office = office
        self.guest: Guest = office.pop3d.guest()
        self.transport = FakeTransport((address, 4711))
        self.guest.connection_made(self.transport)
        self.greeting = self.transport.take()

    def feed(self, data: bytes) -> bytes:
        """What is said at once."""
        while data:
            buffer = self.guest.get_buffer(-1)
            piece = data[: len(buffer)]
            buffer[: len(piece)] = piece
            self.guest.buffer_updated(len(piece))
            data = data[len(piece) :]
        return self.transport.take()

    async def send(self, data: bytes, end: bytes = b"\r\n") -> bytes:
        """The reply, whenever it comes, up to an end like this."""
        said = self.feed(data)
        while not said.endswith(end):
            await turns_until(lambda: bool(self.transport.written))
            said += self.transport.take()
        return said

    async def say(self, *lines: str) -> bytes:
        """The reply to the last line."""
        said = b""
        for line in lines:
            said = await self.send(line.encode() + b"\r\n")
        return said

    async def login(self, name: str = ALICE, password: str = "correct horse") -> bytes:
        await self.say(f"USER {name}")
        return await self.say(f"PASS {password}")

    def vanish(self) -> None:
        self.guest.connection_lost(None)


Story = Callable[[PostOffice], Awaitable[None]]


def in_office(story: Story, mail: int = 3, **settings: Any) -> None:
    """Alice has so many messages."""

    async def run() -> None:
        village = Village(MemoryStore())
        await village.settle("alice", "bob")
        for n in range(mail):
            await village.send("alice", body=BODY + b"%d\r\n" % n)
        office = PostOffice(village, **settings)
        try:
            await asyncio.wait_for(story(office), 30)
        finally:
            office.logins.close()
        village.verify()

    asyncio.run(run())
