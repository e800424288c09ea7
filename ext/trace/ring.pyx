"""Ring files of what became of messages, written without a system call; see ring.pyi.

    file    a page: magic, format, salt, lap and place of the next record; then records
    record  `Head`, two counts, so many numbers of 8 octets, so many texts, each behind
            two octets that say how long it is; padded to a multiple of 8 octets

Laws
- A record says in its head where it stands, and its checksum covers that and begins
  with the file's salt. So a reader needs no order and no lock: what is torn, half
  overwritten or made up by a stranger does not validate, and the next record is found
  by looking at every eighth octet.
- One process writes a file. It is mapped as a whole and gets its blocks a piece at a
  time, so that a quiet server keeps little and a full disk kills nobody: the ring then
  stays as large as it is.
- Nothing is synced: what a crash of the machine takes is a trace, not a message.
- What comes from refusals has a ring of its own: a flood of them must not push out what
  became of mail.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.fcntl cimport posix_fallocate
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

cimport crc32c as checksum

import os

from fastsmtp.errors import Damaged, FormatTooNew

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    FIRST = 4096  # octets before the records
    STEP = 1 << 20  # octets a file grows by
    FORMAT = 1
    TEXT_MOST = 256  # octets kept of a text
    COUNTS = 8  # octets of the two counts behind the head
    CARD = 6  # texts of a card
    SHARE = 4  # the ring of refusals is this part of the other's size

cdef enum Kind:
    K_ACCEPTED = 1
    K_REFUSED
    K_DROPPED
    K_AWAY
    K_APPLIED
    K_ATTEMPT
    K_MOVED

cdef struct Head:
    uint32_t length  # with this head; a multiple of 8
    uint32_t check  # of all that is behind it
    uint32_t lap
    uint32_t place  # from the first record on, divided by 8
    uint64_t id  # 0: the message had none yet
    uint64_t stamp  # milliseconds of the wall clock << 8 | kind

cdef struct First:
    uint64_t magic
    uint32_t format
    uint32_t salt
    uint64_t next  # lap << 32 | place / 8

cdef uint64_t MAGIC = 0x316563617274662D  # "-ftrace1"

ACCEPTED, REFUSED, DROPPED, AWAY = K_ACCEPTED, K_REFUSED, K_DROPPED, K_AWAY
APPLIED, ATTEMPT, MOVED = K_APPLIED, K_ATTEMPT, K_MOVED
Row = tuple  # what it holds is in the .pyi

checksum.crc32c_begin()


cdef inline int64_t now_ms() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <int64_t> t.tv_sec * 1000 + t.tv_nsec // 1_000_000


cdef inline uint32_t sum_of(const Head *head, uint32_t salt) noexcept nogil:
    return checksum.crc32c(salt, &head.lap, head.length - 8)


cdef inline const Head *record_at(
    const uint8_t *records, uint64_t place, uint64_t room, uint32_t salt
) noexcept nogil:
    """The record at `place`, a multiple of 8; NULL: there is none."""
    cdef const Head *head = <const Head *> (records + place)
    cdef uint64_t length
    if room - place < sizeof(Head) + COUNTS or head.place != place >> 3:
        return NULL
    length = head.length
    if length & 7 or not sizeof(Head) + COUNTS <= length <= DRAFT:
        return NULL
    if length > room - place or head.check != sum_of(head, salt):
        return NULL
    return head


cdef int open_ring(Ring *ring, str path, uint64_t most) except -1:
    """Go on in the file, or make it. `OSError`, `FormatTooNew`."""
    cdef int file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    cdef void *at
    cdef First *first
    ring.file = file
    ring.mapped = ring.limit = max(<uint64_t> DRAFT, most & ~<uint64_t> 4095)
    if os.fstat(file).st_size > FIRST + ring.mapped:
        os.ftruncate(file, FIRST + ring.mapped)
    os.posix_fallocate(file, 0, FIRST)
    ring.room = (os.fstat(file).st_size - FIRST) & ~<uint64_t> 4095
    at = mmap(NULL, FIRST + ring.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
    if at is MAP_FAILED:
        raise OSError(12, "cannot be mapped", path)
    ring.map = <uint8_t *> at
    first = <First *> at
    if first.magic != MAGIC:
        memset(at, 0, FIRST)
        first.magic, first.format = MAGIC, FORMAT
        first.salt = int.from_bytes(os.urandom(4), "little")
    if first.format != FORMAT:
        raise FormatTooNew(f"{path}: written by another version of fastsmtp")
    ring.salt, ring.lap = first.salt, first.next >> 32
    ring.place, ring.clear = (first.next & 0xFFFFFFFF) << 3, 0
    if ring.place > ring.room:
        ring.place, ring.lap = 0, ring.lap + 1
    return 0


cdef void close_ring(Ring *ring) noexcept:
    if ring.map is not NULL:
        munmap(ring.map, FIRST + ring.mapped)
    if ring.file >= 0:
        os.close(ring.file)
    ring.map = NULL
    ring.file = -1


cdef bint make_room(Ring *ring, uint64_t length) noexcept nogil:
    """See that a record fits at `place`; False: the ring is too small for it."""
    cdef uint64_t step
    if ring.place + length > ring.room and ring.room < ring.limit:
        step = min(<uint64_t> STEP, ring.limit - ring.room)
        if posix_fallocate(ring.file, FIRST + ring.room, step) == 0:
            ring.room += step
        else:  # a full disk: go round in what there is
            ring.limit = ring.room
    if ring.place + length > ring.room:
        memset(ring.map + FIRST + ring.place, 0, ring.room - ring.place)
        ring.place = ring.clear = 0
        ring.lap += 1
    return length <= ring.room


cdef void wipe(Ring *ring, int64_t before, uint64_t most) noexcept nogil:
    """Go on from where the last call came to, and stop at what is not that old."""
    cdef uint64_t place = ring.place + ring.clear
    cdef const Head *head
    cdef uint64_t length, i
    while most >= 8 and ring.clear < ring.room:
        if place >= ring.room:
            place -= ring.room
        head = record_at(ring.map + FIRST, place, ring.room, ring.salt)
        if head is not NULL and <int64_t> (head.stamp >> 8) >= before:
            return
        length = 8 if head is NULL else head.length
        for i in range(FIRST + place, FIRST + place + length):
            if ring.map[i]:  # pages without anything in them stay clean
                ring.map[i] = 0
        place += length
        ring.clear += length
        most -= min(most, length)


cdef class Trace:
    """See the .pyi."""

    def __cinit__(self):
        self.mail.file = self.refused.file = -1

    def __init__(self, str path="", size=0):
        if not path or not size:
            return
        try:
            open_ring(&self.mail, f"{path}.mail", size)
            open_ring(&self.refused, f"{path}.refused", size // SHARE)
        except BaseException:
            self.close()
            raise
        self.on = True

    def __dealloc__(self):
        self.close()

    def close(self):
        self.on = False
        close_ring(&self.mail)
        close_ring(&self.refused)

    # a record, piece by piece

    cdef int begin(self, int kind, uint64_t id, int numbers) except -1:
        cdef Head *head = <Head *> self.draft
        cdef uint16_t *counts = <uint16_t *> (self.draft + sizeof(Head))
        head.id = id
        head.stamp = <uint64_t> now_ms() << 8 | <uint64_t> kind
        counts[0], counts[1], counts[2], counts[3] = numbers, 0, 0, 0
        self.at = self.draft + sizeof(Head) + COUNTS + 8 * numbers
        return 0

    cdef int number(self, int n, int64_t value) except -1:
        (<int64_t *> (self.draft + sizeof(Head) + COUNTS))[n] = value
        return 0

    cdef int octets(self, const uint8_t *text, size_t n) except -1:
        """One text; nothing when the record is full."""
        n = min(n, <size_t> TEXT_MOST)
        if self.at + 2 + n + 8 > self.draft + DRAFT:
            return 0
        (<uint16_t *> (self.draft + sizeof(Head)))[1] += 1
        self.at[0], self.at[1] = n & 0xFF, n >> 8
        memcpy(self.at + 2, text, n)
        self.at += 2 + n
        return 0

    cdef int text(self, str text) except -1:
        cdef Py_ssize_t n
        cdef const char *octets
        try:
            octets = PyUnicode_AsUTF8AndSize(text, &n)
        except UnicodeEncodeError:  # a lone surrogate
            text = text.encode("ascii", "backslashreplace").decode()
            octets = PyUnicode_AsUTF8AndSize(text, &n)
        return self.octets(<const uint8_t *> octets, n)

    cdef int card(self, bytes card) except -1:
        """Texts that were encoded before."""
        cdef size_t n = PyBytes_GET_SIZE(card)
        if n:
            (<uint16_t *> (self.draft + sizeof(Head)))[1] += CARD
            memcpy(self.at, PyBytes_AS_STRING(card), n)
            self.at += n
        return 0

    cdef int end(self, Ring *ring) except -1:
        """Put the record into the ring."""
        cdef Head *head = <Head *> self.draft
        cdef uint64_t length
        while (self.at - self.draft) & 7:
            self.at[0] = 0
            self.at += 1
        length = head.length = self.at - self.draft
        if not make_room(ring, length):
            return 0
        head.lap, head.place = ring.lap, <uint32_t> (ring.place >> 3)
        head.check = sum_of(head, ring.salt)
        memcpy(ring.map + FIRST + ring.place, self.draft, length)
        ring.place += length
        ring.clear -= min(ring.clear, length)
        (<First *> ring.map).next = <uint64_t> ring.lap << 32 | ring.place >> 3
        return 0

    # what happened

    cdef int accepted(
        self, const Taken *taken, bytes card, str sender, str name, list recipients
    ) except -1:
        self.begin(K_ACCEPTED, taken.id, 7)
        self.number(0, taken.came)
        self.number(1, taken.arrived)
        self.number(2, taken.size)
        self.number(3, taken.data)
        self.number(4, taken.whole)
        self.number(5, taken.durable)
        self.number(6, len(recipients))
        self.card(card)
        self.text(sender)
        self.text(name)
        for recipient in recipients:
            self.text(recipient)
        return self.end(&self.mail)

    cpdef applied(self, uint64_t id, int delivered, int deferred):
        if self.on:
            self.begin(K_APPLIED, id, 2)
            self.number(0, delivered)
            self.number(1, deferred)
            self.end(&self.mail)

    def note(self, int kind, uint64_t id, tuple numbers, tuple texts, bytes card=b""):
        cdef int n
        if not self.on:
            return
        self.begin(kind, id, <int> len(numbers))
        for n in range(len(numbers)):
            self.number(n, numbers[n])
        self.card(card)
        for text in texts:
            self.text(text)
        if K_REFUSED <= kind <= K_AWAY:
            self.end(&self.refused)
        else:
            self.end(&self.mail)

    def attempt(
        self,
        id,
        str recipient,
        str hop,
        str host,
        int code,
        str text,
        int64_t milliseconds,
    ):
        self.note(ATTEMPT, id, (code, milliseconds), (recipient, hop, host, text))

    def moved(self, id, str what, str text):
        self.note(MOVED, id, (), (what, text))

    def sweep(self, int64_t before, uint64_t most=STEP):
        if self.on:
            wipe(&self.mail, before, most)
            wipe(&self.refused, before, most)


def card(*texts):
    """See the .pyi."""
    cdef bytes octets
    cdef list pieces = []
    if len(texts) != CARD:
        raise ValueError("not the texts of a card")
    for text in texts:
        octets = text.encode("utf-8", "backslashreplace")[:TEXT_MOST]
        pieces += len(octets).to_bytes(2, "little"), octets
    return b"".join(pieces)


# readers

cdef bint holds(const uint8_t *at, size_t n, const uint8_t *what, size_t m) noexcept:
    """Whether `what`, in lower case, is in there in any case (of ASCII)."""
    cdef size_t i, j
    cdef uint8_t c
    if m > n:
        return False
    for i in range(n - m + 1):
        for j in range(m):
            c = at[i + j]
            if (c + 32 if 65 <= c <= 90 else c) != what[j]:
                break
        else:
            return True
    return False


cdef bint wanted(const Head *head, tuple needles, ids) except -1:
    cdef const uint8_t *at = <const uint8_t *> head
    cdef bytes needle
    if head.id and head.id in ids:
        return True
    for needle in needles:
        if holds(
            at + sizeof(Head) + COUNTS,
            head.length - sizeof(Head) - COUNTS,
            <const uint8_t *> PyBytes_AS_STRING(needle),
            PyBytes_GET_SIZE(needle),
        ):
            return True
    return False


cdef tuple read_record(const Head *head):
    cdef const uint8_t *at = <const uint8_t *> head
    cdef const uint8_t *end = at + head.length
    cdef const uint16_t *counts = <const uint16_t *> (at + sizeof(Head))
    cdef const int64_t *numbers = <const int64_t *> (at + sizeof(Head) + COUNTS)
    cdef list texts = []
    cdef size_t n, i
    at += sizeof(Head) + COUNTS + 8 * <size_t> counts[0]
    if at > end:
        return None
    for i in range(counts[1]):
        if end - at < 2:
            return None
        n = at[0] | at[1] << 8
        at += 2
        if <size_t> (end - at) < n:
            return None
        octets = PyBytes_FromStringAndSize(<const char *> at, n)
        texts.append(octets.decode("utf-8", "replace"))
        at += n
    return (
        <int64_t> (head.stamp >> 8),
        <int> (head.stamp & 0xFF),
        head.id,
        tuple([numbers[i] for i in range(counts[0])]),
        tuple(texts),
    )


def scan(data, tuple needles=(b"",), ids=frozenset(), int64_t since=0):
    """See the .pyi."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len < FIRST or (<const First *> view.buf).magic != MAGIC:
            raise Damaged("not a file of traces")
        if (<const First *> view.buf).format != FORMAT:
            raise FormatTooNew("traces of another version of fastsmtp")
        return scan_records(&view, needles, ids, since)
    finally:
        PyBuffer_Release(&view)


cdef tuple scan_records(Py_buffer *view, tuple needles, ids, int64_t since):
    cdef const uint8_t *records = <const uint8_t *> view.buf + FIRST
    cdef uint64_t room = (view.len - FIRST) & ~<uint64_t> 7
    cdef uint32_t salt = (<const First *> view.buf).salt
    cdef uint64_t place = 0
    cdef int64_t oldest = 0, when
    cdef const Head *head
    cdef list found = []
    while place < room:
        head = record_at(records, place, room, salt)
        if head is NULL:
            place += 8
            continue
        place += head.length
        when = <int64_t> (head.stamp >> 8)
        if when < since:
            continue
        if not oldest or when < oldest:
            oldest = when
        if wanted(head, needles, ids):
            record = read_record(head)
            if record is not None:
                found.append(record)
    return found, oldest
