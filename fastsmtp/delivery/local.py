"""Straight into the mailboxes, inside the transaction that applies the message log.

`LocalDelivery` is the keeper's `Apply`. For each recipient it files an email in INBOX
(UID and MODSEQ are given here); one body serves them all. Whoever cannot be served,
for whatever reason, is put into a queue entry and no one else suffers from it. That
entry remembers which accounts have their copy, so none gets a second one. What is for
other servers is put there too, and so is all that is to be released later or whose
sender wants to hear of its delivery.

Nearly all mail is for INBOXes that are in order, or for other servers alone, and takes
the compiled way, `quick`, which comes to the same. What stands here decides about the
rest; it is what is right.

It is pure in what it writes: the same record and the same reads give the same puts,
times included, which come from the record. Only the counters know the clock; a
transaction that is tried again counts again.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from fastsmtp.delivery.inboxes import Inboxes
from fastsmtp.delivery.route import (
    Destination,
    Elsewhere,
    NoRoute,
    NoUser,
    Route,
    reason,
)
from fastsmtp.delivery.tally import LocalTally
from fastsmtp.mailbox.mailbox import INBOX, Box, Mail
from fastsmtp.queue import backoff, moves
from fastsmtp.queue.message import (
    Envelope,
    Filing,
    Queued,
    Recipient,
    State,
    Target,
    decode_envelope,
)
from fastsmtp.store import keys
from fastsmtp.store.base import NO_ADDS, Adds, Put, Read, Record, Writes
from fastsmtp.trace.ring import Trace

_INBOX_KEY: Final = keys.mailbox(INBOX)
_HEAD: Final = keys.HEAD


class LocalDelivery:
    """The keeper's `Apply`; see the head of this file.

    steps      pauses between attempts, `queue.backoff`
    deliveries, queue   cells of `delivery.counts` and `queue.counts`
    clock      seconds, wall clock; for the counters alone
    failed     told of each recipient that could not be served: id, address, error
    trace      told what became of each message

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
        trace: Trace | None = None,
    ) -> None:
        self._route = route
        self._count = LocalTally(deliveries, queue).count
        self._steps = steps
        self._clock = clock
        self._failed = failed
        self._boxes: dict[int, Box] = {}
        self._entered: dict[str, int] = {}
        self.entered: Callable[[Mapping[str, int]], None] = lambda _: None
        self._trace = Trace() if trace is None else trace
        self.quick = Inboxes(route, self._count, clock, self.BOXES, self._trace)

    def __call__(self, record: Record, read: Read) -> Writes:
        start = self._clock()
        envelope = decode_envelope(record.envelope)
        if envelope.filing is not None:
            return self._file(record, envelope, envelope.filing, read)
        puts: list[Put] = []
        done: dict[int, None] = {}  # a set that keeps its order
        targets: list[Target] = []
        named: set[str] = set()  # who is among the targets already
        mail = Mail(record.id, record.length, envelope.arrived)
        first = max(envelope.arrived, envelope.release)  # when it is tried first
        for recipient in envelope.recipients:
            address = recipient.address
            try:
                destinations, there = self._ways(address, _later(envelope, recipient))
            except Exception as error:
                targets.append(self._defer(record, address, address, error))
                continue
            for each in there:
                if each not in named:
                    named.add(each)
                    targets.append(Target(each, address, due=first))
            for part, name in destinations:
                if part in done:
                    continue
                try:
                    puts += self._add(part, mail, read)
                except Exception as error:
                    targets.append(self._defer(record, name, address, error))
                else:
                    done[part] = None
        refs = len(done)
        adds: Adds = NO_ADDS
        if targets:
            adds = self._enqueue(record, envelope, (targets, tuple(done)), puts)
            refs += 1
        now = self._clock()
        failed = sum(target.attempts for target in targets)
        delay = now - envelope.arrived / 1000
        self._count(record.id, len(done), failed, now - start, delay)
        self._trace.applied(record.id, len(done), len(targets))
        return Writes(puts, [], refs, {keys.QUEUE: adds} if adds else {})

    def _ways(
        self, address: str, later: bool
    ) -> tuple[tuple[Destination, ...], tuple[str, ...]]:
        """Accounts that get it now, and addresses that the queue is to have. Raises
        `NoRoute`."""
        try:
            found = self._route(address)
        except Elsewhere as away:
            if not later:
                return away.here, away.there
            names = [to.address for to in away.here]
            return (), (*names, *away.there)
        except NoUser:
            return (), (address,)  # the queue tells the sender, at once
        except NoRoute:
            if not later:
                raise
            return (), (address,)
        return ((), (address,)) if later else (found, ())

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

    def _defer(
        self, record: Record, address: str, recipient: str, error: Exception
    ) -> Target:
        if self._failed is not None:
            self._failed(record.id, address, error)
        pause = backoff.pause(1, backoff.chance_of(record.id), self._steps)
        due = decode_envelope(record.envelope).arrived + pause
        return Target(address, recipient, attempts=1, due=due, error=reason(error))

    def _enqueue(
        self,
        record: Record,
        envelope: Envelope,
        outcome: tuple[list[Target], tuple[int, ...]],
        puts: list[Put],
    ) -> Adds:
        """The entry for those who were not reached; gives the counters it changes."""
        left, done = outcome
        tried = any(target.attempts for target in left)
        queued = Queued(
            envelope,
            record.length,
            State.DEFERRED if tried else State.SCHEDULED,
            min(target.due for target in left),
            tuple(left),
            done,
        )
        self._entered.update(moves.destinations(queued))
        move = moves.enter(record.id, queued)
        puts += [(keys.QUEUE, key, value) for key, value in move.puts]
        return move.adds

    def committed(self) -> None:
        """What was applied is visible: see `store.base.Apply`."""
        entered = self._entered | self.quick.departures.entered
        if entered:
            self._entered.clear()
            self.quick.departures.entered.clear()
            self.entered(entered)


def _later(envelope: Envelope, recipient: Recipient) -> bool:
    """Whether the queue has it first: it is not to be delivered yet, or the sender is
    to hear when it was, and nobody can be told inside a transaction."""
    return envelope.release > envelope.arrived or "SUCCESS" in recipient.notify
