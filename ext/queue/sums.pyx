"""Adds up rows of the queue, many at a time; see sums.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t

from fastsmtp.queue.moves import MINUTE

cdef enum:
    MESSAGES = 0  # places of a depth, see sums.pyi
    OCTETS = 1
    OLDEST = 2
    AGES = 3
    EDGES = 16  # at most; there are eight
    KEY = 6  # octets: a letter of its own, the state, the minute
    COUNTED = 16  # octets: messages, octets
    HEAD = 5  # octets that a row begins with: the state, the minute

cdef int64_t SECONDS = MINUTE // 1000  # in a minute


cdef int64_t number(const uint8_t *at, int octets) noexcept nogil:
    cdef int64_t made = 0
    cdef int i
    for i in range(octets):
        made = made << 8 | at[i]
    return made


cdef class Depths:
    """See sums.pyi."""

    cdef int64_t[EDGES] edges
    cdef int64_t[3][AGES + EDGES + 1] sums
    cdef bytes letters
    cdef int64_t now
    cdef int count

    def __init__(self, bytes letters not None, tuple edges not None, int64_t now):
        if len(letters) > 3 or len(edges) > EDGES:
            raise ValueError("more states or edges than there is room for")
        self.letters = letters
        self.now = now
        self.count = len(edges)
        for i in range(self.count):
            self.edges[i] = edges[i]

    cdef int place(self, uint8_t letter) except -1:
        cdef const uint8_t *known = <const uint8_t *>PyBytes_AS_STRING(self.letters)
        cdef int i
        for i in range(PyBytes_GET_SIZE(self.letters)):
            if known[i] == letter:
                return i
        raise ValueError(f"no state has the letter {chr(letter)!r}")

    cdef int put(
        self, uint8_t letter, int64_t minute, int64_t messages, int64_t octets
    ) except -1:
        cdef int64_t *sums = self.sums[self.place(letter)]
        cdef int64_t second = minute * SECONDS
        cdef int age = 0
        if messages <= 0:
            return 0
        while age < self.count and self.edges[age] < self.now - second:
            age += 1
        sums[MESSAGES] += messages
        sums[OCTETS] += octets
        sums[AGES + age] += messages
        if not sums[OLDEST] or second < sums[OLDEST]:
            sums[OLDEST] = second
        return 0

    def add(self, list counters not None):
        """See sums.pyi."""
        cdef bytes key, value
        cdef const uint8_t *name
        cdef const uint8_t *at
        for row in counters:
            key, value = <tuple?>row
            if PyBytes_GET_SIZE(key) != KEY or PyBytes_GET_SIZE(value) != COUNTED:
                raise ValueError("not a counter of the queue")
            name = <const uint8_t *>PyBytes_AS_STRING(key)
            at = <const uint8_t *>PyBytes_AS_STRING(value)
            self.put(name[1], number(name + 2, 4), number(at, 8), number(at + 8, 8))

    def add_rows(self, list rows not None):
        """See sums.pyi."""
        cdef bytes value
        cdef const uint8_t *at
        for row in rows:
            value = (<tuple?>row)[1]
            if PyBytes_GET_SIZE(value) < HEAD:
                raise ValueError("not a row of the queue")
            at = <const uint8_t *>PyBytes_AS_STRING(value)
            self.put(at[0], number(at + 1, 4), 1, 0)

    def of(self, bytes letter not None):
        """See sums.pyi."""
        cdef int64_t *sums = self.sums[self.place(ord(letter))]
        return [sums[i] for i in range(AGES + self.count + 1)]


cdef object by_messages(tuple row):
    return -row[1]


cdef class Fullest:
    """See sums.pyi."""

    cdef list rows  # (name, messages, octets), some more than are wanted
    cdef Py_ssize_t most
    cdef int64_t least  # messages; who has no more is among the others
    cdef int64_t messages, octets  # of the others

    def __init__(self, Py_ssize_t most):
        self.rows = []
        self.most = most
        self.least = 0

    def add(self, list counters not None):
        """See sums.pyi."""
        cdef bytes key, value
        cdef const uint8_t *at
        cdef int64_t messages, octets
        for row in counters:
            key, value = <tuple?>row
            if PyBytes_GET_SIZE(key) < 1 or PyBytes_GET_SIZE(value) != COUNTED:
                raise ValueError("not a counter of the queue")
            at = <const uint8_t *>PyBytes_AS_STRING(value)
            messages, octets = number(at, 8), number(at + 8, 8)
            if messages <= self.least:
                self.messages += messages
                self.octets += octets
                continue
            self.rows.append((key[1:], messages, octets))
            if len(self.rows) >= 2 * self.most:
                self.cut()

    cdef int cut(self) except -1:
        """Keep those that are wanted; of equal ones the first."""
        self.rows.sort(key=by_messages)
        for _, messages, octets in self.rows[self.most :]:
            self.messages += messages
            self.octets += octets
        del self.rows[self.most :]
        if len(self.rows) == self.most:
            self.least = self.rows[self.most - 1][1] if self.most else 1 << 62
        return 0

    def found(self):
        """See sums.pyi."""
        self.cut()
        return list(self.rows), (self.messages, self.octets)
