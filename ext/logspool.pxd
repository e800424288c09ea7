"""Bodies in files of their own: what a spooler thread does.

A `Big` collects pieces (the loop's side) that spoolers write in order. It is in the
queue of `Spools` when it has something to do and no spooler works on it, so that one
file is never written by two threads. When it is complete: the headers, fdatasync, the
directory, and only then its record goes to the log like any other.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from crc32c cimport crc32c
from logengine cimport (
    NAME,
    Log,
    Spooled,
    batch_room,
    fresh_salt,
    log_kick,
    log_take,
    pthread_cond_broadcast,
    pthread_cond_signal,
    pthread_cond_wait,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    pthread_self,
    pthread_setname_np,
    write,
)
from logfile cimport (
    SYNC_FILE_RANGE_WRITE,
    create_locked,
    sync_all,
    sync_data,
    sync_file_range,
    unlinkat,
    write_all,
)
from logformat cimport (
    BODY_BIG,
    RECORD_HEADER,
    SEGMENT_BIG,
    SEGMENT_HEADER,
    RecordHead,
    SegmentHead,
    record_size,
    seal_record,
    seal_segment,
)

cdef enum:
    PIECE = 1 << 18  # octets handed to the spooler at once
    BODY = SEGMENT_HEADER + RECORD_HEADER  # where the body begins in its file

cdef enum BigState:
    OPEN
    COMPLETE
    ABORTED

cdef struct Piece:
    Piece* next
    size_t used
    char data[PIECE]

cdef struct Big:
    Big* next  # in the queue
    int queued
    int busy  # a spooler works on it
    int owners  # the Python object, and the work that is left
    BigState state
    uint32_t number
    uint64_t id
    Piece* first
    Piece* last
    size_t backlog  # octets taken and not written
    uint8_t kind
    char* envelope
    uint32_t envelope_length
    # the spooler's own
    int fd
    int error
    uint64_t names  # names_begun when the file was there
    uint64_t length
    uint32_t crc

cdef struct Spools:
    Log* log
    Big* first
    Big* last
    int stopping


cdef inline void big_file(char* name, Log* log, Big* big) noexcept nogil:
    snprintf(
        name, NAME, "%u-%08u.big",
        <unsigned int>log.series, <unsigned int>big.number,
    )


cdef inline void big_enqueue(Spools* spools, Big* big) noexcept nogil:
    """There is something to do. Mutex is held."""
    if big.queued or big.busy:
        return
    big.queued = 1
    big.next = NULL
    if spools.last == NULL:
        spools.first = big
    else:
        spools.last.next = big
    spools.last = big
    pthread_cond_signal(&spools.log.spool)


cdef inline Big* big_dequeue(Spools* spools) noexcept nogil:
    cdef Big* big = spools.first
    spools.first = big.next
    if spools.first == NULL:
        spools.last = NULL
    big.queued = 0
    return big


cdef inline void pieces_free(Piece* piece) noexcept nogil:
    cdef Piece* following
    while piece != NULL:
        following = piece.next
        free(piece)
        piece = following


cdef inline void big_release(Big* big) noexcept nogil:
    """One owner less. Mutex is held."""
    big.owners -= 1
    if big.owners == 0:
        pieces_free(big.first)
        free(big.envelope)
        free(big)


cdef inline void big_create(Log* log, Big* big) noexcept nogil:
    cdef char name[NAME]
    big_file(name, log, big)
    big.error = create_locked(log.directory, name, &big.fd)
    pthread_mutex_lock(&log.mutex)
    big.names = log.names_begun
    pthread_mutex_unlock(&log.mutex)


cdef inline void big_write(Log* log, Big* big, Piece* piece) noexcept nogil:
    """Write the pieces, unless something failed before; the disk begins at once."""
    cdef uint64_t offset
    if big.fd < 0 and big.error == 0:
        big_create(log, big)
    while piece != NULL:
        offset = BODY + big.length
        if big.error == 0:
            big.crc = crc32c(big.crc, piece.data, piece.used)
            big.error = write_all(big.fd, piece.data, piece.used, offset)
            sync_file_range(
                big.fd, <int64_t>offset, <int64_t>piece.used, SYNC_FILE_RANGE_WRITE
            )
        big.length += piece.used
        piece = piece.next


cdef inline void big_unlink(Log* log, Big* big) noexcept nogil:
    cdef char name[NAME]
    if big.fd < 0:
        return
    big_file(name, log, big)
    unlinkat(log.directory, name, 0)
    close(big.fd)
    big.fd = -1


cdef inline void big_head(Big* big, RecordHead* head) noexcept nogil:
    memset(head, 0, sizeof(RecordHead))
    head.kind = big.kind
    head.id = big.id
    head.body_length = big.length
    head.body_crc = big.crc


cdef inline int big_headers(Log* log, Big* big) noexcept nogil:
    """What makes the file a segment of one record."""
    cdef char data[SEGMENT_HEADER + RECORD_HEADER]
    cdef SegmentHead* segment = <SegmentHead*>data
    cdef RecordHead* record = <RecordHead*>(data + SEGMENT_HEADER)
    cdef uint64_t zeros = 0
    cdef uint64_t padded = SEGMENT_HEADER + record_size(0, big.length)
    cdef uint64_t end = BODY + big.length
    memset(data, 0, sizeof(data))
    segment.series, segment.number = log.series, big.number
    segment.epoch, segment.flags = log.epoch, SEGMENT_BIG
    pthread_mutex_lock(&log.mutex)
    segment.salt = fresh_salt(log)
    pthread_mutex_unlock(&log.mutex)
    seal_segment(segment)
    big_head(big, record)
    seal_record(record, segment.salt, SEGMENT_HEADER)
    return write_all(big.fd, data, BODY, 0) or write_all(
        big.fd, <char*>&zeros, padded - end, end
    )


cdef inline int names_durable(Log* log, uint64_t since) noexcept nogil:
    """fsync of the directory, unless one that began after `since` has ended: many
    bodies that end together share it."""
    cdef uint64_t turn
    cdef int error
    pthread_mutex_lock(&log.mutex)
    if log.names_done > since:
        pthread_mutex_unlock(&log.mutex)
        return 0
    log.names_begun += 1
    turn = log.names_begun
    pthread_mutex_unlock(&log.mutex)
    error = sync_all(log.directory)
    if error == 0:
        pthread_mutex_lock(&log.mutex)
        log.names_done = max(log.names_done, turn)
        pthread_mutex_unlock(&log.mutex)
    return error


cdef inline int spooled_reserve(Log* log) noexcept nogil:
    """Make room to tell of one more body, now that failing harms nobody. Mutex is
    held; 0 or ENOMEM."""
    cdef int room = max(16, log.spool_room * 2)
    cdef Spooled* grown
    if log.spools + log.spools_open >= log.spool_room:
        grown = <Spooled*>realloc(log.spooled, room * sizeof(Spooled))
        if grown == NULL:
            return ENOMEM
        log.spooled = grown
        log.spool_room = room
    log.spools_open += 1
    return 0


cdef inline void spooled_tell(
    Log* log, Big* big, uint64_t ticket, int fd
) noexcept nogil:
    """To the loop, when the ticket is settled; ticket 0 is a failure, told at once.
    Mutex is held."""
    cdef Spooled* told = &log.spooled[log.spools]
    told.id, told.ticket, told.fd = big.id, ticket, fd
    told.error, told.settled = big.error, ticket == 0
    log.spools += 1
    log.spools_open -= 1


cdef inline int big_record(Log* log, Big* big) noexcept nogil:
    """Append the record that refers to the body. Mutex is held."""
    cdef RecordHead head
    cdef char* place = batch_room(
        &log.pending, record_size(big.envelope_length, 0)
    )
    if place == NULL:
        return ENOMEM
    big_head(big, &head)
    head.flags = BODY_BIG
    head.number = big.number
    head.envelope_length = big.envelope_length
    memcpy(place + RECORD_HEADER, big.envelope, big.envelope_length)
    spooled_tell(log, big, log_take(log, &head, place), big.fd)
    log_kick(log)
    big.fd = -1  # closed when it is settled
    return 0


cdef inline void big_complete(Log* log, Big* big) noexcept nogil:
    cdef uint64_t one = 1
    if big.error == 0:
        big.error = (
            big_headers(log, big)
            or sync_data(big.fd)
            or names_durable(log, big.names)
        )
    if big.error:
        big_unlink(log, big)
    pthread_mutex_lock(&log.mutex)
    if big.error == 0:
        big.error = big_record(log, big)
    if big.error:
        big_unlink(log, big)  # still there only if memory is short
        spooled_tell(log, big, 0, -1)
        write(log.event, &one, 8)
    log.finishing -= 1
    pthread_cond_broadcast(&log.settle)
    pthread_mutex_unlock(&log.mutex)


cdef inline void big_work(Spools* spools, Big* big) noexcept nogil:
    """What there is to do for it at present. Mutex is held, but not while writing."""
    cdef Log* log = spools.log
    cdef Piece* pieces = big.first
    cdef size_t octets = big.backlog
    cdef BigState state = big.state
    big.busy = 1
    big.first = big.last = NULL
    pthread_mutex_unlock(&log.mutex)
    if state != ABORTED:
        big_write(log, big, pieces)
    pieces_free(pieces)
    if state == COMPLETE:
        big_complete(log, big)
    elif state == ABORTED:
        big_unlink(log, big)
    pthread_mutex_lock(&log.mutex)
    big.backlog -= octets
    big.busy = 0
    if state == ABORTED:
        log.spools_open -= 1
    if state != OPEN:
        big_release(big)
    elif big.state != OPEN or big.first != NULL and big.first.used == PIECE:
        big_enqueue(spools, big)


cdef inline void* spooler(void* argument) noexcept nogil:
    cdef Spools* spools = <Spools*>argument
    cdef Log* log = spools.log
    pthread_setname_np(pthread_self(), b"log spooler")
    pthread_mutex_lock(&log.mutex)
    while True:
        if spools.first != NULL:
            big_work(spools, big_dequeue(spools))
        elif spools.stopping:
            break
        else:
            pthread_cond_wait(&log.spool, &log.mutex)
    pthread_mutex_unlock(&log.mutex)
    return NULL


cdef inline Big* big_begin(Log* log, uint64_t id) noexcept nogil:
    """Mutex is held; NULL without memory."""
    cdef Big* big = <Big*>malloc(sizeof(Big))
    if big == NULL or spooled_reserve(log) != 0:
        free(big)
        return NULL
    memset(big, 0, sizeof(Big))
    big.owners = 2
    big.fd = -1
    big.id = id
    big.number = log.next_number
    log.next_number += 1
    return big


cdef inline int big_take(
    Spools* spools, Big* big, const char* data, size_t size
) noexcept nogil:
    """Copy octets into pieces; full pieces are handed over. Mutex is held."""
    cdef Piece* piece
    cdef size_t part
    while size:
        piece = big.last
        if piece == NULL or piece.used == PIECE:
            piece = <Piece*>malloc(sizeof(Piece))
            if piece == NULL:
                return ENOMEM
            piece.next = NULL
            piece.used = 0
            if big.last == NULL:
                big.first = piece
            else:
                big.last.next = piece
            big.last = piece
        part = min(size, PIECE - piece.used)
        memcpy(piece.data + piece.used, data, part)
        piece.used += part
        big.backlog += part
        data += part
        size -= part
        if piece.used == PIECE:
            big_enqueue(spools, big)
    return 0
