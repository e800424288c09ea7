"""Sends jobs to next hops: finds their hosts, and a `Pool` of connections for each.

A pool is what shares connections: a next hop, or all domains whose mail goes to the
same MX hosts. It opens connections while there is work and room for them, keeps each
for as many messages as it may carry, and closes those nobody needs.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from fastsmtp.auth.login import Login
from fastsmtp.delivery.conversation import Conversation, Switchboard
from fastsmtp.delivery.jobs import Job, Key, Outcome
from fastsmtp.delivery.pool import Bodies, Fit, Pool, Work
from fastsmtp.net.exchangers import CannotFind, Exchangers, Host, Search
from fastsmtp.policy.relaying import NextHop, Relaying
from fastsmtp.smtp.letter import Answer, Body, By, Letter, Rcpt
from fastsmtp.store.base import Blob

FRESH: Final = 30.0  # seconds that what was found for a next hop is used
SWEEP: Final = 1.0  # seconds between looks for idle connections


class Sink(Protocol):
    """Who hears what came of jobs."""

    def finished(self, outcome: Outcome) -> None: ...

    def returned(self, job: Job) -> None:
        """It was not tried, and will not be."""
        ...


def plain(job: Job, body: Body) -> Letter:
    """The letter of a job, as the message is."""
    envelope = job.envelope
    by = None
    if envelope.by:
        by = By(int(envelope.by / 1000 - time.time()), envelope.by_mode)
    return Letter(
        envelope.reverse_path,
        tuple(Rcpt(r.address, r.notify, r.orcpt) for r in envelope.recipients),
        body,
        envelope.skip,
        envelope.body == "8BITMIME",
        envelope.smtputf8,
        envelope.requiretls,
        envelope.ret,
        envelope.envid,
        envelope.submitter,
        envelope.priority or None,
        by,
    )


def as_it_is(job: Job, conversation: Conversation, body: Blob) -> Letter:
    return plain(job, body)


class Found(NamedTuple):
    """A next hop's pool, and until when that is believed (monotonic)."""

    pool: "Pool"
    until: float


class Relay:
    """The sending part of a process.

    relaying  the table that is in use now
    fit       makes the letter for a connection, see `delivery.fitting`
    """

    def __init__(
        self,
        board: Switchboard,
        search: Search,
        relaying: Callable[[], Relaying],
        bodies: Bodies,
        sink: Sink,
        fit: Fit = as_it_is,
    ) -> None:
        self.board = board
        self.relaying = relaying
        self.sink = sink
        self.bodies = bodies
        self.fit = fit
        self.pools: dict[str, Pool] = {}
        self.active: dict[Key, Work] = {}
        self.unrecorded: dict[Key, Pool] = {}  # answered, and not durable yet
        self._search = search
        self._found: dict[str, Found] = {}
        self._finding: dict[str, list[Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closing = False

    def open(self) -> None:
        self.board.open()
        self._sweep_again()

    def give(self, job: Job) -> None:
        """Take a job. A second one with the same key waits for nothing: it is the same
        job, and was given by a keeper that did not know."""
        if self._closing:
            self.sink.returned(job)
            return
        if job.key in self.active:
            return
        work = self.active[job.key] = Work(job)
        key = job.hop.key
        found = self._found.get(key)
        if found is not None and time.monotonic() < found.until:
            found.pool.add(work)
        elif key in self._finding:
            self._finding[key].append(work)
        else:
            self._finding[key] = [work]
            self.start(self._find(job.hop))

    def recorded(self, key: Key) -> None:
        """The outcome of this job is durable."""
        pool = self.unrecorded.pop(key, None)
        if pool is not None:
            pool.unrecorded -= 1
            pool.pump()

    def forget_waiting(self) -> None:
        """The keeper is gone: what is in no connection is due again for the next."""
        for works in self._finding.values():
            for work in works:
                self.active.pop(work.job.key, None)
            works.clear()
        for pool in self.pools.values():
            for work in pool.forget_waiting():
                self.active.pop(work.job.key, None)

    async def close(self, patience: float) -> None:
        """Finish what is inside connections within so many seconds; give the rest back.

        Whom a next hop does not answer in time is due as before, as if it had not been
        tried: nothing is given up because we end. If its body was there whole, it may
        arrive twice."""
        if self._closing:
            return
        self._closing = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for works in self._finding.values():
            for work in works:
                self.give_back(work)
        self._finding.clear()
        leaving = [pool.leave() for pool in tuple(self.pools.values())]
        if leaving:
            await asyncio.wait(
                [asyncio.ensure_future(one) for one in leaving], timeout=patience
            )
        for task in tuple(self._tasks):
            task.cancel()
        self.board.close()
        for work in tuple(self.active.values()):
            self.give_back(work)

    # what pools call

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def give_back(self, work: Work) -> None:
        work.close()
        if self.active.pop(work.job.key, None) is not None:
            self.sink.returned(work.job)

    def finish(
        self,
        work: Work,
        answers: list[Answer],
        conversation: Conversation | None = None,
        *,
        reached: bool = True,
        host: str = "",
    ) -> None:
        """Tell what came of it; one answer is for all recipients."""
        job = work.job
        work.close()
        if self.active.pop(job.key, None) is None:
            return  # we close, and it was given back
        recipients = job.envelope.recipients
        if len(answers) < len(recipients):
            answers = [answers[0]] * len(recipients)
        outcome = Outcome(
            *(job.id, job.destination, job.hop.key),
            host or (_host(conversation) if conversation else ""),
            reached,
            time.monotonic() - work.began if work.began else 0.0,
            conversation.offers.dsn if conversation else False,
            tuple(
                (recipient.address, answer)
                for recipient, answer in zip(recipients, answers, strict=True)
            ),
            job.hop.transport == "lmtp",
        )
        self.sink.finished(outcome)

    # finding

    async def _find(self, hop: NextHop) -> None:
        try:
            exchangers = await self._exchangers(hop)
        except CannotFind as error:
            answer = Answer(error.code, error.enhanced, error.text, "connect", True)
            for work in self._finding.pop(hop.key, ()):
                self.finish(work, [answer], reached=False)
            return
        pool = self._pool(hop, exchangers)
        self._found[hop.key] = Found(pool, time.monotonic() + FRESH)
        for work in self._finding.pop(hop.key, ()):
            pool.add(work)

    async def _exchangers(self, hop: NextHop) -> Exchangers:
        if hop.host.startswith("/"):
            host = Host("", (f"unix:{hop.host}",))
            return Exchangers((host,), hop.host)
        return await self._search.find(hop.host, mx=hop.mx, port=hop.port)

    def _pool(self, hop: NextHop, exchangers: Exchangers) -> "Pool":
        name = hop.key
        if hop.mx:
            name = f"{exchangers.group} {hop.port} {hop.tls}"
        pool = self.pools.get(name)
        if pool is None:
            limits = self.relaying().limits(hop, [h.name for h in exchangers.hosts])
            pool = self.pools[name] = Pool(self, hop, limits)
        pool.hosts = exchangers.hosts
        return pool

    def _sweep_again(self) -> None:
        self.sweep(time.monotonic())
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP, self._sweep_again)

    def sweep(self, now: float) -> None:
        """Close what is idle, forget what is not used; `now` is monotonic."""
        for name, pool in tuple(self.pools.items()):
            pool.sweep(now)
            if pool.unused:
                del self.pools[name]
        for key, (pool, until) in tuple(self._found.items()):
            if until < now or pool.unused:
                del self._found[key]

    def login(self, hop: NextHop) -> Login | None:
        """Raises `OSError` when the secret cannot be read."""
        if not hop.credentials:
            return None
        known = self.relaying().logins[hop.credentials]
        with open(known.secret_file, encoding="utf-8") as file:
            return Login(known.name, file.read().rstrip("\r\n"))


def _host(conversation: Conversation) -> str:
    name, place = conversation.terms.name, conversation.place
    return f"{name} [{place.host}]" if name else str(place)
