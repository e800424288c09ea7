"""Gives due work to whoever does it, and takes back what came of it.

Mail for mailboxes of our own is delivered here, one message after the other. Mail for
other servers goes to a sender: a process (or this one) that keeps the connections. How
much each next hop gets at a time is in `delivery.hops`.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final, Protocol

from fastsmtp.delivery.attempt import Attempt, Terms, expired, is_late
from fastsmtp.delivery.hops import Hops
from fastsmtp.delivery.jobs import Job, Key, job_of
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.record import TROUBLE, Recorder
from fastsmtp.delivery.worker import LocalAttempts
from fastsmtp.errors import Conflict, Damaged, StoreUnavailable
from fastsmtp.policy.relaying import NextHop
from fastsmtp.queue import backoff, moves
from fastsmtp.queue import counts as events
from fastsmtp.queue.message import Queued, Standing, Target, destination_of
from fastsmtp.queue.moves import Held
from fastsmtp.queue.orders import due_now
from fastsmtp.queue.schedule import Destination, Due
from fastsmtp.queue.timing import Steadiness
from fastsmtp.smtp.letter import Answer

REMOTE: Final = ("smtp", "lmtp")
"""Transports that a sender takes care of."""

DISCARDED: Final = Answer(250, "2.0.0", "discarded, as the relay table says", "body")


class Sender(Protocol):
    """Who sends mail to other servers."""

    def give(self, job: Job) -> bool:
        """Take a job; its end is told with `Dispatcher.finished` or `returned`. False:
        nobody sends now."""
        ...

    def recorded(self, key: Key) -> None:
        """The outcome of this job is durable."""
        ...


class Dispatcher:
    """One for the process that writes the queue.

    next_hop   where mail of an entry goes, by its envelope and the recipient
    terms      what the present moment means
    """

    def __init__(
        self,
        recorder: Recorder,
        local: LocalAttempts,
        next_hop: Callable[[Queued, str], NextHop],
        options: DeliveryOptions,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sender: Sender | None = None
        self.schedule = schedule = recorder.schedule
        self._store = recorder.store
        self._cells = recorder.cells
        self._told = recorder.told
        self._recorder = recorder
        self._local = local
        self._next_hop = next_hop
        self._options = options
        self._steady = steady
        self._clock = Steadiness(schedule.now(), steady())
        self._hops = Hops(schedule, options)
        self._active = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._here: asyncio.Queue[tuple[Held, str, list[Target]]] = asyncio.Queue()
        recorder.terms, recorder.recorded = self.terms, self._recorded

    @property
    def known(self) -> int:
        """Next hops that have mail, or could not be reached."""
        return len(self._hops)

    @property
    def active(self) -> int:
        """Messages that are being worked on, at all their destinations."""
        return self._active

    def terms(self) -> Terms:
        """For `Recorder`."""
        now, steady = self.schedule.now(), self._steady()
        return Terms(now, self._clock.trusted(steady), self._options)

    async def run(self) -> None:
        """Until cancelled."""
        await self.schedule.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._restamp())
            group.create_task(self._recorder.run())
            group.create_task(self._deliver_here())
            while True:
                try:
                    await self._round()
                except StoreUnavailable as error:
                    self._told.failed(0, "", error)
                    await self.schedule.alarm.rest(TROUBLE)

    async def _round(self) -> None:
        """Hand out what is due, then wait until more can be."""
        schedule = self.schedule
        if self._clock.look(schedule.now(), self._steady()) < 0:
            self._soon(self._restamp())
        schedule.alarm.reset()  # before reading: what comes after rings again
        while (room := self._options.active - self._active) > 0:
            taken = await schedule.take(room)
            if taken is None:
                await schedule.alarm.wait(schedule.wait())
                return
            await self._hand_out(*taken)
            await asyncio.sleep(0)  # reads of a local store never suspend
        await schedule.alarm.wait(schedule.wait() or 1.0)

    async def _restamp(self) -> None:
        """The clock went back: what was to be tried by the old one is due now, unless
        somebody asked for a later release. Else it would wait for the years to come.
        That may be the whole queue, so it is done beside the rounds, and in portions.
        """
        now = self.schedule.now()
        horizon = now + backoff.longest(self._options.retry)
        self._hops.look_anew()
        self.schedule.look_anew()
        for name in self.schedule.names():
            async for ids in self.schedule.overdue(name, horizon):
                await self._make_due(ids, now)
                self.schedule.noted((name,))

    async def _make_due(self, ids: list[int], now: int) -> None:
        """All at once; again when somebody else has changed one of them meanwhile."""
        while True:
            move = moves.Move()
            for id in ids:
                held = self._recorder.read(id)
                if held is not None and held.queued.envelope.release <= now:
                    move.join(moves.revise(held, due_now(held.queued, now)))
            try:
                if move.puts:
                    await moves.make(self._store, move)
                return
            except Conflict:
                continue
            except StoreUnavailable as error:
                self._told.failed(0, "", error)
                await self.schedule.alarm.rest(TROUBLE)

    # handing out

    async def _hand_out(self, destination: Destination, dues: list[Due]) -> None:
        helds = await self._read(destination, [due.id for due in dues])
        now, queue = self.schedule.now(), self._cells.queue
        kept: dict[str, list[int]] = {}
        for due, held in zip(dues, helds, strict=True):
            if held is None:
                self._later(destination.name, due, now)
                continue
            hop, targets = self._whither(held, destination.name)
            if self._keeps(hop, now):
                kept.setdefault(hop.key, []).append(due.id)
                continue
            queue[events.ACTIVATED] += 1
            late = max(now - due.at, 0) / 1000
            events.LAG_SEEN.observe(queue, late, due.id, time.monotonic())
            self._active += 1
            self._start(held, destination.name, hop, targets)
        for key, ids in kept.items():
            self._hops.keep(key, destination.name, ids, now)

    async def _read(
        self, destination: Destination, ids: list[int]
    ) -> list[Held | None]:
        try:
            return await self._recorder.read_each(ids)
        except StoreUnavailable:
            self.schedule.give_back(destination.name, ids)
            self.schedule.noted((destination.name,))
            raise

    def _later(self, name: str, due: Due, now: int) -> None:
        """Look at an entry that cannot be read again after a pause."""
        chance = backoff.chance_of(due.id)
        at = now + backoff.pause(1, chance, self._options.retry)

        async def postpone() -> None:
            try:
                await moves.postpone(self._store, due.row, at)
            except StoreUnavailable as error:
                self._told.failed(0, "", error)
                await self.schedule.alarm.rest(TROUBLE)
            self.schedule.done(name, due.id)
            self.schedule.alarm.ring()

        self._soon(postpone())

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside the rounds; it ends by itself."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _whither(self, held: Held, name: str) -> tuple[NextHop, list[Target]]:
        targets = [
            target
            for target in held.queued.targets
            if target.standing == Standing.WAITING
            and destination_of(target.address) == name
        ]
        if not targets:
            return self._next_hop(held.queued, ""), targets
        first = min(targets, key=lambda target: target.due)
        hop = self._next_hop(held.queued, first.address)
        if len(targets) > 1:  # a domain may be here in part: the others come next
            targets = [
                target
                for target in targets
                if self._next_hop(held.queued, target.address) == hop
            ]
        return hop, targets

    def _keeps(self, hop: NextHop, now: int) -> bool:
        """Whether the mail for this next hop stays in the queue for now."""
        if hop.transport not in REMOTE:
            return False
        return self.sender is None or not self._hops.takes(hop.key, now)

    def _start(
        self, held: Held, name: str, hop: NextHop, targets: list[Target]
    ) -> None:
        if hop.transport == "local" or not targets:
            self._here.put_nowait((held, name, targets))
        elif hop.transport == "discard":
            self._answer(held.id, name, hop, targets, DISCARDED)
        elif hop.transport == "refuse":
            said = Answer(550, hop.enhanced or "5.7.1", hop.text, "rcpt", True)
            self._answer(held.id, name, hop, targets, said)
        else:
            self._send(job_of(held.id, name, hop, held.queued, targets))

    def _answer(
        self, id: int, name: str, hop: NextHop, targets: list[Target], answer: Answer
    ) -> None:
        answers = {target.address: answer for target in targets}
        self._recorder.put(Attempt(id, name, answers, "relay", hop.key))

    def _send(self, job: Job) -> None:
        self._hops.given(job.hop.key)
        if self.sender is None or not self.sender.give(job):
            self.returned(job.id, job.destination, job.hop.key)

    async def _deliver_here(self) -> None:
        while True:
            held, name, targets = await self._here.get()
            try:
                made = await self._local.attempt(held, name, targets)
            except StoreUnavailable as error:
                self._told.failed(0, "", error)
                await self.schedule.alarm.rest(TROUBLE)
                self.schedule.give_back(name, (held.id,))
                self._active -= 1
                self.schedule.noted((name,))
                continue
            self._recorder.put(made)

    # what comes back

    def finished(self, attempt: Attempt) -> None:
        """A sender has tried it."""
        if self._hops.ended(attempt):
            self._soon(self._age(attempt))
        self._recorder.put(attempt)

    def returned(self, id: int, name: str, key: str) -> None:
        """A sender did not get to it: it is due as before."""
        self._active -= 1
        self._hops.returned(key, name, id)

    async def _age(self, failed: Attempt) -> None:
        """A next hop cannot be reached, so what waits for it is not even tried: that
        must not keep it for ever, nor its senders in the dark. What is old enough to be
        given up, or to be told of, has failed with this attempt."""
        terms, options = self.terms(), self._options
        if not terms.trusted:
            return
        ages = [age for age in (options.give_up, options.delay_warning) if age]
        name = failed.destination
        arrived = terms.now - int(1000 * min(ages))
        for id in await self.schedule.aged(name, arrived):
            held = self._read_quietly(id)
            if held is None or id in self.schedule.ids_at(name):
                continue
            if expired(held.queued, terms) or is_late(held.queued, terms):
                self._fail(held, failed)

    def _fail(self, held: Held, like: Attempt) -> None:
        hop, targets = self._whither(held, like.destination)
        if hop.key != like.hop or not like.answers:
            return
        said = next(iter(like.answers.values()))
        self.schedule.hold_active(like.destination, held.id, moves.tally(held.queued))
        self._active += 1
        answers = {target.address: said for target in targets}
        self._recorder.put(
            Attempt(
                *(held.id, like.destination, answers, like.transport),
                *(like.hop, like.host, False),
            )
        )

    def hurry(self, keys: Collection[str]) -> None:
        """Try these next hops although they were left alone after a failure."""
        self._hops.hurry(keys)

    def connected(self) -> None:
        """There is a sender again."""
        self._hops.wake()

    def resumed(self, key: Key, hop: str) -> bool:
        """A sender that has come back is still at this: it is active, not due. False:
        it has left the queue, or is being worked on already."""
        held = self._read_quietly(key.id)
        if held is None or key.id in self.schedule.ids_at(key.destination):
            return False
        self.schedule.hold_active(key.destination, key.id, moves.tally(held.queued))
        self._active += 1
        self._hops.given(hop)
        return True

    def _read_quietly(self, id: int) -> Held | None:
        try:
            return moves.read(self._store, id)
        except Damaged:
            return None

    def _recorded(self, attempt: Attempt) -> None:
        self._active -= 1
        if self.sender is not None and attempt.transport in REMOTE:
            self.sender.recorded(Key(attempt.id, attempt.destination))
