"""One connection: the buffer it reads into, flow control both ways, and its end.

    connection_made → opened
    get_buffer, buffer_updated: the subclass's, there is no call in between
    pause/resume_writing → steer
    connection_lost → ended

Laws
- All connections of a loop read into one buffer. What a protocol needs of it when
  `buffer_updated` returns, it has copied; an idle connection owns no buffer.
- `full` is true while the peer does not read what we wrote: then nothing more is read
  from it, so that one who never reads costs at most the transport's limit (64 KiB).
- What is said goes out at once. uvloop would write at the end of its turn, and clients
  that were heard together would wait for each other's answers. Only what the socket
  does not take is left to the transport, and then all that follows.
- `close` lets the last reply go out; `check` of the subclass bounds how long that may
  take. `transport` is None once the connection is lost.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t send(int socket, const void *octets, size_t n, int flags)

from uvloop.loop import UVStream

cdef enum:
    SHARED = 256 * 1024  # octets read at once, at most
    NO_SOCKET = -1

cdef double FOREVER = float("inf")

cdef int socket_of(transport) except? -1:
    """The descriptor we may write to; NO_SOCKET when that is the transport's alone."""
    cdef object sock = None
    if isinstance(transport, UVStream):
        sock = transport.get_extra_info("socket")
    return NO_SOCKET if sock is None else sock.fileno()


def shared_buffer():
    """The buffer that all connections of one loop are given."""
    return bytearray(SHARED)


cdef class Connection:
    """What a protocol's connection inherits; see the laws above.

    full      the peer does not read
    paused    we do not read
    slot      net.clock's
    patience  seconds between two looks at the deadline, at most
    """

    def __init__(self, shared):
        self.shared = shared
        self.patience = FOREVER

    # for the subclass to fill in

    cpdef opened(self):
        """The connection is there; write the greeting."""

    cpdef steer(self):
        """`full` has changed: look at flow control again."""

    cpdef ended(self):
        """The connection is gone; called once."""

    cdef double deadline(self) except? -1:
        """Until when we wait for the peer, by the clock's seconds."""
        return FOREVER

    cdef int late(self) except -1:
        """The deadline has passed: say so, and leave."""
        self.abort()
        return 0

    # what the event loop calls

    def connection_made(self, transport):
        self.use(transport)
        self.opened()

    def get_buffer(self, sizehint):
        return self.shared

    def eof_received(self):
        """The peer has finished: nothing it could still be told would matter."""
        return False

    def pause_writing(self):
        self.full = True
        self.steer()

    def resume_writing(self):
        self.full = False
        self.steer()

    def connection_lost(self, exc):
        self.socket = NO_SOCKET
        self.transport = self.put = None
        self.closing = True
        self.ended()

    # what the clock calls

    def check(self, double now):
        """Look at the deadline; returns when to ask next. Who was told to leave and is
        still here then has its connection cut."""
        cdef double due
        if self.closing:
            self.abort()
            return None
        due = self.deadline()
        if due <= now:
            self.late()
            due = FOREVER
        return min(due, now + self.patience)

    # what the subclass uses

    cpdef use(self, transport):
        """Write to this transport from now on: the first, or TLS over it."""
        self.transport = transport
        self.put = transport.write
        self.socket = socket_of(transport)
        self.behind = False

    cdef int write(self, bytes out) except -1:
        """Nothing happens when the connection is lost."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(out)
        cdef Py_ssize_t sent = 0
        if self.socket != NO_SOCKET and not self._must_queue():
            sent = send(
                self.socket, PyBytes_AS_STRING(out), n, MSG_DONTWAIT | MSG_NOSIGNAL
            )
            if sent == n:
                return 0
            self.behind = True  # or broken, and the transport will find out
        if self.put is not None:
            self.put(memoryview(out)[sent:] if sent > 0 else out)  # no copy of a body
        return 0

    cdef bint _must_queue(self) except -1:
        """Whether the transport has something to write first, or is at its end."""
        if self.behind:
            self.behind = self.transport.get_write_buffer_size() != 0
        return self.behind or self.transport.is_closing()

    cpdef read(self, bint on):
        """Begin or stop reading from the peer."""
        if self.paused == on and self.transport is not None and not self.closing:
            self.paused = not on
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    cpdef close(self):
        """After what was written has gone out."""
        if self.transport is not None and not self.closing:
            self.closing = True
            self.transport.close()

    cpdef part(self):
        """As `close`, when the peer may be talking still: what it says is thrown away
        until it leaves. A close with unread input would reset the connection, and our
        last words could be lost with it. `check` bounds how long that may take."""
        if self.transport is None or self.closing:
            return
        write_eof = getattr(self.transport, "write_eof", None)
        if write_eof is None:
            self.close()
            return
        self.read(True)
        self.closing = True
        write_eof()

    cpdef abort(self):
        """Now; what was written may be lost."""
        if self.transport is not None:
            self.closing = True
            self.transport.abort()
