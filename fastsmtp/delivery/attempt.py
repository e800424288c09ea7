"""What came of an attempt, and what follows for the entry: pure.

An attempt is at one message for one destination. Its answers are replies of the next
hop, or stand for one.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.queue import backoff
from fastsmtp.queue.message import Queued, Standing, Target
from fastsmtp.queue.moves import Move
from fastsmtp.queue.orders import rested
from fastsmtp.smtp.letter import Answer
from fastsmtp.store import keys

LONGEST_ERROR: Final = 300  # characters an entry keeps of what an attempt said


@dataclass(slots=True)
class Attempt:
    """answers    by the address of the target
    transport  as in `delivery.counts.TRANSPORTS`
    hop, host  the next hop and the very server that answered; "" for none
    reached    False: the next hop itself is in trouble, whatever is sent there
    seconds    how long it took
    offers_dsn the next hop tells the sender itself (RFC 3461 section 5.2.2)
    done, marks, more   of an attempt here: accounts that have their copy, the marks
               that say so, and addresses that are to be tried as well
    notices    what sends those that follow from it; None: not known yet
    """

    id: int
    destination: str
    answers: dict[str, Answer]
    transport: str = "smtp"
    hop: str = ""
    host: str = ""
    reached: bool = True
    seconds: float = 0.0
    offers_dsn: bool = False
    done: tuple[int, ...] = ()
    marks: tuple[tuple[int, str], ...] = ()
    more: tuple[Target, ...] = ()
    notices: Move | None = None

    @property
    def here(self) -> bool:
        """Whether it was at mailboxes of ours."""
        return self.transport == "local"


class Changed(NamedTuple):
    """A target that this attempt moved, and the answer that did."""

    target: Target
    answer: Answer


@dataclass(slots=True)
class After:
    """The entry after an attempt.

    changed   targets that were tried, as they stand now
    late      it has waited so long that the sender is told, now
    """

    queued: Queued
    changed: list[Changed] = field(default_factory=list)
    late: bool = False


class Terms(NamedTuple):
    """now      milliseconds, wall clock
    trusted  whether that clock is to be believed, see `queue.timing`
    """

    now: int
    trusted: bool
    options: DeliveryOptions


def settle(id: int, queued: Queued, attempt: Attempt, terms: Terms) -> After:
    """How the message stands after the attempt. Answers of targets that no longer
    wait say nothing new."""
    after = After(queued)
    targets = []
    for target in queued.targets:
        answer = attempt.answers.get(target.address)
        if answer is not None and target.standing == Standing.WAITING:
            target = _moved(id, queued, target, (answer, attempt.hop), terms)
            after.changed.append(Changed(target, answer))
        targets.append(target)
    known = {target.address for target in targets}
    targets += [target for target in attempt.more if target.address not in known]
    waiting = any(c.target.standing == Standing.WAITING for c in after.changed)
    after.late = waiting and is_late(queued, terms)
    after.queued = replace(
        rested(queued, tuple(targets)),
        done=tuple(dict.fromkeys((*queued.done, *attempt.done))),
        marks=tuple(dict.fromkeys((*queued.marks, *attempt.marks))),
        warned=queued.warned or after.late,
    )
    return after


def _moved(
    id: int, queued: Queued, target: Target, said: tuple[Answer, str], terms: Terms
) -> Target:
    answer, hop = said
    attempts = target.attempts + 1
    standing, due = Standing.WAITING, 0
    if answer.accepted:
        standing = Standing.DELIVERED
    elif answer.permanent or expired(queued, terms):
        standing = Standing.GIVEN_UP
    else:
        chance = backoff.chance_of(id + attempts)
        due = terms.now + backoff.pause(attempts, chance, terms.options.retry)
        if terms.now < queued.envelope.by < due:
            due = queued.envelope.by  # the last attempt is at the deadline
    error = "" if answer.accepted else str(answer)[:LONGEST_ERROR]
    return replace(
        target,
        standing=int(standing),
        attempts=attempts,
        due=due,
        error=error,
        hop=hop or target.hop,
    )


def expired(queued: Queued, terms: Terms) -> bool:
    """Whether a failure now is the last one: it is too old, or behind its deadline
    (RFC 2852 section 4.1.3: mode R)."""
    if not terms.trusted:
        return False
    envelope, now = queued.envelope, terms.now
    if envelope.by and now >= envelope.by and envelope.by_mode.startswith("R"):
        return True
    since = max(envelope.arrived, envelope.release)
    return now - since >= 1000 * terms.options.give_up


def is_late(queued: Queued, terms: Terms) -> bool:
    """Whether the sender is to be told that it waits, and was not."""
    if queued.warned or not terms.trusted:
        return False
    envelope, now = queued.envelope, terms.now
    if envelope.by and now >= envelope.by:
        return True  # mode N: it goes on, and the sender is told
    after = terms.options.delay_warning
    since = max(envelope.arrived, envelope.release)
    return after > 0 and now - since >= 1000 * after


def marks_of(queued: Queued, id: int) -> list[tuple[int, bytes]]:
    """Partition and key of each mark that must go before the entry does."""
    return [(part, keys.delivered(id, address)) for part, address in queued.marks]
