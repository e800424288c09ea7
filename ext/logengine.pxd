"""The flusher and the preparer of the message log: two native threads and what they
share with the loop. They touch no Python object and never hold the interpreter lock.

Everything in `Log` is guarded by `mutex`, but for what is marked as the flusher's own.
A record goes through: `pending` (append) -> `flushing` (the flusher swaps the two
buffers) -> the segment -> settled. The laws of failure stand in store/msglog.pyx.
"""

from libc.errno cimport ENOSPC, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close, ftruncate, write

from crc32c cimport crc32c
from logfile cimport (
    PAGE,
    create_locked,
    fill,
    free_octets,
    now_ns,
    renameat,
    sync_all,
    sync_data,
    unlinkat,
    write_all,
)
from logformat cimport (
    BODY_BIG,
    RECORD_HEADER,
    SEGMENT_AFTER_FAILURE,
    SEGMENT_HEADER,
    RecordHead,
    SegmentHead,
    inline_body,
    record_size,
    seal_record,
    seal_segment,
)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_attr_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t*, void*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)
    int pthread_mutex_destroy(pthread_mutex_t*)
    int pthread_condattr_init(pthread_condattr_t*)
    int pthread_condattr_setclock(pthread_condattr_t*, int)
    int pthread_cond_init(pthread_cond_t*, pthread_condattr_t*)
    int pthread_cond_wait(pthread_cond_t*, pthread_mutex_t*)
    int pthread_cond_timedwait(pthread_cond_t*, pthread_mutex_t*, timespec*)
    int pthread_cond_signal(pthread_cond_t*)
    int pthread_cond_broadcast(pthread_cond_t*)
    int pthread_cond_destroy(pthread_cond_t*)
    int pthread_attr_init(pthread_attr_t*)
    int pthread_attr_setstacksize(pthread_attr_t*, size_t)
    int pthread_attr_destroy(pthread_attr_t*)
    int pthread_create(
        pthread_t*, pthread_attr_t*, void* (*)(void*) noexcept nogil, void*
    )
    int pthread_join(pthread_t, void**)
    pthread_t pthread_self()
    int pthread_setname_np(pthread_t, const char*)  # at most 15 characters

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t*)
    int pthread_sigmask(int, sigset_t*, sigset_t*)
    enum: SIG_SETMASK

cdef extern from "<sys/syscall.h>" nogil:
    long syscall(long number, ...)
    enum: SYS_sched_setattr

cdef struct SchedAttr:  # sched_setattr(2); size, runtime are what is used here
    uint32_t size
    uint32_t policy
    uint64_t flags
    int32_t nice
    uint32_t priority
    uint64_t runtime  # nanoseconds
    uint64_t deadline
    uint64_t period

cdef enum:
    FIRST_FILL = 1 << 20  # octets of the first segment of a life, filled at once
    SPARE = 4  # times its size must be free before a segment is filled ahead
    GROWTH = 4  # each next one is so much larger, up to the segment size
    BATCH = 1 << 16  # octets a buffer begins with
    EAGER = 1 << 20  # octets that are flushed without being asked
    BATCH_KEPT = 1 << 22  # octets; a larger buffer is given back when it is not full
    RETRY = 100_000_000  # nanoseconds between two tries to open a segment
    IDLE = 1  # seconds until unused buffers are given back
    STACK = 1 << 18  # octets of a native thread's stack
    FLUSHES = 1024  # flushes remembered for the metrics
    FAILURES = 64  # stretches of failed tickets remembered apart
    NAME = 32  # octets for a file name

cdef struct Batch:
    char* data
    size_t used
    size_t capacity
    uint32_t records
    int64_t since  # nanoseconds: when the first of them came

cdef struct Failure:
    uint64_t first
    uint64_t last
    int error

cdef struct Flush:
    uint32_t microseconds
    uint32_t waited  # microseconds from the first of its records on
    uint32_t records
    uint64_t octets
    uint64_t id  # of its first record

cdef struct Spooled:  # a finished body, told to the loop when its record is settled
    uint64_t id
    uint64_t ticket
    int fd  # locked until then
    int error
    int settled

cdef struct Segment:
    int fd  # -1: none
    uint32_t number
    uint64_t salt
    uint64_t end  # durable
    uint64_t size  # rotate before a record would end beyond it
    int growing  # not filled ahead

cdef struct Log:
    pthread_mutex_t mutex
    pthread_cond_t wake  # the flusher: there is work
    pthread_cond_t prepare  # the preparer
    pthread_cond_t spool  # the spoolers
    pthread_cond_t settle  # whoever waits in sync()
    int directory
    int event
    uint16_t series
    uint64_t epoch
    uint64_t segment_size
    uint64_t salt_seed
    int started  # threads run
    int stopping
    int idle  # the flusher waits to be woken
    uint32_t batch  # so many pending records wake it without being asked
    int kicked  # it was asked
    # tickets
    uint64_t appended
    uint64_t settled
    uint64_t waiting  # octets
    Batch pending
    Failure failures[FAILURES]
    int failed
    Flush flushes[FLUSHES]
    uint64_t flushed
    Spooled* spooled
    int spools, spool_room
    int spools_open  # bodies that are not told yet
    int finishing  # bodies that are complete and have no ticket yet
    # what is open
    uint32_t first  # number of the first segment of this life
    uint32_t next_number
    uint32_t number  # published position
    uint64_t durable
    int broken  # errno: no segment can be opened
    int64_t retry_at
    # prepared ahead
    int ready_fd
    uint64_t ready_size
    uint64_t wanted  # octets that the preparer is asked for
    int64_t prepare_at
    # names made durable
    uint64_t names_begun
    uint64_t names_done
    # the flusher's own
    Segment segment
    Batch flushing
    uint32_t previous
    uint64_t previous_end
    int previous_failed
    int failed_fd  # ended by a failure; its lock says that this process lives


# Buffers

cdef inline char* batch_room(Batch* batch, size_t size) noexcept nogil:
    """Where the next `size` octets go; NULL without memory."""
    cdef size_t capacity = batch.capacity or BATCH
    cdef char* data
    if size + PAGE > batch.capacity - batch.used:  # with room for `pad_page`
        while capacity - batch.used < size + PAGE:
            capacity *= 2
        data = <char*>realloc(batch.data, capacity)
        if data == NULL:
            return NULL
        batch.data = data
        batch.capacity = capacity
    return batch.data + batch.used


cdef inline void batch_free(Batch* batch) noexcept nogil:
    free(batch.data)
    memset(batch, 0, sizeof(Batch))


cdef inline void log_kick(Log* log) noexcept nogil:
    """What is pending shall be flushed. Mutex is held."""
    log.kicked = 1
    if log.idle:
        log.idle = 0
        pthread_cond_signal(&log.wake)


cdef inline uint64_t log_take(Log* log, RecordHead* head, char* place) noexcept nogil:
    """Give the record at `place` (from `batch_room`) its ticket. Mutex is held."""
    cdef uint64_t size = record_size(head.envelope_length, inline_body(head))
    cdef uint64_t plain = RECORD_HEADER + head.envelope_length + inline_body(head)
    log.appended += 1
    head.sequence = log.appended
    memcpy(place, head, RECORD_HEADER)
    memset(place + plain, 0, size - plain)
    if log.pending.records == 0:
        log.pending.since = now_ns()
    log.pending.used += size
    log.pending.records += 1
    log.waiting += size
    if log.pending.records >= log.batch or log.pending.used > EAGER:
        log_kick(log)
    return log.appended


# Segments

cdef inline void segment_file(
    char* name, uint16_t series, uint32_t number
) noexcept nogil:
    snprintf(name, NAME, "%u-%08u.log", <unsigned int>series, <unsigned int>number)


cdef inline void temporary_file(
    Log* log, char* name, const char* suffix
) noexcept nogil:
    """A name that no reader looks for. It tells which life it belongs to, so that the
    keeper, which removes what dead lives left, never takes it from a living one."""
    snprintf(
        name, NAME, "%u-%08u.%s",
        <unsigned int>log.series, <unsigned int>log.first, suffix,
    )


cdef inline uint64_t fresh_salt(Log* log) noexcept nogil:
    """splitmix64 over a random seed: no two segments share a salt."""
    cdef uint64_t x
    log.salt_seed += <uint64_t>0x9E3779B97F4A7C15
    x = log.salt_seed
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline int temporary(Log* log, const char* suffix, int* fd) noexcept nogil:
    """A new file under that name; an old one is what is left of a failure."""
    cdef char name[NAME]
    temporary_file(log, name, suffix)
    unlinkat(log.directory, name, 0)
    return create_locked(log.directory, name, fd)


cdef inline int segment_create(
    Log* log, Segment* made, const char** suffix, uint64_t filled
) noexcept nogil:
    """Take the prepared file, or make one; `filled` octets of it are filled first."""
    cdef int error
    pthread_mutex_lock(&log.mutex)
    made.fd, made.size, made.growing = log.ready_fd, log.ready_size, 0
    log.ready_fd = -1
    made.salt = fresh_salt(log)
    made.number = log.next_number
    log.next_number += 1
    pthread_mutex_unlock(&log.mutex)
    suffix[0] = b"ready"
    if made.fd >= 0:
        return 0
    suffix[0] = b"new"
    made.size = filled or log.segment.size
    made.growing = filled == 0
    error = temporary(log, suffix[0], &made.fd)
    if error == 0 and filled and fill(made.fd, filled, NULL) != 0:
        made.growing = 1
        ftruncate(made.fd, 0)
    return error


cdef inline int segment_name(
    Log* log, Segment* made, const char* suffix
) noexcept nogil:
    """Write its header and make it durable; then give it its name, durable too."""
    cdef SegmentHead head
    cdef char old[NAME]
    cdef char name[NAME]
    cdef int error
    memset(&head, 0, sizeof(head))
    head.series, head.number = log.series, made.number
    head.epoch, head.salt = log.epoch, made.salt
    head.previous, head.previous_end = log.previous, log.previous_end
    head.flags = SEGMENT_AFTER_FAILURE if log.previous_failed else 0
    seal_segment(&head)
    error = write_all(made.fd, <char*>&head, SEGMENT_HEADER, 0) or sync_all(made.fd)
    if error:
        return error
    temporary_file(log, old, suffix)
    segment_file(name, log.series, made.number)
    if renameat(log.directory, old, log.directory, name) < 0:
        return errno
    error = sync_all(log.directory)
    if error:
        unlinkat(log.directory, name, 0)
    return error


cdef inline int segment_open(Log* log, uint64_t filled) noexcept nogil:
    """Begin the next segment; 0 or an errno, and then there is none."""
    cdef Segment made
    cdef const char* suffix
    cdef char old[NAME]
    cdef int error
    memset(&made, 0, sizeof(made))
    made.fd = -1
    error = segment_create(log, &made, &suffix, filled)
    if error == 0:
        error = segment_name(log, &made, suffix)
    if error:
        temporary_file(log, old, suffix)
        unlinkat(log.directory, old, 0)
        if made.fd >= 0:
            close(made.fd)
        return error
    made.end = SEGMENT_HEADER
    log.segment = made
    if log.failed_fd >= 0:
        close(log.failed_fd)
        log.failed_fd = -1
    pthread_mutex_lock(&log.mutex)
    log.number, log.durable = made.number, made.end
    log.broken = 0
    pthread_mutex_unlock(&log.mutex)
    return 0


cdef inline void segment_seal(Log* log, int failed) noexcept nogil:
    """The segment ends at its durable end; the next one's header will say so."""
    log.previous, log.previous_end = log.segment.number, log.segment.end
    log.previous_failed = failed
    ftruncate(log.segment.fd, <int64_t>log.segment.end)  # as well as it goes


cdef inline int segment_rotate(Log* log) noexcept nogil:
    """Open the next segment; the old one's lock is given up only then."""
    cdef int old = log.segment.fd
    cdef int error
    segment_seal(log, 0)
    error = segment_open(log, 0)
    if error:
        log.failed_fd = old
        log.segment.fd = -1
    else:
        close(old)
    return error


# The flusher

cdef inline void seal_batch_record(
    char* data, uint64_t salt, uint64_t offset
) noexcept nogil:
    cdef RecordHead* head = <RecordHead*>data
    cdef const char* envelope = data + RECORD_HEADER
    head.envelope_crc = crc32c(0, envelope, head.envelope_length)
    if not head.flags & BODY_BIG:
        head.body_crc = crc32c(0, envelope + head.envelope_length, head.body_length)
    seal_record(head, salt, offset)


cdef inline size_t fill_segment(
    Log* log, size_t start, uint64_t* last, uint32_t* records
) noexcept nogil:
    """Seal the records from `start` on that fit the segment; returns where they end."""
    cdef Batch* batch = &log.flushing
    cdef Segment* segment = &log.segment
    cdef RecordHead* head
    cdef uint64_t offset = segment.end
    cdef uint64_t size
    cdef size_t at = start
    records[0] = 0
    while at < batch.used:
        head = <RecordHead*>(batch.data + at)
        size = record_size(head.envelope_length, inline_body(head))
        # a record larger than a segment has one alone, which grows
        if offset + size > segment.size and offset > SEGMENT_HEADER:
            break
        seal_batch_record(batch.data + at, segment.salt, offset)
        last[0] = head.sequence
        records[0] += 1
        offset += size
        at += size
    return at


cdef inline void settle_spools(Log* log, uint64_t last, int error) noexcept nogil:
    cdef Spooled* one
    cdef int n
    for n in range(log.spools):
        one = &log.spooled[n]
        if one.settled or one.ticket > last:
            continue
        one.settled = 1
        one.error = error
        if one.fd >= 0:
            close(one.fd)
            one.fd = -1


cdef inline void add_failure(
    Log* log, uint64_t first, uint64_t last, int error
) noexcept nogil:
    cdef Failure* end
    if log.failed:
        end = &log.failures[log.failed - 1]
        if end.last + 1 == first and (end.error == error or log.failed == FAILURES):
            end.last = last
            return
    if log.failed == FAILURES:
        # nobody collects: the stretch grows over what lies between, which errs to the
        # safe side, since a message that is refused may be durable, never the reverse
        end.last = last
        return
    log.failures[log.failed] = Failure(first, last, error)
    log.failed += 1


cdef inline void publish(
    Log* log, uint64_t last, uint64_t octets, int error
) noexcept nogil:
    """Tickets up to `last` are settled. Mutex is not held."""
    cdef uint64_t one = 1
    pthread_mutex_lock(&log.mutex)
    if error:
        add_failure(log, log.settled + 1, last, error)
    else:
        log.durable = log.segment.end
    log.settled = last
    log.waiting -= octets
    settle_spools(log, last, error)
    pthread_cond_broadcast(&log.settle)
    pthread_mutex_unlock(&log.mutex)
    write(log.event, &one, 8)


cdef inline void note_flush(
    Log* log, int64_t begun, uint32_t records, uint64_t octets, uint64_t id
) noexcept nogil:
    cdef Flush* flush
    cdef int64_t now = now_ns()
    pthread_mutex_lock(&log.mutex)
    flush = &log.flushes[log.flushed % FLUSHES]
    flush.microseconds = <uint32_t>((now - begun) // 1000)
    flush.waited = <uint32_t>((now - log.flushing.since) // 1000)
    flush.records = records
    flush.octets = octets
    flush.id = id
    log.flushed += 1
    pthread_mutex_unlock(&log.mutex)


cdef inline size_t pad_page(Log* log, size_t end, uint64_t offset) noexcept nogil:
    """Zeros behind a batch that ends at `offset`, up to the end of the page; how many.

    A page of the segment that is written whole need not be read from the disk first.
    """
    cdef size_t more = (PAGE - offset % PAGE) % PAGE
    if end < log.flushing.used or log.segment.growing:
        return 0
    memset(log.flushing.data + end, 0, more)
    return more


cdef inline int flush_part(Log* log, size_t* at, uint64_t* last) noexcept nogil:
    """Write and sync what fits the segment; the position moves when it is durable."""
    cdef int64_t begun = now_ns()
    cdef size_t start = at[0]
    cdef uint64_t id = (<RecordHead*>(log.flushing.data + start)).id
    cdef uint32_t records
    cdef size_t end = fill_segment(log, start, last, &records)
    cdef size_t more
    cdef int error = 0
    if end > start:
        more = pad_page(log, end, log.segment.end + end - start)
        error = write_all(
            log.segment.fd,
            log.flushing.data + start,
            end - start + more,
            log.segment.end,
        ) or sync_data(log.segment.fd)
        if error:
            return error
        log.segment.end += end - start
        note_flush(log, begun, records, end - start, id)
        at[0] = end
    return 0


cdef inline int usable_segment(Log* log, int full) noexcept nogil:
    """See that there is a segment to write to; `full`: the present one has no room."""
    if log.segment.fd < 0:
        return segment_open(log, 0)
    if full or (log.segment.growing and log.ready_fd >= 0):
        return segment_rotate(log)
    return 0


cdef inline void fail_segment(Log* log) noexcept nogil:
    """Nothing behind the durable end will ever count. The sync is not tried again:
    the kernel may have dropped the pages and would then report success."""
    if log.segment.fd < 0:
        return
    segment_seal(log, 1)
    log.failed_fd = log.segment.fd
    log.segment.fd = -1


cdef inline void flush_batch(Log* log, uint64_t newest) noexcept nogil:
    cdef size_t at = 0
    cdef size_t before
    cdef uint64_t last = 0
    cdef int full = 0
    cdef int error = 0
    while at < log.flushing.used:
        before = at
        error = usable_segment(log, full)
        if error:
            pthread_mutex_lock(&log.mutex)
            log.broken = error
            log.retry_at = now_ns() + RETRY
            pthread_mutex_unlock(&log.mutex)
            break
        error = flush_part(log, &at, &last)
        if error:
            fail_segment(log)
            break
        full = at < log.flushing.used
        if at > before:
            publish(log, last, at - before, 0)
    if error:
        publish(log, newest, log.flushing.used - at, error)


cdef inline void ask_ahead(Log* log) noexcept nogil:
    """Ask for the next segment when half of this one is used. Mutex is held."""
    cdef Segment* segment = &log.segment
    if log.ready_fd >= 0 or log.wanted or log.stopping or segment.fd < 0:
        return
    if not segment.growing and segment.end < segment.size // 2:
        return
    if now_ns() < log.prepare_at:
        return
    log.wanted = min(log.segment_size, segment.size * GROWTH)
    pthread_cond_signal(&log.prepare)


cdef inline void await_work(Log* log) noexcept nogil:
    """Until something is pending; buffers that stay unused are given back."""
    cdef timespec limit
    while not log.stopping and (log.pending.used == 0 or not log.kicked):
        log.idle = 1
        if log.pending.capacity == 0 and log.flushing.capacity == 0:
            pthread_cond_wait(&log.wake, &log.mutex)
            continue
        clock_gettime(CLOCK_MONOTONIC, &limit)
        limit.tv_sec += IDLE
        if pthread_cond_timedwait(&log.wake, &log.mutex, &limit) == 0:
            continue
        if log.pending.used == 0 and log.idle:
            batch_free(&log.pending)
            batch_free(&log.flushing)
    log.idle = 0


cdef inline void* flusher(void* argument) noexcept nogil:
    cdef Log* log = <Log*>argument
    cdef Batch taken
    cdef uint64_t newest
    pthread_setname_np(pthread_self(), b"log flusher")
    run_promptly()
    pthread_mutex_lock(&log.mutex)
    while True:
        await_work(log)
        if log.pending.used == 0:
            break
        taken = log.pending
        log.pending = log.flushing
        log.flushing = taken
        newest = log.appended
        log.kicked = 0
        pthread_mutex_unlock(&log.mutex)
        flush_batch(log, newest)
        if log.flushing.capacity > BATCH_KEPT and (
            log.flushing.used < log.flushing.capacity // 8
        ):
            batch_free(&log.flushing)
        log.flushing.used = 0
        log.flushing.records = 0
        pthread_mutex_lock(&log.mutex)
        ask_ahead(log)
    pthread_mutex_unlock(&log.mutex)
    return NULL


# The preparer

cdef inline void prepare_segment(Log* log, uint64_t size) noexcept nogil:
    """A file with blocks for the next segment. Failing is no harm: a segment that was
    not prepared grows. Where space is short it must not be taken ahead of need."""
    cdef char name[NAME]
    cdef int fd = -1
    cdef int error = ENOSPC
    if free_octets(log.directory) >= SPARE * size:
        error = temporary(log, b"ready", &fd)
    if error == 0:
        error = fill(fd, size, &log.stopping)
    if error and fd >= 0:
        temporary_file(log, name, b"ready")
        unlinkat(log.directory, name, 0)
        close(fd)
    pthread_mutex_lock(&log.mutex)
    log.wanted = 0
    if error:
        log.prepare_at = now_ns() + 10 * RETRY
    else:
        log.ready_fd, log.ready_size = fd, size
    pthread_mutex_unlock(&log.mutex)


cdef inline void* preparer(void* argument) noexcept nogil:
    cdef Log* log = <Log*>argument
    cdef uint64_t size
    pthread_setname_np(pthread_self(), b"log preparer")
    pthread_mutex_lock(&log.mutex)
    while not log.stopping:
        size = log.wanted
        if size == 0:
            pthread_cond_wait(&log.prepare, &log.mutex)
            continue
        pthread_mutex_unlock(&log.mutex)
        prepare_segment(log, size)
        pthread_mutex_lock(&log.mutex)
    pthread_mutex_unlock(&log.mutex)
    return NULL


cdef inline void run_promptly() noexcept nogil:
    """Ask for turns of 0.1 ms, so that this thread, which runs for microseconds after
    each sync, need not wait for the end of a turn of the loop or of others (Linux 6.12
    and later; elsewhere nothing changes)."""
    cdef SchedAttr attributes
    memset(&attributes, 0, sizeof(attributes))
    attributes.size = sizeof(attributes)
    attributes.runtime = 100_000
    syscall(SYS_sched_setattr, 0, &attributes, 0)


cdef inline int thread_start(
    pthread_t* thread, void* (*main)(void*) noexcept nogil, void* argument
) noexcept nogil:
    """A thread with a small stack that takes no signal; those are the loop's."""
    cdef pthread_attr_t attributes
    cdef sigset_t everything
    cdef sigset_t kept
    cdef int error
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, STACK)
    sigfillset(&everything)
    pthread_sigmask(SIG_SETMASK, &everything, &kept)
    error = pthread_create(thread, &attributes, main, argument)
    pthread_sigmask(SIG_SETMASK, &kept, NULL)
    pthread_attr_destroy(&attributes)
    return error


# The end

cdef inline void log_end(Log* log) noexcept nogil:
    """No thread runs any more: give back what was prepared and what was not used."""
    cdef char name[NAME]
    if log.ready_fd >= 0:
        temporary_file(log, name, b"ready")
        unlinkat(log.directory, name, 0)
        close(log.ready_fd)
        log.ready_fd = -1
    if log.segment.fd >= 0:
        ftruncate(log.segment.fd, <int64_t>log.segment.end)
        close(log.segment.fd)
        log.segment.fd = -1
    if log.failed_fd >= 0:
        close(log.failed_fd)
        log.failed_fd = -1


cdef inline void log_free(Log* log) noexcept nogil:
    if log.directory >= 0:
        close(log.directory)
    if log.event >= 0:
        close(log.event)
    batch_free(&log.pending)
    batch_free(&log.flushing)
    free(log.spooled)
    pthread_cond_destroy(&log.wake)
    pthread_cond_destroy(&log.prepare)
    pthread_cond_destroy(&log.spool)
    pthread_cond_destroy(&log.settle)
    pthread_mutex_destroy(&log.mutex)
    free(log)
