"""Asking the next hop of a relay domain whether it has a recipient, before the mail is
taken: MAIL, RCPT and never DATA.

    ahead = CallAhead(options, hostname, ways, search)
    Checks(rcpt=(ahead,))

Laws
- Only what the next hop says of the recipient refuses one: 550, 551 or 553 at RCPT that
  are not for reasons of policy. Whatever else it says, and silence, is no answer; the
  domain's `when_silent` says what follows.
- Answers are remembered for a time, in a bounded memory. One that is too old still
  counts for good when there is no new one.
- The same recipient is asked about once at a time. Connections to a next hop are few
  and are used again; one that is down is left alone for `PAUSE` seconds.
- Nobody waits longer than `options.timeout`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from fastsmtp.errors import Refused
from fastsmtp.net.dial import Dial, NoConnection, Place
from fastsmtp.net.exchangers import CannotFind, Search
from fastsmtp.net.trust import context
from fastsmtp.policy.options import CallAheadOptions, RelayDomainOptions
from fastsmtp.policy.recipients import Relayed, Verdict
from fastsmtp.policy.relaying import NextHop, Relaying
from fastsmtp.serve.question import Line
from fastsmtp.serve.refusals import UNKNOWN
from fastsmtp.smtp.session import Session

PAUSE: Final = 5.0  # seconds that a next hop which did not answer is not asked
IDLE: Final = 60.0  # seconds after which a connection is not used again
NOT_NOW: Final = Refused(
    *(451, "4.4.1", "Recipient cannot be verified now; try again later"),
    "unknown_recipient",
    "the next hop cannot be asked",
)


class Silence(Exception):
    """The next hop said nothing of the recipient; the text says what happened."""


class Ways(Protocol):
    """What the configuration has now."""

    def resolve(self, address: str) -> Verdict: ...

    @property
    def relaying(self) -> Relaying: ...

    @property
    def relay_domains(self) -> dict[str, RelayDomainOptions]: ...


class Known(NamedTuple):
    """Whether a recipient exists, and until when that is believed (monotonic)."""

    exists: bool
    until: float


class Hop:
    """What asks one next hop.

    turn    connections at a time
    idle    connections that wait for a question, the last used at the end
    silent  not to be asked before this time
    """

    def __init__(self, most: int) -> None:
        self.turn = asyncio.Semaphore(most)
        self.idle: list[Line] = []
        self.silent = 0.0


class CallAhead:
    """A check of RCPT, see `serve.checks`, and the laws above.

    ways      the domains and the table
    search    finds hosts
    ca_file   for next hops whose certificate is to be verified
    clock     monotonic seconds
    """

    def __init__(
        self,
        options: CallAheadOptions,
        hostname: str,
        ways: Ways,
        search: Search,
        *,
        ca_file: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._hostname = hostname
        self._ways = ways
        self._search = search
        self._ca_file = ca_file
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._asking: dict[str, asyncio.Task[bool]] = {}
        self._hops: dict[str, Hop] = {}

    def __call__(
        self, session: Session, address: str
    ) -> Refused | Awaitable[Refused | None] | None:
        verdict = self._ways.resolve(address)
        if not isinstance(verdict, Relayed) or not verdict.ask:
            return None
        name = address.lower()
        known = self._known.get(name)
        if known is not None and known.until > self._clock():
            return None if known.exists else UNKNOWN
        if name not in self._asking and len(self._asking) >= self._options.waiting:
            return self._silent(verdict.domain, known)
        return self._decide(address, verdict.domain, known)

    def close(self) -> None:
        """Who waits is cancelled."""
        for task in tuple(self._asking.values()):
            task.cancel()
        for hop in self._hops.values():
            for line in hop.idle:
                line.close()
            hop.idle.clear()

    async def _decide(
        self, address: str, domain: str, known: Known | None
    ) -> Refused | None:
        name = address.lower()
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.ensure_future(self._find(address))
            task.add_done_callback(lambda task: self._asked(name, task))
        try:
            exists = await asyncio.shield(task)
        except Silence:
            return self._silent(domain, known)
        return None if exists else UNKNOWN

    def _silent(self, domain: str, known: Known | None) -> Refused | None:
        if known is not None and known.exists:
            return None
        options = self._ways.relay_domains.get(domain)
        if options is not None and options.when_silent == "defer":
            return NOT_NOW
        return None

    def _asked(self, name: str, task: asyncio.Task[bool]) -> None:
        del self._asking[name]
        if task.cancelled() or task.exception() is not None:
            return
        options, exists = self._options, task.result()
        kept = options.remember_good if exists else options.remember_bad
        self._known.pop(name, None)  # what is new stands last
        while len(self._known) >= options.cache:
            del self._known[next(iter(self._known))]
        self._known[name] = Known(exists, self._clock() + kept)

    async def _find(self, address: str) -> bool:
        """Whether it exists. Raises `Silence`."""
        next_hop = self._ways.relaying.next_hop(self._options.sender, address)
        hop = self._hops.get(next_hop.key)
        if hop is None:
            hop = self._hops[next_hop.key] = Hop(self._options.connections)
        if hop.silent > self._clock():
            raise Silence("it did not answer a moment ago")
        try:
            async with asyncio.timeout(self._options.timeout), hop.turn:
                return await self._ask(hop, next_hop, address)
        except (OSError, ValueError, EOFError, CannotFind, NoConnection) as error:
            # TimeoutError is an OSError; so is what TLS raises
            hop.silent = self._clock() + PAUSE
            raise Silence(str(error) or "no answer in time") from None

    async def _ask(self, hop: Hop, next_hop: NextHop, address: str) -> bool:
        while hop.idle:
            line = hop.idle.pop()
            if line.until > self._clock():
                with contextlib.suppress(OSError, EOFError):
                    return await self._put(hop, line, address)  # or it was closed
            line.close()
        return await self._put(hop, await self._call(next_hop), address)

    async def _put(self, hop: Hop, line: Line, address: str) -> bool:
        try:
            exists = await line.has(self._options.sender, address)
        except BaseException:
            line.close()
            raise
        line.until = self._clock() + IDLE
        hop.idle.append(line)
        if exists is None:
            raise Silence("it said nothing of the recipient")
        return exists

    async def _call(self, hop: NextHop) -> Line:
        if hop.tls in ("encrypt", "verify") and not hop.implicit_tls:
            raise Silence("it is not to be asked in clear")
        tls = context(hop.tls == "verify", self._ca_file) if hop.implicit_tls else None
        dial = Dial(await self._places(hop), timeout=self._options.timeout)
        sock, place = await dial.next()
        return await Line.open(sock, place, hop, (self._hostname, tls))

    async def _places(self, hop: NextHop) -> list[Place]:
        if hop.host.startswith("/"):
            return [Place(f"unix:{hop.host}", 0)]
        found = await self._search.find(hop.host, mx=hop.mx, port=hop.port)
        return [
            Place(address, hop.port)
            for host in found.hosts
            for address in host.addresses
        ]
