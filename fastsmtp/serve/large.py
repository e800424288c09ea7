"""Header fields for a message that is in its file already.

Nothing in front of a body can be moved, so a large message that is given fields is
written once more, behind them. That costs a copy from the cache of the disk for a
message above `memory_per_message`, and nothing for any other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastsmtp.errors import StoreUnavailable
from fastsmtp.store.base import Kind, Spool

if TYPE_CHECKING:
    from fastsmtp.serve.guest import Client

PIECE: Final = 256 * 1024  # octets
BACKLOG: Final = 1024 * 1024  # octets on their way to the disk
PAUSE: Final = 0.002  # seconds between looks at it


@dataclass(frozen=True, slots=True)
class Large:
    """head: octets in front of the message in `spool`"""

    guest: Client
    spool: Spool
    head: int
    envelope: bytes

    def rewrite(self, fresh: Spool) -> None:
        """Copy the message behind what `fresh` has, and settle with the client. Who
        hangs up before that keeps the message."""
        task = asyncio.ensure_future(self._copy(fresh))
        self.guest.deciding = task

        def copied(task: asyncio.Future[None]) -> None:
            self.guest.deciding = None
            self.spool.abort()
            if not task.cancelled() and task.exception() is None:
                fresh.finish(Kind.MAIL, self.envelope, self.guest.settle)
                return
            fresh.abort()
            why = "the connection was lost" if task.cancelled() else task.exception()
            self.guest.settle(StoreUnavailable(str(why)))

        task.add_done_callback(copied)

    async def _copy(self, fresh: Spool) -> None:
        written = await self.spool.reread()
        for offset in range(self.head, written.length, PIECE):
            fresh.write(written.read(offset, PIECE))
            # A spool tells nobody when it has written.
            while fresh.backlog() > BACKLOG:  # noqa: ASYNC110
                await asyncio.sleep(PAUSE)
