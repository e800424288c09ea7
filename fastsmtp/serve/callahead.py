"""Asking the next hop of a relay domain whether it has a recipient, before the mail is
taken: MAIL, RCPT and never DATA.

    ahead = CallAhead(options, asker, ways, search)
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
- Each question that was answered is a line of the log, a next hop that cannot be asked
  one each time it is left alone. What RCPT was told is counted in `serve.counts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from fastsmtp.errors import Refused
from fastsmtp.facts import Peer, RecipientAsked, clean
from fastsmtp.net.dial import Dial, NoConnection, Place
from fastsmtp.net.exchangers import CannotFind, Search
from fastsmtp.net.trust import context
from fastsmtp.policy.options import CallAheadOptions, RelayDomainOptions
from fastsmtp.policy.recipients import Relayed, Verdict
from fastsmtp.policy.relaying import NextHop, Relaying
from fastsmtp.serve import counts
from fastsmtp.serve.question import Line, Said
from fastsmtp.serve.refusals import NOT_THERE
from fastsmtp.smtp.session import Session

if TYPE_CHECKING:
    from fastsmtp.report import Report
    from fastsmtp.serve.guest import Client

PAUSE: Final = 5.0  # seconds that a next hop which did not answer is not asked
IDLE: Final = 60.0  # seconds after which a connection is not used again
NOT_NOW: Final = Refused(
    *(451, "4.4.1", "Recipient cannot be verified now; try again later"),
    "unknown_recipient",
    "the next hop cannot be asked",
)
TOLD: Final = {"accept": None, "error": None, "reject": NOT_THERE, "defer": NOT_NOW}
"""What a client hears, by the result of `counts.CALL_AHEAD`; error: it is taken
unseen."""
EXISTS: Final = {True: "yes", False: "no", None: "unsaid"}


class Silence(Exception):
    """The next hop said nothing of the recipient; the text says what happened."""


class Asker(NamedTuple):
    """Who asks, and where it is told.

    ca_file  for next hops whose certificate is to be verified
    cells    of `serve.counts`
    """

    hostname: str
    cells: memoryview[int]
    report: Report
    ca_file: str = ""


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


def asked_of(
    asker: tuple[Peer, str], address: str, hop: NextHop, said: Said, took: int
) -> RecipientAsked:
    """A line of the log; took: microseconds."""
    (peer, id), exists = asker, EXISTS[said.exists]
    about = (id, peer.session, peer.client, clean(address), hop.key)
    return RecipientAsked("", "info", "", *about, exists, clean(said.reply), took)


class CallAhead:
    """A check of RCPT, see `serve.checks`, and the laws above.

    ways      the domains and the table
    search    finds hosts
    clock     monotonic seconds
    """

    def __init__(
        self,
        options: CallAheadOptions,
        asker: Asker,
        ways: Ways,
        search: Search,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._hostname, self._cells, self._report, self._ca_file = asker
        self._ways = ways
        self._search = search
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
            self._remembered(counts.HIT)
            return self._told(session, address, "accept" if known.exists else "reject")
        self._remembered(counts.MISS if known is None else counts.STALE)
        if name not in self._asking and len(self._asking) >= self._options.waiting:
            return self._told(session, address, self._silent(verdict.domain, known))
        return self._decide(session, address, verdict.domain, known)

    def close(self) -> None:
        """Who waits is cancelled."""
        for task in tuple(self._asking.values()):
            task.cancel()
        for hop in self._hops.values():
            for line in hop.idle:
                line.close()
            hop.idle.clear()

    async def _decide(
        self, session: Session, address: str, domain: str, known: Known | None
    ) -> Refused | None:
        name = address.lower()
        task = self._asking.get(name)
        if task is None:
            asker = (cast("Client", session.peer).who, session.queue_id)
            task = asyncio.ensure_future(self._find(asker, address, session.id))
            self._asking[name] = task
            task.add_done_callback(lambda task: self._asked(name, task))
        try:
            result = "accept" if await asyncio.shield(task) else "reject"
        except Silence:
            result = self._silent(domain, known)
        return self._told(session, address, result)

    def _silent(self, domain: str, known: Known | None) -> str:
        if known is not None and known.exists:
            return "accept"
        options = self._ways.relay_domains.get(domain)
        defers = options is not None and options.when_silent == "defer"
        return "defer" if defers else "error"

    def _told(self, session: Session, address: str, result: str) -> Refused | None:
        self._cells[counts.CALL_AHEAD.place(result)] += 1
        refused, guest = TOLD[result], cast("Client | None", session.peer)
        if refused is not None and guest is not None:
            self._report.recipient_refused(
                guest.who, session.queue_id, address, refused
            )
        return refused

    def _remembered(self, result: str) -> None:
        self._cells[counts.CALL_AHEAD_CACHE.place(result)] += 1

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

    async def _find(self, asker: tuple[Peer, str], address: str, id: int) -> bool:
        """Whether it exists; asked for message `id`. Raises `Silence`."""
        next_hop = self._ways.relaying.next_hop(self._options.sender, address)
        hop = self._hops.get(next_hop.key)
        if hop is None:
            hop = self._hops[next_hop.key] = Hop(self._options.connections)
        if hop.silent > self._clock():
            raise Silence("it did not answer a moment ago")
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._options.timeout), hop.turn:
                said = await self._ask(hop, next_hop, address)
        except (OSError, ValueError, EOFError, CannotFind, NoConnection) as error:
            # TimeoutError is an OSError; so is what TLS raises
            raise self._left_alone(hop, next_hop, str(error)) from None
        finally:
            now = time.monotonic()
            took = now - began
            counts.CALL_AHEAD_SEEN.observe(self._cells, took, id, now)
        self._report.recipient_asked(
            asked_of(asker, address, next_hop, said, int(took * 1e6))
        )
        if said.exists is None:
            raise Silence("it said nothing of the recipient")
        return said.exists

    def _left_alone(self, hop: Hop, next_hop: NextHop, cause: str) -> Silence:
        """It is not asked for a while; told once, however many waited for it."""
        cause = cause or f"no answer in {self._options.timeout:g} s"
        if hop.silent <= self._clock():
            self._report.cannot_ask(next_hop.key, cause)
        hop.silent = self._clock() + PAUSE
        return Silence(cause)

    async def _ask(self, hop: Hop, next_hop: NextHop, address: str) -> Said:
        while hop.idle:
            line = hop.idle.pop()
            if line.until > self._clock():
                # it may have been closed, with a 421 before (RFC 5321 3.8)
                with contextlib.suppress(OSError, EOFError, ValueError):
                    return await self._put(hop, line, address)
            line.close()
        return await self._put(hop, await self._call(next_hop), address)

    async def _put(self, hop: Hop, line: Line, address: str) -> Said:
        try:
            said = await line.has(self._options.sender, address)
        except BaseException:
            line.close()
            raise
        line.until = self._clock() + IDLE
        hop.idle.append(line)
        return said

    async def _call(self, hop: NextHop) -> Line:
        if hop.tls in ("encrypt", "verify") and not hop.implicit_tls:
            raise ValueError("it is not to be asked in clear")
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
