"""What a conversation with another server does for every message, compiled.

    buffer_updated → engine.hear → write
    give           → engine.give → write
    release        → engine.release → write
    steer          → engine.more → write      there is room again for a large body

What happens once per connection is in `fastsmtp.delivery.conversation`.
"""

import asyncio
from os import strerror

from fastsmtp.net.connection cimport Connection

cdef enum:
    PIECES = 4  # of a body in one turn of the loop, a mebibyte: others wait, too


cdef class Link(Connection):
    """
    engine  `smtp.client.Client`
    clock   `net.clock.Clock`
    since   when the last step was made, by that clock
    cause   why the connection was lost, for people
    """

    cdef readonly object engine, clock
    cdef public double since
    cdef public str cause
    cdef long long progress
    cdef object hear
    cdef bint hearing  # a letter that is given meanwhile goes out with the rest

    def __init__(self, engine, clock, shared):
        self.shared = shared
        self.engine = engine
        self.clock = clock
        self.hear = engine.hear
        self.since = clock.now
        self.cause = ""

    # for the subclass to fill in

    def shake(self):
        """The server is ready for TLS."""

    def finish(self):
        """The engine has ended: close."""

    def broken(self, error):
        """Our own mistake: this connection cannot go on."""

    # what the event loop calls

    def buffer_updated(self, Py_ssize_t nbytes):
        if self.closing:
            return
        self.hearing = True
        try:
            out = self.hear(self.shared, nbytes)
            self.hearing = False
            self._flow(out)
        except Exception as error:
            self.hearing = False
            self.broken(error)

    def connection_lost(self, exc):
        if not self.cause:
            self.cause = "the server closed the connection"
            if exc is not None:
                errno = getattr(exc, "errno", None)
                self.cause = f"connection lost: {strerror(errno) if errno else exc}"
        Connection.connection_lost(self, exc)

    cpdef steer(self):
        if not self.full:
            self.go_on()

    def go_on(self):
        """Say what can be said by now."""
        if not self.closing:
            self._flow(self.engine.take())

    # the caller's side

    def give(self, letter, done, bint held=False):
        """Send a letter; see `fastsmtp.delivery.conversation`."""
        cdef list refused = self.engine.give(letter, done, held)
        if refused is not None:
            asyncio.get_running_loop().call_soon(done, refused)
        elif not self.hearing:
            self._flow(self.engine.take())

    def release(self):
        """The body of the letter that is held may go."""
        out = self.engine.release()
        if not self.hearing:
            self._flow(out)

    def say(self, bytes out not None):
        """Write what the engine has given."""
        self._flow(out)

    # inside

    cdef int _last(self, bytes out) except -1:
        """The last piece of a body, and what goes with it."""
        cdef bytes behind = self.engine.take()
        if out is not None and self.transport is not None:
            self.write(out)
        if behind is not None and self.transport is not None:
            self.write(behind)
        return 0

    cdef int _flow(self, bytes out) except -1:
        """Write, and more of a body while the peer reads it."""
        cdef object engine = self.engine
        cdef int pieces = 0
        while True:
            if out is not None and self.transport is not None:
                self.write(out)
            if self.full or not engine.pouring:
                break
            if pieces == PIECES:
                asyncio.get_running_loop().call_soon(self.go_on)
                break
            pieces += 1
            out = engine.more()
            if not engine.pouring:
                self._last(out)
                break
        if <long long> engine.progress != self.progress:
            self.progress = engine.progress
            self.since = self.clock.now
            if engine.finished:
                self.finish()
            elif engine.upgrade:
                self.shake()
        return 0
