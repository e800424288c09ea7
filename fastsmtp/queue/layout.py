"""How the rows beside the entries are laid out, and making them anew.

1  no row `v`: one due row or lease for each message; counters by state alone
2  a row for each message and destination, and counters of destinations
"""

from typing import Final

from msgspec.structs import replace

from fastsmtp.queue.message import (
    Queued,
    Standing,
    State,
    decode_queued,
    encode_queued,
)
from fastsmtp.queue.moves import Move, rows
from fastsmtp.store import keys
from fastsmtp.store.base import Store

LAYOUT: Final = b"\x02"
PAGE: Final = 500
_DERIVED: Final = (b"d", b"l", b"c", b"g")
_ELSEWHERE: Final = 3  # in layout 1: at another server, when nothing could be sent


async def is_old(store: Store) -> bool:
    """Whether there are entries of an older layout; an empty queue has none."""
    if await store.get(keys.QUEUE, keys.QUEUE_LAYOUT) == LAYOUT:
        return False
    return bool(await store.scan(keys.QUEUE, keys.queued(0), keys.after(b"m"), 1))


async def upgrade(store: Store, now: int) -> int:
    """Bring the queue to this layout, before anything else works on it; how many
    entries were changed. Cut off by a crash it begins again.

    now  milliseconds, wall clock: what was held for want of a way out is due then
    """
    if await store.get(keys.QUEUE, keys.QUEUE_LAYOUT) == LAYOUT:
        return 0
    for prefix in _DERIVED:
        await _clear(store, prefix)
    changed, at, end = 0, keys.queued(0), keys.after(b"m")
    while page := await store.scan(keys.QUEUE, at, end, PAGE):
        move = Move()
        for key, value in page:
            queued = _released(decode_queued(value), now)
            move.puts.append((key, encode_queued(queued)))
            move.puts += rows(int.from_bytes(key[1:], "big"), queued).items()
            move.count(queued, 1)
            changed += 1
        await store.commit(keys.QUEUE, puts=move.puts, adds=move.adds)
        at = page[-1][0] + b"\0"
    await store.commit(keys.QUEUE, puts=[(keys.QUEUE_LAYOUT, LAYOUT)])
    return changed


async def _clear(store: Store, prefix: bytes) -> None:
    end = keys.after(prefix)
    while page := await store.scan(keys.QUEUE, prefix, end, PAGE):
        await store.commit(keys.QUEUE, deletes=[key for key, _ in page])


def _released(queued: Queued, now: int) -> Queued:
    """What rested because nothing could be sent, neither mail nor notice, is due."""
    stuck = (_ELSEWHERE, Standing.GIVEN_UP)
    if queued.state != State.HOLD:
        return queued
    targets = tuple(
        replace(target, standing=int(Standing.WAITING), due=now)
        if target.standing in stuck
        else target
        for target in queued.targets
    )
    tried = any(target.attempts for target in targets)
    state = State.DEFERRED if tried else State.SCHEDULED
    return replace(queued, state=state, due=now, targets=targets)
