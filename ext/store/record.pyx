"""The format of the message log, and its readers; their face is record.pyi.

All numbers are little-endian. A segment is a header and records back to back, each at a
multiple of 8; behind the last one stand zeros (segments are filled ahead of need) or
whatever a torn write left.

Segment header, 64 octets:

     0  magic "FSMTPLOG"          24  salt, random, u64
     8  format version u16        32  where the previous segment ended u64
    10  series u16                40  number of the previous segment u32, 0 is none
    12  number u32                44  flags u32: 1 a body of its own, 2 the previous
    16  epoch u64                     segment ended by a failure
                                  48  zeros; 60  CRC-32C of octets 0-59

Record header, 64 octets, then the envelope, then the body, then zeros up to a multiple
of 8:

     0  magic "REC1"              32  octets of envelope u32
     4  kind u8                   36  CRC-32C of the envelope
     5  flags u8: 1 body in its   40  CRC-32C of the body
        own file                  44  segment of the body u32, 0 is this one
     6  zeros                     48  mark u64: of the salt and of the place
     8  id u64                    56  zeros
    16  sequence u64              60  CRC-32C of the salt and octets 0-59
    24  octets of body u64

The mark makes a record valid in one place of one file: zeros, leftovers of another life
of the same blocks and bodies that imitate a record never validate, and a search for the
next record after a rotten one cannot be led astray by what strangers wrote. Envelope
and body have their own checksums, so that a keeper applies envelopes without reading
bodies, and a body's checksum stays the same when the body is moved.

A body in a file of its own is there as one record with an empty envelope, so that it
begins at octet 128; the record in the log has the same id, length and checksum.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport pread

import fcntl
import os
import re

from fastsmtp.errors import Damaged, FormatTooNew

cimport crc32c as checksum
cimport logformat
from logformat cimport RecordHead, SegmentHead

FORMAT = logformat.FORMAT
SEGMENT_HEADER = logformat.SEGMENT_HEADER
RECORD_HEADER = logformat.RECORD_HEADER
BIG = logformat.BODY_BIG
BIG_BODY = logformat.SEGMENT_HEADER + logformat.RECORD_HEADER

cdef enum:
    WINDOW = 1 << 20  # octets read at once
    PAGE = 4096  # octets given up at once when the medium cannot read them

_NAME = re.compile(r"([0-9]{1,5})-([0-9]{8,10})\.(log|big)")
_UNNAMED = re.compile(r"([0-9]{1,5})-([0-9]{8,10})\.(?:new|ready)")

checksum.crc32c_begin()


cdef class Segment:
    """See the .pyi."""

    cdef readonly uint16_t series
    cdef readonly uint32_t number
    cdef readonly uint64_t epoch
    cdef readonly uint64_t salt
    cdef readonly bint big
    cdef readonly uint32_t previous
    cdef readonly uint64_t previous_end
    cdef readonly bint previous_failed


cdef class Found:
    """See the .pyi."""

    cdef readonly uint64_t offset
    cdef readonly uint64_t next_offset
    cdef readonly uint8_t kind
    cdef readonly uint8_t flags
    cdef readonly uint64_t id
    cdef readonly uint64_t sequence
    cdef readonly bytes envelope
    cdef readonly uint32_t number
    cdef readonly uint64_t body_offset
    cdef readonly uint64_t body_length
    cdef readonly uint32_t body_crc

    def __repr__(self):
        return f"<record {self.id:x} kind {self.kind} at {self.offset}>"


cdef class Rotten:
    """See the .pyi."""

    cdef readonly uint64_t offset
    cdef readonly uint64_t next_offset
    cdef readonly Found found


cdef Found _found(const RecordHead* head, const char* data, uint64_t offset):
    """The record at `data`, whose header and envelope are valid."""
    cdef Found found = Found.__new__(Found)
    cdef uint64_t envelope = head.envelope_length
    found.offset = offset
    found.next_offset = offset + logformat.record_size(
        envelope, logformat.inline_body(head)
    )
    found.kind = head.kind
    found.flags = head.flags
    found.id = head.id
    found.sequence = head.sequence
    found.envelope = PyBytes_FromStringAndSize(
        data + logformat.RECORD_HEADER, <Py_ssize_t>envelope
    )
    found.number = head.number
    found.body_length = head.body_length
    found.body_crc = head.body_crc
    if head.flags & logformat.BODY_BIG:
        found.body_offset = logformat.SEGMENT_HEADER + logformat.RECORD_HEADER
    else:
        found.body_offset = offset + logformat.RECORD_HEADER + envelope
    return found


def crc32c(data, uint32_t crc=0):
    """See the .pyi."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            crc = checksum.crc32c(crc, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return crc


def crc32c_portable(data, uint32_t crc=0):
    """See the .pyi."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        crc = checksum.crc32c_portable(crc, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return crc


def read_segment_header(data):
    """See the .pyi."""
    cdef const uint8_t[::1] view = data
    cdef SegmentHead head
    cdef Segment segment
    if view.shape[0] < logformat.SEGMENT_HEADER:
        raise Damaged("the segment is shorter than its header")
    memcpy(&head, &view[0], sizeof(head))
    if memcmp(head.magic, b"FSMTPLOG", 8) != 0:
        raise Damaged("this is not a segment of a message log")
    # the place of the checksum is the same in every version
    if head.check != checksum.crc32c(0, &head, logformat.SEGMENT_HEADER - 4):
        raise Damaged("the segment's header fails its checksum")
    if head.version > logformat.FORMAT:
        raise FormatTooNew(
            f"the segment has format {head.version}, this is {logformat.FORMAT}"
        )
    segment = Segment.__new__(Segment)
    segment.series = head.series
    segment.number = head.number
    segment.epoch = head.epoch
    segment.salt = head.salt
    segment.big = (head.flags & logformat.SEGMENT_BIG) != 0
    segment.previous = head.previous
    segment.previous_end = head.previous_end
    segment.previous_failed = (head.flags & logformat.SEGMENT_AFTER_FAILURE) != 0
    return segment


def scan(
    data, uint64_t offset, uint64_t salt, uint64_t limit, uint32_t most=0xFFFFFFFF
):
    """See the .pyi."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return _scan(
            <const char*>view.buf, <uint64_t>view.len, offset, salt, limit, most
        )
    finally:
        PyBuffer_Release(&view)


cdef tuple _scan(
    const char* data, uint64_t size, uint64_t offset, uint64_t salt, uint64_t limit,
    uint32_t most,
):
    cdef list records = []
    cdef RecordHead head
    cdef Found found
    cdef uint64_t at = 0
    cdef int64_t need = 0
    while offset < limit:
        if at > size or <uint32_t>len(records) == most:
            need = logformat.RECORD_HEADER
            break
        need = logformat.open_record(
            data + at, size - at, limit - offset, offset, salt, &head
        )
        if need != 0:
            break
        found = _found(&head, data + at, offset)
        records.append(found)
        at += found.next_offset - offset
        offset = found.next_offset
    if offset >= limit:
        need = 0 if offset == limit else -1
    return records, offset, need


# Reading a file through a window, natively

cdef struct Window:
    int fd
    int error  # errno of the last read that failed
    char* data
    uint64_t start  # place in the file of data[0]
    uint64_t size  # octets in data


cdef int64_t _read_at(
    int fd, char* data, uint64_t size, uint64_t offset
) noexcept nogil:
    """Octets read, fewer only at the end of the file; -errno."""
    cdef uint64_t done = 0
    cdef ssize_t n
    while done < size:
        n = pread(fd, data + done, size - done, <int64_t>(offset + done))
        if n < 0 and errno == EINTR:
            continue
        if n < 0:
            return -errno
        if n == 0:
            break
        done += n
    return done


cdef int64_t _read_around(Window* w, uint64_t offset) noexcept nogil:
    """Read page by page; what the medium cannot give becomes zeros, never valid."""
    cdef uint64_t done = 0
    cdef int64_t n
    while done < WINDOW:
        n = _read_at(w.fd, w.data + done, PAGE, offset + done)
        if n == -EIO:
            memset(w.data + done, 0, PAGE)
            n = PAGE
        if n < 0:
            return n
        done += n
        if n < PAGE:
            break
    return done


cdef const char* _view(Window* w, uint64_t offset, uint64_t size) noexcept nogil:
    """`size` (at most WINDOW) octets at `offset`; NULL when they cannot be had."""
    cdef int64_t n
    if offset < w.start or offset + size > w.start + w.size:
        n = _read_at(w.fd, w.data, WINDOW, offset)
        if n == -EIO:
            n = _read_around(w, offset)
        w.start = offset
        w.size = 0 if n < 0 else n
        w.error = 0 if n >= 0 else <int>-n
        if size > w.size:
            return NULL
    return w.data + (offset - w.start)


cdef int _sum(
    Window* w, uint64_t offset, uint64_t length, uint32_t* crc
) noexcept nogil:
    """CRC-32C of a stretch, on top of *crc; 0, or -1 when it cannot be read whole."""
    cdef const char* data
    cdef uint64_t piece
    while length:
        piece = min(length, <uint64_t>WINDOW)
        if offset < w.start + w.size and offset >= w.start:
            piece = min(length, w.start + w.size - offset)
        data = _view(w, offset, piece)
        if data == NULL:
            return -1
        crc[0] = checksum.crc32c(crc[0], data, piece)
        offset += piece
        length -= piece
    return 0


cdef bint _opens(
    Window* w, uint64_t offset, uint64_t limit, uint64_t salt, RecordHead* head
) noexcept nogil:
    """Is a record with a valid header here? Its envelope is checked apart: it may be
    larger than the window."""
    cdef uint64_t room = limit - offset
    cdef const char* data
    if room < logformat.RECORD_HEADER:
        return False
    data = _view(w, offset, logformat.RECORD_HEADER)
    if data == NULL:
        return False
    # available == RECORD_HEADER: an envelope that is not empty asks for more
    return logformat.open_record(
        data, logformat.RECORD_HEADER, room, offset, salt, head
    ) >= 0


cdef uint64_t _search(
    Window* w, uint64_t offset, uint64_t limit, uint64_t salt, RecordHead* head
) noexcept nogil:
    """The place of the next record, or `limit`."""
    offset += 8
    while offset < limit:
        if _opens(w, offset, limit, salt, head):
            return offset
        offset += 8
    return limit


cdef int _check(Window* w, uint64_t offset, const RecordHead* head) noexcept nogil:
    """0: envelope and body are whole; 1: the envelope is not; 2: the body is not."""
    cdef uint32_t crc = 0
    offset += logformat.RECORD_HEADER
    if _sum(w, offset, head.envelope_length, &crc) < 0 or crc != head.envelope_crc:
        return 1
    crc = 0
    if head.flags & logformat.BODY_BIG:
        return 0
    offset += head.envelope_length
    if _sum(w, offset, head.body_length, &crc) < 0 or crc != head.body_crc:
        return 2
    return 0


def file_crc(int fd, uint64_t offset, uint64_t length, uint32_t crc=0):
    """See the .pyi."""
    cdef Window w
    cdef int result
    w.fd, w.error, w.start, w.size = fd, 0, 0, 0
    w.data = <char*>malloc(WINDOW)
    if w.data == NULL:
        raise MemoryError
    with nogil:
        result = _sum(&w, offset, length, &crc)
    free(w.data)
    if w.error:
        raise OSError(w.error, os.strerror(w.error))
    if result < 0:
        raise Damaged(f"the file ends before octet {offset + length}")
    return crc


def recover(
    int fd, uint64_t offset, uint64_t salt, uint64_t known, uint64_t limit,
    int most=1024,
):
    """See the .pyi."""
    cdef Window w
    w.fd, w.error, w.start, w.size = fd, 0, 0, 0
    w.data = <char*>malloc(WINDOW)
    if w.data == NULL:
        raise MemoryError
    try:
        return _recover(&w, offset, salt, min(known, limit), limit, most)
    finally:
        free(w.data)


cdef tuple _recover(
    Window* w, uint64_t offset, uint64_t salt, uint64_t known, uint64_t limit, int most
):
    cdef list records = [], rotten = []
    cdef RecordHead head
    cdef Found found
    cdef Rotten rot
    cdef int state
    cdef bint ended = False
    while len(records) + len(rotten) < most:
        state = -1
        with nogil:
            if offset < limit and _opens(w, offset, limit, salt, &head):
                state = _check(w, offset, &head)
        if w.error:
            raise OSError(w.error, os.strerror(w.error))
        if state == 0:
            found = _whole(w, offset, &head)
            records.append(found)
            offset = found.next_offset
            continue
        if offset >= known:
            ended = True
            break
        rot = _skip(w, offset, salt, known, &head, state)
        rotten.append(rot)
        offset = rot.next_offset
    return records, rotten, offset, ended


cdef Found _whole(Window* w, uint64_t offset, const RecordHead* head):
    """The record here, its envelope copied from the file."""
    cdef uint64_t size = logformat.RECORD_HEADER + <uint64_t>head.envelope_length
    cdef const char* data
    cdef bytes copy
    if size <= WINDOW:
        data = _view(w, offset, size)
        if data == NULL:
            raise Damaged(f"the segment changed at octet {offset} while it was read")
        return _found(head, data, offset)
    copy = os.pread(w.fd, size, offset)
    if <uint64_t>len(copy) < size:
        raise Damaged(f"the segment changed at octet {offset} while it was read")
    return _found(head, copy, offset)


cdef Rotten _skip(
    Window* w, uint64_t offset, uint64_t salt, uint64_t known, const RecordHead* head,
    int state,
):
    """What is wrong at `offset`, below the known durable position, and how far."""
    cdef Rotten rot = Rotten.__new__(Rotten)
    cdef RecordHead next_head
    cdef uint64_t place
    rot.offset = offset
    if state < 0:
        with nogil:
            place = _search(w, offset, known, salt, &next_head)
        rot.next_offset = place
        return rot
    rot.next_offset = offset + logformat.record_size(
        head.envelope_length, logformat.inline_body(head)
    )
    if state == 2:
        rot.found = _whole(w, offset, head)
    return rot


# Names

def segment_name(int series, uint32_t number, bint big=False):
    """See the .pyi."""
    return f"{series}-{number:08d}.{'big' if big else 'log'}"


def parse_name(str name):
    """See the .pyi."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), int(match[2]), match[3] == "big"


def is_locked(str path):
    """See the .pyi."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # a moment's shared lock: writers take theirs with waiting
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove_orphans(str directory, int series, uint32_t below, wanted):
    """See the .pyi."""
    removed = []
    for name in sorted(os.listdir(directory)):
        if not _is_orphan(name, series, below, wanted):
            continue
        path = os.path.join(directory, name)
        try:
            if is_locked(path):
                continue
            os.unlink(path)
        except FileNotFoundError:  # its writer gave it up meanwhile
            continue
        removed.append(name)
    return removed


def _is_orphan(name, series, below, wanted):
    made = _UNNAMED.fullmatch(name)
    if made is not None:
        return int(made[1]) == series and int(made[2]) < below
    place = parse_name(name)
    if place is None or place[0] != series or not place[2]:
        return False
    return place[1] < below and not wanted(place[1])
