"""From an attempt at mail to the notices that its sender is owed.

`Telling` is the `Notices` of `delivery.record`. A notice is written into the message
log as a body that nothing refers to, and `Telling` gives the move that puts it into the
queue. Whoever asked makes that move with his own, in one transaction, so a crash leaves
both undone or both done. It never lets the queue down: while the store is in trouble it
waits, and where the original cannot be read any more it tells without it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Final

from fastsmtp.delivery.attempt import After, Attempt
from fastsmtp.delivery.bounce import Clerk, Notice, Original
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.outcomes import Fate, Outcome
from fastsmtp.delivery.reasons import OURS, Reason
from fastsmtp.errors import Damaged, StoreUnavailable
from fastsmtp.queue import moves
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Recipient,
    Standing,
    State,
    Target,
)
from fastsmtp.queue.moves import Move
from fastsmtp.smtp.letter import Answer
from fastsmtp.store.base import Kind, Store, keeping
from fastsmtp.wire.mime import Octets

TROUBLE: Final = 5.0  # seconds to wait when the store itself is in trouble
WRITING: Final = 0.005  # seconds to wait when the disk is behind
SMALL: Final = 256 * 1024  # octets of a notice that is made in memory
BACKLOG: Final = 1024 * 1024  # octets on their way to disk

_REPLY: Final = re.compile(
    r"(?:([2-5]\d\d) )?(?:([245]\.\d{1,3}\.\d{1,3}) )?(.*)", re.DOTALL
)
_OURS: Final = {row.failed: reason for reason, row in reversed(OURS.items())}
_HERE: Final = ("local", "lmtp")  # transports that end in a mailbox


class Gone:
    """The body of a message that cannot be read any more."""

    length = 0

    def read(self, offset: int, size: int) -> bytes:
        return b""


def outcomes(
    after: After, by: Attempt, now: int, options: DeliveryOptions
) -> list[Outcome]:
    """What an attempt has come to, by the recipients as they were given: an alias is
    done when all behind it are, and has failed when one of them has."""
    found: dict[tuple[str, Fate], Outcome] = {}
    for outcome in _outcomes(after, by, now, options):
        found.setdefault((outcome.address, outcome.fate), outcome)
    return list(found.values())


def _outcomes(
    after: After, by: Attempt, now: int, options: DeliveryOptions
) -> Iterator[Outcome]:
    queued = after.queued
    recipients = {one.address: one for one in queued.envelope.recipients}
    until = _until(queued.envelope, options)
    tried = {changed.target.address for changed in after.changed}
    late = [
        (target, said(target.error))
        for target in queued.targets
        if after.late
        and target.standing == Standing.WAITING
        and target.address not in tried
    ]
    for target, answer in (*after.changed, *late):
        fate = _fate(after, by, target)
        if fate is None:
            continue
        recipient = recipients.get(target.recipient) or Recipient(target.recipient)
        reason = _reason(queued.envelope, fate, answer, now)
        yield Outcome(
            *(recipient.address, fate, recipient.notify, recipient.orcpt),
            *(0 if answer.local else answer.code, answer.enhanced, answer.text),
            *(by.host if target.address in tried else "", reason, target.attempts),
            *(now if target.address in tried else 0, until),
        )


def _fate(after: After, by: Attempt, target: Target) -> Fate | None:
    """How the recipient stands, if it is worth a word."""
    if target.standing == Standing.GIVEN_UP:
        return Fate.FAILED
    if target.standing == Standing.WAITING:
        return Fate.DELAYED if after.late else None
    same = (t for t in after.queued.targets if t.recipient == target.recipient)
    if any(one.standing != Standing.DELIVERED for one in same):
        return None
    if by.offers_dsn:
        return Fate.PASSED
    return Fate.DELIVERED if by.transport in _HERE else Fate.RELAYED


def _reason(envelope: Envelope, fate: Fate, answer: Answer, now: int) -> Reason | None:
    """What we know ourselves, beside what the other server said."""
    if fate not in (Fate.FAILED, Fate.DELAYED):
        return None
    if answer.local and answer.enhanced in _OURS:
        return _OURS[answer.enhanced]
    if answer.permanent:
        return None
    if envelope.by and now >= envelope.by:
        return Reason.BY_TIME
    return Reason.EXPIRED if fate is Fate.FAILED else None


def _until(envelope: Envelope, options: DeliveryOptions) -> int:
    """When it will be given up, milliseconds, wall clock."""
    end = max(envelope.arrived, envelope.release) + int(1000 * options.give_up)
    return min(end, envelope.by) if envelope.by_mode.startswith("R") else end


def said(error: str) -> Answer:
    """The answer that a queue entry keeps of an earlier attempt: `str` of one."""
    found = _REPLY.fullmatch(error)
    assert found is not None
    code = int(found[1] or 0)
    return Answer(code, found[2] or "", found[3], "rcpt" if code else "connect")


def _entering(notice: Notice, now: int) -> Move:
    """The notice joins the queue, and is due."""
    to = tuple(
        Target(one.address, one.address, due=now) for one in notice.envelope.recipients
    )
    queued = Queued(notice.envelope, notice.length, State.SCHEDULED, now, to)
    move = moves.enter(notice.id, queued)
    move.refs[notice.id] = 1
    return move


class Telling:
    """Puts notices into the message log of this process.

    clock  milliseconds, wall clock
    rest   waits for seconds
    told   of each notice that is written
    """

    def __init__(
        self,
        store: Store,
        clerk: Clerk,
        options: DeliveryOptions,
        clock: Callable[[], int],
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told: Callable[[int, Notice], None] = lambda id, notice: None,
    ) -> None:
        self._store = store
        self._clerk = clerk
        self._options = options
        self._clock = clock
        self._rest = rest
        self._told = told

    async def tell(self, id: int, before: Queued, after: After, by: Attempt) -> Move:
        """What sends the notices that are owed after an attempt, when it is made."""
        now = self._clock()
        found = outcomes(after, by, now, self._options)
        return await self._tell(id, after.queued.envelope, found, now)

    async def bounce(
        self, id: int, queued: Queued, addresses: Collection[str], text: str
    ) -> Move:
        """The same for targets that the operator gives up; `text` says why."""
        recipients = {one.address: one for one in queued.envelope.recipients}
        found: dict[str, Outcome] = {}
        for target in queued.targets:
            name = target.recipient
            if target.address in addresses:
                to = recipients.get(name) or Recipient(name)
                made = Outcome(name, Fate.FAILED, to.notify, to.orcpt, text=text)
                found[name] = made._replace(reason=Reason.OPERATOR)
        all_of_it = list(found.values())
        return await self._tell(id, queued.envelope, all_of_it, self._clock())

    async def _tell(
        self, id: int, envelope: Envelope, found: list[Outcome], now: int
    ) -> Move:
        if not found or not self._clerk.owes(envelope, found):
            return Move()
        body, close = await self._body(id)
        try:
            return await self._send(Original(id, envelope, body), found, now)
        except Damaged:
            return await self._send(Original(id, envelope, Gone()), found, now)
        finally:
            close()

    async def _send(
        self, original: Original, outcomes: list[Outcome], now: int
    ) -> Move:
        next_id, move = self._store.next_id, Move()
        for notice in self._clerk.notices(original, outcomes, now, next_id):
            await self._put(notice, original.body)
            self._told(original.id, notice)
            move.join(_entering(notice, now))
        return move

    async def _body(self, id: int) -> tuple[Octets, Callable[[], None]]:
        """The message, and what closes it again."""
        while True:
            try:
                blob = await self._store.blob_open(id)
            except (KeyError, Damaged):
                return Gone(), lambda: None
            except StoreUnavailable:
                await self._rest(TROUBLE)
            else:
                return blob, blob.close

    async def _put(self, notice: Notice, body: Octets) -> None:
        """Whatever it takes: nobody else knows that it is owed."""
        while True:
            try:
                await self._write(notice, body)
            except StoreUnavailable:
                await self._rest(TROUBLE)
            else:
                return

    async def _write(self, notice: Notice, body: Octets) -> None:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done = keeping(durable)
        if notice.length <= SMALL:
            octets = b"".join(notice.pieces(body))
            self._store.submit(notice.id, Kind.BLOB, b"", b"", octets, done)
            await durable
            await self._store.applied(notice.id)
            return
        spool = self._store.spool(notice.id, b"")
        try:
            for piece in notice.pieces(body):
                spool.write(piece)
                while spool.backlog() > BACKLOG:
                    await self._rest(WRITING)
        except BaseException:
            spool.abort()
            raise
        spool.finish(Kind.BLOB, b"", done)
        await durable
        await self._store.applied(notice.id)
