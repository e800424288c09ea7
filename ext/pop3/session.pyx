"""The server's end of a POP3 dialogue: octets in; reply octets, messages and questions
out.

    pieces = session.receive(buffer, n)      # what to write, or None
    pieces = session.answer(None)            # when the door had said PENDING

A piece is octets; or n: message n (from 0), with the replies around it, which only who
has its octets can give; or (n, lines): the top of it.

Laws
- No socket, clock, task or message: the driver owns them.
- Cutting the input differently never changes the replies.
- While an answer is pending, and when a client pipelines more than `SAID_MAX` octets of
  replies, input is held unread: `holding` says how much. The driver stops reading then
  and calls `resume` when it has written.
- An idle session owns no buffer. A partial line and held input are malloc'd and counted
  in `Service.kept`; all are freed when the session closes.
- What was told of the maildrop stays true: numbers, sizes and unique ids are those of
  the snapshot it logged in with (RFC 1939 3). DELE marks; only QUIT removes.
- The moves are those of `fastsmtp.pop3.states`; rows of `fastsmtp.pop3.commands` choose
  the handler through a table of functions, and there is no other switch on the verb.
- While AUTH goes on, lines are answers to its challenges and nothing else.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy, memset

from commandline cimport (
    LINE_LONG,
    LINE_MORE,
    LINE_WHOLE,
    LineEnd,
    Span,
    find_line,
    has_control,
    is_blank,
    parse_count,
    skip_line,
    span_is,
)

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64

from fastsmtp.errors import PENDING, Misused, Refused, StoreUnavailable
from fastsmtp.pop3 import counts, offers, replies
from fastsmtp.pop3.commands import ROWS
from fastsmtp.pop3.commands import VERBS as ROW_VERBS
from fastsmtp.pop3.offers import Standing
from fastsmtp.pop3.states import State

include "tables.pxi"


@cython.final
cdef class Service:
    """What all sessions of a listener share.

    clock    seconds, for the durations that are counted; never for deadlines
    trouble  called with what the door raised
    kept     octets of memory in lines and held input, of all sessions
    """

    cdef object door, clock, trouble, offers
    cdef readonly object cells
    cdef long long[::1] counters
    cdef bytes greeting
    cdef readonly long long kept
    cdef size_t max_command_line
    cdef int max_errors
    cdef bint stls, keeps

    def __init__(self, options, door, cells, clock, trouble, offers):
        self.door = door
        self.clock = clock
        self.trouble = trouble
        self.offers = offers
        self.cells = self.counters = cells
        self.greeting = f"+OK {options.banner}\r\n".encode()
        self.max_command_line = COMMAND_LINE
        self.max_errors = options.max_errors
        self.stls = offers.stls
        self.keeps = offers.expire > 0


@cython.final
cdef class Session:
    """One dialogue; see the head of this file for its laws.

    `peer` is whatever the driver gave, until the connection is lost. The door sets
    `login` and `drop` when a login succeeds; the driver says before the greeting whose
    way here is `private` (a password without TLS).
    """

    # who
    cdef Service service
    cdef readonly object peer
    cdef readonly object secured  # version of TLS, "" in clear
    cdef readonly bint upgrade  # STLS was answered: TLS begins, nothing is heard
    cdef public str login  # "" until somebody has logged in
    cdef public bint private
    cdef readonly bint utf8
    cdef bytes name  # of USER
    cdef str mechanism  # of AUTH, from the command on
    cdef bint exchanging  # AUTH: lines are answers to challenges
    # the maildrop
    cdef public object drop
    cdef const uint32_t[::1] uids
    cdef const uint64_t[::1] sizes
    cdef readonly uint32_t count
    cdef uint8_t *marks  # a bit for each message, NULL: none is marked
    cdef readonly uint32_t marked
    cdef uint64_t octets, marked_octets
    # the dialogue
    cdef readonly int state
    cdef readonly object parting
    cdef int verb  # a row, or OTHER
    cdef bint asking, answered
    cdef readonly bint pending
    cdef object given
    cdef tuple about  # what the question is called with
    cdef int errors
    cdef readonly double began
    # input
    cdef unsigned char *line
    cdef size_t line_length, line_room
    cdef bint skipping, skipping_said, skipped_cr
    cdef unsigned char *held
    cdef size_t held_length, held_at
    # output
    cdef list out
    cdef size_t said

    def __cinit__(self, Service service not None, peer):
        self.service = service
        self.peer = peer
        self.secured = self.login = self.mechanism = self.parting = ""
        self.name = b""
        self.verb = OTHER

    def __dealloc__(self):
        free(self.line)
        free(self.held)
        free(self.marks)

    # -- the driver's side

    def greet(self):
        """The greeting, to be written first."""
        return self.service.greeting

    @property
    def holding(self):
        """Octets of input that wait: for the door's answer, or for `resume`."""
        return self.held_length - self.held_at

    @property
    def busy(self):
        """Whether the driver must look after flow control or closing."""
        return self.held_length != 0 or self.upgrade or self.state == CLOSED

    def receive(self, data, Py_ssize_t n):
        """Take the first n octets of a buffer; returns pieces to write, or None."""
        cdef Py_buffer view
        if self.state == CLOSED or self.upgrade:
            return None
        self.began = self.service.clock()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if not 0 <= n <= view.len:
                raise Misused(f"{n} octets of a buffer of {view.len}")
            self._take(<Octets> view.buf, n)
        finally:
            PyBuffer_Release(&view)
        return self._said()

    def resume(self):
        """Go on with held input; returns pieces to write, or None."""
        if self.pending or self.state == CLOSED:
            return None
        self.began = self.service.clock()
        eat_held(self)
        return self._said()

    def answer(self, answer):
        """The door's answer to what it had said PENDING to: None or a `Refused`, or
        octets of a challenge for AUTH. Goes on with held input; returns pieces."""
        if self.asking:
            self.given = answer
            self.answered = True
            return None
        if not self.pending:
            raise Misused("no answer is pending")
        self.pending = False
        if self.state == CLOSED:
            self.peer = None
            return None
        self._settle(answer)
        eat_held(self)
        return self._said()

    def secure(self, str version):
        """TLS is on. What was said in clear is forgotten (RFC 2595 4)."""
        if self.state == CLOSED:
            return
        self._forget_input()
        self.state = AUTHORIZATION
        self.name = b""
        self.upgrade = self.utf8 = False
        self.secured = version

    def shut(self, bytes reply, str parting):
        """End the dialogue with this reply, whatever its state; returns pieces."""
        if self.state == CLOSED:
            return None
        self.verb = OTHER
        self._say(reply, ERR)
        self._close(parting)
        return self._said()

    def lost(self):
        """The connection is gone; nothing is removed (RFC 1939 6)."""
        if self.state != CLOSED:
            self._close("reset")
        if not self.pending:
            self.peer = None

    # -- the input

    cdef int _take(self, Octets data, size_t n) except -1:
        cdef size_t used = 0
        if not self.held_length:
            used = self._eat(data, n)
        if used < n and self.state != CLOSED and not self.upgrade:
            hold(self, data + used, n - used)
        return 0

    cdef size_t _eat(self, Octets data, size_t n) except? 0:
        """Take lines until n, or until something must wait."""
        cdef size_t used = 0
        while used < n and not self.pending and self.said < SAID_MAX:
            if self.upgrade or self.state == CLOSED:
                return n  # what is sent in clear behind STLS is nobody's
            if self.skipping:
                used += skip(self, data + used, n - used)
            elif self.line is not NULL:
                used += more_line(self, data + used, n - used)
            else:
                used += whole_line(self, data + used, n - used)
        return used

    # -- the commands

    cdef int _command(self, Octets data, size_t length) except -1:
        """One line with its CRLF: find the row, check it, and run its handler."""
        cdef Octets end = data + length - 2
        cdef Octets at = data
        cdef Row *row
        if self.exchanging:
            return respond(self, data, end)
        while at < end and not is_blank(at[0]):
            at += 1
        self.verb = find_row(data, at - data)
        if self.verb == OTHER:
            return self._refuse(replies.UNKNOWN)
        row = &rows[self.verb]
        if at < end:
            at += 1  # one space parts verb and argument: a password may begin with one
        if not row.verbatim:
            while at < end and is_blank(at[0]):
                at += 1
            while end > at and is_blank((end - 1)[0]):
                end -= 1
        if has_control(data, end):
            return self._refuse(replies.BARE)
        if not row.states >> self.state & 1:
            return self._refuse(misplaced(self))
        if row.secret and not self.secured and not self.private:
            no = replies.TLS_FIRST if self.service.stls else replies.NO_TLS
            return self._refuse(no)
        if at == end and row.argument == NEEDS_ARGUMENT:
            return self._refuse(replies.ARGUMENT)
        if at < end and row.argument == NO_ARGUMENT:
            return self._refuse(replies.NO_ARGUMENT)
        return row.handler(self, Span(at, end - at))

    cdef int _ask(self, question) except -1:
        """Put the question; a yes or no that is there already is settled at once."""
        cdef object answer
        self.asking = True
        try:
            answer = question(self, *self.about)
        except Exception as error:
            self.service.trouble(error)
            answer = replies.TROUBLE
        finally:
            self.asking = False
            self.about = None
        if self.answered:
            answer = self.given
            self.given = None
            self.answered = False
        if answer is PENDING:
            self.pending = True
            return 0
        return self._settle(answer)

    cdef int _settle(self, answer) except -1:
        if self.state == UPDATE:
            return updated(self, answer)
        if type(answer) is bytes:
            self.exchanging = True
            challenge = b"+ %b\r\n" % b2a_base64(answer, newline=False)
            self._push(challenge, PyBytes_GET_SIZE(challenge))
            return 0
        self.exchanging = False
        if answer is None:
            return entered(self)
        self.state = AUTHORIZATION
        self.name = b""
        self._refuse(replies.refusal(answer))
        if answer.code == 421:
            self._close("too_many_errors")
        return 0

    cdef int _refuse(self, bytes reply) except -1:
        """Say no. Nothing moves, but the one who errs too often is sent away."""
        self._say(reply, ERR)
        self.errors += 1
        if self.errors >= self.service.max_errors:
            self.verb = OTHER
            self._say(replies.ERRORS, ERR)
            self._close("too_many_errors")
        return 0

    cdef int _yes(self, bytes reply) except -1:
        cdef int next = rows[self.verb].next
        if next != STAY:
            self.state = next
        return self._say(reply, YES)

    # -- the output

    cdef int _say(self, bytes reply, int result) except -1:
        cdef int said = OTHER_SAID if self.verb == OTHER else self.verb
        self._count(said * 2 + result)
        return self._push(reply, PyBytes_GET_SIZE(reply))

    cdef int _count(self, int place) except -1:
        cdef long long[::1] cells = self.service.counters
        cdef double seconds = <double> self.service.clock() - self.began
        cdef int n = 0
        cdef int first = DURATION_CELLS + place * DURATION_WIDTH
        cells[COMMAND_CELLS + place] += 1
        while n < EDGES and seconds > edges[n]:
            n += 1
        cells[first + n] += 1
        cells[first + EDGES + 1] += <long long> (seconds * 1e6)
        return 0

    def handed(self, bint top, bint well):
        """The driver has given a message, or said why not: count it."""
        cdef int verb = TOP if top else RETR
        self._count(verb * 2 + (YES if well else ERR))

    cdef int _push(self, piece, size_t octets) except -1:
        self.said += octets
        if self.out is None:
            self.out = []
        self.out.append(piece)
        return 0

    cdef object _said(self):
        cdef object out = self.out
        self.out = None
        self.said = 0
        return out

    # -- the end

    cdef int _close(self, str parting) except -1:
        if self.exchanging:
            cancel(self)
        self.state = CLOSED
        self.parting = parting
        self._forget_input()
        self.drop = None
        self.uids = None
        self.sizes = None
        self.count = 0
        return 0

    cdef void _forget_input(self) noexcept:
        self.skipping = False
        free(self.line)
        self.line = NULL
        drop_held(self)


include "held.pxi"
include "lines.pxi"
include "login.pxi"
include "handlers.pxi"
