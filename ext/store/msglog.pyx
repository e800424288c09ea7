"""The writer of the message log; its face is fastsmtp/store/msglog.pyi.

The work is done by native threads in ext/logengine.pxd (flusher, preparer) and
ext/logspool.pxd (spoolers); here is what the loop sees of them. The format is drawn in
record.pyx.

Laws:
- A ticket is settled once: durable, or failed for good. A ticket is durable only after
  fdatasync of a file whose header and whose name were durable before.
- After a failed write or fdatasync the segment ends at its last durable offset: the
  file is cut there, as well as it goes, and the header of the next segment says so, so
  that nothing behind it is ever applied. That file is not synced again: the kernel may
  have dropped the pages and would report success. Everything in the failed flush fails.
- The newest segment is locked (flock) as long as the process lives. The old one's lock
  is given up only when the next is held.
- Names tell the truth: a file is called .log when its header is durable. Segments are
  made under <series>-<first segment of this life>.new and .ready.

Segments are filled with zeros ahead of need, because a flush that overwrites written
blocks takes two thirds of the time and CPU (docs/decisions/002). The first one of a
life is 1 MiB, each next one four times as large up to the segment size, so that a
server that takes little mail fills little disk.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC
from posix.unistd cimport read

import os
import weakref

from fastsmtp.errors import Misused
from fastsmtp.store import counts
from fastsmtp.store.record import parse_name

cimport crc32c as checksum
cimport logengine as engine
cimport logspool as spooling
from histogram cimport Edges, observe, observe_of, read_edges
from logengine cimport Failure, Flush, Log, Spooled
from logfile cimport now_ns
from logformat cimport ENVELOPE_LIMIT, RECORD_HEADER, RecordHead, record_size
from logspool cimport Big, Spools

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef enum:
    SPOOLERS = 3  # threads: while one waits for a sync the others write

checksum.crc32c_begin()

cdef Edges commits, syncs, batches
cdef Py_ssize_t CELLS = counts.SIZE
read_edges(&commits, counts.LOG_COMMIT_SEEN)
read_edges(&syncs, counts.LOG_SYNC_SEEN)
read_edges(&batches, counts.LOG_BATCH)


cdef inline void count_flush(
    long long[::1] cells, const Flush* flush, double now
) noexcept nogil:
    cdef long long id = <long long>flush.id
    observe_of(cells, &syncs, flush.microseconds * 1e-6, 1, id, now)
    observe_of(cells, &commits, flush.waited * 1e-6, 1, id, now)
    observe(cells, &batches, batches.first, flush.records, 1)


cdef object _trouble(int error):
    return OSError(error, os.strerror(error))


cdef class LogWriter:
    """See the .pyi."""

    cdef readonly uint16_t series
    cdef readonly uint32_t first
    cdef Log* log
    cdef Spools spools
    cdef engine.pthread_t threads[2]
    cdef engine.pthread_t spoolers[SPOOLERS]
    cdef int spooling
    cdef bint closed
    cdef object unfinished

    def __cinit__(self):
        cdef engine.pthread_condattr_t monotonic
        self.closed = True
        self.log = <Log*>calloc(1, sizeof(Log))
        if self.log == NULL:
            raise MemoryError
        self.log.event = self.log.directory = -1
        self.log.segment.fd = self.log.ready_fd = self.log.failed_fd = -1
        engine.pthread_condattr_init(&monotonic)
        engine.pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC)
        engine.pthread_mutex_init(&self.log.mutex, NULL)
        engine.pthread_cond_init(&self.log.wake, &monotonic)
        engine.pthread_cond_init(&self.log.prepare, NULL)
        engine.pthread_cond_init(&self.log.spool, NULL)
        engine.pthread_cond_init(&self.log.settle, NULL)

    def __init__(
        self, str directory, uint16_t series, uint64_t epoch, uint64_t segment_size,
        uint32_t least=1, uint32_t batch=1,
    ):
        cdef Log* log = self.log
        if not self.closed or log.directory >= 0:
            raise Misused("a LogWriter is opened once")
        log.directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        log.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if log.event < 0:
            raise OSError("eventfd cannot be made")
        for name in os.listdir(directory):
            place = parse_name(name)
            if place is not None and place[0] == series:
                least = max(least, <uint32_t>place[1] + 1)
        self.series = log.series = series
        self.first = log.first = log.next_number = least
        self.spools.log = log
        self.unfinished = weakref.WeakSet()
        log.epoch = epoch
        log.batch = batch
        log.segment_size = segment_size
        log.segment.size = min(segment_size, <uint64_t>engine.FIRST_FILL)
        log.salt_seed = int.from_bytes(os.urandom(8), "little")
        with nogil:
            # failing is not the end: the first append tries again
            log.broken = engine.segment_open(log, log.segment.size)
        self.closed = False

    def append(
        self, uint64_t id, uint8_t kind, bytes envelope not None, bytes head not None,
        body,
    ):
        """See the .pyi."""
        cdef Py_buffer view
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
        try:
            return self._append(
                id, kind, envelope, head, <const char*>view.buf, <size_t>view.len
            )
        finally:
            PyBuffer_Release(&view)

    cdef uint64_t _append(
        self, uint64_t id, uint8_t kind, bytes envelope, bytes first,
        const char* body, size_t size,
    ) except 0:
        cdef RecordHead head
        cdef size_t before = PyBytes_GET_SIZE(first)
        cdef uint64_t ticket = 0
        cdef char* place
        cdef char* at
        if not self.log.started:
            self._start()
        self._admit(PyBytes_GET_SIZE(envelope))
        memset(&head, 0, sizeof(head))
        head.kind = kind
        head.id = id
        head.envelope_length = <uint32_t>PyBytes_GET_SIZE(envelope)
        head.body_length = before + size
        engine.pthread_mutex_lock(&self.log.mutex)
        place = engine.batch_room(
            &self.log.pending, record_size(head.envelope_length, head.body_length)
        )
        if place != NULL:
            at = place + RECORD_HEADER
            memcpy(at, PyBytes_AS_STRING(envelope), head.envelope_length)
            at += head.envelope_length
            memcpy(at, PyBytes_AS_STRING(first), before)
            memcpy(at + before, body, size)
            ticket = engine.log_take(self.log, &head, place)
        engine.pthread_mutex_unlock(&self.log.mutex)
        if ticket == 0:
            raise MemoryError
        return ticket

    cdef int _admit(self, Py_ssize_t envelope) except -1:
        """While no segment can be opened, one append in a while tries again."""
        cdef int error = self.log.broken
        if self.closed:
            raise Misused("this log is closed")
        if envelope > <Py_ssize_t>ENVELOPE_LIMIT:
            raise ValueError(f"an envelope has at most {ENVELOPE_LIMIT} octets")
        if error:
            if now_ns() < self.log.retry_at:
                raise _trouble(error)
            self.log.retry_at = now_ns() + engine.RETRY
        return 0

    cdef int _start(self) except -1:
        cdef int error
        if self.closed:
            raise Misused("this log is closed")
        error = engine.thread_start(&self.threads[0], engine.flusher, self.log)
        if error:
            raise _trouble(error)
        self.log.started = 1
        error = engine.thread_start(&self.threads[1], engine.preparer, self.log)
        if error:
            raise _trouble(error)
        self.log.started = 2
        return 0

    cdef int _start_spoolers(self) except -1:
        cdef int error
        while self.spooling < SPOOLERS:
            error = engine.thread_start(
                &self.spoolers[self.spooling], spooling.spooler, &self.spools
            )
            if error:
                raise _trouble(error)
            self.spooling += 1
        return 0

    def flush(self):
        """See the .pyi."""
        engine.pthread_mutex_lock(&self.log.mutex)
        engine.log_kick(self.log)
        engine.pthread_mutex_unlock(&self.log.mutex)

    def spool(self, uint64_t id, bytes head not None):
        """See the .pyi."""
        cdef Spool spool = Spool.__new__(Spool)
        if not self.log.started:
            self._start()
        self._admit(0)
        self._start_spoolers()
        engine.pthread_mutex_lock(&self.log.mutex)
        spool.big = spooling.big_begin(self.log, id)
        engine.pthread_mutex_unlock(&self.log.mutex)
        if spool.big == NULL:
            raise MemoryError
        spool.writer = self
        spool.number = spool.big.number
        spool.open = True
        self.unfinished.add(spool)
        if head:
            spool.write(head)
        return spool

    def fileno(self):
        """See the .pyi."""
        return self.log.event

    def collect(self):
        """See the .pyi."""
        cdef Failure failures[engine.FAILURES]
        cdef uint64_t count, settled, durable
        cdef uint32_t number
        cdef int failed, spools, n
        cdef list lost = []
        read(self.log.event, &count, 8)  # EAGAIN says that nothing is new
        engine.pthread_mutex_lock(&self.log.mutex)
        settled = self.log.settled
        number, durable = self.log.number, self.log.durable
        failed = self.log.failed
        spools = self.log.spools
        if failed:
            memcpy(failures, self.log.failures, failed * sizeof(Failure))
            self.log.failed = 0
        engine.pthread_mutex_unlock(&self.log.mutex)
        for n in range(failed):
            lost.append((failures[n].first, failures[n].last, failures[n].error))
        return settled, lost, self._spooled() if spools else [], (number, durable)

    cdef list _spooled(self):
        """Take what is settled, one by one: no object is made under the mutex, for
        making one may run the collector and with it anything."""
        cdef list told = []
        cdef Spooled one
        cdef int n
        while True:
            engine.pthread_mutex_lock(&self.log.mutex)
            one.settled = 0
            for n in range(self.log.spools):
                if self.log.spooled[n].settled:
                    one = self.log.spooled[n]
                    self.log.spools -= 1
                    self.log.spooled[n] = self.log.spooled[self.log.spools]
                    break
            engine.pthread_mutex_unlock(&self.log.mutex)
            if not one.settled:
                return told
            told.append((one.id, one.error))

    def position(self):
        """See the .pyi."""
        cdef uint64_t durable
        cdef uint32_t number
        engine.pthread_mutex_lock(&self.log.mutex)
        number = self.log.number
        durable = self.log.durable
        engine.pthread_mutex_unlock(&self.log.mutex)
        return number, durable

    def backlog(self):
        """See the .pyi."""
        return self.log.waiting

    def error(self):
        """See the .pyi."""
        return self.log.broken

    cdef uint64_t _flushes(self, Flush* copy) noexcept:
        """Those since the last call; FLUSHES of them are kept."""
        cdef uint64_t count, n
        engine.pthread_mutex_lock(&self.log.mutex)
        count = self.log.flushed
        # mostly a few; a mutex that the flusher wants is no place to copy all of them
        n = min(count, <uint64_t>engine.FLUSHES)
        memcpy(copy, self.log.flushes, n * sizeof(Flush))
        self.log.flushed = 0
        engine.pthread_mutex_unlock(&self.log.mutex)
        return count

    def flushes(self):
        """See the .pyi."""
        cdef Flush copy[engine.FLUSHES]
        cdef Flush one
        cdef list told = []
        cdef uint64_t count = self._flushes(copy), n
        for n in range(count - min(count, <uint64_t>engine.FLUSHES), count):
            one = copy[n % engine.FLUSHES]
            told.append((one.microseconds, one.records, one.octets))
        return told

    def count_flushes(self, long long[::1] cells not None):
        """See the .pyi."""
        cdef Flush copy[engine.FLUSHES]
        cdef uint64_t count = self._flushes(copy), n
        cdef double now = now_ns() * 1e-9
        if cells.shape[0] < CELLS:
            raise ValueError("too few cells")
        for n in range(count - min(count, <uint64_t>engine.FLUSHES), count):
            count_flush(cells, &copy[n % engine.FLUSHES], now)

    def sync(self):
        """See the .pyi."""
        cdef Log* log = self.log
        with nogil:
            engine.pthread_mutex_lock(&log.mutex)
            engine.log_kick(log)
            while log.settled < log.appended or log.finishing:
                engine.pthread_cond_wait(&log.settle, &log.mutex)
            engine.pthread_mutex_unlock(&log.mutex)
        return log.settled

    def close(self):
        """See the .pyi."""
        if self.closed:
            return
        for spool in list(self.unfinished):
            spool.abort()
        self.closed = True
        with nogil:
            self._end()

    cdef void _end(self) noexcept nogil:
        """Join the threads in the order in which work passes through them."""
        cdef Log* log = self.log
        cdef int n
        engine.pthread_mutex_lock(&log.mutex)
        self.spools.stopping = 1
        engine.pthread_cond_broadcast(&log.spool)
        engine.pthread_mutex_unlock(&log.mutex)
        for n in range(self.spooling):
            engine.pthread_join(self.spoolers[n], NULL)
        engine.pthread_mutex_lock(&log.mutex)
        log.stopping = 1
        engine.pthread_cond_signal(&log.wake)
        engine.pthread_cond_signal(&log.prepare)
        engine.pthread_mutex_unlock(&log.mutex)
        for n in range(log.started):
            engine.pthread_join(self.threads[n], NULL)
        engine.log_end(log)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def __dealloc__(self):
        cdef Log* log = self.log
        if log == NULL:
            return
        if not self.closed:
            with nogil:
                self._end()
        engine.log_free(log)


@cython.no_gc_clear  # __dealloc__ needs the writer
cdef class Spool:
    """See the .pyi."""

    cdef object __weakref__
    cdef readonly uint32_t number
    cdef LogWriter writer
    cdef Big* big
    cdef bint open

    def write(self, data):
        """See the .pyi."""
        cdef Py_buffer view
        cdef int error
        self._must_be_open()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        engine.pthread_mutex_lock(&self.writer.log.mutex)
        error = spooling.big_take(
            &self.writer.spools, self.big, <const char*>view.buf, <size_t>view.len
        )
        engine.pthread_mutex_unlock(&self.writer.log.mutex)
        PyBuffer_Release(&view)
        if error:
            raise MemoryError

    def backlog(self):
        """See the .pyi."""
        return self.big.backlog

    def flush(self):
        """See the .pyi."""
        if self.open:
            engine.pthread_mutex_lock(&self.writer.log.mutex)
            if self.big.first != NULL:
                spooling.big_enqueue(&self.writer.spools, self.big)
            engine.pthread_mutex_unlock(&self.writer.log.mutex)

    def finish(self, uint8_t kind, bytes envelope not None):
        """See the .pyi."""
        cdef char* copy
        cdef size_t size = PyBytes_GET_SIZE(envelope)
        self._must_be_open()
        if size > <size_t>ENVELOPE_LIMIT:
            raise ValueError(f"an envelope has at most {ENVELOPE_LIMIT} octets")
        copy = <char*>calloc(1, size + 1)
        if copy == NULL:
            raise MemoryError
        memcpy(copy, PyBytes_AS_STRING(envelope), size)
        self.big.envelope = copy
        self.big.envelope_length = <uint32_t>size
        self.big.kind = kind
        engine.pthread_mutex_lock(&self.writer.log.mutex)
        self.writer.log.finishing += 1
        self.end(spooling.COMPLETE)

    def abort(self):
        """See the .pyi."""
        if self.open:
            engine.pthread_mutex_lock(&self.writer.log.mutex)
            self.end(spooling.ABORTED)

    cdef void end(self, spooling.BigState state) noexcept:
        """The rest is the spooler's; mutex is held and given back."""
        self.open = False
        self.big.state = state
        spooling.big_enqueue(&self.writer.spools, self.big)
        engine.pthread_mutex_unlock(&self.writer.log.mutex)

    cdef int _must_be_open(self) except -1:
        if not self.open:
            raise Misused("this spool was finished or aborted, or its log is closed")
        return 0

    def __dealloc__(self):
        if self.big == NULL:
            return
        self.abort()
        engine.pthread_mutex_lock(&self.writer.log.mutex)
        spooling.big_release(self.big)
        engine.pthread_mutex_unlock(&self.writer.log.mutex)
