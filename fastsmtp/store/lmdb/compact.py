"""Compaction: mostly dead segments are copied and removed, slowly.

A live body is appended to the keeper's own log as a MOVED record whose envelope is the
place it was copied from. That record is durable first; then the keeper applies it like
any other: the entry moves when it still is at that place, and with the last entry the
old segment dies and is unlinked after that commit. A crash between any two of these
steps leaves either the old place in force, or the new one; the copy that is not in
force holds no entry and dies with its segment.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fastsmtp.options import MIB
from fastsmtp.store.base import Kind
from fastsmtp.store.counts import Count
from fastsmtp.store.lmdb.blobs import Files, LogBlob
from fastsmtp.store.lmdb.index import Place, Segment, pack_place
from fastsmtp.store.lmdb.intake import Intake
from fastsmtp.store.record import (
    SEGMENT_HEADER,
    read_segment_header,
    recover,
    segment_name,
)

if TYPE_CHECKING:
    from fastsmtp.store.lmdb.keeper import Keeper

_AHEAD: Final = MIB  # octets that wait for a flush before copying pauses
_NAP: Final = 0.005  # seconds; the shortest pause that is worth a timer


class Compactor:
    """Laws: copies at most `compact_rate` octets a second; never copies a body whose
    checksum fails: its segment stays where it is."""

    def __init__(self, keeper: "Keeper", own: Intake) -> None:
        self._keeper = keeper
        self._own = own
        self._given_up: set[tuple[int, int]] = set()  # they hold damaged bodies
        self._files = Files(keeper.log)

    def choose(self) -> tuple[int, int] | None:
        """The sealed segment with the smallest share of live octets, if below."""
        below = self._keeper.options.compact_below / 100
        shares = [
            (row.live / max(1, row.end - SEGMENT_HEADER), name)
            for name, row in self._keeper.index.segments().items()
            if self._can_move(name, row)
        ]
        share, name = min(shares, default=(1.0, (0, 0)))
        return name if share < below else None

    def _can_move(self, name: tuple[int, int], row: Segment) -> bool:
        if not row.sealed or row.big or name in self._given_up:
            return False
        return row.entries > 0

    async def step(self) -> int:
        """Compact one segment, if one is to be; returns the octets copied."""
        name = self.choose()
        if name is None:
            return 0
        loop = asyncio.get_running_loop()
        end = self._keeper.index.segments()[name].end
        live = await loop.run_in_executor(None, self._live, name, end)
        if live is None:
            self._given_up.add(name)
            return 0
        copied = 0
        started = time.monotonic()
        for id, place in live:
            copied += await self._copy(id, place)
            due = started + copied / self._keeper.options.compact_rate
            if due - time.monotonic() > _NAP:
                await asyncio.sleep(due - time.monotonic())
        self._keeper.cells[Count.COMPACTED_OCTETS] += copied
        await self._own.visible()
        self._files.trim()
        return copied

    def _live(self, name: tuple[int, int], end: int) -> list[tuple[int, Place]] | None:
        """What of this segment has an entry, by offset; None if any of it is rotten."""
        live: list[tuple[int, Place]] = []
        offset, ended = SEGMENT_HEADER, False
        path = self._keeper.log / segment_name(*name)
        with path.open("rb") as file:
            salt = read_segment_header(file.read(SEGMENT_HEADER)).salt
            while not ended:
                found, rotten, offset, ended = recover(
                    file.fileno(), offset, salt, end, end
                )
                if rotten:
                    return None
                places = ((f, self._keeper.index.place(f.id)) for f in found)
                live += [
                    (f.id, place)
                    for f, place in places
                    if place is not None and place[:3] == (*name, f.body_offset)
                ]
        return live

    async def _copy(self, id: int, place: Place) -> int:
        if self._own.writer.backlog() > _AHEAD:
            await self._own.visible()
        blob = LogBlob(id, place, self._files.take(place))
        try:
            body = blob.read(0, blob.length)
        finally:
            blob.close()
        self._own.submit(id, Kind.MOVED, pack_place(*place), b"", body, _settled)
        return place.length


def _settled(error: Exception | None) -> None:
    """A copy that did not become durable is no loss: its entry stays where it was."""
