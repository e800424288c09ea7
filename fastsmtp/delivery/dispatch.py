"""Gives due work to whoever does it, and takes back what came of it.

Mail for mailboxes of our own is delivered here, one message after the other. Mail for
other servers goes to a sender: a process (or this one) that keeps the connections. How
much a next hop gets at a time is limited, to a few messages before it has answered; one
that cannot be reached is left alone for a while, longer each time, and then tried with
a few again.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from itertools import islice
from typing import Any, Final, Protocol

from fastsmtp.delivery.attempt import Attempt, Terms, expired, is_late
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
from fastsmtp.queue.schedule import TURN, Destination, Due
from fastsmtp.queue.timing import Steadiness
from fastsmtp.smtp.letter import Answer

PROBES: Final = 10
"""Messages a next hop gets at a time before it has answered, and after it could not be
reached: each answer doubles it. Who is silent must not take the room of others."""

HOPS: Final = 100
"""Next hops that are known before the dead ones among them are forgotten."""

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


class Hop:
    """A next hop that has mail.

    active   jobs that were given for it
    most     of these at a time
    failures how often in a row it could not be reached
    paused   milliseconds, wall clock, before which it gets nothing
    waiting  destinations whose mail is to go there when it can take more, in the order
             in which they came
    """

    __slots__ = ("active", "failures", "most", "paused", "waiting")

    def __init__(self, most: int) -> None:
        self.active = 0
        self.most = most
        self.failures = 0
        self.paused = 0
        self.waiting: dict[str, None] = {}


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
        self._hops: dict[str, Hop] = {}
        self._tidy_at = HOPS
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
        for hop in self._hops.values():
            hop.paused = 0
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
            self._keep(destination.name, key, ids, now)

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
        state = self._hops.get(hop.key)
        if self.sender is None:
            return True
        if state is None:
            return False
        return state.paused > now or state.active >= state.most

    def _keep(self, name: str, key: str, ids: list[int], now: int) -> None:
        hop = self._hop(key)
        if hop.paused > now:
            self.schedule.give_back(name, ids)
            self.schedule.pause(name, hop.paused)
        else:
            self.schedule.park(name, ids)
            hop.waiting[name] = None

    def _hop(self, key: str) -> Hop:
        hop = self._hops.get(key)
        if hop is None:
            if len(self._hops) >= self._tidy_at:
                self._forget_dead()
            hop = self._hops[key] = Hop(min(PROBES, self._options.hop_active))
        return hop

    def _forget_dead(self) -> None:
        """Next hops that failed once and have no mail any more: mail to forged senders
        would make them more and more."""
        before = self.schedule.now() - int(1000 * self._options.hop_pause_most)
        hops = self._hops.items()
        stays = {k: h for k, h in hops if h.active or h.waiting or h.paused > before}
        self._hops = stays
        self._tidy_at = max(HOPS, 2 * len(stays))

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
        hop = self._hop(job.hop.key)
        hop.active += 1
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
        hop = self._hops.get(attempt.hop)
        if hop is not None:
            hop.active -= 1
            self._judge(hop, attempt)
            self._relieve(attempt.hop, hop)
        self._recorder.put(attempt)

    def returned(self, id: int, name: str, key: str) -> None:
        """A sender did not get to it: it is due as before."""
        self._active -= 1
        hop = self._hop(key)
        hop.active -= 1
        hop.waiting[name] = None
        self.schedule.park(name, (id,))

    def _judge(self, hop: Hop, attempt: Attempt) -> None:
        now = self.schedule.now()
        if attempt.reached:
            hop.most = min(2 * hop.most, self._options.hop_active)
            if hop.most == self._options.hop_active:
                hop.failures = 0
            return
        if hop.paused > now:
            return  # of the same failure
        hop.failures += 1
        hop.most = PROBES
        pause = self._options.hop_pause * 2.0 ** min(hop.failures - 1, 30)
        pause = min(pause, self._options.hop_pause_most)
        chance = backoff.chance_of(attempt.id)
        hop.paused = now + backoff.pause(1, chance, (pause,))
        self._soon(self._age(attempt))

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

    def _relieve(self, key: str, hop: Hop) -> None:
        """Let destinations come again that wait for this next hop: as many as may fill
        it. What they give is read first, so all of them would be read for a few. When
        nothing is under way nobody would come back here, so all of them come."""
        if hop.waiting and hop.active <= hop.most // 2:
            most = max(1, (hop.most - hop.active) // TURN)
            most = most if hop.active else len(hop.waiting)
            names = list(islice(hop.waiting, most))
            for name in names:
                del hop.waiting[name]
            self.schedule.unpark(names)
        if not hop.active and not hop.failures and not hop.waiting:
            del self._hops[key]

    def hurry(self, keys: Collection[str]) -> None:
        """Try these next hops although they were left alone after a failure."""
        for key in keys:
            hop = self._hops.get(key)
            if hop is not None and hop.paused:
                hop.paused = 0
                names, hop.waiting = hop.waiting, {}
                self.schedule.unpark(names)

    def connected(self) -> None:
        """There is a sender again."""
        for hop in self._hops.values():
            names, hop.waiting = hop.waiting, {}
            self.schedule.unpark(names)

    def resumed(self, key: Key, hop: str) -> bool:
        """A sender that has come back is still at this: it is active, not due. False:
        it has left the queue, or is being worked on already."""
        held = self._read_quietly(key.id)
        if held is None or key.id in self.schedule.ids_at(key.destination):
            return False
        self.schedule.hold_active(key.destination, key.id, moves.tally(held.queued))
        self._active += 1
        self._hop(hop).active += 1
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
