"""Reading bodies out of the log, by pread on descriptors that are kept open.

A body has a place only until the compactor moves it. When the file of a place is gone,
the place is looked up again; a descriptor that is open stays good.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from fastsmtp.errors import Damaged
from fastsmtp.store.base import Blob
from fastsmtp.store.lmdb.index import Index, Place
from fastsmtp.store.record import file_crc, segment_name

OPEN_FILES: Final = 64


class SegmentFile:
    """An open segment and how many readers it has; closed when both let go."""

    __slots__ = ("fd", "kept", "users")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0
        self.kept = True

    def let_go(self) -> None:
        self.users -= 1
        self._close_unused()

    def drop(self) -> None:
        self.kept = False
        self._close_unused()

    def _close_unused(self) -> None:
        if not self.kept and not self.users and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Files:
    """Open segments, the least recently used one dropped first."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._open: OrderedDict[str, SegmentFile] = OrderedDict()

    def take(self, place: Place) -> SegmentFile:
        """Raises `FileNotFoundError` when the segment is gone."""
        name = segment_name(place.series, place.segment, place.big == 1)
        file = self._open.get(name)
        if file is None:
            fd = os.open(self.log / name, os.O_RDONLY | os.O_CLOEXEC)
            file = self._open[name] = SegmentFile(fd)
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].drop()
        else:
            self._open.move_to_end(name)
        file.users += 1
        return file

    def trim(self) -> None:
        """Let go of segments that were unlinked: their space is free after that."""
        for name, file in list(self._open.items()):
            if os.fstat(file.fd).st_nlink == 0:
                del self._open[name]
                file.drop()

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].drop()


class LogBlob:
    """An open body. Besides the contract: `fileno()` and `offset`, for sendfile."""

    __slots__ = ("_file", "crc", "id", "length", "offset")

    def __init__(self, id: int, place: Place, file: SegmentFile) -> None:
        self.id = id
        self.length = place.length
        self.offset = place.offset
        self.crc = place.crc
        self._file: SegmentFile | None = file

    def fileno(self) -> int:
        if self._file is None:
            raise ValueError("the blob is closed")
        return self._file.fd

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self.length - offset)
        if size <= 0:
            return b""
        data = os.pread(self.fileno(), size, self.offset + offset)
        while len(data) < size:
            more = os.pread(
                self.fileno(), size - len(data), self.offset + offset + len(data)
            )
            if not more:
                raise Damaged(f"blob {self.id:x}: its segment ends before it does")
            data += more
        return data

    def verify(self) -> None:
        crc = file_crc(self.fileno(), self.offset, self.length)
        if crc != self.crc:
            raise Damaged(f"blob {self.id:x}: checksum {crc:08x} is not {self.crc:08x}")

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.let_go()

    def __del__(self) -> None:
        self.close()


def open_blob(id: int, find: Callable[[int], Place | None], files: Files) -> LogBlob:
    """Raises `KeyError` when no blob has this id, `Damaged` when its file is gone."""
    last: Place | None = None
    while True:
        place = find(id)
        if place is None:
            raise KeyError(id)
        try:
            return LogBlob(id, place, files.take(place))
        except FileNotFoundError:
            if last is not None and last[:3] == place[:3]:
                raise Damaged(
                    f"blob {id:x}: segment {place.series}-{place.segment} is gone"
                ) from None
            last = place


def open_blobs(ids: Sequence[int], index: Index, files: Files) -> list[Blob | None]:
    """Many at once; None for one that is not there or whose file is gone."""
    places = index.places_of(ids)
    found: list[Blob | None] = []
    for id in ids:
        place = places.get(id)
        try:
            found.append(place and LogBlob(id, place, files.take(place)))
        except FileNotFoundError:  # it was moved since, or is lost
            found.append(_opened(id, index, files))
    return found


def _opened(id: int, index: Index, files: Files) -> Blob | None:
    try:
        return open_blob(id, index.place, files)
    except (KeyError, Damaged):
        return None
