"""Lets clients log in: AUTH (RFC 4954, RFC 5034) and USER of all sessions of a process.

    exchange (auth.exchange) → may it be tried now (auth.guesses) → is it right
    (serve.verifier) → the answer

What needs no waiting is answered at once. Everything else is a task of its own, so a
login that has to wait, for its turn or for a thread, delays nobody else. A task goes on
when its client hangs up: a failure counts whether its answer was heard or not.

A wrong password and a name that nobody has come to the same reply by the same way.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, cast

from fastsmtp.auth import counts
from fastsmtp.auth.accounts import Account, ScramKeys
from fastsmtp.auth.exchange import (
    NAME_MOST,
    Broken,
    Exchange,
    Password,
    Plain,
    Proof,
    Proven,
    normal,
    text,
)
from fastsmtp.auth.guesses import Guesses
from fastsmtp.auth.mechanisms import begin
from fastsmtp.auth.options import AuthOptions
from fastsmtp.errors import PENDING, Refused
from fastsmtp.report import Peer, Report
from fastsmtp.serve.verifier import BUSY, Verifier
from fastsmtp.smtp.door import Challenge
from fastsmtp.smtp.replies import TROUBLE

WRONG: Final = Refused(535, "5.7.8", "Wrong name or password", "auth")
NONSENSE: Final = Refused(501, "5.5.2", "Not what the mechanism wants", "syntax")
BLOCKED: Final = Refused(
    421, "4.7.0", "Too many failed logins, try again later", "auth", "blocked"
)
NETWORK_MOST: Final = 8  # logins of one network that wait
TASKS_MOST: Final = 2000  # of all
SECRET: Final = "auth.secret"  # in the data folder
_RESULTS: Final = {
    (protocol, mechanism, result): counts.ATTEMPTS.place(protocol, mechanism, result)
    for protocol in counts.PROTOCOLS
    for mechanism in counts.MECHANISMS
    for result in counts.RESULTS
}


class Session(Protocol):
    """What a session of any protocol has here; `peer` is a `Client`."""

    login: str

    @property
    def peer(self) -> object: ...


class Client(Protocol):
    """The connection of a session.

    network  what counts as one client network
    answer   is given what the session waits for
    """

    @property
    def network(self) -> object: ...
    @property
    def who(self) -> Peer: ...
    def answer(self, answer: Challenge) -> None: ...


def server_secret(folder: Path) -> bytes:
    """32 octets that stay the same for this data folder; made when first asked for.

    Any process of the server may ask first. Raises `OSError`."""
    path = folder / SECRET
    if not path.exists():
        draft = folder / f".{SECRET}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first
        finally:
            draft.unlink()
    return path.read_bytes()


class Logins:
    """One for all listeners of a process.

    lookup  the account of an address in lower case, or None; never blocks
    secret  of this server, see `auth.scram.stand_in`
    cells   of `auth.counts`
    now     seconds of a clock that does not jump
    pause   waits for so many of them
    """

    pause: Callable[[float], Awaitable[None]] = staticmethod(asyncio.sleep)

    def __init__(
        self,
        options: AuthOptions,
        lookup: Callable[[str], Account | None],
        secret: bytes,
        cells: memoryview[int],
        report: Report,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup
        self._secret = secret
        self._cells = cells
        self._report = report
        self._now = now
        self._guesses = Guesses(options)
        self.verifier = Verifier(options, now)
        self._open: dict[Session, Exchange] = {}  # that wait for their client
        self._waiting: Counter[object] = Counter()  # tasks by network
        self._tasks: set[asyncio.Task[None]] = set()

    def auth(
        self,
        session: Session,
        mechanism: str,
        response: bytes | None,
        protocol: str = "smtp",
    ) -> Challenge:
        """See `smtp.door.Doorkeeper`; `protocol` is one of `auth.counts`."""
        exchange = self._open.pop(session, None)
        if exchange is None:
            exchange = begin(mechanism, self._keys, self._secret)
        attempt = _Attempt(self, session, (protocol, mechanism), exchange)
        return attempt.go(response)

    def password(
        self, session: Session, name: bytes, password: bytes, protocol: str
    ) -> Challenge:
        """A name and a password that came without SASL."""
        attempt = _Attempt(self, session, (protocol, "USER"), Plain())
        who = text(name, NAME_MOST)
        secret = text(password, Plain.PASSWORD_MOST)
        if who is None or secret is None:
            return attempt.refuse(NONSENSE, "", "error", "not UTF-8, or too long")
        return attempt.judge(Password(normal(who), secret))

    def cancelled(self, session: Session) -> None:
        self._open.pop(session, None)

    def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self.verifier.close()

    def _keys(self, name: str) -> ScramKeys | None:
        account = self._lookup(name)
        return None if account is None else account.scram


class _Attempt:
    """One step of one exchange, up to its answer."""

    def __init__(
        self, logins: Logins, session: Session, way: tuple[str, str], exchange: Exchange
    ) -> None:
        self.all = logins
        self.session = session
        self.way = way
        self.mechanism = way[1]
        self.exchange = exchange
        self.guest = cast(Client, session.peer)

    def go(self, response: bytes | None) -> Challenge:
        step = self.exchange.step(response)
        if isinstance(step, bytes):
            return self.challenge(step)
        if isinstance(step, Broken):
            return self.refuse(NONSENSE, "", "error", step.why)
        if isinstance(step, Proven):
            return self.admit(step.name)
        return self.judge(step)

    def judge(self, step: Password | Proof) -> Challenge:
        """May it be tried, and is it known at once whether it is right?"""
        guesses, network, now = self.all._guesses, self.guest.network, self.all._now()
        wait = guesses.begin(network, step.name, now)
        if wait is None:
            return self.refuse(BLOCKED, step.name, "blocked", "too many failures")
        if not wait:
            if isinstance(step, Proof):
                return self.verdict(step, step.final is not None)
            if self.all.verifier.remembers(self.record(step.name), step.password):
                return self.verdict(step, True)
        crowded = self.all._waiting[network] >= NETWORK_MOST
        if crowded and not guesses.familiar(network, step.name, now):
            return self.refuse(BUSY, step.name, "blocked", "too many at once")
        if len(self.all._tasks) >= TASKS_MOST:
            return self.refuse(BUSY, step.name, "blocked", "too many at once")
        self.start(step, wait)
        return PENDING

    def start(self, step: Password | Proof, wait: float) -> None:
        waiting, network = self.all._waiting, self.guest.network
        task = asyncio.ensure_future(self.later(step, wait))
        self.all._tasks.add(task)
        waiting[network] += 1

        def ended(task: asyncio.Task[None]) -> None:
            self.all._tasks.discard(task)
            waiting[network] -= 1
            if not waiting[network]:
                del waiting[network]

        task.add_done_callback(ended)

    async def later(self, step: Password | Proof, wait: float) -> None:
        """Wait for its turn, then for a thread; give the answer."""
        answer: Challenge
        try:
            if wait:
                await self.all.pause(wait)
            if isinstance(step, Proof):
                right = step.final is not None
            else:
                record = self.record(step.name)
                right = await self.all.verifier.verify(record, step.password)
            answer = self.verdict(step, right)
        except Refused as busy:
            answer = self.refuse(busy, step.name, "blocked", "too many at once")
        except Exception as error:
            self.all._report.fault("a login", error)
            answer = self.refuse(TROUBLE, step.name, "error", "our own trouble")
        self.guest.answer(answer)

    def record(self, name: str) -> str:
        account = self.all._lookup(name)
        return "" if account is None else account.password

    def verdict(self, step: Password | Proof, right: bool) -> Challenge:
        guesses, network, now = self.all._guesses, self.guest.network, self.all._now()
        if not right:
            guesses.failed(network, step.name, now)
            there = self.all._lookup(step.name) is not None
            why = "bad_password" if there else "unknown_user"
            return self.refuse(WRONG, step.name, why, why)
        guesses.succeeded(network, step.name, now)
        if isinstance(step, Proof):
            assert step.final is not None
            return self.challenge(step.final)
        return self.admit(step.name)

    def challenge(self, octets: bytes) -> bytes:
        self.all._open[self.session] = self.exchange
        return octets

    def admit(self, name: str) -> Challenge:
        self.session.login = name
        self.count("ok")
        self.all._report.logged_in(self.guest.who, name, self.mechanism)
        return None

    def refuse(self, refused: Refused, name: str, result: str, why: str) -> Refused:
        self.count(result)
        self.all._report.login_failed(self.guest.who, name, self.mechanism, why)
        return refused

    def count(self, result: str) -> None:
        self.all._cells[_RESULTS[(*self.way, result)]] += 1
