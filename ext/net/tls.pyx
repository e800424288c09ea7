"""TLS between a socket and a connection, over ssl.MemoryBIO.

    raw transport ⇄ TlsTransport ⇄ Connection
                    a protocol to the left, a transport to the right

The connection does not know that it is there: it is given buffers to fill and has a
transport to write to. What its transport is told before the handshake is done waits
(a greeting), so that an implicit TLS connection is admitted, counted and timed from
its first moment on.

Laws
- Nothing is owned per connection beyond OpenSSL's state for it (some 13 KiB) and this
  one object. Ciphertext passes through two BIOs that all connections of a `Tls` share:
  OpenSSL takes from a BIO until it is empty, and a partial record waits inside the SSL
  object; so both BIOs are empty whenever code that is not ours runs.
- Cleartext is decrypted into the buffer that the connection gives (`get_buffer`), the
  same that ciphertext was read into: by then that was copied to the BIO.
- Several records that came together are given as one piece; never an empty piece.
- While reading is paused nothing is decrypted. What ciphertext had been read by then
  (at most one buffer) is held.
- What was received in clear before `upgrade` never comes here; what comes after it is
  a ClientHello or an error.
- A handshake has a deadline on the wheel of net.clock. Closing before its end writes
  nothing; closing after it sends close_notify and does not wait for the peer's.
- A peer that ends without close_notify has ended: SMTP marks its own ends.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_READ,
    PyBUF_SIMPLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory

import asyncio
import ssl

from fastsmtp.net.counts import FAILED, FULL, LOST, RESUMED, TIMEOUT

cdef object SSLError = ssl.SSLError
cdef object WantRead = ssl.SSLWantReadError

cdef enum:
    HELLO_OCTETS = 16 * 1024  # read at once during a handshake
    FEW = 1024  # octets that are copied faster than a view of them is made

cdef enum State:
    SHAKING  # hands
    SECURED
    ENDED  # failed or closed; what still comes is dropped

cdef enum Met:
    MORE  # may be there
    DRAINED
    PEER_ENDED
    BROKEN


cdef str why(error):
    """What OpenSSL says; of a certificate also what is wrong with it."""
    about = getattr(error, "verify_message", "")
    return f"{error.reason}: {about}" if about else error.reason or str(error)


@cython.final
cdef class Tls:
    """What the TLS connections of one listener have in common.

    context   of connections to come; may be replaced, open ones keep theirs
    clock     net.clock's wheel
    patience  seconds a handshake may take
    told      told(transport, result, cause) once per handshake: how it ended; the
              cause is empty when it was we who did not go on
    calling   we are the client: the handshake is ours to begin
    """

    cdef public object context
    cdef readonly object clock
    cdef public double patience
    cdef readonly bint calling
    cdef object told
    cdef object incoming, feed  # a BIO and its `write`
    cdef object outgoing, drain  # a BIO and its `read`
    cdef object hello  # what a handshake is read into
    cdef object given  # what the raw transport reads into now
    cdef Py_ssize_t gathered

    def __init__(self, context, clock, double patience, told, bint calling=False):
        self.context = context
        self.calling = calling
        self.clock = clock
        self.patience = patience
        self.told = told
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.feed = self.incoming.write
        self.drain = self.outgoing.read
        self.hello = memoryview(bytearray(HELLO_OCTETS))
        self.given = self.hello

    cdef take(self, Py_ssize_t octets):
        """What was read into the buffer goes to the BIO."""
        cdef Py_buffer place
        cdef char* first
        PyObject_GetBuffer(self.given, &place, PyBUF_SIMPLE)
        first = <char*> place.buf
        try:
            if octets <= FEW:
                self.feed(PyBytes_FromStringAndSize(first, octets))
            else:
                self.feed(PyMemoryView_FromMemory(first, octets, PyBUF_READ))
        finally:
            PyBuffer_Release(&place)

    def accept(self, make):
        """A factory of protocols for a listener of implicit TLS; `make` gives the
        connection, whose `connection_made` is called when the socket is there."""
        return lambda: TlsTransport(self, make())

    def call(self, connection, str name=""):
        """The protocol for a socket on which we begin with TLS; `name` as for
        `upgrade`."""
        cdef Layer transport = TlsTransport(self, connection)
        transport.name = name
        return transport

    def upgrade(self, connection, str name=""):
        """STARTTLS: from now on this connection talks TLS.

        Its last line in clear was written, and the caller drops what else it has
        received in clear.

        name  of the server that we call (SNI, and checked where the context checks
              names); "" has none"""
        cdef Layer transport = TlsTransport(self, connection)
        transport.name = name
        raw = connection.transport
        transport.begin(raw)
        connection.use(transport)
        raw.set_protocol(transport)


cdef class Layer:
    """One connection's TLS; see the head of the file."""

    cdef public int slot  # net.clock's
    cdef readonly object connection
    cdef readonly object raw  # None once it is lost
    cdef Tls tls
    cdef object put  # the raw transport's `write`
    cdef str name  # of the server, when it is we who call
    cdef object ssl
    cdef object engine  # what ssl.SSLObject wraps, where it can be had
    cdef bytes held  # ciphertext that waits until reading goes on
    cdef list early  # cleartext written before the handshake was done
    cdef State state
    cdef bint paused
    cdef bint finished  # the peer has sent its last octet
    cdef object __weakref__

    def __init__(self, Tls tls, connection):
        self.tls = tls
        self.connection = connection
        self.state = SHAKING

    cdef begin(self, raw):
        cdef Tls tls = self.tls
        self.raw = raw
        self.put = raw.write
        self.ssl = tls.context.wrap_bio(
            *(tls.incoming, tls.outgoing, not tls.calling),
            server_hostname=(self.name or None) if tls.calling else None,
        )
        self.engine = getattr(self.ssl, "_sslobj", self.ssl)
        tls.clock.watch(self, tls.clock.now + tls.patience)
        if tls.calling:
            self.shake()

    @property
    def secured(self):
        """Whether the handshake is done and the connection is not closing."""
        return self.state == SECURED

    @property
    def version(self):
        """ "TLSv1.3", or "" before the handshake and after the end."""
        return self.ssl.version() or "" if self.ssl is not None else ""

    @property
    def cipher(self):
        """Name of the cipher suite, or ""."""
        found = self.ssl.cipher() if self.ssl is not None else None
        return found[0] if found else ""

    # a protocol: what the event loop calls

    def connection_made(self, transport):
        self.begin(transport)
        self.connection.connection_made(self)

    def get_buffer(self, sizehint):
        cdef Tls tls = self.tls
        if self.state == SECURED:
            tls.given = self.connection.get_buffer(sizehint)
        else:
            tls.given = tls.hello
        return tls.given

    def buffer_updated(self, nbytes):
        cdef Tls tls = self.tls
        given = tls.given
        if self.state == ENDED or self.finished:
            return
        if self.held is not None:
            tls.feed(self.held)
            self.held = None
        tls.take(nbytes)
        if self.state == SHAKING:
            self.shake()
            given = None
        if self.state == SECURED:
            self.pump(given)

    def eof_received(self):
        """Without close_notify: an end all the same."""
        if self.state == SHAKING:
            self.fail(LOST, "closed by the peer")
            return False
        if self.held is not None:
            self.go_on()
        if self.state == SECURED and (self.finished or self.ends()):
            return True
        self.close()
        return False

    def pause_writing(self):
        self.connection.pause_writing()

    def resume_writing(self):
        self.connection.resume_writing()

    def connection_lost(self, exc):
        if self.state == SHAKING:
            self.fail(LOST, "connection lost")
        self.tls.clock.forget(self)
        self.state = ENDED
        self.raw = self.put = self.ssl = self.engine = self.held = self.early = None
        connection, self.connection = self.connection, None
        connection.connection_lost(exc)

    def check(self, now):
        """Called by the clock: the handshake took too long, or its last words did."""
        if self.state == SHAKING:
            self.fail(TIMEOUT, "no handshake in time")
        if self.raw is not None:
            self.raw.abort()

    # a transport: what the connection calls

    def write(self, data):
        if self.state == SECURED:
            try:
                if data:
                    self.engine.write(data)
            except SSLError:
                self.broken()
            self.flush()
        elif self.state == SHAKING:
            if self.early is None:
                self.early = []
            self.early.append(bytes(data))

    def writelines(self, lines):
        self.write(b"".join(lines))

    def close(self):
        if self.state == SECURED:
            self.state = ENDED
            self.farewell()
        elif self.state == SHAKING:
            self.fail(LOST, "")
        if self.raw is not None:
            self.raw.close()

    def abort(self):
        if self.state == SHAKING:
            self.fail(LOST, "")
        self.state = ENDED
        if self.raw is not None:
            self.raw.abort()

    def is_closing(self):
        return self.state == ENDED or self.raw is None or self.raw.is_closing()

    def pause_reading(self):
        self.paused = True
        if self.state == SECURED:
            self.raw.pause_reading()

    def resume_reading(self):
        self.paused = False
        if self.state != SECURED:
            return
        if not self.finished:
            self.raw.resume_reading()
        if self.held is not None or self.ssl.pending():
            asyncio.get_running_loop().call_soon(self.go_on)

    def is_reading(self):
        return not self.paused and self.state != ENDED

    def get_extra_info(self, name, default=None):
        if name == "ssl_object":
            return self.ssl
        return default if self.raw is None else self.raw.get_extra_info(name, default)

    def set_write_buffer_limits(self, high=None, low=None):
        self.raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self):
        return 0 if self.raw is None else self.raw.get_write_buffer_size()

    # inside

    cdef shake(self):
        """On with the handshake; the BIO is empty afterwards unless it is done."""
        cdef Tls tls = self.tls
        cdef bytes behind
        try:
            self.ssl.do_handshake()
        except WantRead:
            self.flush()
            return
        except SSLError as error:
            tls.incoming.read()
            self.flush()
            self.fail(FAILED, why(error))
            if self.raw is not None:
                self.raw.close()
                tls.clock.watch(self, tls.clock.now + tls.patience)
            return
        self.state = SECURED
        tls.clock.forget(self)
        behind = tls.incoming.read()
        early, self.early = self.early, None
        if early is not None:
            self.engine.write(b"".join(early))
        self.flush()  # tickets and greeting in one
        tls.told(self, RESUMED if self.ssl.session_reused else FULL, "")
        if self.state != SECURED:
            return
        if self.paused:
            self.held = behind or None
            self.raw.pause_reading()
        elif behind:
            tls.feed(behind)

    cdef pump(self, given):
        """Decrypt what the BIO holds and hand it on; the BIO is empty afterwards.

        given   a buffer of the connection that may be used again, or None"""
        cdef Tls tls = self.tls
        cdef Met met
        while True:
            if given is None:
                given = self.connection.get_buffer(-1)
            met = self.gather(given)
            if tls.incoming.pending:
                self.held = tls.incoming.read()
            if tls.outgoing.pending:
                self.flush()  # the answer to a KeyUpdate, or an alert
            if tls.gathered:
                self.connection.buffer_updated(tls.gathered)
            if self.state != SECURED:
                return
            if met != MORE:
                break
            if self.paused:
                return
            if self.held is not None:
                tls.feed(self.held)
                self.held = None
            given = None
        if met == PEER_ENDED:
            self.held = None
            if not self.ends():
                self.close()
        elif met == BROKEN:
            self.broken()

    cdef Met gather(self, given) except *:
        """Fill a buffer with what can be decrypted, `tls.gathered` octets."""
        cdef Tls tls = self.tls
        cdef Py_ssize_t filled = 0, room = len(given)
        read, incoming = self.engine.read, tls.incoming
        tls.gathered = 0
        try:
            while filled < room:
                place = memoryview(given)[filled:] if filled else given
                got = read(room - filled, place)
                if not got:
                    return PEER_ENDED
                filled += <Py_ssize_t> got
                tls.gathered = filled
                if not incoming.pending and not self.engine.pending():
                    return DRAINED
        except WantRead:
            return DRAINED
        except SSLError:
            return BROKEN
        return MORE

    def go_on(self):
        """Reading has been resumed and something had been held."""
        if self.state == SECURED and not self.paused and not self.finished:
            if self.held is not None:
                self.tls.feed(self.held)
                self.held = None
            self.pump(None)

    cdef flush(self):
        """What OpenSSL has written goes out."""
        cdef bytes octets = self.tls.drain()
        if octets and self.put is not None:
            self.put(octets)

    cdef bint ends(self):
        """The peer has ended; whether the connection still wants to write."""
        self.finished = True
        return bool(self.connection.eof_received())

    cdef farewell(self):
        try:
            self.ssl.unwrap()
        except SSLError:
            pass  # the peer's close_notify has not come, and need not
        self.flush()

    cdef broken(self):
        """The peer does not talk TLS as agreed; an alert may have been written."""
        self.state = ENDED
        self.flush()
        if self.raw is not None:
            self.raw.close()

    cdef fail(self, result, cause):
        self.state = ENDED
        self.early = None
        self.tls.clock.forget(self)
        self.tls.told(self, result, cause)


class TlsTransport(Layer, asyncio.BufferedProtocol):
    """The layer as an event loop knows it."""

    __slots__ = ()
