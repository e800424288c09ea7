"""Plain mail into INBOXes or the queue, many messages of one transaction; inboxes.pyi.

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
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from msgpack cimport (
    LENGTH_ROOM,
    NUMBER_ROOM,
    Reader,
    put_array,
    put_big,
    put_number,
    put_text,
    read_array,
    read_number,
    read_text,
    skip_ascii,
    skip_empty,
    skip_octet,
)
from queuekeys cimport MINUTE, RANK, due_key, queued_key

from fastsmtp.trace.ring cimport Trace

from fastsmtp.delivery.route import Elsewhere
from fastsmtp.mailbox.mailbox import INBOX, Box
from fastsmtp.queue.message import State, destination_of
from fastsmtp.queue.moves import LETTERS
from fastsmtp.store import keys
from fastsmtp.store.base import Writes

cdef enum:
    LONGEST = 128  # octets: an encoded email has at most 71
    NUMBER_KEY = 9  # octets of an email's key: a letter, u64
    UID_KEY = 9  # a letter, the mailbox u32, the UID u32
    FILING = 7  # fields of the envelope
    REQUIRETLS = 9  # with SMTPUTF8 before it: for those who pass mail on
    ORCPT = 2  # field of a recipient, with NOTIFY before it: notices are for others
    LOGIN = 13  # with RET, ENVID and AUTH= before it: for those who answer the sender
    BY = 16  # with MT-PRIORITY and HOLDUNTIL before it; numbers
    BY_MODE = 17
    LAST_UID = 0xFFFFFFFF  # RFC 9051: a UID has 32 bits
    FIELDS = 3  # an envelope has at least: reverse-path, recipients, arrived

cdef bytes HEAD = keys.HEAD
cdef bytes INBOX_KEY = keys.mailbox(INBOX)
cdef uint32_t INBOX_ID = INBOX


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
    if number <= BY_MODE:
        return skip_octet(r, 0x00 if number <= BY else 0xA0)
    return skip_empty(r)


cdef struct Message:
    uint64_t id
    uint64_t octets
    uint64_t arrived


include "departures.pxi"


cdef bytes email_value(const Message* message, uint64_t modseq, uint32_t uid):
    """An `Email` without flags, in INBOX alone."""
    cdef uint8_t[LONGEST] data
    cdef uint8_t* at = data
    at[0] = 0x9B  # 11 fields
    at = put_number(at + 1, message.id)
    at = put_number(at, message.octets)
    at = put_number(at, message.arrived)
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
    cdef dict _addresses  # address -> list of _Held, or _Away
    cdef dict _parts  # partition -> _Held
    cdef list _open  # what was read in this turn
    cdef list _puts
    cdef list _whom  # of the present message: _Held
    cdef list _gone  # and _Away
    cdef readonly Departures departures
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
        self._open, self._puts, self._whom, self._gone = [], [], [], []
        self._turn = self._message = 0
        self.departures = Departures()

    def begin(self, read, put):
        """See the .pyi."""
        self._read, self._put = read, put
        self._turn += 1
        self._open, self._puts = [], []
        self.departures.begin()
        if self._route.known is not self._known or len(self._parts) > self._limit:
            self._known = self._route.known
            self._addresses, self._parts = {}, {}
        self._then = self._clock()

    def take(self, uint64_t id, bytes envelope not None, uint64_t length):
        """See the .pyi."""
        cdef Reader r
        cdef Message message
        message.id, message.octets, message.arrived = id, length, 0
        r.at = <const uint8_t*>PyBytes_AS_STRING(envelope)
        r.end = r.at + PyBytes_GET_SIZE(envelope)
        self._message += 1
        self._whom, self._gone = [], []
        try:
            if not self._plain(&r, &message.arrived) or not self._one_way(&message):
                self._spill()
                return 0
        except Exception:  # the readable way meets it again, and says what it is
            self._spill()
            return 0
        return self._give(envelope, &message)

    cdef bint _one_way(self, const Message* message) except -1:
        """Whether it is for INBOXes alone, or for other servers alone."""
        if not self._gone:
            return bool(self._whom)
        return not self._whom and fits(message)

    cdef int _give(self, bytes envelope, const Message* message) except -1:
        """To all of them; how many references to the body that makes."""
        cdef int done = <int>len(self._whom)
        cdef double now, delay
        cdef _Held held
        for held in self._whom:
            self._file(held, message)
        if self._gone:
            self.departures.enter(self._puts, self._gone, envelope, message)
        now = self._clock()
        delay = now - <double>message.arrived / 1000
        self._count(message.id, done, 0, now - self._then, delay)
        self._trace.applied(message.id, done, <int>len(self._gone))
        self._then = now
        return done if done else 1

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
        cdef _Away away
        if not read_array(r, &fields) or not fields or not read_text(r, &text, &size):
            return False
        for n in range(1, fields):
            if not (skip_octet(r, 0xA0) if n <= ORCPT else skip_empty(r)):
                return False
        address = PyUnicode_DecodeUTF8(<char*>text, <Py_ssize_t>size, NULL)
        found = self._addresses.get(address)
        if found is None:
            found = self._find(address)
        if isinstance(found, _Away):
            away = <_Away>found
            if away.message != self._message:
                away.message = self._message
                self._gone.append(away)
            return True
        for held in <list>found:
            if held.turn != self._turn:
                self._load(held)
            if held.uid >= LAST_UID:
                return False
            if held.message != self._message:
                held.message = self._message
                self._whom.append(held)
        return True

    cdef object _find(self, str address):
        """A list of _Held, or an _Away; raises `NoRoute`."""
        if len(self._addresses) > self._limit:
            self._addresses.clear()
        try:
            found = [self._at(part) for part, _ in self._route(address)]
        except Elsewhere as elsewhere:
            if elsewhere.here or elsewhere.there != (address,):
                raise
            found = self.departures.away(address)
        self._addresses[address] = found
        return found

    cdef _Held _at(self, part):
        cdef _Held held = self._parts.get(part)
        if held is None:
            held = self._parts[part] = _Held.__new__(_Held)
            held.part = part
        return held

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

    cdef int _file(self, _Held held, const Message* message) except -1:
        cdef list puts = self._puts
        cdef bytes email
        held.emails += 1
        held.octets += message.octets
        held.modseq += 1
        held.number += 1
        held.uid += 1
        email = email_value(message, held.modseq, <uint32_t>held.uid)
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
        return Writes(puts, adds=self.departures.adds())
