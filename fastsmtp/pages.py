"""The counters of all processes of a server: one shared file, a page for each process.

    page 0      the base: sums of what dead processes counted
    page 1 …    slot n of the supervisor's table; slot 1 alone in one process
    page        a header of HEADER cells (see `Place`), then the process's own cells
    at the end  NAMES names of NAME octets: whose cells are whose where the
                configuration names what is counted (hooks); the parent writes them

A cell has one writer, its process. Adding up at a scrape reads words that may be one
step apart, which no counter minds. When a process is dead, and only then, the parent
folds its page: counters move to the base, so that no sum ever goes back; gauges drop.

The file is made new by whoever starts the server and lies in the run directory. Its
blocks are allocated at once: a full disk must not kill a process that counts.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from fastsmtp.errors import FormatTooNew

MAGIC: Final = int.from_bytes(b"smtpcell", "big")
FORMAT: Final = 3
HEADER: Final = 24  # cells
EXCUSE: Final = 64  # octet of the header from which on a text stands
OCTET: Final = 8  # octets in a cell
NAMES: Final = 16
NAME: Final = 64  # octets
ROLES: Final = ("all", "supervise", "receive", "keep", "send", "read")


class Place(IntEnum):
    """Cells of a page's header. In page 0 the first two hold MAGIC and the layout."""

    PID = 0  # 0: no process
    EPOCH = 1
    ROLE = 2  # index in ROLES
    STARTED = 3  # milliseconds, wall clock
    STATE = 4  # index in STATES


STATES: Final = ("starting", "serving", "draining")


class Page(NamedTuple):
    """What stands in the header of a page in use.

    excuse  why it takes no mail; empty: it does
    """

    slot: int
    pid: int
    epoch: int
    role: str
    started: int
    state: str
    excuse: str


class Pages:
    """The mapped file. `path` must not exist on a network file system.

    cells  cells a process has; the same number must be given by all
    slots  processes at most
    """

    def __init__(self, file: int, cells: int, slots: int) -> None:
        self.cells = cells
        self.slots = slots
        self._page = self._octets(cells)
        self._names = self._page * (slots + 1)
        self._map = mmap.mmap(file, self._names + NAMES * NAME)
        self._all = memoryview(self._map).cast("q")

    @staticmethod
    def _octets(cells: int) -> int:
        """Of a page with its header."""
        return -(-(HEADER + cells) * OCTET // mmap.PAGESIZE) * mmap.PAGESIZE

    @classmethod
    def create(cls, path: Path, cells: int, slots: int) -> Pages:
        """Replace what an earlier server left at `path`. `OSError` as the disk says."""
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = cls._octets(cells) * (slots + 1) + NAMES * NAME
            os.posix_fallocate(file, 0, size)
            pages = cls(file, cells, slots)
        finally:
            os.close(file)
        head = pages._header(0)
        head[0], head[1], head[2], head[3] = MAGIC, FORMAT, cells, slots
        return pages

    @classmethod
    def open(cls, path: Path, cells: int) -> Pages:
        """Map the file that `create` made; `FormatTooNew` if its layout differs."""
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            head = memoryview(os.pread(file, 4 * OCTET, 0)).cast("q")
            if list(head[:3]) != [MAGIC, FORMAT, cells]:
                raise FormatTooNew(f"{path}: written by another version of fastsmtp")
            return cls(file, cells, head[3])
        finally:
            os.close(file)

    def _header(self, slot: int) -> memoryview[int]:
        first = slot * self._page // OCTET
        return self._all[first : first + HEADER]

    def _cells(self, slot: int) -> memoryview[int]:
        first = slot * self._page // OCTET + HEADER
        return self._all[first : first + self.cells]

    def claim(self, slot: int, role: str, epoch: int) -> memoryview[int]:
        """The calling process begins to count in `slot`, which must be folded."""
        head = self._header(slot)
        if not 0 < slot <= self.slots or head[Place.PID]:
            raise ValueError(f"slot {slot} is taken or does not exist")
        head[Place.EPOCH] = epoch
        head[Place.ROLE] = ROLES.index(role)
        head[Place.STARTED] = time.time_ns() // 1_000_000
        head[Place.STATE] = 0
        head[Place.PID] = os.getpid()
        return self._cells(slot)

    def tell(self, slot: int, state: str) -> None:
        """The process of this slot is now `starting`, `serving` or `draining`."""
        self._header(slot)[Place.STATE] = STATES.index(state)

    def excuse(self, slot: int, text: str) -> None:
        """The process of this slot takes no mail, and why; empty: it does again."""
        room = (HEADER * OCTET) - EXCUSE
        cut = text.encode()[:room].ljust(room, b"\0")
        first = slot * self._page + EXCUSE
        if self._map[first : first + room] != cut:
            self._map[first : first + room] = cut

    def names(self) -> list[str]:
        """Who has which place; "" is nobody."""
        first = self._names
        each = range(first, first + NAMES * NAME, NAME)
        return [self._map[at : at + NAME].rstrip(b"\0").decode() for at in each]

    def name(self, names: Iterable[str]) -> None:
        """Give each of these a place, by the parent before it starts who counts there.
        Who had one keeps it, so that counters stay whose they are; the place of one
        that is gone is taken only when no other is left."""
        wanted = list(names)
        known = self.names()
        free = [n for n, name in enumerate(known) if not name]
        free += [n for n, name in enumerate(known) if name and name not in wanted]
        for name in wanted:
            if name not in known:
                at = self._names + free.pop(0) * NAME
                self._map[at : at + NAME] = name.encode()[:NAME].ljust(NAME, b"\0")

    def _excuse_of(self, slot: int) -> str:
        first = slot * self._page
        octets = self._map[first + EXCUSE : first + HEADER * OCTET]
        return octets.rstrip(b"\0").decode(errors="replace")

    def fold(self, slot: int, gauges: Iterable[int]) -> None:
        """The process of this slot is dead: keep its counters, drop its `gauges`."""
        cells, base = self._cells(slot), self._cells(0)
        for place in gauges:
            cells[place] = 0
        for place, value in enumerate(cells.tolist()):
            if value:
                base[place] += value
                cells[place] = 0
        head = self._header(slot)
        for field in Place:
            head[field] = 0
        self.excuse(slot, "")

    def live(self) -> Iterator[Page]:
        """The slots in use."""
        for slot in range(1, self.slots + 1):
            pid, epoch, role, started, state = self._header(slot)[: len(Place)]
            if pid:
                excuse = self._excuse_of(slot)
                yield Page(
                    *(slot, pid, epoch, ROLES[role], started, STATES[state], excuse)
                )

    def sums(self, largest: Iterable[int] = ()) -> list[int]:
        """Every cell added over the base and all slots; of the places in `largest`,
        which say the same thing in several processes, the largest."""
        pages = [self._cells(0).tolist(), *(self.read(p.slot) for p in self.live())]
        total = list(map(sum, zip(*pages, strict=True)))
        for place in largest:
            total[place] = max(page[place] for page in pages)
        return total

    def read(self, slot: int) -> list[int]:
        """The cells of one slot."""
        return self._cells(slot).tolist()
