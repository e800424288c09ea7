"""What the DNS says of a client: its name, and the lists that have its address.

    connect   the questions go out; the greeting does not wait for them
    rcpt      the first recipient waits for the lists, at most until `dnsbl_timeout` is
              over since the connection; reply and log are for each recipient. Mail for
              postmaster always passes: who is listed by mistake must be able to say so
    DATA      Received has the name, if it is known by then

Trouble with the DNS gives no score: it never refuses mail, nor holds it up for longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from fastsmtp.errors import DnsTrouble, NoRecord, Refused
from fastsmtp.policy.lists import List
from fastsmtp.policy.names import confirmed_name
from fastsmtp.policy.options import ListOptions, PolicyOptions
from fastsmtp.policy.recipients import POSTMASTER, split
from fastsmtp.policy.resolver import Resolver
from fastsmtp.serve import counts

if TYPE_CHECKING:
    from fastsmtp.report import Report
    from fastsmtp.serve.guest import Client
    from fastsmtp.smtp.session import Session

ROUNDING: Final = 1e-9


class Dns(NamedTuple):
    """What looking up clients needs.

    lists  by zone
    cells  of `serve.counts`
    """

    resolver: Resolver
    lists: Mapping[str, ListOptions]
    cells: memoryview[int]
    report: Report


@dataclass(slots=True)
class Standing:
    """`Client.facts`: what is known of an address so far.

    name     in DNS, forward and back; "" while nobody knows one
    hits     lists that have it, and what each counts
    score    their sum
    refused  what its recipients hear, if anything
    asking   the question to the lists; None when it is answered
    """

    address: str
    name: str = ""
    hits: tuple[tuple[str, float], ...] = ()
    score: float = 0.0
    refused: Refused | None = None
    asking: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Asked:
    """What came back from all lists."""

    hits: list[tuple[List, float]] = field(default_factory=list)
    trouble: int = 0


class Standings:
    """Looks clients up; checks of `serve.checks`."""

    def __init__(self, options: PolicyOptions, dns: Dns) -> None:
        self._options = options
        self._resolver, lists, self._cells, self._report = dns
        self._lists = [List(zone, each) for zone, each in lists.items()]
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, guest: Client) -> None:
        """Ask about the address that the client has now."""
        if guest.address == "unix":
            return
        standing = Standing(guest.address)
        guest.facts = standing
        if self._lists:
            standing.asking = self._start(self._judge(guest, standing))
        if self._options.reverse_dns:
            self._start(self._name(guest, standing))

    def rcpt(
        self, session: Session, address: str
    ) -> Awaitable[Refused | None] | Refused | None:
        guest = cast("Client", session.peer)
        standing = guest.facts
        if standing is None or standing.address != guest.address:
            self.begin(guest)  # XCLIENT told who it really is
            standing = guest.facts
        if standing is None or split(address)[0] == POSTMASTER:
            return None
        if standing.asking is not None:
            return self._later(session, address, standing)
        return self._told(session, address, standing)

    async def _later(
        self, session: Session, address: str, standing: Standing
    ) -> Refused | None:
        if standing.asking is not None:
            await asyncio.wait((standing.asking,))
        return self._told(session, address, standing)

    def _told(
        self, session: Session, address: str, standing: Standing
    ) -> Refused | None:
        guest = cast("Client | None", session.peer)
        if standing.refused is not None and guest is not None:
            self._report.recipient_refused(
                *(guest.who, session.queue_id, address, standing.refused)
            )
        return standing.refused

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report.fault("asking the DNS about a client", error)

    def close(self) -> None:
        for task in tuple(self._under_way):
            task.cancel()

    # the name

    async def _name(self, guest: Client, standing: Standing) -> None:
        try:
            standing.name = await confirmed_name(self._resolver, standing.address)
        except DnsTrouble:
            return
        if standing.name:
            self._report.client_known(guest.who, standing.name, 0.0, "")

    # the lists

    async def _judge(self, guest: Client, standing: Standing) -> None:
        began = time.monotonic()
        asked = Asked()
        try:
            async with asyncio.timeout(self._options.dnsbl_timeout):
                await self._ask_all(standing.address, asked)
                self._weigh(standing, asked)
                if standing.refused is not None:
                    await self._explain(standing, asked)
        except TimeoutError:
            asked.trouble += 1
            self._weigh(standing, asked)
        finally:
            standing.asking = None
        if standing.hits:
            lists = " ".join(f"{zone}={score:g}" for zone, score in standing.hits)
            told = (guest.who, standing.name, standing.score, lists)
            self._report.client_known(*told)
        self._count(standing, asked, time.monotonic() - began)

    async def _ask_all(self, address: str, asked: Asked) -> None:
        await asyncio.gather(*(self._ask(each, address, asked) for each in self._lists))

    async def _ask(self, each: List, address: str, asked: Asked) -> None:
        try:
            records = await self._resolver.ask("A", each.question(address))
            score = each.score(records)
        except NoRecord:
            return
        except DnsTrouble:
            asked.trouble += 1
            return
        if score is not None:
            asked.hits.append((each, score))

    def _weigh(self, standing: Standing, asked: Asked) -> None:
        options = self._options
        standing.hits = tuple((each.zone, score) for each, score in asked.hits)
        standing.score = score = sum(score for _, score in asked.hits)
        if options.dnsbl_reject and score >= options.dnsbl_reject - ROUNDING:
            standing.refused = self._refusal(554, standing, asked, ())
        elif options.dnsbl_defer and score >= options.dnsbl_defer - ROUNDING:
            standing.refused = self._refusal(450, standing, asked, ())

    async def _explain(self, standing: Standing, asked: Asked) -> None:
        """Say it in the words of the list that counts most."""
        worst = max(asked.hits, key=lambda hit: hit[1])[0]
        assert standing.refused is not None
        if worst.text:
            return
        try:
            question = worst.question(standing.address)
            records = await self._resolver.ask("TXT", question)
        except (NoRecord, DnsTrouble):
            return
        code = standing.refused.code
        standing.refused = self._refusal(code, standing, asked, records)

    def _refusal(
        self, code: int, standing: Standing, asked: Asked, records: tuple[bytes, ...]
    ) -> Refused:
        worst = max(asked.hits, key=lambda hit: hit[1])[0]
        text = f"Refused: {worst.words(standing.address, records)}"
        zones = ", ".join(zone for zone, _ in standing.hits)
        cause = f"score {standing.score:g} by {zones}"
        return Refused(code, f"{code // 100}.7.1", text, "dnsbl", cause)

    def _count(self, standing: Standing, asked: Asked, seconds: float) -> None:
        result = "accept"
        if standing.refused is not None:
            result = "reject" if standing.refused.code >= 500 else "defer"
        elif asked.trouble:
            result = "error"
        self._cells[counts.DNSBL.place(result)] += 1
        counts.DNSBL_SECONDS.observe(self._cells, seconds)
