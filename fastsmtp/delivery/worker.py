"""Tries again what could not be delivered when the log was applied.

Each attempt takes the recipients of one entry that are due, one at a time. Filing the
email and writing down that it was filed are two transactions (the account's and the
queue's), so the first leaves a mark `k` in the account; whoever comes again after a
crash between the two finds it and is absorbed. When all recipients are reached, that
is written down, then the marks go, then the entry: a crash leaves no mark for ever,
and none goes while it may still be needed.

Our own trouble never loses a message and never refuses one: a recipient that cannot be
served is deferred, and after `give_up` the message is put on hold: a bounce is owed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from fastsmtp.delivery import counts
from fastsmtp.delivery.local import reason
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.route import Destination, Route
from fastsmtp.errors import Conflict, StoreUnavailable
from fastsmtp.mailbox.account import open_box
from fastsmtp.mailbox.mailbox import INBOX, Mail
from fastsmtp.queue import backoff, moves
from fastsmtp.queue import counts as events
from fastsmtp.queue.message import Queued, Standing, State, Target
from fastsmtp.queue.moves import Held
from fastsmtp.queue.schedule import Schedule
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Due, Store

_DELIVERED: Final = counts.ATTEMPTS.place("local", "delivered")
_FAILED: Final = counts.ATTEMPTS.place("local", "temp_fail")
_DELAY: Final = counts.delay("local", "delivered")
_DURATION: Final = {
    True: counts.duration("local", "delivered"),
    False: counts.duration("local", "temp_fail"),
}

TROUBLE: Final = 5.0  # seconds to wait when the store itself is in trouble

Failed = Callable[[int, str, Exception], None]
"""Told of each failure: queue id, address ("" is the whole entry), error."""


class Cells(NamedTuple):
    """Of `delivery.counts` and `queue.counts`."""

    deliveries: "memoryview[int]"
    queue: "memoryview[int]"


@dataclass(slots=True)
class Attempt:
    """One go at one entry, and what has become of it so far."""

    id: int
    queued: Queued
    now: int
    done: dict[int, None]
    marks: dict[tuple[int, str], None]

    @property
    def mail(self) -> Mail:
        return Mail(self.id, self.queued.octets, self.queued.envelope.arrived)


class Worker:
    """Works off a schedule; one `run` for each process that has one."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        route: Route,
        options: DeliveryOptions,
        cells: Cells,
        failed: Failed,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._route = route
        self._options = options
        self._cells = cells
        self._failed = failed

    async def run(self) -> None:
        """Until cancelled; what is cut off is done again by whoever comes next."""
        while True:
            try:
                for due in await self._schedule.claim():
                    await self._one(due)
            except StoreUnavailable as error:
                self._failed(0, "", error)
                await self._schedule.alarm.rest(TROUBLE)
                await self._let_go()

    async def _one(self, due: Due) -> None:
        """An attempt that takes care of what it raises, unless the store is down."""
        try:
            await self.attempt(due)
        except StoreUnavailable:
            raise
        except Exception as error:  # a damaged entry, a bug: it must not stop the rest
            self._failed(due.id, "", error)
            pause = backoff.pause(1, backoff.chance_of(due.id), self._options.steps)
            at = self._schedule.now() + pause
            await moves.put_back(self._store, self._schedule.holder, due.id, at)

    async def _let_go(self) -> None:
        """Make due again what was claimed and not finished: nothing is being tried."""
        try:
            await self._store.release(keys.QUEUE, self._schedule.holder)
        except StoreUnavailable:
            return

    async def attempt(self, due: Due) -> None:
        """Try the recipients of one claimed entry that are due, and move the entry on.

        Raises `Conflict` when somebody else has changed the entry, `Damaged` when it
        does not decode."""
        now, queue = self._schedule.now(), self._cells.queue
        held = await moves.held(self._store, self._schedule.holder, due.id)
        if held is None:
            await moves.put_back(self._store, self._schedule.holder, due.id, now)
            return
        queue[events.ACTIVATED] += 1
        events.LAG.observe(queue, max(now - due.due, 0) / 1000)
        queued = held.queued
        work = Attempt(
            *(held.id, queued, now),
            dict.fromkeys(queued.done),
            dict.fromkeys(queued.marks),
        )
        targets = tuple([await self._try(work, t) for t in queued.targets])
        await self._move_on(held, work, targets)

    async def _try(self, work: Attempt, target: Target) -> Target:
        """How the recipient stands after it was tried, if it was due."""
        if target.standing != Standing.WAITING or target.due > work.now:
            return target
        start = self._schedule.now()
        try:
            for destination in self._route(target.address):
                await self._deliver(work, destination)
        except Exception as error:
            self._failed(work.id, target.address, error)
            after = self._after_failure(work, target, error)
        else:
            after = _changed(target, Standing.DELIVERED, 0, "")
        self._count(work, after, (self._schedule.now() - start) / 1000)
        return after

    async def _deliver(self, work: Attempt, to: Destination) -> None:
        """File the email, unless this account has it already."""
        if to.part in work.done:
            return
        once = keys.delivered(work.id, to.address)
        while await self._store.get(to.part, once) is None:
            box = await open_box(self._store, to.part, INBOX)
            puts = [(key, value) for _, key, value in box.add(work.mail)]
            try:
                await self._store.commit(
                    to.part,
                    checks=[*box.checks(), Check(once, None)],
                    puts=[*puts, (once, b"")],
                    refs={work.id: 1},
                )
            except Conflict:
                continue
            break
        work.done[to.part] = None
        work.marks[to.part, to.address] = None

    def _after_failure(self, work: Attempt, target: Target, error: Exception) -> Target:
        attempts = target.attempts + 1
        age = work.now - work.queued.envelope.arrived
        if age >= 1000 * self._options.give_up:
            return _changed(target, Standing.GIVEN_UP, 0, reason(error))
        chance = backoff.chance_of(work.id + attempts)
        due = work.now + backoff.pause(attempts, chance, self._options.steps)
        return _changed(target, Standing.WAITING, due, reason(error))

    async def _move_on(
        self, held: Held, work: Attempt, targets: tuple[Target, ...]
    ) -> None:
        """The move that follows from how all recipients stand now."""
        waiting = [t.due for t in targets if t.standing == Standing.WAITING]
        unreached = any(t.standing != Standing.DELIVERED for t in targets)
        if waiting:
            queued = _with(work, State.DEFERRED, min(waiting), targets)
            await moves.make(self._store, moves.revise(held, queued))
        elif unreached:
            queued = _with(work, State.HOLD, 0, targets)
            await moves.make(self._store, moves.revise(held, queued))
            self._cells.queue[events.HELD] += 1
        else:
            queued = _with(work, held.queued.state, held.queued.due, targets)
            await self._leave(held, queued)

    async def _leave(self, held: Held, queued: Queued) -> None:
        """Write down that all are reached, clear the marks, remove the entry."""
        if queued != held.queued:
            move, held = moves.note(held, queued)
            await moves.make(self._store, move)
        for part, address in queued.marks:
            await self._store.commit(part, deletes=[keys.delivered(held.id, address)])
        await moves.make(self._store, moves.leave(held))
        self._cells.queue[events.REMOVED] += 1

    def _count(self, work: Attempt, after: Target, seconds: float) -> None:
        deliveries, queue = self._cells
        delivered = after.standing == Standing.DELIVERED
        deliveries[_DELIVERED if delivered else _FAILED] += 1
        _DURATION[delivered].observe(deliveries, seconds)
        if delivered:
            age = work.now - work.queued.envelope.arrived
            queue[events.DELIVERED] += 1
            _DELAY.observe(deliveries, max(age, 0) / 1000)
        elif after.standing == Standing.GIVEN_UP:
            queue[events.EXPIRED] += 1
        else:
            queue[events.DEFERRED] += 1


def _changed(target: Target, standing: Standing, due: int, error: str) -> Target:
    """After one more attempt."""
    attempts = target.attempts + 1
    return Target(target.address, target.recipient, int(standing), attempts, due, error)


def _with(work: Attempt, state: State, due: int, targets: tuple[Target, ...]) -> Queued:
    """The entry after the attempt."""
    return Queued(
        *(work.queued.envelope, work.queued.octets, state, due, targets),
        *(tuple(work.done), tuple(work.marks)),
    )
