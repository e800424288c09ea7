"""A mailbox as it is at one moment, in columns: what POP3 tells its clients of.

It never changes, so any number of sessions may look at one; `Drops` remembers those
that somebody still looks at, and gives them again while the mailbox is the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from fastsmtp.errors import Damaged
from fastsmtp.mailbox.mailbox import INBOX, Box
from fastsmtp.mailbox.values import decode_email
from fastsmtp.store import keys
from fastsmtp.store.base import Store

PAGE: Final = 1000  # emails read at once: some milliseconds of the loop's time

Pause = Callable[[], Awaitable[None]]


@dataclass(slots=True, weakref_slot=True, eq=False)
class Drop:
    """uids     of its emails, ascending
    sizes    octets of each, as a reader is given it
    blobs    the body of each
    offsets  octets of the body in front that are not part of it
    """

    part: int
    mailbox: int
    validity: int
    modseq: int
    uids: array[int] = field(default_factory=lambda: array("I"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    blobs: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("I"))

    async def read(self, store: Store, below: int, pause: Pause) -> None:
        """All emails with UIDs below this one; `pause` between two pages."""
        at, end = keys.uid(self.mailbox, 0), keys.uid(self.mailbox, below)
        while found := await store.scan(self.part, at, end, PAGE):
            numbers = [b"e" + value for _, value in found]
            emails = await store.get_each(self.part, numbers)
            for (key, _), data in zip(found, emails, strict=True):
                if data is not None:  # else it was expunged since
                    self._add(key, data)
            at = found[-1][0] + b"\x00"
            await pause()

    def _add(self, key: bytes, data: bytes) -> None:
        email = decode_email(data)
        self.uids.append(int.from_bytes(key[5:], "big"))
        self.sizes.append(email.size)
        self.blobs.append(email.blob)
        self.offsets.append(email.offset)


class Drops:
    """Those of one process; `pause` lets others have their turn."""

    def __init__(self, store: Store, pause: Pause) -> None:
        self._store = store
        self._pause = pause
        self._known: WeakValueDictionary[int, Drop] = WeakValueDictionary()

    async def open(self, part: int, mailbox: int = INBOX) -> Drop:
        """The mailbox as it is now. `KeyError` when there is none, `Damaged` when it
        cannot be read, `StoreUnavailable`."""
        head = await self._store.get(part, keys.HEAD)
        box = Box(
            *(part, mailbox, head),
            await self._store.get(part, keys.mailbox(mailbox)),
        )
        state = box.mailbox
        known, stands = self._known.get(part), (state.uidvalidity, state.modseq)
        if known is not None and (known.validity, known.modseq) == stands:
            return known
        drop = Drop(part, mailbox, state.uidvalidity, state.modseq)
        if state.uidvalidity >= 1 << 32:
            raise Damaged(f"account {part}: UIDVALIDITY {state.uidvalidity}")
        await drop.read(self._store, state.uidnext, self._pause)
        self._known[part] = drop
        return drop
