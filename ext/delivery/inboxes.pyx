"""Plain mail into INBOXes, many messages of one transaction; see inboxes.pyi.

The Python of `delivery.local` makes five values for each recipient and encodes head
and mailbox anew each time: 6 µs a message. Here an envelope is read where it lies,
what is new is encoded into one buffer, and head and mailbox are counted in numbers
until the transaction ends.

An envelope that is plain has recipients, and nothing in it is set that decides what
becomes of it here but whom it is for: no filing, no notice that a recipient asks for,
no field of a later version that is not empty.
Everything else is not for this module, damaged ones included: it says 0, and the
readable way decides. Both ways write the same (tests/test_delivery_inboxes.py).
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastsmtp.trace.ring cimport Trace

from fastsmtp.mailbox.mailbox import INBOX, Box
from fastsmtp.store import keys

cdef enum:
    LONGEST = 128  # octets: an encoded email has at most 71
    NUMBER_KEY = 9  # octets of an email's key: a letter, u64
    UID_KEY = 9  # a letter, the mailbox u32, the UID u32
    FILING = 7  # fields of the envelope
    REQUIRETLS = 9  # with SMTPUTF8 before it: for those who pass mail on
    ORCPT = 2  # field of a recipient, with NOTIFY before it: notices are for others
    LOGIN = 13  # with RET, ENVID and AUTH= before it: for those who answer the sender
    LAST_UID = 0xFFFFFFFF  # RFC 9051: a UID has 32 bits
    FIELDS = 3  # an envelope has at least: reverse-path, recipients, arrived

cdef bytes HEAD = keys.HEAD
cdef bytes INBOX_KEY = keys.mailbox(INBOX)
cdef uint32_t INBOX_ID = INBOX


# Reading msgpack: every function gives False at what it does not know

cdef struct Reader:
    const uint8_t* at
    const uint8_t* end


cdef inline bint take(Reader* r, Py_ssize_t size, const uint8_t** data) noexcept nogil:
    if r.end - r.at < size:
        return False
    data[0] = r.at
    r.at += size
    return True


cdef inline bint take_big(Reader* r, int size, uint64_t* number) noexcept nogil:
    cdef const uint8_t* data
    cdef uint64_t n = 0
    cdef int i
    if not take(r, size, &data):
        return False
    for i in range(size):
        n = n << 8 | data[i]
    number[0] = n
    return True


cdef inline bint read_number(Reader* r, uint64_t* number) noexcept nogil:
    """One that is not negative and has less than 64 bits."""
    cdef const uint8_t* data
    cdef uint8_t kind
    if not take(r, 1, &data):
        return False
    kind = data[0]
    if kind < 0x80:
        number[0] = kind
        return True
    if kind < 0xCC or kind > 0xCF:
        return False
    return take_big(r, 1 << (kind - 0xCC), number) and not number[0] >> 63


cdef inline bint read_text(
    Reader* r, const uint8_t** text, uint64_t* size
) noexcept nogil:
    cdef const uint8_t* data
    cdef uint8_t kind
    if not take(r, 1, &data):
        return False
    kind = data[0]
    if kind >> 5 == 5:
        size[0] = kind & 31
    elif kind < 0xD9 or kind > 0xDB:
        return False
    elif not take_big(r, 1 << (kind - 0xD9), size):
        return False
    return take(r, <Py_ssize_t>size[0], text)


cdef inline bint skip_ascii(Reader* r) noexcept nogil:
    cdef const uint8_t* text
    cdef uint64_t size
    cdef uint8_t all_bits = 0
    cdef uint64_t i
    if not read_text(r, &text, &size):
        return False
    for i in range(size):
        all_bits |= text[i]
    return all_bits < 0x80


cdef inline bint skip_empty(Reader* r) noexcept nogil:
    """nil, false, 0, an empty text or an empty array."""
    cdef const uint8_t* data
    if not take(r, 1, &data):
        return False
    return data[0] in (0xC0, 0xC2, 0x00, 0xA0, 0x90)


cdef inline bint skip_octet(Reader* r, uint8_t value) noexcept nogil:
    """nil, false, true or an empty text, as `value` says; if it is another, nothing is
    taken."""
    if r.at == r.end or r.at[0] != value:
        return False
    r.at += 1
    return True


cdef inline bint read_array(Reader* r, uint64_t* length) noexcept nogil:
    cdef const uint8_t* data
    if not take(r, 1, &data):
        return False
    if data[0] >> 4 == 9:
        length[0] = data[0] & 15
        return True
    if data[0] != 0xDC and data[0] != 0xDD:
        return False
    return take_big(r, 2 << (data[0] - 0xDC), length)


cdef inline bint skip_field(Reader* r, uint64_t number) noexcept nogil:
    """A field of the envelope behind `arrived`."""
    cdef uint64_t ignored
    if number == 3:
        return read_number(r, &ignored)
    if number < FILING or REQUIRETLS < number <= LOGIN:
        return skip_ascii(r)
    if number == FILING:
        return skip_octet(r, 0xC0)
    if number <= REQUIRETLS:
        return skip_octet(r, 0xC2) or skip_octet(r, 0xC3)
    return skip_empty(r)


# Writing msgpack

cdef inline uint8_t* put_big(uint8_t* at, uint64_t number, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        at[i] = <uint8_t>(number >> (8 * (size - 1 - i)))
    return at + size


cdef inline uint8_t* put_number(uint8_t* at, uint64_t number) noexcept nogil:
    """In as few octets as it takes."""
    if number < 0x80:
        at[0] = <uint8_t>number
        return at + 1
    if number < 1 << 8:
        at[0] = 0xCC
        return put_big(at + 1, number, 1)
    if number < 1 << 16:
        at[0] = 0xCD
        return put_big(at + 1, number, 2)
    if number < <uint64_t>1 << 32:
        at[0] = 0xCE
        return put_big(at + 1, number, 4)
    at[0] = 0xCF
    return put_big(at + 1, number, 8)


cdef bytes email_value(
    uint64_t blob, uint64_t size, uint64_t date, uint64_t modseq, uint32_t uid
):
    """An `Email` without flags, in INBOX alone."""
    cdef uint8_t[LONGEST] data
    cdef uint8_t* at = data
    at[0] = 0x9B  # 11 fields
    at = put_number(at + 1, blob)
    at = put_number(at, size)
    at = put_number(at, date)
    at[0] = 0  # flags
    at = put_number(at + 1, modseq)
    at = put_number(at, modseq)
    at[0] = 0x81  # places
    at = put_number(at + 1, INBOX_ID)
    at = put_number(at, uid)
    # no keywords, offset, deleted, thread
    at[0], at[1], at[2], at[3] = 0x90, 0, 0x90, 0
    return PyBytes_FromStringAndSize(<char*>data, at + 4 - data)


cdef inline bytes number_octets(uint64_t number):
    cdef uint8_t[8] data
    put_big(data, number, 8)
    return PyBytes_FromStringAndSize(<char*>data, 8)


cdef inline bytes email_key(uint64_t number):
    cdef uint8_t[NUMBER_KEY] data
    data[0] = c"e"
    put_big(data + 1, number, 8)
    return PyBytes_FromStringAndSize(<char*>data, NUMBER_KEY)


cdef inline bytes uid_key(uint32_t uid):
    cdef uint8_t[UID_KEY] data
    data[0] = c"u"
    put_big(put_big(data + 1, INBOX_ID, 4), uid, 4)
    return PyBytes_FromStringAndSize(<char*>data, UID_KEY)


cdef class _Held:
    """An INBOX, and what came into it since it was read."""

    cdef object part  # a number
    cdef object box
    cdef uint64_t modseq, number, uid  # the last ones given
    cdef uint64_t emails, octets  # that came
    cdef uint64_t turn  # in which it was read
    cdef uint64_t message  # the last that came


cdef class Inboxes:
    """See the .pyi."""

    cdef object _route
    cdef object _count
    cdef object _clock
    cdef object _read
    cdef object _put
    cdef object _known  # what the route knew when `_addresses` was begun
    cdef dict _addresses  # address -> list of _Held
    cdef dict _parts  # partition -> _Held
    cdef list _open  # what was read in this turn
    cdef list _puts
    cdef list _whom  # of the present message
    cdef uint64_t _turn, _message
    cdef double _then
    cdef Trace _trace
    cdef Py_ssize_t _limit

    def __init__(self, route, count, clock, Py_ssize_t limit=10_000, trace=None):
        self._route = route
        self._count = count
        self._clock = clock
        self._limit = limit
        self._trace = Trace() if trace is None else trace
        self._known = None
        self._addresses, self._parts = {}, {}
        self._open, self._puts, self._whom = [], [], []
        self._turn = self._message = 0

    def begin(self, read, put):
        """See the .pyi."""
        self._read, self._put = read, put
        self._turn += 1
        self._open, self._puts = [], []
        if self._route.known is not self._known or len(self._parts) > self._limit:
            self._known = self._route.known
            self._addresses, self._parts = {}, {}
        self._then = self._clock()

    def take(self, uint64_t id, bytes envelope not None, uint64_t length):
        """See the .pyi."""
        cdef Reader r
        cdef uint64_t arrived = 0
        cdef double now
        cdef _Held held
        cdef int done
        r.at = <const uint8_t*>PyBytes_AS_STRING(envelope)
        r.end = r.at + PyBytes_GET_SIZE(envelope)
        self._message += 1
        self._whom = []
        try:
            if not self._plain(&r, &arrived) or not self._whom:
                self._spill()
                return 0
        except Exception:  # the readable way meets it again, and says what it is
            self._spill()
            return 0
        for held in self._whom:
            self._file(held, id, length, arrived)
        done = <int>len(self._whom)
        now = self._clock()
        self._count(done, 0, now - self._then, now - <double>arrived / 1000)
        self._trace.applied(id, done, 0)
        self._then = now
        return done

    cdef bint _plain(self, Reader* r, uint64_t* arrived) except -1:
        """Read the envelope, find whom it is for. False: it is not plain."""
        cdef uint64_t fields, recipients, n
        if not read_array(r, &fields) or fields < FIELDS or not skip_ascii(r):
            return False
        if not read_array(r, &recipients):
            return False
        for n in range(recipients):
            if not self._recipient(r):
                return False
        if not read_number(r, arrived):
            return False
        for n in range(FIELDS, fields):
            if not skip_field(r, n):
                return False
        return r.at == r.end

    cdef bint _recipient(self, Reader* r) except -1:
        cdef const uint8_t* text
        cdef uint64_t fields, size, n
        cdef _Held held
        if not read_array(r, &fields) or not fields or not read_text(r, &text, &size):
            return False
        for n in range(1, fields):
            if not (skip_octet(r, 0xA0) if n <= ORCPT else skip_empty(r)):
                return False
        address = PyUnicode_DecodeUTF8(<char*>text, <Py_ssize_t>size, NULL)
        found = self._addresses.get(address)
        if found is None:
            found = self._find(address)
        for held in <list>found:
            if held.turn != self._turn:
                self._load(held)
            if held.uid >= LAST_UID:
                return False
            if held.message != self._message:
                held.message = self._message
                self._whom.append(held)
        return True

    cdef list _find(self, str address):
        cdef list found = []
        cdef _Held held
        for part, _ in self._route(address):
            held = self._parts.get(part)
            if held is None:
                held = self._parts[part] = _Held.__new__(_Held)
                held.part = part
            found.append(held)
        if len(self._addresses) > self._limit:
            self._addresses.clear()
        self._addresses[address] = found
        return found

    cdef int _load(self, _Held held) except -1:
        """Read head and INBOX; the last working copy serves if it is what stands."""
        head, inbox = self._read(held.part, HEAD), self._read(held.part, INBOX_KEY)
        box = held.box
        if box is None or box.head_bytes != head or box.mailbox_bytes != inbox:
            held.box = None
            held.box = box = Box(held.part, INBOX, head, inbox)
        held.modseq = box.head.modseq
        held.number = box.head.next_email - 1
        held.uid = box.mailbox.uidnext - 1
        held.emails = held.octets = 0
        held.turn = self._turn
        self._open.append(held)
        return 0

    cdef int _file(
        self, _Held held, uint64_t id, uint64_t length, uint64_t arrived
    ) except -1:
        cdef list puts = self._puts
        cdef bytes email
        held.emails += 1
        held.octets += length
        held.modseq += 1
        held.number += 1
        held.uid += 1
        email = email_value(id, length, arrived, held.modseq, <uint32_t>held.uid)
        puts.append((held.part, email_key(held.number), email))
        puts.append(
            (held.part, uid_key(<uint32_t>held.uid), number_octets(held.number))
        )
        return 0

    cdef int _spill(self) except -1:
        """Let others see, and change, what is held back."""
        for put in self._settled():
            self._put(*put)
        return 0

    cdef list _settled(self):
        cdef list puts = []
        cdef _Held held
        for held in self._open:
            held.turn = 0
            if held.emails:
                puts += held.box.grow(held.emails, held.octets)
        self._open = []
        return puts

    def end(self):
        """See the .pyi."""
        cdef list puts = self._puts
        puts += self._settled()
        self._puts = []
        self._read = self._put = None
        return puts
