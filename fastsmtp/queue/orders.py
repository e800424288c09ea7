"""What an operator may want of a queued message, as pure functions of its entry.

Each gives the entry as it is to be, or the same one when there is nothing to do.
"""

from collections.abc import Collection

from msgspec.structs import replace

from fastsmtp.queue.message import Queued, Standing, State, Target


def rested(queued: Queued, targets: tuple[Target, ...]) -> Queued:
    """The entry with these targets, in the state and with the due time they give."""
    waiting = [t for t in targets if t.standing == Standing.WAITING]
    state = queued.state
    if waiting and state != State.HOLD:
        tried = any(target.attempts for target in targets)
        state = State.DEFERRED if tried else State.SCHEDULED
    due = min((target.due for target in waiting), default=0)
    return replace(queued, state=state, due=due, targets=targets)


def held(queued: Queued) -> Queued:
    """Nothing is tried until it is released."""
    return replace(queued, state=State.HOLD)


def released(queued: Queued, now: int) -> Queued:
    """Off hold, and due."""
    if queued.state != State.HOLD:
        return queued
    return due_now(replace(queued, state=State.SCHEDULED), now)


def retried(queued: Queued, addresses: Collection[str], now: int) -> Queued:
    """These recipients are due now, whatever was planned for them; what is on hold
    stays there."""
    if queued.state == State.HOLD:
        return queued
    targets = tuple(
        replace(target, due=min(target.due, now))
        if target.standing == Standing.WAITING and target.address in addresses
        else target
        for target in queued.targets
    )
    return rested(queued, targets)


def due_now(queued: Queued, now: int) -> Queued:
    """The same for all who wait."""
    waiting = {t.address for t in queued.targets if t.standing == Standing.WAITING}
    return retried(queued, waiting, now)


def moved(queued: Queued, via: str, now: int) -> Queued:
    """To another next hop, for all who wait: at once, for they may have waited for the
    old one. "" is again the one that the tables give."""
    if queued.via == via:
        return queued
    return due_now(replace(queued, via=via), now)


def given_up(queued: Queued, addresses: Collection[str], error: str) -> Queued:
    """These recipients wait no more."""
    targets = tuple(
        replace(target, standing=int(Standing.GIVEN_UP), error=error)
        if target.standing == Standing.WAITING and target.address in addresses
        else target
        for target in queued.targets
    )
    after = rested(queued, targets)
    if after.state == State.HOLD and not waits(after):
        # What is left is to clear its marks, and nobody does that to what is on hold.
        after = replace(after, state=State.DEFERRED)
    return after


def waits(queued: Queued) -> bool:
    return any(target.standing == Standing.WAITING for target in queued.targets)
