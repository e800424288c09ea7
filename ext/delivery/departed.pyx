"""Takes out of the queue what has gone, without Python for each; see departed.pyi.

The readable way (`attempt.settle`, `moves.leave`) decodes the entry and makes a dozen
values of it, 30 µs. Here it is read where it lies, far enough to know its rows and
counters, and that nothing in it asks for more.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t

from msgpack cimport (
    Reader,
    read_array,
    read_number,
    read_text,
    skip_any,
    skip_octet,
)
from queuekeys cimport MINUTE, RANK, due_key, queued_key

from fastsmtp.queue.message import State
from fastsmtp.queue.moves import LETTERS
from fastsmtp.store import keys
from fastsmtp.store.base import Check

cdef enum:
    # fields of `Queued`
    TARGETS = 4
    MARKS = 6
    # of `Envelope`
    ARRIVED = 2
    PRIORITY = 14
    BY = 16

cdef bytes SCHEDULED = LETTERS[State.SCHEDULED]
cdef bytes DEFERRED = LETTERS[State.DEFERRED]
cdef uint64_t NEVER = <uint64_t>-1


cdef struct Entry:
    uint64_t arrived
    uint64_t octets
    uint64_t due
    uint8_t state  # the first letter of its name


cdef inline bint read_recipient(Reader* r) noexcept nogil:
    """One that asks for no notice."""
    cdef uint64_t fields, n
    if not read_array(r, &fields):
        return False
    for n in range(fields):
        if not (skip_octet(r, 0xA0) if n == 1 else skip_any(r)):
            return False
    return True


cdef bint read_envelope(Reader* r, Entry* entry) noexcept nogil:
    """One without priority and deadline."""
    cdef uint64_t fields, recipients, n
    if not read_array(r, &fields) or fields <= ARRIVED:
        return False
    if not skip_any(r) or not read_array(r, &recipients):
        return False
    for n in range(recipients):
        if not read_recipient(r):
            return False
    if not read_number(r, &entry.arrived):
        return False
    for n in range(ARRIVED + 1, fields):
        if not (skip_octet(r, 0) if n in (PRIORITY, BY) else skip_any(r)):
            return False
    return True


cdef inline bint read_state(Reader* r, Entry* entry) noexcept nogil:
    cdef const uint8_t* text
    cdef uint64_t size
    if not read_text(r, &text, &size) or not size:
        return False
    entry.state = text[0]
    return entry.state == c"s" or entry.state == c"d"


cdef bint read_target(Reader* r, Entry* entry, dict answers) except -1:
    """One that waits, and that was accepted."""
    cdef const uint8_t* text
    cdef uint64_t fields, size, due = 0, n
    if not read_array(r, &fields) or fields < 2 or not read_text(r, &text, &size):
        return False
    answer = answers.get(PyUnicode_DecodeUTF8(<char*>text, <Py_ssize_t>size, NULL))
    if answer is None or not answer.accepted:
        return False
    for n in range(1, fields):
        if n == 4:
            if not read_number(r, &due):
                return False
        elif not (skip_octet(r, 0) if n == 2 else skip_any(r)):
            return False
    if due < entry.due:
        entry.due = due
    return True


cdef bint read_entry(Reader* r, Entry* entry, dict answers) except -1:
    """A `Queued` of which nothing is left when these answers are written down."""
    cdef uint64_t fields, targets, n
    if not read_array(r, &fields) or fields <= TARGETS:
        return False
    if not read_envelope(r, entry) or not read_number(r, &entry.octets):
        return False
    if not read_state(r, entry) or not skip_any(r) or not read_array(r, &targets):
        return False
    if targets != <uint64_t>len(answers) or not targets:
        return False
    entry.due = NEVER
    for n in range(targets):
        if not read_target(r, entry, answers):
            return False
    for n in range(TARGETS + 1, fields):
        if not (skip_octet(r, 0x90) if n == MARKS else skip_any(r)):
            return False
    return r.at == r.end


cdef class Departed:
    """See the .pyi."""

    cdef readonly list checks, deletes
    cdef readonly dict refs, adds
    cdef dict _places  # destination -> what its rows begin with, its counter
    cdef bytes _tally  # the counter of the last message
    cdef uint64_t _minute
    cdef uint8_t _state

    def __init__(self):
        self.checks, self.deletes = [], []
        self.refs, self.adds, self._places = {}, {}, {}
        self._state = 0

    def take(self, uint64_t id, bytes raw not None, str destination, dict answers):
        """See the .pyi."""
        cdef Reader r
        cdef Entry entry
        cdef bytes key
        r.at = <const uint8_t*>PyBytes_AS_STRING(raw)
        r.end = r.at + PyBytes_GET_SIZE(raw)
        try:
            if not read_entry(&r, &entry, answers):
                return -1
        except UnicodeDecodeError:  # the readable way says what is wrong with it
            return -1
        place = self._places.get(destination)
        if place is None:
            place = keys.waiting(destination, RANK), keys.destination(destination)
            self._places[destination] = place
        key = queued_key(id)
        self.checks.append(Check(key, raw))
        self.deletes.append(key)
        self.deletes.append(due_key(<bytes>place[0], entry.due, id))
        self.refs[id] = -1
        self._less(self._counter(&entry), entry.octets)
        self._less(<bytes>place[1], entry.octets)
        return entry.arrived

    cdef bytes _counter(self, const Entry* entry):
        cdef uint64_t minute = entry.arrived // MINUTE
        if minute != self._minute or entry.state != self._state:
            letter = SCHEDULED if entry.state == c"s" else DEFERRED
            self._tally = keys.arrivals(letter, minute)
            self._minute, self._state = minute, entry.state
        return self._tally

    cdef int _less(self, bytes key, uint64_t octets) except -1:
        messages, old = self.adds.get(key, (0, 0))
        self.adds[key] = (messages - 1, old - <object>octets)
        return 0
