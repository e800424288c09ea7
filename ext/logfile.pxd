"""System calls of the message log's writer: each returns 0 or an errno.

EINTR and short writes are met here. EINTR from fdatasync says that it has not begun;
every other failure of it is final for the file (see store/msglog.pyx).
"""

from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.fcntl cimport F_GETFL, F_SETFL, O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR, fcntl
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from posix.unistd cimport close, fdatasync, fsync, ftruncate, pwrite

cdef extern from "<fcntl.h>" nogil:
    int fallocate(int fd, int mode, int64_t offset, int64_t size)
    int openat(int directory, const char* name, int flags, ...)
    int sync_file_range(int fd, int64_t offset, int64_t size, unsigned int flags)
    enum: SYNC_FILE_RANGE_WRITE
    enum: O_DIRECT

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** place, size_t alignment, size_t size)

cdef extern from "<sys/file.h>" nogil:
    int flock(int fd, int operation)
    enum: LOCK_EX

cdef extern from "<stdio.h>" nogil:
    int renameat(int old_directory, const char* old, int directory, const char* name)

cdef extern from "<unistd.h>" nogil:
    int unlinkat(int directory, const char* name, int flags)

cdef extern from "<sys/statvfs.h>" nogil:
    struct statvfs:
        unsigned long f_frsize
        unsigned long f_bavail
    int fstatvfs(int fd, statvfs* found)

cdef enum:
    PAGE = 4096  # octets that the kernel keeps, and a disk writes, as one
    FILL = 1 << 18  # octets of zeros written at once
    FILL_PAUSE = 1_000_000  # nanoseconds between two of them: mail goes first


cdef inline int64_t now_ns() noexcept nogil:
    """The monotonic clock."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1_000_000_000 + t.tv_nsec


cdef inline uint64_t free_octets(int fd) noexcept nogil:
    """What the file system of `fd` has left for us; 0 when it does not tell."""
    cdef statvfs found
    if fstatvfs(fd, &found) < 0:
        return 0
    return <uint64_t>found.f_frsize * found.f_bavail


cdef inline int write_all(
    int fd, const char* data, uint64_t size, uint64_t offset
) noexcept nogil:
    cdef ssize_t n
    while size:
        n = pwrite(fd, data, size, <int64_t>offset)
        if n < 0 and errno == EINTR:
            continue
        if n < 0:
            return errno
        if n == 0:
            return EIO
        data += n
        size -= n
        offset += n
    return 0


cdef inline int sync_data(int fd) noexcept nogil:
    while fdatasync(fd) < 0:
        if errno != EINTR:
            return errno
    return 0


cdef inline int sync_all(int fd) noexcept nogil:
    """The file with its size and blocks; for a directory, its names."""
    while fsync(fd) < 0:
        if errno != EINTR:
            return errno
    return 0


cdef inline int create_locked(int directory, const char* name, int* fd) noexcept nogil:
    """A new file, held with flock; waits out the moment in which somebody looks."""
    cdef int got
    while True:
        got = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if got >= 0 or errno != EINTR:
            break
    if got < 0:
        return errno
    while flock(got, LOCK_EX) < 0:
        if errno != EINTR:
            close(got)
            return errno
    fd[0] = got
    return 0


cdef inline int fill(int fd, uint64_t size, const int* stop) noexcept nogil:
    """Write zeros, so that later writes need no new blocks; leaves them durable.

    Around the page cache where the file system can, so that it costs the processor
    little. Pauses between pieces and ends early when *stop; NULL does neither."""
    cdef void* zeros
    cdef int flags = fcntl(fd, F_GETFL)
    cdef int around
    cdef int error
    if posix_memalign(&zeros, PAGE, FILL) != 0:
        return 0  # only slower
    memset(zeros, 0, FILL)
    fallocate(fd, 0, 0, <int64_t>size)  # in one piece, if it can be
    around = fcntl(fd, F_SETFL, flags | O_DIRECT) == 0
    error = fill_pieces(fd, <char*>zeros, size - size % PAGE, around, stop)
    fcntl(fd, F_SETFL, flags)
    free(zeros)
    return error or sync_all(fd)


cdef inline int fill_pieces(
    int fd, const char* zeros, uint64_t size, int around, const int* stop
) noexcept nogil:
    """`around` the page cache nothing gathers there that a flush had to wait for."""
    cdef timespec pause
    cdef uint64_t offset = 0
    cdef uint64_t piece
    cdef int error = 0
    pause.tv_sec, pause.tv_nsec = 0, FILL_PAUSE
    while offset < size and error == 0 and (stop == NULL or not stop[0]):
        piece = min(size - offset, <uint64_t>FILL)
        error = write_all(fd, zeros, piece, offset)
        offset += piece
        if error == 0 and not around:
            error = sync_data(fd)
        if stop != NULL:
            nanosleep(&pause, NULL)
    return error
