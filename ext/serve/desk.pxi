# What all clients of a listener share, and how the log is read. Part of fetcher.pyx.

checksum.crc32c_begin()


cdef double seconds() noexcept:
    """The monotonic clock, as `time.monotonic`."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cdef class Desk:
    """What all clients of one listener share.

    door   `serve.pop3d.Pop3d`: admits clients, opens maildrops, removes messages
    later  called with a client whose next turn is in so many seconds
    tls    `net.tls.Tls` for STLS, or None
    giving clients that something is to be given to
    keeps  whether it is noted which messages were retrieved
    """

    cdef readonly object door, service, options, clock, shared, small, store
    cdef public object later, tls
    cdef int64_t[::1] cells
    cdef unsigned char *out
    cdef unsigned char *scratch
    cdef readonly double shortest
    cdef readonly int giving
    cdef readonly bint keeps
    cdef double share, free_at  # of the processor; when the next turn may be

    def __init__(self, door, service, options, clock, shared, store):
        self.door = door
        self.service = service
        self.options = options
        self.clock = clock
        self.shared = shared
        self.small = memoryview(shared)[:READ_MOST]
        self.store = store
        self.cells = service.cells
        self.shortest = min(
            options.login_timeout, options.idle_timeout, options.reply_timeout
        )
        self.share = options.max_share
        self.keeps = options.keep_days > 0
        self.out = <unsigned char *> malloc(OUT)
        self.scratch = <unsigned char *> malloc(SCRATCH)
        if self.out is NULL or self.scratch is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.out)
        free(self.scratch)


cdef bint read_file(int fd, unsigned char *to, size_t n, uint64_t offset) noexcept:
    """Whether so many octets could be read there."""
    cdef size_t got = 0
    cdef ssize_t some
    while got < n:
        some = pread(fd, to + got, n - got, <off_t> (offset + got))
        if some < 0 and errno == EINTR:
            continue
        if some <= 0:
            return False
        got += some
    return True
