"""Counts what became of a message; see fastsmtp/delivery/tally.pyi.

Nine cells change for each message. From Python each costs a read and a write through
a memoryview, 1.1 µs together; here they are plain additions.
"""

from fastsmtp.delivery import counts
from fastsmtp.queue import counts as events

cdef enum:
    EDGES = 32  # more than any histogram here has
    TRANSPORTS = 8  # more than there are


cdef struct Hist:
    Py_ssize_t first
    int size
    double scale
    double[EDGES] edges


cdef int fill(Hist *to, object histogram) except -1:
    cdef int n = len(histogram.edges)
    if n > EDGES:
        raise ValueError("a histogram with more edges than there is room for")
    to.first = histogram.first
    to.size = n
    to.scale = 1 / <double>histogram.scale
    for i in range(n):
        to.edges[i] = histogram.edges[i]
    return 0


cdef inline void observe(
    long long[::1] cells, const Hist *to, double value, int times
) noexcept nogil:
    cdef int i = 0
    while i < to.size and to.edges[i] < value:
        i += 1
    cells[to.first + i] += times
    cells[to.first + to.size + 1] += <long long>(value * to.scale + 0.5) * times


cdef struct Places:
    Py_ssize_t sent
    Hist duration
    Hist delay


cdef int fill_places(Places *to, str transport) except -1:
    """Where a transport counts what was delivered."""
    to.sent = counts.ATTEMPTS.place(transport, "delivered")
    fill(&to.duration, counts.duration(transport, "delivered"))
    return fill(&to.delay, counts.delay(transport, "delivered"))


cdef int check(deliveries, queue) except -1:
    if len(deliveries) < counts.CELLS or len(queue) < events.CELLS:
        raise ValueError("too few cells")
    return 0


cdef class LocalTally:
    cdef long long[::1] _deliveries
    cdef long long[::1] _queue
    cdef Places _places
    cdef Py_ssize_t _failed
    cdef Py_ssize_t _enqueued
    cdef Py_ssize_t _delivered
    cdef Py_ssize_t _deferred

    def __init__(self, deliveries, queue):
        check(deliveries, queue)
        self._deliveries = deliveries
        self._queue = queue
        fill_places(&self._places, "local")
        self._failed = counts.ATTEMPTS.place("local", "temp_fail")
        self._enqueued = events.ENQUEUED
        self._delivered = events.DELIVERED
        self._deferred = events.DEFERRED

    def count(self, int done, int failed, double seconds, double delay):
        cdef Places *at = &self._places
        self._queue[self._enqueued] += 1
        if done:
            self._deliveries[at.sent] += done
            self._queue[self._delivered] += done
            observe(self._deliveries, &at.duration, seconds, 1)
            observe(self._deliveries, &at.delay, delay if delay > 0 else 0, done)
        if failed:
            self._deliveries[self._failed] += failed
            self._queue[self._deferred] += failed


cdef class DepartureTally:
    cdef long long[::1] _deliveries
    cdef long long[::1] _queue
    cdef Places[TRANSPORTS] _places
    cdef dict _numbers
    cdef Py_ssize_t _delivered
    cdef Py_ssize_t _removed

    def __init__(self, deliveries, queue):
        check(deliveries, queue)
        if len(counts.TRANSPORTS) > TRANSPORTS:
            raise ValueError("more transports than there is room for")
        self._deliveries = deliveries
        self._queue = queue
        self._numbers = {name: n for n, name in enumerate(counts.TRANSPORTS)}
        for name, n in self._numbers.items():
            fill_places(&self._places[n], name)
        self._delivered = events.DELIVERED
        self._removed = events.REMOVED

    def count(self, str transport, int recipients, double seconds, double delay):
        cdef int number = self._numbers[transport]
        cdef Places *at = &self._places[number]
        self._deliveries[at.sent] += recipients
        observe(self._deliveries, &at.duration, seconds, recipients)
        observe(self._deliveries, &at.delay, delay if delay > 0 else 0, recipients)
        self._queue[self._delivered] += recipients
        self._queue[self._removed] += 1
