"""The format of the message log, and the readers of it; the writer is `msglog`.

The layout of both headers is drawn at the head of ext/store/record.pyx.

How a keeper reads a segment whose durable end it was told:

    header = read_segment_header(os.pread(fd, SEGMENT_HEADER, 0))
    offset = SEGMENT_HEADER
    need = MIB
    while need > 0:
        piece = os.pread(fd, max(need, MIB), offset)  # shorter than need: torn
        found, offset, need = scan(piece, offset, header.salt, durable)
        ... apply found ...
    # need == 0: all of it was read; need == -1: a record does not validate

At recovery the same loop is `recover`, which reads bodies too.
"""

from collections.abc import Callable
from typing import Final

FORMAT: Final[int]
"""The format version that this code writes and the newest that it reads."""

SEGMENT_HEADER: Final[int]
"""Octets of a segment's header; its first record begins there."""

RECORD_HEADER: Final[int]
"""Octets of a record's header; the envelope follows, then the body."""

BIG: Final[int]
"""Flag of a record: the body is in a file of its own, at offset `BIG_BODY` of segment
`Found.number`; the record holds its length and its checksum."""

BIG_BODY: Final[int]

class Segment:
    """A segment's header. Every segment but the first of a process life names the
    segment that its writer wrote before and where that one ended: nothing from
    `previous_end` on in it was ever acknowledged, nothing there may be applied."""

    series: int
    number: int
    epoch: int
    salt: int
    big: bool  # a file that holds exactly one body
    previous: int  # number of the segment before, 0 in the first of a life
    previous_end: int
    previous_failed: bool  # it ended by a failed write or sync

class Found:
    """A record whose header and envelope validate."""

    offset: int
    next_offset: int  # of the record behind it
    kind: int
    flags: int
    id: int
    sequence: int  # ascending in the life of a writer, with gaps
    envelope: bytes
    number: int  # segment that holds the body; 0: this one
    body_offset: int  # in that segment
    body_length: int
    body_crc: int  # CRC-32C of the body alone

class Rotten:
    """A stretch below the known durable position that fails its checksums.

    `found` is the record whose body alone is damaged, None if its header is, too."""

    offset: int
    next_offset: int
    found: Found | None

def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """CRC-32C (Castagnoli); give the result of one piece as `crc` of the next."""

def crc32c_portable(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """`crc32c` without the processor's instruction, as other machines compute it."""

def file_crc(fd: int, offset: int, length: int, crc: int = 0) -> int:
    """CRC-32C of a stretch of a file, read natively without the interpreter lock.

    `Damaged` when the file ends before; `OSError` as pread gives it."""

def read_segment_header(data: bytes | bytearray | memoryview) -> Segment:
    """`Damaged` when it is not one or fails its checksum; `FormatTooNew`."""

def scan(
    data: bytes | bytearray | memoryview,
    offset: int,
    salt: int,
    limit: int,
    most: int = 0xFFFFFFFF,
) -> tuple[list[Found], int, int]:
    """Parse the records in `data`, which was read from `offset` of a segment.

    `limit` is the durable end, `most` how many records are wanted. Checks headers and
    envelopes, never reads bodies: a record may end beyond `data`. Returns the records,
    the offset to go on from, and what is needed there: how many octets at least; 0, the
    limit is reached; -1, what stands there is not a record that ends at or below the
    limit."""

def recover(
    fd: int, offset: int, salt: int, known: int, limit: int, most: int = 1024
) -> tuple[list[Found], list[Rotten], int, bool]:
    """Read records with all checksums, bodies too (those in files of their own apart).

    known   the durable position that is known; what fails below it is rot: it is
            skipped and reported. What fails from there on is a torn end
    limit   where the segment ends at most: its size, or `previous_end` of the next
    most    records to return at once

    Returns the good records, the rotten stretches, the offset to go on from, and True
    when that is the end. A second call with that offset continues."""

def segment_name(series: int, number: int, big: bool = False) -> str:
    """`1-00000012.log`, or `.big` for a body in a file of its own."""

def parse_name(name: str) -> tuple[int, int, bool] | None:
    """(series, number, big) of a segment's file name; None for other names."""

def is_locked(path: str) -> bool:
    """Does a living writer hold this segment? `FileNotFoundError` if it is gone."""

def remove_orphans(
    directory: str, series: int, below: int, wanted: Callable[[int], bool]
) -> list[str]:
    """Remove what a dead writer of this series left behind: prepared segments, and
    bodies that no record refers to. Returns the names.

    below    only files with smaller numbers are looked at: the first number of the
             living writer of this series, or the highest number + 1. The lock alone
             does not tell: a writer makes a file first and locks it then
    wanted   does a record or the index refer to the body with this number? Ask only
             after all records of the dead writer have been read.

    Files that are locked are never touched."""
