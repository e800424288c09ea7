"""When mail was fetched, for servers where it does not stay for ever after that.

A row `f <mailbox> <uid>` is written when a session that retrieved the email ends well.
It outlives its email when another reader takes that away, until a session that has
rows to write comes by and `note`s it as gone: a UID never comes again, so it harms
nobody.
"""

from collections.abc import Iterable
from typing import Final

from fastsmtp.errors import Conflict
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Store

PAGE: Final = 1000  # rows in one scan or commit
TRIES: Final = 10


async def times(store: Store, part: int, mailbox: int) -> dict[int, int]:
    """UID -> second of the wall clock, of all that was fetched."""
    found: dict[int, int] = {}
    at = keys.fetched(mailbox, 0)
    end = keys.after(at[:-4])
    while page := await store.scan(part, at, end, PAGE):
        for key, value in page:
            found[int.from_bytes(key[5:], "big")] = int.from_bytes(value, "big")
        at = page[-1][0] + b"\x00"
    return found


async def note(
    store: Store,
    part: int,
    mailbox: int,
    *,
    new: Iterable[int],
    gone: Iterable[int],
    second: int,
) -> None:
    """Write rows of UIDs that were fetched at this second, drop those of others.

    Raises `Conflict` when the account changes all the time, `KeyError` when it is
    gone; what is not noted is noted when it is fetched again."""
    value = keys.u64(second)
    puts = [(keys.fetched(mailbox, uid), value) for uid in sorted(new)]
    deletes = [keys.fetched(mailbox, uid) for uid in sorted(gone)]
    for first in range(0, max(len(puts), len(deletes)), PAGE):
        page = slice(first, first + PAGE)
        await _commit(store, part, puts[page], deletes[page])


async def _commit(
    store: Store, part: int, puts: list[tuple[bytes, bytes]], deletes: list[bytes]
) -> None:
    """Nothing is written into what is left of an account that was removed."""
    for _ in range(TRIES):
        head = await store.get(part, keys.HEAD)
        if head is None:
            raise KeyError(part)
        try:
            await store.commit(
                part, checks=[Check(keys.HEAD, head)], puts=puts, deletes=deletes
            )
        except Conflict:
            continue
        return
    raise Conflict(f"account {part} changes all the time")
