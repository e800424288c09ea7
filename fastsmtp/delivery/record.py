"""Writes down what came of attempts: the moves of many messages in one transaction.

Attempts end when they end; what has ended since the last commit is recorded with the
next one. A result is never lost while this process lives: if the store is in trouble it
is written later, and until then the message stays active, so nobody tries it again.

A notice that is owed to a sender joins the queue in the transaction of the move that it
is owed for: whenever a crash comes, it is told once.
"""

import asyncio
import time
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple, Protocol

from fastsmtp.cells import Seen
from fastsmtp.delivery import counts
from fastsmtp.delivery.attempt import (
    After,
    Attempt,
    Changed,
    Terms,
    marks_of,
    settle,
)
from fastsmtp.delivery.departed import Departed
from fastsmtp.delivery.tally import DepartureTally
from fastsmtp.errors import Conflict, Damaged, Misused, StoreUnavailable
from fastsmtp.queue import counts as events
from fastsmtp.queue import moves
from fastsmtp.queue.message import Queued, Standing
from fastsmtp.queue.moves import Held, Move
from fastsmtp.queue.orders import waits
from fastsmtp.queue.schedule import Schedule
from fastsmtp.store import keys
from fastsmtp.store.base import Store

TROUBLE: Final = 5.0  # seconds to wait when the store itself is in trouble
TOGETHER: Final = 500  # messages in one transaction


class Cells(NamedTuple):
    """Of `delivery.counts` and `queue.counts`."""

    deliveries: "memoryview[int]"
    queue: "memoryview[int]"


class Notices(Protocol):
    """Who tells senders."""

    async def tell(self, id: int, before: Queued, after: After, by: Attempt) -> Move:
        """What sends the notices that are owed after an attempt, when it is made."""
        ...


class Told(Protocol):
    """Whom facts are reported to."""

    def attempted(self, by: Attempt, after: After) -> None:
        """One attempt was written down."""
        ...

    def delivered(self, by: Attempt) -> None:
        """The same of one that all recipients were accepted in, the last of their
        message."""
        ...

    def failed(self, id: int, address: str, error: Exception) -> None:
        """An entry could not be read, or the store is in trouble (id 0)."""
        ...


class _Made(NamedTuple):
    """What an attempt makes of an entry."""

    held: Held
    by: Attempt
    after: After

    @property
    def clears(self) -> bool:
        """All are done, and marks stand in mailboxes."""
        return bool(self.after.queued.marks) and not waits(self.after.queued)


class Recorder:
    """One for the process that writes the queue.

    terms     what the present moment means, asked for each batch; the dispatcher's
    recorded  told of each attempt that is durable
    """

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        cells: Cells,
        notices: Notices,
        told: Told,
    ) -> None:
        self.store = store
        self.schedule = schedule
        self.cells = cells
        self._notices = notices
        self.told = told
        self._tally = DepartureTally(cells.deliveries, cells.queue)
        self._waiting: list[Attempt] = []
        self._came = asyncio.Event()
        self.terms: Callable[[], Terms] | None = None
        self.recorded: Callable[[Attempt], None] = lambda attempt: None

    def put(self, attempt: Attempt) -> None:
        """Take the outcome of an attempt."""
        self._waiting.append(attempt)
        self._came.set()

    async def run(self) -> None:
        """Until cancelled; what is cut off is due again in the next life."""
        while True:
            await self._came.wait()
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            if not self._waiting:
                self._came.clear()
            await self._record(batch)
            for attempt in batch:
                self.schedule.done(attempt.destination, attempt.id)
                self.recorded(attempt)
            self.schedule.alarm.ring()

    async def _record(self, batch: list[Attempt]) -> None:
        """Write it down, whatever it takes."""
        left = batch
        while left:
            try:
                left = await self._together(left)
            except StoreUnavailable as error:
                for by in left:  # a body without a reference does not stay for ever
                    by.notices = None
                self.told.failed(0, "", error)
                await self.schedule.alarm.rest(TROUBLE)

    async def _together(self, batch: list[Attempt]) -> list[Attempt]:
        """Write down one attempt of each message; gives those that are left."""
        if self.terms is None:
            raise Misused("a recorder needs a dispatcher")
        terms = self.terms()
        move = Move()
        gone, others = await self._departed(batch, move)
        made, left = self._settled(others, terms)
        await self._tell(made)
        for one in [one for one in made if one.clears]:
            made.remove(one)
            try:
                await self._clear(one)
            except Conflict:
                left.append(one.by)
            else:
                self._count(one, terms.now)
        for one in made:
            move.join(_move(one.held, one.after.queued))
            move.join(_notices(one))
        written = [by for by, _ in gone] + [one.by for one in made]
        if not written:
            return left
        try:
            await moves.make(self.store, move)
        except Conflict:
            # A command has changed one of them: each for itself, anew.
            if len(written) > 1:
                for by in written:
                    await self._record([by])
                return left
            return [*written, *left]
        for by, arrived in gone:
            age = (terms.now - arrived) / 1000
            told = len(by.answers)
            self._tally.count(by.id, by.transport, told, by.seconds, age)
            self.told.delivered(by)
        for one in made:
            self._count(one, terms.now)
            self._noted(one)
        return left

    def _noted(self, one: _Made) -> None:
        """Its notices are in the queue: they are due."""
        if names := moves.where_due(_notices(one)):
            self.schedule.noted(names)

    async def _departed(
        self, batch: list[Attempt], move: Move
    ) -> tuple[list[tuple[Attempt, int]], list[Attempt]]:
        """Join what takes those out of the queue that have gone for good and owe
        nobody a word: nearly all. Gives these, with their arrival, and the others."""
        asked = [keys.queued(attempt.id) for attempt in batch]
        raws = await self.store.get_each(keys.QUEUE, asked)
        departed, gone, others = Departed(), [], []
        for by, raw in zip(batch, raws, strict=True):
            arrived = -1
            if raw is not None and by.id not in departed.refs and not by.here:
                arrived = departed.take(by.id, raw, by.destination, by.answers)
            if arrived < 0:
                others.append(by)
            else:
                gone.append((by, arrived))
        move.checks, move.deletes = departed.checks, departed.deletes
        move.refs, move.adds = departed.refs, departed.adds
        return gone, others

    def _settled(
        self, batch: list[Attempt], terms: Terms
    ) -> tuple[list[_Made], list[Attempt]]:
        made: dict[int, _Made] = {}
        left = []
        for attempt in batch:
            if attempt.id in made:
                left.append(attempt)
            elif (held := self.read(attempt.id)) is not None:
                after = settle(held.id, held.queued, attempt, terms)
                made[attempt.id] = _Made(held, attempt, after)
        return list(made.values()), left

    async def _tell(self, made: list[_Made]) -> None:
        """Write the notices that are owed; they go with the moves of the messages."""
        untold = [one for one in made if one.by.notices is None and _may_owe(one)]
        if untold:
            await asyncio.gather(*(self._tell_of(one) for one in untold))

    async def _tell_of(self, one: _Made) -> None:
        held, by, after = one
        by.notices = await self._notices.tell(held.id, held.queued, after, by)

    def read(self, id: int) -> Held | None:
        """An entry as it is now; of one that does not decode it is told."""
        return self._decoded(id, self.store.peek(keys.QUEUE, keys.queued(id)))

    async def read_each(self, ids: list[int]) -> list[Held | None]:
        """The same of many, as of one moment."""
        asked = [keys.queued(id) for id in ids]
        raws = await self.store.get_each(keys.QUEUE, asked)
        return [self._decoded(id, raw) for id, raw in zip(ids, raws, strict=True)]

    def _decoded(self, id: int, raw: bytes | None) -> Held | None:
        try:
            return moves.held(id, raw)
        except Damaged as error:
            self.told.failed(id, "", error)
            return None

    async def _clear(self, one: _Made) -> None:
        """Write down that all are done, clear the marks, remove the entry."""
        held, queued = one.held, one.after.queued
        if queued != held.queued:
            move = moves.revise(held, queued)
            move.join(_notices(one))
            await moves.make(self.store, move)
            self._noted(one)
        for part, key in marks_of(queued, held.id):
            await self.store.commit(part, deletes=[key])
        again = moves.read(self.store, held.id)
        if again is not None:
            await moves.make(self.store, moves.leave(again))

    def _count(self, one: _Made, now: int) -> None:
        by, after = one.by, one.after
        deliveries, queue = self.cells
        id, clock = one.held.id, time.monotonic()
        for changed in after.changed:
            places = _places(by.transport, _result(by, changed))
            deliveries[places.attempts] += 1
            places.duration.observe(deliveries, by.seconds, id, clock)
            standing = changed.target.standing
            if standing == Standing.WAITING:
                queue[events.DEFERRED] += 1
                continue
            age = now - after.queued.envelope.arrived
            places.delay.observe(deliveries, max(age, 0) / 1000, id, clock)
            if standing == Standing.DELIVERED:
                queue[events.DELIVERED] += 1
            elif changed.answer.permanent:
                queue[events.BOUNCED] += 1
            else:
                queue[events.EXPIRED] += 1
        if not waits(after.queued):
            queue[events.REMOVED] += 1
        self.told.attempted(by, after)


def _may_owe(one: _Made) -> bool:
    """Whether anybody might be told of it: nearly all mail arrives, and nobody is."""
    envelope = one.held.queued.envelope
    if any(c.target.standing != Standing.DELIVERED for c in one.after.changed):
        return True
    asked = any(recipient.notify for recipient in envelope.recipients)
    return bool(one.after.changed) and (asked or bool(envelope.by_mode))


class _Places(NamedTuple):
    attempts: int
    duration: Seen
    delay: Seen


@cache
def _places(transport: str, result: str) -> _Places:
    return _Places(
        counts.ATTEMPTS.place(transport, result),
        counts.duration(transport, result),
        counts.delay(transport, result),
    )


def _notices(one: _Made) -> Move:
    """What sends them. Nothing where the attempt is written down already, and that was
    not heard: the store was in trouble."""
    return one.by.notices if one.by.notices and one.after.changed else Move()


def _move(held: Held, queued: Queued) -> Move:
    return moves.revise(held, queued) if waits(queued) else moves.leave(held)


def _result(by: Attempt, changed: Changed) -> str:
    """Of `delivery.counts.RESULTS`."""
    answer = changed.answer
    if answer.accepted:
        return "delivered"
    if answer.stage == "tls":
        return "tls_fail"
    if not by.reached:
        return "conn_fail"
    return "perm_fail" if answer.permanent else "temp_fail"
