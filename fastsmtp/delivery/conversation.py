"""Connections to other servers that mail goes over, one object each.

    board = Switchboard("mx.example.org", options, ...)
    conversation = await board.connect(places, Terms(name="mx.example.net"))
    conversation.offers, conversation.secured, conversation.place
    conversation.lost = gone              # called once, with why
    conversation.give(letter, done)       # while `room`; done([Answer, ...])
    await conversation.quit()

Laws
- `connect` tries the addresses until one is ready for mail: reachable, with a greeting
  that is a yes, TLS as the terms want it, logged in. Else it raises `CannotConnect`.
- `give` never waits and never answers before it returns. There is room for two letters;
  who gives the second before the first is answered saves a round trip: its envelope
  goes out in one write with the end of the first (RFC 2920).
- A letter may be given held: its envelope goes out, its body after `release`. One that
  ends before was never taken, whatever became of it.
- `done` is called once for each letter, on the loop, with one answer per recipient. It
  may give the next. The body is read meanwhile, never after.
- A connection that is lost answers what is inside with code 0, then calls `lost`.
  A letter whose stage is "mail" then was never looked at.
- Deadlines are those of RFC 5321 4.5.3.2, kept by net.clock: a second or two late.
- A body is read in pieces of 256 KiB as the other server takes them; neither it nor a
  copy is ever here as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastsmtp.auth.login import Login
from fastsmtp.cells import fresh
from fastsmtp.delivery.link import Link
from fastsmtp.net import counts as net
from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import shared_buffer
from fastsmtp.net.counts import FULL, HANDSHAKES, RESUMED
from fastsmtp.net.dial import Dial, NoConnection, Place
from fastsmtp.net.tls import Tls, TlsTransport
from fastsmtp.net.trust import context
from fastsmtp.smtp.client import Client
from fastsmtp.smtp.counts import OUT_CELLS, OUT_CONNECTIONS, OUT_OPEN, OUT_REUSES
from fastsmtp.smtp.letter import Answer, Letter
from fastsmtp.smtp.manners import Manners
from fastsmtp.smtp.offered import Offered
from fastsmtp.smtp.options import Level, SendOptions

LINGER: Final = 5.0  # seconds for our last words to go out
VISIT: Final = 60.0  # seconds between two looks at a deadline, at most
_FAMILIES: Final = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked of one next hop.

    name      of the server: for SNI, and the name that its certificate must have; ""
              when it is known by its address alone
    lmtp      LMTP (RFC 2033)
    tls       None: what the options say. Who knows more of a destination (a policy,
              later DANE and MTA-STS) says it here
    implicit  TLS begins with the connection (port 465, RFC 8314 3.3)
    login     for a smarthost
    """

    name: str = ""
    lmtp: bool = False
    tls: Level | None = None
    implicit: bool = False
    login: Login | None = None


class CannotConnect(Exception):
    """No connection that mail could go over. `answer` is what the last address said,
    or why there was none; `place` that address, None when nothing connected."""

    def __init__(self, answer: Answer, place: Place | None = None) -> None:
        super().__init__(str(answer))
        self.answer = answer
        self.place = place


def is_private(place: Place) -> bool:
    """Whether the way there does not leave this machine."""
    if place.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(place.host.partition("%")[0]).is_loopback


def _failed(answer: Answer) -> str:
    """How `OUT_CONNECTIONS` counts a connection that was not ready for mail."""
    if answer.stage == "tls":
        return "tls_failed"
    return "turned_away" if answer.code else "lost"


def _nothing(answer: Answer | None) -> None:
    """Nobody wants to know."""


class Conversation(Link, asyncio.BufferedProtocol):
    """One connection; see the laws above.

    place    where the server is
    tls      (version, cipher), ("", "") in clear
    lost     called once when the connection has ended by itself: with what the server
             said (421), or with code 0 and what happened
    opening  the future of `connect`: the answer that speaks against it, or None
    """

    def __init__(
        self, board: Switchboard, place: Place, terms: Terms, level: Level
    ) -> None:
        manners = Manners(
            hostname=board.hostname,
            options=board.options,
            lmtp=terms.lmtp,
            tls=level,
            implicit=terms.implicit,
            private=is_private(place),
            login=terms.login,
        )
        engine = Client(manners, board.cells, self._opened, board.trouble)
        super().__init__(engine, board.clock, board.shared)
        self.place = place
        self.terms = terms
        self.level: Level = level
        self.tls = ("", "")
        self.lost: Callable[[Answer], None] = _nothing
        self.opening: asyncio.Future[Answer | None] = board.loop.create_future()
        self.gone: asyncio.Future[None] = board.loop.create_future()
        self._board = board
        self.counted = False  # among those that are open
        self._ready = False
        self._over = False

    # -- the caller's side

    @property
    def offers(self) -> Offered:
        return self.engine.offers

    @property
    def secured(self) -> str:
        """Version of TLS; "" in clear."""
        return self.engine.secured

    @property
    def room(self) -> bool:
        """Whether `give` takes a letter."""
        return self.engine.room

    @property
    def idle(self) -> bool:
        """No letter is inside."""
        return self.engine.idle

    @property
    def letters(self) -> int:
        """How many were given."""
        return self.engine.letters

    def give(
        self,
        letter: Letter,
        done: Callable[[list[Answer]], None],
        held: bool = False,
    ) -> None:
        """Send a letter; `Misused` where there is no `room`. Held, its body waits for
        `release`."""
        if self.engine.letters:
            self._board.cells[OUT_REUSES] += 1
        super().give(letter, done, held)

    async def quit(self) -> None:
        """When what is inside is answered: QUIT, and wait until it is over."""
        self._ready = False  # how it ends is nobody's business any more
        out = self.engine.quit()
        if out is not None and self.transport is not None:
            self.say(out)
        if self.engine.finished:
            self.finish()
        elif self.transport is not None:
            self.clock.watch(self, self.clock.now + self._board.visit)
        await asyncio.shield(self.gone)

    # -- what the clock calls

    def check(self, now: float) -> float | None:
        if self._over:
            self.abort()
            return None
        patience = self.engine.patience
        deadline = self.since + patience
        if now < deadline:
            return min(deadline, now + self._board.visit)
        self.cause = f"no answer within {patience:g} seconds"
        self._end("4.4.2")
        self.abort()
        return None

    # -- what the link calls

    def opened(self) -> None:
        board = self._board
        self.since = board.clock.now
        board.clock.watch(self, self.since + board.visit)

    def shake(self) -> None:
        self._board.tls(self.level).upgrade(self, self.terms.name)

    def shaken(self, version: str, cipher: str) -> None:
        """TLS is on."""
        self.tls = (version, cipher)
        out = self.engine.secure(version)
        if out is not None:
            self.say(out)

    def not_shaken(self, cause: str) -> None:
        if not self.engine.finished:
            self.cause = f"TLS: {cause or 'the handshake was given up'}"
            self._end("4.7.5")

    def finish(self) -> None:
        if not self._over:
            self._over = True
            parting = self.engine.parting
            if self._ready:
                self._ready = False
                self.lost(parting or Answer(0, "4.4.2", "closed", "mail"))
        self.close()
        if self.transport is not None:
            self.clock.watch(self, self.clock.now + LINGER)

    def broken(self, error: Exception) -> None:
        self._board.trouble(error)
        self.cause = "our own trouble"
        self._end("4.3.0")
        self.abort()

    def ended(self) -> None:
        board = self._board
        board.clock.forget(self)
        self._end("4.4.2")
        board.left(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- inside

    def _end(self, enhanced: str) -> None:
        """What is inside is answered with the cause."""
        self.engine.lost(enhanced, self.cause)
        if not self._over:
            self._over = True
            if self._ready:
                self._ready = False
                parting = self.engine.parting
                self.lost(parting or Answer(0, enhanced, self.cause, "mail"))

    def _opened(self, answer: Answer | None) -> None:
        self._ready = answer is None
        if not self.opening.done():
            self.opening.set_result(answer)


class Switchboard:
    """Makes the connections of one process.

    hostname    what we call ourselves
    cells       `smtp.counts.OUT_CELLS` of them
    handshakes  `net.counts.CELLS` of them
    trouble     told of what should not happen: an error of a caller's or ours
    clock       the wheel; who gives none has `open` and `close` start and stop one
    """

    def __init__(
        self,
        hostname: str,
        options: SendOptions,
        *,
        cells: memoryview[int] | None = None,
        handshakes: memoryview[int] | None = None,
        trouble: Callable[[Exception], None] = lambda error: None,
        clock: Clock | None = None,
    ) -> None:
        self.hostname = hostname
        self.options = options
        self.cells = fresh(OUT_CELLS) if cells is None else cells
        self.trouble = trouble
        self.clock = Clock() if clock is None else clock
        self.shared = shared_buffer()
        self._handshakes = fresh(net.CELLS) if handshakes is None else handshakes
        self._own_clock = clock is None
        self._tls: dict[bool, Tls] = {}
        self._open: set[Conversation] = set()
        sources = {
            socket.AF_INET: options.source_ipv4,
            socket.AF_INET6: options.source_ipv6,
        }
        self._sources = {family: ip for family, ip in sources.items() if ip}
        self.visit = min(
            *(VISIT, LINGER, options.greeting_timeout, options.command_timeout),
            *(options.data_timeout, options.block_timeout, options.end_timeout),
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def open(self) -> None:
        if self._own_clock:
            self.clock.start(self.loop)

    def close(self) -> None:
        """Drop all connections; what is inside them is answered with code 0."""
        for conversation in tuple(self._open):
            conversation.cause = "we are closing"
            conversation.abort()
        if self._own_clock:
            self.clock.stop()

    async def connect(self, places: Sequence[Place], terms: Terms) -> Conversation:
        """A conversation that is ready for letters; raises `CannotConnect`."""
        level = terms.tls or self.options.tls
        options = self.options
        self._prepare(level, terms)
        dial = Dial(
            places,
            stagger=options.stagger,
            timeout=options.connect_timeout,
            sources=self._sources,
        )
        last: CannotConnect | None = None
        while True:
            known = len(dial.failures)
            try:
                sock, place = await dial.next()
            except NoConnection as error:
                answer = Answer(0, "4.4.1", str(error), "connect")
                raise last or CannotConnect(answer) from None
            finally:
                for failure in dial.failures[known:]:
                    self._count(failure.place, failure.why)
            try:
                return await self._converse(sock, place, terms, level)
            except CannotConnect as error:
                last = error
            if last.answer.stage == "tls" and level == "may" and not terms.implicit:
                with contextlib.suppress(CannotConnect):
                    return await self._in_clear(place, terms)
            elif last.answer.stage == "auth":
                raise last

    def _prepare(self, level: Level, terms: Terms) -> None:
        """See that there is what TLS needs, before anybody is called."""
        why = ""
        if level == "verify" and not terms.name:
            why = "a certificate is to be verified, and there is no name for it"
        elif level != "none" or terms.implicit:
            try:
                self.tls(level)
            except OSError as error:  # SSLError is one
                why = f"{self.options.ca_file}: {error.strerror or error}"
        if why:
            raise CannotConnect(Answer(0, "4.7.5", why, "tls"))

    async def _in_clear(self, place: Place, terms: Terms) -> Conversation:
        """TLS only may be, and did not come about: once more without (RFC 7435)."""
        dial = Dial(
            [place], timeout=self.options.connect_timeout, sources=self._sources
        )
        try:
            sock, _ = await dial.next()
        except NoConnection as error:
            answer = Answer(0, "4.4.1", str(error), "connect")
            raise CannotConnect(answer) from None
        return await self._converse(sock, place, terms, "none")

    async def _converse(
        self, sock: socket.socket, place: Place, terms: Terms, level: Level
    ) -> Conversation:
        conversation = Conversation(self, place, terms, level)
        self._open.add(conversation)
        protocol: asyncio.BaseProtocol = conversation
        if terms.implicit:
            protocol = self.tls(level).call(conversation, terms.name)
        try:
            if place.family == socket.AF_UNIX:
                await self.loop.create_unix_connection(lambda: protocol, sock=sock)
            else:
                await self.loop.create_connection(lambda: protocol, sock=sock)
            answer = await conversation.opening
        except BaseException:
            conversation.abort()
            if conversation.transport is None:
                sock.close()
            raise
        if answer is None:
            self._count(place, "connected")
            self.cells[OUT_OPEN] += 1
            conversation.counted = True
            return conversation
        self._count(place, _failed(answer))
        raise CannotConnect(answer, place)

    def left(self, conversation: Conversation) -> None:
        """A conversation's connection is gone."""
        self._open.discard(conversation)
        if conversation.counted:
            self.cells[OUT_OPEN] -= 1

    def tls(self, level: Level) -> Tls:
        """What its connections share; with the names of servers checked, or not."""
        checked = level == "verify"
        if checked not in self._tls:
            options = self.options
            self._tls[checked] = Tls(
                context(checked, options.ca_file),
                self.clock,
                options.handshake_timeout,
                self._shaken,
                calling=True,
            )
        return self._tls[checked]

    def _shaken(self, transport: TlsTransport, result: str, cause: str) -> None:
        conversation = transport.connection
        assert isinstance(conversation, Conversation)
        good = result in (FULL, RESUMED)
        version = transport.version if good else "none"
        self._handshakes[HANDSHAKES.place(version, result)] += 1
        if good:
            conversation.shaken(version, transport.cipher)
        else:
            conversation.not_shaken(cause)

    def _count(self, place: Place, result: str) -> None:
        family = _FAMILIES.get(place.family, "other")
        self.cells[OUT_CONNECTIONS.place(family, result)] += 1
