"""Clients that fetch mail by POP3: octets to and from a session, messages from the log.

    connection_made → opened: the door counts it in or sends it away; greet
    buffer_updated  → session.receive → emit
    answer          → session.answer  → emit    what the session waited for is known
    emit → pump     pieces go out: octets, and messages read from the log
    check           → deadlines, see `fastsmtp.serve.pop3d`
    connection_lost → ended

Laws
- One buffer for output and one for reading the log serve all connections of a loop.
  What the socket does not take at once is the transport's, at most that buffer; nothing
  more is read from the log, nor from the client, until it has gone out.
- No message passes through a Python object; over TLS a buffer full of them does.
- A message of at most `SCRATCH` octets is read and its checksum compared before its
  first octet goes out, so that a damaged one is refused; a larger one is compared while
  it goes out, and when it is damaged the connection ends before its last line.
- What is marked is removed when all that was asked for before has gone out.
- A turn of the loop gives one client at most `TURN` octets. While several fetch, turns
  are spread so that they take no more than `max_share` of a processor's time: mail that
  comes in goes before mail that is read. A client that fetches alone does not wait.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport off_t
from posix.unistd cimport pread

cimport crc32c as checksum
from popbody cimport (
    Giving,
    giving_begin,
    giving_cut,
    giving_end,
    giving_narrow,
    giving_put,
    giving_wide,
)

from fastsmtp.net.connection cimport Connection

from fastsmtp.pop3 import counts, replies, states
from fastsmtp.pop3.session import Session

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t send(int socket, const void *octets, size_t n, int flags)

cdef enum:
    SCRATCH = 65536  # octets of the log read at once
    OUT = 163840  # octets written at once: more than SCRATCH can become
    AROUND = 64  # octets of replies around a message
    TURN = 1 << 20  # octets for one client in one turn of the loop
    AHEAD = 64  # messages that are looked up at once
    FORESIGHT = 16  # of a client that fetches one by one: what it holds while it idles
    READ_MOST = 1 << 14  # octets of commands read at once
    LINGER = 2  # seconds for a client to hear our last words and leave
    NO_FILE = -1

cdef int CLOSED = states.CLOSED
cdef int TRANSACTION = states.TRANSACTION
cdef int RETRIEVED = counts.MESSAGES.place("retrieved")
cdef int OCTETS = counts.OCTETS
cdef double FOREVER = float("inf")

include "desk.pxi"


cdef class Fetcher(Connection):
    """One client.

    network   what counts as one client network; empty when it was not let in
    drop      what its session was told of, until the end of the connection
    marked    UIDs that are to be removed when all has gone out; None: nothing is
    removing  that is under way
    sealed    version of TLS; "" in clear
    """

    cdef readonly Desk desk
    cdef readonly object session
    cdef public object address, network, who, drop, marked
    cdef public str family
    cdef public bint removing
    cdef readonly str sealed
    cdef bint shaking, finished, yielding
    cdef readonly double active
    # what goes out
    cdef list queue
    cdef Py_ssize_t at  # the first piece that has not gone out whole
    cdef Py_ssize_t done  # octets of it that have
    cdef dict opened_bodies  # looked up ahead, by message
    cdef int64_t next  # the message behind the last that was retrieved
    cdef public set retrieved  # UIDs, where that is noted; None: none
    cdef object body  # that is being given piece by piece
    cdef Giving giving
    cdef uint64_t place, end  # in the body: the next octet, and the last
    cdef uint32_t crc
    cdef bint top, wide  # UTF-8 in its header is not for this client

    def __init__(self, Desk desk not None):
        self.shared = desk.shared
        self.desk = desk
        self.address = self.network = self.sealed = self.family = ""
        self.active = desk.clock.now
        self.patience = desk.shortest
        self.next = -1

    # what the event loop calls

    def get_buffer(self, sizehint):
        return self.desk.small

    def buffer_updated(self, Py_ssize_t nbytes):
        if self.closing:
            return
        self.emit(self.session.receive(self.shared, nbytes))
        if self.queue is not None or self.session.busy or self.marked is not None:
            self.steer()

    def eof_received(self):
        """Who pipes a dialogue into a socket still hears the answers."""
        self.finished = True
        return not self.closing and self._under_way()

    cpdef ended(self):
        self.desk.clock.forget(self)
        self._drop_queue()
        self._let_go()
        if self.network:
            self.session.lost()
            self.desk.door.left(self)

    # the dialogue

    cpdef opened(self):
        cdef Desk desk = self.desk
        cdef object peer = self.transport.get_extra_info("peername")
        cdef object no
        self.transport.set_write_buffer_limits(high=0)  # so that `full` is exact
        self.address = peer[0] if isinstance(peer, tuple) else "unix"
        no = desk.door.admit(self)
        if no is not None:
            self.network = ""
            self.write(no)
            self.close()
        else:
            self.session = Session(desk.service, self)
            self.session.private = desk.door.private(self.address)
            self.write(self.session.greet())
        desk.clock.watch(self, self.active + desk.shortest)

    @property
    def number(self):
        """The descriptor of its socket; 0 when the transport has none."""
        cdef object sock = self.transport.get_extra_info("socket")
        return 0 if sock is None else sock.fileno()

    def answer(self, answer):
        """What the session waited for has been decided."""
        if answer is None and self.session.drop is None and self.session.login:
            self.desk.door.enter(self)
            return
        self.emit(self.session.answer(answer))
        self.steer()

    cdef int emit(self, list pieces) except -1:
        """Give these; what cannot go out now follows by itself."""
        if pieces is None:
            return 0
        self.active = self.desk.clock.now
        if self.queue is not None:
            self.queue += pieces
            return 0
        if len(pieces) == 1 and type(pieces[0]) is bytes and not self.full:
            self.write(pieces[0])
            return 0
        self.queue = pieces
        self.at = self.done = 0
        self.desk.giving += 1
        return 0 if self.full else self.pump()

    def shut(self, bytes reply, str parting):
        """End the dialogue with this reply."""
        if self.session is not None and self.queue is None:
            self.emit(self.session.shut(reply, parting))
        self.close()

    cpdef steer(self):
        """Go on with what is to go out, then with held input; read if we may."""
        cdef object session = self.session
        if self.closing or session is None:
            return
        if self.queue is not None and not self.full and not self.yielding:
            self.pump()
        while self._idle() and session.holding and not session.pending:
            self.emit(session.resume())
        if self._idle() and self._turn(session):
            return
        self.read(self.queue is None and not (self.full or session.holding))

    cdef bint _idle(self) noexcept:
        """Whether all that was said has gone out."""
        return self.queue is None and not self.full and not self.closing

    cdef bint _turn(self, session) except -1:
        """All has gone out: do what waited for that. True when the dialogue ends or
        is another one now."""
        if self.marked is not None and not self.removing:
            self.removing = True
            self.desk.door.remove(self, self.marked)
        elif session.upgrade and not self.shaking:
            self.shaking = True
            self.read(True)
            self.desk.tls.upgrade(self)
            self.transport.set_write_buffer_limits(high=0)
            return True
        elif session.state == CLOSED:
            self.part()
            self.desk.clock.watch(self, self.desk.clock.now + LINGER)
            return True
        elif self.finished and not self._under_way():
            self.close()
            return True
        return False

    cdef bint _under_way(self) except -1:
        """Whether something is still to be said."""
        cdef object session = self.session
        if session is None:
            return False
        return self.queue is not None or session.pending or session.holding > 0

    @property
    def busy(self):
        """Whether a client that we send away would lose what it asked for."""
        return self._under_way()

    def go_on(self):
        """Another turn."""
        self.yielding = False
        self.steer()

    def secured(self, str version):
        """The TLS handshake is done."""
        self.shaking = False
        self.sealed = version
        self.active = self.desk.clock.now
        if self.session is not None:
            self.session.secure(version)

    # what goes out

    cdef int pump(self) except -1:
        cdef Desk desk = self.desk
        cdef double begun = seconds()
        if desk.giving > 1 and begun < desk.free_at:
            return self._wait(desk.free_at - begun)
        self.give()
        desk.free_at = max(begun, desk.free_at) + (seconds() - begun) / desk.share
        if self.queue is not None and not self.full and not self.closing:
            self._wait(0 if desk.giving < 2 else desk.free_at - begun)
        return 0

    cdef int give(self) except -1:
        """One turn: until all has gone out, or no more goes, or it was enough."""
        cdef Desk desk = self.desk
        cdef size_t used, given = 0
        while not self.closing and given < TURN:
            used = self.fill(desk.out)
            if not used:
                break
            given += used
            self.active = desk.clock.now
            if not self.deliver(desk.out, used):
                break
        return 0

    cdef int _wait(self, double delay) except -1:
        """The next turn is later."""
        if not self.yielding:
            self.yielding = True
            self.desk.later(self, delay)
        return 0

    cdef int _drop_queue(self) except -1:
        if self.queue is not None:
            self.queue = None
            self.desk.giving -= 1
        return 0

    cdef bint deliver(self, const unsigned char *data, size_t n) except -1:
        """Whether the next may follow."""
        cdef ssize_t sent = 0
        if self.socket >= 0 and not self._must_queue():
            sent = send(self.socket, data, n, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == <ssize_t> n:
                return True
            self.behind = True  # or broken, and the transport will find out
            sent = sent if sent > 0 else 0
        if self.put is not None:
            self.put(PyBytes_FromStringAndSize(<char *> data + sent, n - sent))
        return not self.full

    cdef size_t fill(self, unsigned char *out) except? 0:
        """The next octets of the queue, at most OUT."""
        cdef size_t used = 0
        cdef size_t before
        while self.queue is not None:
            before = used
            if self.body is not None:
                used += self.more_of_body(out + used, OUT - used)
            elif type(self.queue[self.at]) is bytes:
                used += self.some_octets(out + used, OUT - used)
            else:
                used += self.message(self.queue[self.at], out + used, OUT - used)
            if used == before or self.closing:
                break
            if self.at == len(self.queue):
                self._drop_queue()
        return used

    cdef size_t some_octets(self, unsigned char *out, size_t room) except? 0:
        cdef bytes piece = self.queue[self.at]
        cdef size_t n = PyBytes_GET_SIZE(piece) - self.done
        n = n if n < room else room
        memcpy(out, PyBytes_AS_STRING(piece) + self.done, n)
        self.done += n
        if self.done == PyBytes_GET_SIZE(piece):
            self.next_piece()
        return n

    cdef void next_piece(self) noexcept:
        self.at += 1
        self.done = 0

    cdef size_t message(self, piece, unsigned char *out, size_t room) except? 0:
        """A message from its first octet on; 0 when there is no room for it."""
        cdef uint64_t size
        cdef object body
        cdef uint32_t n
        cdef int64_t lines = -1
        if room < SCRATCH + SCRATCH // 2 + 2 * AROUND:
            return 0
        self.top = type(piece) is tuple
        if self.top:
            n, lines = piece[0], min(piece[1], 1 << 62)
        else:
            n = piece
        body = self.find(n)
        if body is None:
            return self.refuse(out, replies.GONE, "a message is gone", n)
        giving_begin(&self.giving, lines)
        size = self.drop.sizes[n]
        self.place = 0
        self.end = self.drop.offsets[n] + size
        if body.length < self.end:
            return self.refuse(out, replies.DAMAGED, "a body is too short", n)
        if body.length <= SCRATCH:
            return self.small_message(body, n, out)
        self.body = body
        self.crc = 0
        return self.head(out, size)

    cdef size_t head(self, unsigned char *out, uint64_t size) noexcept:
        if self.top:
            memcpy(out, b"+OK\r\n", 5)
            return 5
        cdef unsigned long long shown = size
        return snprintf(<char *> out, AROUND, b"+OK %llu octets\r\n", shown)

    cdef size_t small_message(self, body, uint32_t n, unsigned char *out) except? 0:
        """All of it at once."""
        cdef unsigned char *data = self.desk.scratch
        cdef size_t length = body.length
        cdef size_t skip = self.drop.offsets[n]
        cdef size_t size = self.end - skip
        cdef size_t used
        if not self.read_body(body, 0, data, length):
            return self.refuse(out, replies.DAMAGED, "a body cannot be read", n)
        self.crc = checksum.crc32c(0, data, length)
        if not self.is_whole(body):
            return self.refuse(out, replies.DAMAGED, "a checksum differs", n)
        used = self.head(out, size)
        if self.is_wide(data + skip, size):
            giving_narrow(&self.giving, data + skip, size)
        if self.top:
            size = giving_cut(&self.giving, data + skip, size)
        used += giving_put(&self.giving, data + skip, size, out + used)
        used += giving_end(&self.giving, out + used)
        self.handed(size)
        body.close()
        return used

    cdef size_t more_of_body(self, unsigned char *out, size_t room) except? 0:
        """The next piece of a large message; 0 when there is no room for one."""
        cdef object body = self.body
        cdef unsigned char *data = self.desk.scratch
        cdef uint64_t skip = 0, offset = self.drop.offsets[self.present()]
        cdef size_t n, size, used
        if room < SCRATCH + SCRATCH // 2 + AROUND:
            return 0
        n = <size_t> min(<uint64_t> SCRATCH, <uint64_t> body.length - self.place)
        if not self.read_body(body, self.place, data, n):
            return self.cut_off("a body cannot be read")
        self.crc = checksum.crc32c(self.crc, data, n)
        if self.place < offset:
            skip = min(<uint64_t> n, offset - self.place)
        size = n - skip
        if self.place + n > self.end:
            size -= self.place + n - self.end
        if self.place <= offset < self.place + n:
            self.wide = self.is_wide(data + skip, size)
        if self.wide:
            giving_narrow(&self.giving, data + skip, size)
        self.place += n
        if self.top:
            size = giving_cut(&self.giving, data + skip, size)
        used = giving_put(&self.giving, data + skip, size, out)
        if self.place < <uint64_t> body.length and not self.giving.done:
            return used
        if not self.giving.done and not self.is_whole(body):
            return self.cut_off("a checksum differs")
        used += giving_end(&self.giving, out + used)
        self.handed(self.end - offset)
        self.body = None
        body.close()
        return used

    cdef bint is_wide(self, const unsigned char *data, size_t n) except -1:
        """Whether it came as RFC 6531 has it, to a client that did not say UTF8."""
        return not self.session.utf8 and giving_wide(data, n)

    cdef uint32_t present(self) except? 0:
        """The message that the present piece names."""
        piece = self.queue[self.at]
        return piece[0] if type(piece) is tuple else piece

    cdef bint is_whole(self, body) except -1:
        """Whether all that was read is what was stored; a store without files says."""
        cdef object crc = getattr(body, "crc", None)
        return crc is None or <uint32_t> crc == self.crc

    cdef bint read_body(
        self, body, uint64_t offset, unsigned char *to, size_t n
    ) except -1:
        cdef object fileno = getattr(body, "fileno", None)
        cdef bytes octets
        if fileno is not None:
            return read_file(fileno(), to, n, <uint64_t> body.offset + offset)
        octets = body.read(offset, n)
        if <size_t> PyBytes_GET_SIZE(octets) != n:
            return False
        memcpy(to, PyBytes_AS_STRING(octets), n)
        return True

    cdef int handed(self, uint64_t size) except -1:
        self.next_piece()
        self.session.handed(self.top, True)
        if not self.top:
            self.desk.cells[RETRIEVED] += 1
            self.desk.cells[OCTETS] += size
            if self.desk.keeps:
                self.note()
        return 0

    cdef int note(self) except -1:
        """The message before the present piece was retrieved."""
        if self.retrieved is None:
            self.retrieved = set()
        self.retrieved.add(self.drop.uids[self.next - 1])
        return 0

    cdef size_t refuse(
        self, unsigned char *out, bytes reply, str why, uint32_t n
    ) except? 0:
        cdef size_t size = PyBytes_GET_SIZE(reply)
        self.desk.door.spoiled(why, self.drop.blobs[n])
        self.session.handed(self.top, False)
        self.next_piece()
        memcpy(out, PyBytes_AS_STRING(reply), size)
        return size

    cdef size_t cut_off(self, str why) except? 0:
        """Half a message has gone out: only an end without its mark says so."""
        self.desk.door.spoiled(why, self.drop.blobs[self.present()])
        self.session.handed(self.top, False)
        self.abort()
        return 0

    cdef object find(self, uint32_t n):
        """The body of a message, or None; those that follow are looked up with it."""
        cdef list wanted
        if self.opened_bodies is None or n not in self.opened_bodies:
            wanted = self.ahead()
            if len(wanted) == 1 and n == self.next:  # one by one: so will the others be
                wanted += range(n + 1, min(n + FORESIGHT, len(self.drop.uids)))
            blobs = [self.drop.blobs[each] for each in wanted]
            self._let_go()
            found = self.desk.store.open_now(blobs)
            self.opened_bodies = dict(zip(wanted, found))
        self.next = <int64_t> n + 1
        return self.opened_bodies.pop(n)

    cdef list ahead(self):
        cdef list wanted = []
        cdef Py_ssize_t at = self.at
        while at < len(self.queue) and len(wanted) < AHEAD:
            piece = self.queue[at]
            if type(piece) is not bytes:
                n = piece[0] if type(piece) is tuple else piece
                if n not in wanted:
                    wanted.append(n)
            at += 1
        return wanted

    cdef int _let_go(self) except -1:
        """Of bodies that were looked up and are not needed."""
        cdef dict bodies = self.opened_bodies
        self.opened_bodies = None
        if bodies is not None:
            for body in bodies.values():
                if body is not None:
                    body.close()
        if self.queue is None and self.body is not None:
            self.body.close()
            self.body = None
        return 0

    # deadlines

    cdef int late(self) except -1:
        cdef list said = self.session.shut(replies.TIMEOUT, "timeout")
        if self.full or self.queue is not None:
            self.abort()
        else:
            self.emit(said)
            self.close()
        return 0

    cdef double deadline(self) except? -1:
        cdef object options = self.desk.options
        if self.full or self.queue is not None:
            return self.active + options.reply_timeout
        self._let_go()  # it has not gone on for a while
        if self.session.pending:
            return FOREVER
        if self.session.state == TRANSACTION:
            return self.active + options.idle_timeout
        return self.active + options.login_timeout
