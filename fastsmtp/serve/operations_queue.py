"""What commands do to the queue: hold, release, retry, bounce, delete, move, suspend.

A command reads the queue by itself, shows what it found, and then sends ids: so what
is done is what was shown. Each message is looked at again when its turn comes. One that
is gone, or that the filter no longer means, is left alone and counted.

A message that somebody is trying to deliver at this moment is not bounced or deleted:
it may have arrived already. It is counted, too; the other orders hold for what comes
after the attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from fastsmtp.errors import Conflict, Damaged
from fastsmtp.policy.relaying import read_via
from fastsmtp.queue import counts as events
from fastsmtp.queue import moves, orders
from fastsmtp.queue.message import Queued, State
from fastsmtp.queue.moves import Held, Move
from fastsmtp.queue.schedule import Schedule
from fastsmtp.queue.selection import EVERYTHING, Entry, Filter, HopOf, last_hop
from fastsmtp.serve.control import Declined, Items, Octets, Operation, Summary
from fastsmtp.store import keys
from fastsmtp.store.base import Store

Action = Literal["hold", "release", "retry", "bounce", "delete", "move"]

TOGETHER: Final = 200  # messages in one transaction
MOST: Final = 10_000  # ids in one request
ID: Final = 8  # octets
TRIES: Final = 5  # of a message that others change at the same time
REMOVED: Final = "removed by the postmaster"
BOUNCED: Final = "given up by the postmaster"
LONGEST_TEXT: Final = 200  # characters of what a sender is told


class QueueChange(msgspec.Struct):
    """`count` ids follow, of 8 octets each.

    wanted  the filter they were found with; a message it no longer means is left alone
    text    bounce: what the sender is told
    via     move: the next hop, as in the configuration; "" is the usual one again
    """

    action: Action
    count: int
    wanted: Filter = EVERYTHING
    text: str = ""
    via: str = ""


class QueueSuspend(msgspec.Struct):
    """Try nothing for a domain, or (`on` false) again."""

    domain: str
    on: bool


class QueueActive(msgspec.Struct):
    """What is being tried at this moment."""


class Bounce(Protocol):
    async def __call__(
        self, id: int, queued: Queued, addresses: Collection[str], text: str
    ) -> Move:
        """What tells the sender that these were given up, if anybody is to be told."""
        ...


class Hands(NamedTuple):
    """What the operations work with, beside the store.

    schedule  whose lease keeps others from a message while it is bounced or deleted
    hop_of    the next hop of a recipient
    bounce    tells the sender
    hurry     told the next hops (keys) that are to be tried although they were left
              alone after a failure
    told      told of each message that was changed: its id and the action
    cells     of `queue.counts`
    now       milliseconds, wall clock
    """

    schedule: Schedule
    bounce: Bounce
    cells: memoryview[int]
    hop_of: HopOf = last_hop
    hurry: Callable[[Collection[str]], None] = lambda hops: None
    told: Callable[[int, Action], None] = lambda id, action: None
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000


@dataclass(slots=True)
class Outcome:
    """How many messages. `changed`: the filter no longer means them; `active`: left
    alone because they are being tried; `same`: there was nothing to do."""

    done: int = 0
    gone: int = 0
    changed: int = 0
    active: int = 0
    same: int = 0
    damaged: int = 0


class _Made(NamedTuple):
    held: Held
    after: Queued
    addresses: tuple[str, ...]  # who wait no more


@dataclass(slots=True)
class _Batch:
    """leases  give back what they hold when they are closed; leased: whom they hold
    notices what tells their senders, by message
    due     what `retry` found due already"""

    request: QueueChange
    outcome: Outcome
    leases: ExitStack
    leased: set[int] = field(default_factory=set)
    notices: dict[int, Move] = field(default_factory=dict)
    due: list[Queued] = field(default_factory=list)


class QueueOperations:
    """The operations on the queue of one open store."""

    def __init__(self, store: Store, hands: Hands) -> None:
        self._store = store
        self._hands = hands

    def table(self) -> dict[str, Operation]:
        """By the name on the control socket."""
        return {
            "queue.change": Operation(QueueChange, self.change),
            "queue.suspend": Operation(QueueSuspend, self.suspend),
            "queue.active": Operation(QueueActive, self.active),
        }

    async def active(self, request: QueueActive, octets: Octets) -> Items:
        ids = [id for id, _ in self._hands.schedule.active()]
        for first in range(0, len(ids), MOST):
            yield {"ids": ids[first : first + MOST]}
        yield Summary(active=len(ids))

    async def suspend(self, request: QueueSuspend, octets: Octets) -> Items:
        name = request.domain.lower()
        key = keys.suspended(name)
        if not name or len(name.encode()) > 255:
            raise Declined(f"{request.domain!r} is not a domain")
        was = await self._store.get(keys.QUEUE, key) is not None
        if request.on:
            await self._store.commit(keys.QUEUE, puts=[(key, b"")])
        else:
            await self._store.commit(keys.QUEUE, deletes=[key])
        self._hands.schedule.suspend(name, request.on)
        yield Summary(domain=name, suspended=request.on, changed=was != request.on)

    async def change(self, request: QueueChange, octets: Octets) -> Items:
        """Done and durable when it is answered. What came before a failure stays."""
        if not 0 <= request.count <= MOST:
            raise Declined(f"{request.count} messages; {MOST} at a time are the most")
        _demand_sense(request)
        raw = await octets(ID * request.count)
        ids = [
            int.from_bytes(raw[at : at + ID], "big") for at in range(0, len(raw), ID)
        ]
        outcome = Outcome()
        for first in range(0, len(ids), TOGETHER):
            with ExitStack() as leases:
                batch = _Batch(request, outcome, leases)
                await self._together(ids[first : first + TOGETHER], batch)
                self._hurry(batch.due)
        yield Summary(msgspec.to_builtins(outcome))

    async def _together(self, ids: list[int], batch: _Batch) -> None:
        """Many in one transaction; each for itself when another was quicker."""
        made = await self._made(ids, batch)
        if not await self._commit(made, batch):
            for one in made:
                await self._alone(one.held.id, batch)

    async def _alone(self, id: int, batch: _Batch) -> None:
        for _ in range(TRIES):
            made = await self._made([id], batch)
            if await self._commit(made, batch):
                return
        raise Declined("the queue changes faster than that; try again")

    async def _made(self, ids: list[int], batch: _Batch) -> list[_Made]:
        made = [one for id in ids if (one := self._order(id, batch)) is not None]
        if batch.request.action == "bounce":
            text = batch.request.text or BOUNCED
            telling = [one for one in made if one.held.id not in batch.notices]
            moved = await asyncio.gather(
                *(
                    self._hands.bounce(
                        one.held.id, one.held.queued, one.addresses, text
                    )
                    for one in telling
                )
            )
            for one, notices in zip(telling, moved, strict=True):
                batch.notices[one.held.id] = notices
        return made

    def _order(self, id: int, batch: _Batch) -> _Made | None:
        """What is to become of a message; None when nothing is."""
        outcome, request = batch.outcome, batch.request
        try:
            held = moves.read(self._store, id)
        except Damaged:
            outcome.damaged += 1
            return None
        if held is None:
            outcome.gone += 1
            return None
        queued, hop_of = held.queued, self._hands.hop_of
        active = self._is_active(held, batch)
        state = State.ACTIVE if active else queued.state
        if not request.wanted.takes(Entry(id, state, queued), hop_of):
            outcome.changed += 1
            return None
        addresses = tuple(t.address for t in request.wanted.waiting(queued, hop_of))
        if request.action in ("bounce", "delete"):
            if active:
                outcome.active += 1
                return None
            self._lease(held, batch)
        after = self._after(request, queued, addresses)
        if after == queued:
            outcome.same += 1
            if request.action == "retry" and queued.state != State.HOLD:
                batch.due.append(queued)
            return None
        return _Made(held, after, addresses)

    def _after(
        self, request: QueueChange, queued: Queued, addresses: Collection[str]
    ) -> Queued:
        now = self._hands.now()
        match request.action:
            case "hold":
                return orders.held(queued)
            case "release":
                return orders.released(queued, now)
            case "retry":
                return orders.retried(queued, addresses, now)
            case "move":
                return orders.moved(queued, request.via, now)
            case "bounce":
                return orders.given_up(queued, addresses, request.text or BOUNCED)
            case "delete":
                return orders.given_up(queued, addresses, REMOVED)

    def _is_active(self, held: Held, batch: _Batch) -> bool:
        """Whether somebody else works on it."""
        names = moves.destinations(held.queued)
        works = self._hands.schedule.works_on(names, held.id)
        return works and held.id not in batch.leased

    def _lease(self, held: Held, batch: _Batch) -> None:
        """Keep everybody from this message until the batch is written."""
        if held.id in batch.leased:
            return  # from the try before
        batch.leased.add(held.id)
        schedule = self._hands.schedule
        for name in moves.destinations(held.queued):
            schedule.hold_active(name, held.id, moves.tally(held.queued))
            batch.leases.callback(schedule.done, name, held.id)

    async def _commit(self, made: list[_Made], batch: _Batch) -> bool:
        """False: somebody else changed one of them, and nothing was written."""
        move = Move()
        for held, after, _ in made:
            stays = orders.waits(after) or after.marks
            move.join(moves.revise(held, after) if stays else moves.leave(held))
            move.join(batch.notices.get(held.id, Move()))
        if not made:
            return True
        try:
            await moves.make(self._store, move)
        except Conflict:
            return False
        batch.outcome.done += len(made)
        self._tell(made, batch.request.action)
        self._hands.schedule.noted(moves.where_due(move))
        return True

    def _tell(self, made: list[_Made], action: Action) -> None:
        hands, names = self._hands, set[str]()
        for held, after, addresses in made:
            hands.told(held.id, action)
            names.update(moves.destinations(after))
            if action == "bounce":
                hands.cells[events.BOUNCED] += len(addresses)
            if not orders.waits(after):
                hands.cells[events.REMOVED] += 1
        if action == "hold":
            hands.cells[events.HELD] += len(made)
        if action == "release":
            hands.cells[events.RELEASED] += len(made)
        if action in ("release", "retry", "move"):
            self._hurry(one.after for one in made)
        hands.schedule.noted(names)

    def _hurry(self, due: Iterable[Queued]) -> None:
        """Their next hops are tried, also those that are left alone after a failure:
        mail that nobody has tried waits for these, too."""
        hands, names, hops = self._hands, set[str](), set[str]()
        for queued in due:
            names.update(moves.destinations(queued))
            hops.update(hands.hop_of(queued, target) for target in queued.targets)
        hands.hurry(hops)
        for name in names:
            hands.schedule.pause(name, 0)
        hands.schedule.unpark(names)  # another next hop may have room


def _demand_sense(request: QueueChange) -> None:
    if len(request.text) > LONGEST_TEXT or not request.text.isprintable():
        raise Declined(f"the reason is not one line of at most {LONGEST_TEXT} letters")
    if request.via:
        try:
            read_via(request.via)
        except ValueError as error:
            raise Declined(f'"{request.via}" {error}') from None
