"""Attempts at mailboxes of our own, for what could not be delivered when the log was
applied.

Filing the email and writing down that it was filed are two transactions (the account's
and the queue's), so the first leaves a mark `k` in the account; whoever comes again
after a crash between the two finds it and is absorbed. `delivery.record` clears the
marks when all recipients are done, before the entry goes: a crash leaves no mark for
ever, and none goes while it may still be needed.

Our own trouble never loses a message and never refuses one: a recipient that cannot be
served is deferred. Who was known when the mail was taken and is not any more (the
account was removed, an alias leads nowhere) is refused at once.
"""

import time
from collections.abc import Callable
from typing import Final

from fastsmtp.delivery.attempt import Attempt
from fastsmtp.delivery.route import Destination, Elsewhere, NoUser, Route, reason
from fastsmtp.errors import Conflict, StoreUnavailable
from fastsmtp.mailbox.account import open_box
from fastsmtp.mailbox.mailbox import INBOX, Mail
from fastsmtp.queue.message import Target
from fastsmtp.queue.moves import Held
from fastsmtp.smtp.letter import Answer
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Store

FILED: Final = Answer(250, "2.1.5", "delivered", "body")

GONE: Final = Answer(550, "5.1.1", "no such user here", "rcpt", True)

Failed = Callable[[int, str, Exception], None]
"""Told of each failure: queue id, address ("" is the whole entry), error."""


class LocalAttempts:
    """Delivers into mailboxes, one recipient at a time."""

    def __init__(
        self,
        store: Store,
        route: Route,
        failed: Failed,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._route = route
        self._failed = failed
        self._clock = clock

    async def attempt(
        self, held: Held, destination: str, targets: list[Target]
    ) -> Attempt:
        """Try these targets. Raises `StoreUnavailable` when the store is in trouble."""
        start = self._clock()
        done = dict.fromkeys(held.queued.done)
        marks: dict[tuple[int, str], None] = {}
        made = Attempt(held.id, destination, {}, "local", "local")
        for target in targets:
            try:
                destinations, there = self._ways(target.address)
                for to in destinations:
                    await self._deliver(held, to, done, marks)
                made.more += tuple(
                    Target(each, target.recipient, due=target.due) for each in there
                )
            except StoreUnavailable:
                raise
            except NoUser:
                made.answers[target.address] = GONE
            except Exception as error:
                self._failed(held.id, target.address, error)
                made.answers[target.address] = Answer(0, "", reason(error), "body")
            else:
                made.answers[target.address] = FILED
        made.done, made.marks = tuple(done), tuple(marks)
        made.seconds = self._clock() - start
        return made

    def _ways(self, address: str) -> tuple[tuple[Destination, ...], tuple[str, ...]]:
        """Accounts, and addresses of other servers that an alias leads to as well.
        Raises `NoRoute`."""
        try:
            return self._route(address), ()
        except Elsewhere as away:
            if address in away.there:
                raise  # it is not for us to deliver
            return away.here, away.there

    async def _deliver(
        self,
        held: Held,
        to: Destination,
        done: dict[int, None],
        marks: dict[tuple[int, str], None],
    ) -> None:
        """File the email, unless this account has it already."""
        if to.part in done:
            return
        once = keys.delivered(held.id, to.address)
        queued = held.queued
        mail = Mail(held.id, queued.octets, queued.envelope.arrived)
        while await self._store.get(to.part, once) is None:
            box = await open_box(self._store, to.part, INBOX)
            puts = [(key, value) for _, key, value in box.add(mail)]
            try:
                await self._store.commit(
                    to.part,
                    checks=[*box.checks(), Check(once, None)],
                    puts=[*puts, (once, b"")],
                    refs={held.id: 1},
                )
            except Conflict:
                continue
            break
        done[to.part] = None
        marks[to.part, to.address] = None
