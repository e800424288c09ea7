"""One series of segments as the keeper sees it: what may be read, and how.

A series is written by one process life after the other; a life is known by its epoch.

    living   the writer told a durable position: its segments are read up to there,
             the earlier ones up to the end that the header of the next one names
    silent   a writer holds the lock of its segment but has told nothing yet: its
             life is left alone until it does
    dead     nobody holds the lock: its segments are flushed, then read with all
             checksums to the first record that does not validate
"""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastsmtp.errors import Damaged
from fastsmtp.store.lmdb.index import Position
from fastsmtp.store.record import (
    SEGMENT_HEADER,
    Found,
    Segment,
    is_locked,
    parse_name,
    read_segment_header,
    segment_name,
)

Place = tuple[int, int]
"""(segment, offset)."""


@dataclass(slots=True)
class Stretch:
    """A part of a segment that is to be applied.

    offset   where to go on
    limit    where it ends at most
    known    what is damaged below this is rot; above it, a torn end
    dead     its writer is dead: check everything
    final    nothing will follow in this segment
    """

    number: int
    fd: int
    salt: int
    offset: int
    limit: int
    known: int
    dead: bool
    final: bool

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Series:
    """Laws: nothing of a living writer is read past what it told; segments are applied
    in the order of their numbers, each from where the index says it was applied.

    told    the durable position of the living writer, None when there is none
    first   number of the first segment of the living writer
    known   the last position that a writer which then died had told
    """

    def __init__(self, log: Path, number: int, applied: Position) -> None:
        self.log = log
        self.number = number
        self.applied = applied
        self.told: Place | None = None
        self.first = 0
        self.known: Place = (0, 0)
        self.stale = True  # the plan must be made again
        self.silent = False  # a life that has told nothing holds its lock
        self.orphans_below = 0  # when all is read: look for orphans below this
        self.plan: deque[Stretch] = deque()

    def check_format(self) -> None:
        """Raises `FormatTooNew` when a segment that is not applied yet is newer."""
        numbers = (n for n, big in segments_of(self.log, self.number) if not big)
        self._headers(n for n in numbers if n >= self.applied.segment)

    def tell(self, place: Place, first: int) -> None:
        """The living writer is durable up to `place`. Called on the loop."""
        if self.told is not None and self.first != first:
            self.gone()  # a new life told before the end of the old one was seen
        changed = self.told is None or self.told[0] != place[0]
        self.first = first
        self.told = place
        if changed:  # said after the value: the writer thread reads them without a lock
            self.stale = True

    def gone(self) -> None:
        """The writer told its last. Called on the loop."""
        if self.told is not None:
            self.known = max(self.known, self.told)
        self.told = None
        self.stale = True

    def current(self) -> Stretch | None:
        """What to read next; None when there is nothing at present. Makes the plan
        again when it is stale, which does IO."""
        if self.stale:
            self.stale = False
            self._make_plan()
        if not self.plan:
            return None
        stretch = self.plan[0]
        told = self.told
        if not stretch.final and told is not None and told[0] == stretch.number:
            stretch.limit = told[1]
        if stretch.offset >= stretch.limit and not stretch.final:
            return None
        return stretch

    def at(self, stretch: Stretch, highest: int) -> None:
        """The stretch was read up to its offset."""
        highest = max(highest, self.applied.highest)
        self.applied = Position(stretch.number, stretch.offset, highest)

    def finish(self) -> None:
        """The first stretch was read to its end."""
        stretch = self.plan.popleft()
        stretch.close()
        self.applied = self.applied._replace(segment=stretch.number + 1, offset=0)

    def has_big(self, item: Found) -> bool:
        """Is the file of this large body there, and whole?"""
        path = self.log / segment_name(self.number, item.number, True)
        try:
            return path.stat().st_size >= item.body_offset + item.body_length
        except FileNotFoundError:
            return False

    def take_orphans(self) -> tuple[int, int] | None:
        """(series, below) once, when all lives that are dead have been read."""
        below = self.orphans_below
        if not below or any(stretch.dead for stretch in self.plan):
            return None
        self.orphans_below = 0
        return self.number, below

    def close(self) -> None:
        while self.plan:
            self.plan.pop().close()

    def reset(self, applied: Position) -> None:
        """What was read was not committed: begin again from there."""
        self.applied = applied
        self.stale = True

    def _make_plan(self) -> None:
        self.close()
        told = self.told
        numbers = sorted(segments_of(self.log, self.number))
        highest = max((n for n, _ in numbers), default=0)
        self.applied = self.applied._replace(highest=max(highest, self.applied.highest))
        headers = self._headers(n for n, big in numbers if not big)
        ends = {h.previous: h.previous_end for h in headers.values() if h.previous}
        living = headers[told[0]].epoch if told and told[0] in headers else None
        locked = self._locked_epochs(headers)
        self.silent = bool(locked - {living})
        self.orphans_below = 0
        if not self.silent:
            self.orphans_below = self.first if told else highest + 1
        for number, header in headers.items():
            if number < self.applied.segment or (told and number > told[0]):
                continue
            if header.epoch == living:
                self._plan_living(header, ends.get(number))
            elif header.epoch in locked:
                break
            else:
                self._plan_dead(header, ends.get(number))

    def _headers(self, numbers: Iterable[int]) -> dict[int, Segment]:
        """Headers of the segments that have one; a prepared file has none yet."""
        headers: dict[int, Segment] = {}
        for number in numbers:
            try:
                header = read_segment_header(self._start_of(number))
            except (Damaged, FileNotFoundError):
                continue
            if header.series == self.number and header.number == number:
                headers[number] = header
        return headers

    def _start_of(self, number: int) -> bytes:
        fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, SEGMENT_HEADER, 0)
        finally:
            os.close(fd)

    def _path(self, number: int) -> Path:
        return self.log / segment_name(self.number, number)

    def _locked_epochs(self, headers: dict[int, Segment]) -> set[int]:
        """The lives whose newest segment is locked."""
        newest = {header.epoch: number for number, header in headers.items()}
        return {e for e, n in newest.items() if is_locked(str(self._path(n)))}

    def _open(self, header: Segment) -> tuple[int, int]:
        """A descriptor, and where to go on in this segment."""
        number = header.number
        fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        if number == self.applied.segment:
            return fd, max(self.applied.offset, SEGMENT_HEADER)
        return fd, SEGMENT_HEADER

    def _plan_living(self, header: Segment, end: int | None) -> None:
        fd, offset = self._open(header)
        limit = offset if end is None else end
        self.plan.append(
            Stretch(
                *(header.number, fd, header.salt, offset, limit, limit),
                dead=False,
                final=end is not None,
            )
        )

    def _plan_dead(self, header: Segment, end: int | None) -> None:
        fd, offset = self._open(header)
        os.fdatasync(fd)
        known = offset
        if end is not None:
            known = end
        elif self.known[0] == header.number:
            known = self.known[1]
        limit = os.fstat(fd).st_size if end is None else end
        self.plan.append(
            Stretch(
                *(header.number, fd, header.salt, offset, limit, known),
                dead=True,
                final=True,
            )
        )


def segments_of(log: Path, series: int) -> list[tuple[int, bool]]:
    """(number, big) of the files of a series."""
    names = (parse_name(name) for name in os.listdir(log))
    return [(n[1], n[2]) for n in names if n is not None and n[0] == series]


def all_series(log: Path) -> set[int]:
    """Every series that has a file."""
    names = (parse_name(name) for name in os.listdir(log))
    return {n[0] for n in names if n is not None}
