"""Straight into the mailboxes, inside the transaction that applies the message log.

`LocalDelivery` is the keeper's `Apply`. For each recipient it files an email in INBOX
(UID and MODSEQ are given here); one body serves them all. Whoever cannot be served,
for whatever reason, is put into a queue entry and no one else suffers from it. That
entry remembers which accounts have their copy, so none gets a second one. What a user
who logged in sends to other servers is put there too, and rests.

Nearly all mail is for INBOXes that are in order, and takes the compiled way, `quick`,
which comes to the same. What stands here decides about the rest; it is what is right.

It is pure in what it writes: the same record and the same reads give the same puts,
times included, which come from the record. Only the counters know the clock; a
transaction that is tried again counts again.
"""

import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from fastsmtp.delivery.inboxes import Inboxes
from fastsmtp.delivery.route import Elsewhere, NoRoute, Route
from fastsmtp.delivery.tally import LocalTally
from fastsmtp.mailbox.mailbox import INBOX, Box, Mail
from fastsmtp.queue import backoff, moves
from fastsmtp.queue import counts as events
from fastsmtp.queue.message import (
    Envelope,
    Filing,
    Queued,
    Standing,
    State,
    Target,
    decode_envelope,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Put, Read, Record, Writes

FOR_OTHERS: Final = "for another server: kept until mail can be sent there"
_INBOX_KEY: Final = keys.mailbox(INBOX)
_HEAD: Final = keys.HEAD


def reason(error: Exception) -> str:
    """What an entry keeps of an error: people read it with `queue show`."""
    if isinstance(error, NoRoute):
        return str(error)
    return f"{type(error).__name__}: {error}"[:200]


class LocalDelivery:
    """The keeper's `Apply`; see the head of this file.

    steps      pauses between attempts, `queue.backoff`
    deliveries, queue   cells of `delivery.counts` and `queue.counts`
    clock      seconds, wall clock; for the counters alone
    failed     told of each recipient that could not be served: id, address, error

    It remembers the last working copy of each INBOX. A copy is used when the bytes it
    was written as are those that stand in the store, whatever happened in between.
    """

    BOXES: Final = 10_000  # working copies remembered

    def __init__(
        self,
        route: Route,
        deliveries: "memoryview[int]",
        queue: "memoryview[int]",
        *,
        steps: tuple[float, ...] = backoff.STEPS,
        clock: Callable[[], float] = time.time,
        failed: Callable[[int, str, Exception], None] | None = None,
    ) -> None:
        self._route = route
        self._count = LocalTally(deliveries, queue).count
        self._events = queue
        self._steps = steps
        self._clock = clock
        self._failed = failed
        self._boxes: dict[int, Box] = {}
        self.quick = Inboxes(route, self._count, clock, self.BOXES)

    def __call__(self, record: Record, read: Read) -> Writes:
        start = self._clock()
        envelope = decode_envelope(record.envelope)
        if envelope.filing is not None:
            return self._file(record, envelope, envelope.filing, read)
        puts: list[Put] = []
        done: dict[int, None] = {}  # a set that keeps its order
        targets: list[Target] = []
        mail, route = Mail(record.id, record.length, envelope.arrived), self._route
        for recipient in envelope.recipients:
            address = recipient.address
            try:
                destinations = route(address)
            except Exception as error:
                if envelope.login and isinstance(error, Elsewhere):
                    targets.append(_at_another_server(address))
                else:
                    targets.append(self._defer(record.id, address, address, error))
                continue
            for part, name in destinations:
                if part in done:
                    continue
                try:
                    puts += self._add(part, mail, read)
                except Exception as error:
                    targets.append(self._defer(record.id, name, address, error))
                else:
                    done[part] = None
        refs = len(done)
        if targets:
            self._enqueue(record, envelope, (targets, tuple(done)), puts, read)
            refs += 1
        now = self._clock()
        failed = sum(target.attempts for target in targets)
        self._count(len(done), failed, now - start, now - envelope.arrived / 1000)
        return Writes(puts, [], refs)

    def _add(self, part: int, mail: Mail, read: Read) -> list[Put]:
        """One email into the INBOX of one account."""
        head, inbox = read(part, _HEAD), read(part, _INBOX_KEY)
        box = self._boxes.pop(part, None)  # not back in place if this raises
        if box is None or box.head_bytes != head or box.mailbox_bytes != inbox:
            box = Box(part, INBOX, head, inbox)
            if len(self._boxes) >= self.BOXES:
                self._boxes.clear()
        puts = box.add(mail)
        self._boxes[part] = box
        return puts

    def _file(
        self, record: Record, envelope: Envelope, filing: Filing, read: Read
    ) -> Writes:
        """One email into a mailbox that its owner chose; `KeyError` when it is gone."""
        part = filing.account
        head = read(part, _HEAD)
        box = Box(part, filing.mailbox, head, read(part, keys.mailbox(filing.mailbox)))
        mail = Mail(
            record.id,
            record.length,
            envelope.arrived,
            filing.flags,
            filing.keywords,
            deleted=filing.deleted,
        )
        return Writes(box.add(mail), [], 1)

    def _defer(self, id: int, address: str, recipient: str, error: Exception) -> Target:
        if self._failed is not None:
            self._failed(id, address, error)
        return Target(address, recipient, attempts=1, error=reason(error))

    def _enqueue(
        self,
        record: Record,
        envelope: Envelope,
        outcome: tuple[list[Target], tuple[int, ...]],
        puts: list[Put],
        read: Read,
    ) -> None:
        """The entry for those who were not reached. It is on hold when nobody of them
        can be tried again."""
        failed, done = outcome
        pause = backoff.pause(1, backoff.chance_of(record.id), self._steps)
        due = envelope.arrived + pause
        targets = tuple(
            replace(t, due=due) if t.standing == Standing.WAITING else t for t in failed
        )
        again = any(t.standing == Standing.WAITING for t in targets)
        state = State.DEFERRED if again else State.HOLD
        self._events[events.HELD] += not again
        queued = Queued(
            envelope, record.length, state, due if again else 0, targets, done
        )
        move = moves.enter(record.id, queued)
        moves.settle(move, lambda key: read(keys.QUEUE, key))
        puts += [(keys.QUEUE, key, value) for key, value in move.puts]


def _at_another_server(address: str) -> Target:
    return Target(address, address, Standing.ELSEWHERE, error=FOR_OTHERS)
