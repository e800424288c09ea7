"""The receiving end of an SMTP dialogue: octets in, reply octets and questions out.

    out = session.receive(buffer, n)      # octets to write, or None
    out = session.answer(None)            # when the door had said PENDING

Laws
- No socket, clock or task: the driver owns them. One read gives at most one write
  (RFC 2920 3.2: replies of a group go together).
- Cutting the input differently never changes the replies, but for one rule: what has
  already arrived behind EHLO or a refused DATA is refused (RFC 2920 3.1).
- While an answer is pending, and when a client pipelines more than its replies may
  fill, input is held unread: `holding` says how much. The driver stops reading then and
  calls `resume` when it has written.
- An idle session owns no buffer. A partial command line, a body and held input are
  malloc'd and counted in `Service.kept`; all are freed when the session closes.
- The moves are those of `fastsmtp.smtp.states`; rows of `fastsmtp.smtp.commands` choose
  the handler through a table of functions, and there is no other switch on the verb.
- Refusing a message waits for its true end, so that the dialogue keeps step; so does
  refusing a chunk (BDAT), whose octets are never taken for commands.
- While AUTH goes on, lines are answers to its challenges and nothing else.

Each handler below either says its reply or asks the door; `*_yes` is what a yes does,
at once or later. A no is the same for all: `_refuse`.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy

from bodyscan cimport (
    BODY_ROOM,
    ENDED,
    TEXT,
    BodyScan,
    body_begin,
    body_feed,
    body_finish,
)
from histogram cimport Edges, note, observe, read_edges

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64

from fastsmtp.errors import Misused, Refused, StoreUnavailable
from fastsmtp.smtp import counts, parameters, replies, xclient
from fastsmtp.smtp.commands import OFFERED, ROWS, misplaced
from fastsmtp.smtp.commands import VERBS as ROW_VERBS
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.offers import STANDINGS, Offers, keywords
from fastsmtp.smtp.states import State

include "tables.pxi"
include "shared.pxi"


@cython.final
cdef class Session:
    """One dialogue; see the head of this file for its laws.

    For the door: `peer` is whatever the driver gave, until the connection is lost;
    `opened` is when MAIL came, `data_at` DATA, `began` the last octets; `address` is of
    the RCPT that is asked about or refused; `body` is what is not streamed, `size` what
    the message measures. `id`, `queue_id`, `arrived`, `head` and `skip` are the door's,
    cleared with the transaction. `login` is set by the door when AUTH succeeds; the
    driver says who is `trusted` (XCLIENT), whose way here `private` (AUTH without TLS).
    """

    # who
    cdef Service service
    cdef readonly object peer
    cdef readonly object helo
    cdef readonly bint extended
    cdef readonly object secured  # version of TLS, "" in clear
    cdef readonly bint upgrade  # STARTTLS was answered: TLS begins, nothing is heard
    cdef public str login  # "" until AUTH succeeded
    cdef public bint trusted, private
    cdef readonly str mechanism  # of AUTH, from the command on
    cdef bint exchanging  # AUTH: lines are answers to challenges
    # the transaction
    cdef readonly object reverse_path
    cdef readonly list recipients
    cdef readonly long long declared_size
    cdef readonly bint eight_bit
    cdef readonly bint extras  # parameters were given that an envelope keeps
    cdef readonly bint smtputf8, requiretls
    cdef readonly str ret, envid, submitter, by_mode
    cdef readonly long long priority, hold_for, hold_until, by
    cdef list notices  # of recipients, as `options`; None while nobody asked for any
    cdef readonly object stream
    cdef public object queue_id, head
    cdef public unsigned long long id
    cdef public long long arrived
    cdef public int skip
    cdef readonly Body body
    cdef object refused  # why the message will be refused at its end
    cdef readonly object address  # of the RCPT that is asked about, or refused
    cdef tuple notice  # what it says of NOTIFY and ORCPT, or None
    cdef tuple about  # what else a question is called with
    cdef bint chunked  # the message comes with BDAT
    cdef bint last_chunk
    cdef uint64_t chunk  # octets of it that are still to come
    cdef readonly long long size  # of the message the door was asked to take
    cdef readonly double opened, data_at, began  # `began`: the last octets came
    # the dialogue
    cdef readonly int state
    cdef readonly object parting
    cdef int verb  # a row, OTHER or EOD
    cdef bint asking, answered, early
    cdef readonly bint pending
    cdef object given
    cdef int errors, idle, commands
    # input
    cdef unsigned char *line
    cdef size_t line_length, line_room
    cdef bint skipping, skipping_said, skipped_cr
    cdef object chunk_no  # why a chunk is skipped; None: a line is skipped
    cdef unsigned char *held
    cdef size_t held_length, held_at
    # output
    cdef object out
    cdef size_t said

    def __cinit__(self, Service service not None, peer):
        self.service = service
        self.peer = peer
        self.helo = self.reverse_path = self.queue_id = self.parting = ""
        self.secured = self.login = self.mechanism = ""
        self.ret = self.envid = self.submitter = self.by_mode = ""

    def __dealloc__(self):
        free(self.line)
        free(self.held)

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
        cdef bint crowded = self.service.kept > self.service.budget
        cdef bint flowing = self.held_length != 0 or self.stream is not None
        return flowing or crowded or self.upgrade or self.state == CLOSED

    @property
    def in_transaction(self):
        return MAIL <= self.state <= COMMIT

    @property
    def body_type(self):
        """What BODY= said, or what it is without (RFC 6152)."""
        return "8BITMIME" if self.eight_bit else "7BIT"

    @property
    def options(self):
        """NOTIFY and ORCPT of each recipient, "" where it has none (RFC 3461)."""
        return self.notices or [NO_NOTICE] * len(self.recipients or ())

    @property
    def protocol(self):
        """The word behind "with" in Received (RFC 3848, RFC 6531 3.7.3)."""
        cdef int kind = 8 if self.extended or self.secured or self.login else 0
        if self.service.lmtp:
            kind = 16
        kind += 4 if self.smtputf8 else 0
        return PROTOCOLS[kind + (2 if self.secured else 0) + (1 if self.login else 0)]

    def receive(self, data, Py_ssize_t n):
        """Take the first n octets of a buffer; returns what to write, or None."""
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
        """Go on with held input; returns what to write, or None."""
        if self.pending or self.state == CLOSED:
            return None
        self.began = self.service.clock()
        self._eat_held()
        return self._said()

    def answer(self, answer):
        """The door's answer to what it had said PENDING to: None or a `Refused`; octets
        of a challenge for AUTH; for the message of LMTP also a list of answers.

        Goes on with held input and returns what to write, or None. After the session
        has closed this only counts: the message was stored or it was not.
        """
        if self.asking:
            self.given = answer
            self.answered = True
            return None
        if not self.pending:
            raise Misused("no answer is pending")
        self.pending = False
        if self.state == CLOSED:
            if self.verb == EOD:
                self._count_message(overall(answer))
            self.peer = None
            return None
        self._settle(answer)
        self._eat_held()
        return self._said()

    def secure(self, str version):
        """TLS is on. What was said in clear is forgotten (RFC 3207 4.2)."""
        if self.state == CLOSED:
            return
        self._abandon()
        self._forget_input()
        self.state = GREETED
        self.helo = self.login = ""
        self.extended = self.upgrade = self.early = False
        self.secured = version

    def shut(self, refused, str parting):
        """End the dialogue with a 421, whatever its state; returns the line."""
        cdef int verb = self.verb
        if self.state == CLOSED:
            return None
        self.verb = OTHER
        self._deny(refused)
        self._close(parting)
        self.verb = verb  # its answer may still come
        return self._said()

    def lost(self):
        """The connection is gone; nothing is said (RFC 5321 4.1.1.4: no action)."""
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
        if not self.held_length:
            self.early = False
        return 0

    cdef size_t _eat(self, Octets data, size_t n) except? 0:
        """Take lines and pieces of a body until n, or until something must wait."""
        cdef size_t used = 0
        while used < n and not self.pending and self.said < SAID_MAX:
            if self.upgrade:
                return n  # sent in clear behind STARTTLS: CVE-2011-0411
            if self.state == BODY:
                used += collect(self, data + used, n - used)
            elif self.state == CLOSED:
                return n
            elif self.skipping:
                used += skip_any(self, data + used, n - used)
            elif self.line is not NULL:
                used += more_line(self, data + used, n - used)
            else:
                used += whole_line(self, data + used, n - used)
        return used

    cdef int _eat_held(self) except -1:
        eat_held(self)
        if not self.held_length:
            self.early = False
        return 0

    # -- the commands

    cdef void _begin(self, int verb) noexcept:
        self.verb = verb
        self.commands += 1

    cdef int _command(self, Octets data, size_t length) except -1:
        """One line with its CRLF: find the row, check it, and run its handler."""
        cdef Line line
        cdef int verb
        cdef Row *row
        if self.exchanging:
            return respond(self, data, data + length - 2)
        line.end = line_text_end(data, length)
        verb = row_of[<int> parse_verb(data, line.end, &line.at)]
        self._begin(verb)
        if verb == BDAT:
            return do_bdat(self, &line)
        if has_control(data, line.end):
            return self._refuse(replies.BARE)
        if self.early:
            return self._refuse(replies.EARLY)
        if verb == OTHER:
            return self._refuse(replies.UNKNOWN)
        row = &rows[verb]
        if self._exhausted(row.idle):
            return 0
        if not self.service.offered >> verb & 1:
            return self._refuse(replies.UNKNOWN if row.stage == HELO else replies.OFF)
        if not row.states >> self.state & 1:
            no = misplaced(ROWS[verb], self.state, self.service.lmtp)
            return self._refuse(no)
        if self.service.known >> verb & 1 and not self.login:
            return self._refuse(login_first(self))
        if line.at == line.end and row.argument == NEEDS_ARGUMENT:
            return self._refuse(replies.ARGUMENT)
        if line.at < line.end and row.argument == NO_ARGUMENT:
            return self._refuse(replies.NO_ARGUMENT)
        return row.handler(self, &line)

    cdef bint _exhausted(self, bint idle) except -1:
        """Whether this was one command too many; the session has closed then."""
        cdef Service service = self.service
        self.idle = self.idle + 1 if idle else self.idle
        if self.idle > service.max_idle or 0 < service.max_commands < self.commands:
            self._deny(replies.COMMANDS)
            self._close("too_many_errors")
            return True
        return False

    cdef int _ask(self, question) except -1:
        """Put the question; a yes or no that is there already is settled at once."""
        cdef object answer
        self.asking = True
        try:
            if self.verb == EOD:
                answer = question(self, self.body)
            elif self.address is not None:
                answer = question(self, self.address)
            elif self.about is not None:
                answer = question(self, *self.about)
            else:
                answer = question(self)
        except StoreUnavailable:
            answer = replies.NO_ROOM
        except Exception as error:
            self.service.trouble(error)
            answer = replies.TROUBLE
        finally:
            self.asking = False
        if self.answered:
            answer = self.given
            self.given = None
            self.answered = False
        if answer is PENDING:
            self.pending = True
            return 0
        return self._settle(answer)

    cdef int _settle(self, answer) except -1:
        cdef Row *row
        if self.verb == EOD:
            self.state = READY
            if self.service.lmtp:
                return settle_each(self, answer)
            return self._accepted() if answer is None else self._rejected(answer)
        if answer is not None:
            self.notice = self.about = None
            if self.verb == XCLIENT:
                return turn_away(self, answer)
            if self.verb == AUTH:
                return not_yet(self, answer)
            if self.verb == BDAT:
                return refuse_chunk(self, answer)
            self._refuse(answer)
            self.address = None
            return 0
        row = &rows[self.verb]
        row.yes(self)
        self.early |= row.last and row.next != BODY
        return self._move(row)

    cdef int _refuse(self, refused) except -1:
        """Say no. Nothing moves, but the one who errs too often is sent away."""
        self._deny(refused)
        if self.exchanging:
            cancel(self)
        if self.verb >= 0 and rows[self.verb].last:
            self.early = True
        return self._blame(refused.code)

    cdef int _blame(self, int code) except -1:
        """A 421 ends the session, and so do too many errors."""
        if code == 421:
            self._close("shutdown")
        elif code >= 500:
            self.errors += 1
            if self.errors >= self.service.max_errors:
                self.verb = OTHER
                self._deny(replies.ERRORS)
                self._close("too_many_errors")
        return 0

    cdef int _deny(self, refused) except -1:
        cdef int stage = self._stage()
        cdef int five = refused.code >= 500
        cdef int reason = REASON[refused.reason]
        self.service.cells[REJECT_CELLS + (stage * REASONS + reason) * 2 + five] += 1
        self._say(replies.refusal(refused), refused.code)
        try:
            self.service.door.refused(self, STAGES_BY_NUMBER[stage], refused)
        except Exception as error:
            self.service.trouble(error)
        return 0

    cdef int _stage(self) noexcept:
        """Where a refusal counts: its command's place, or its state's."""
        if self.verb == EOD:
            return STAGE_EOD
        if self.verb >= 0 and rows[self.verb].stage >= 0:
            return rows[self.verb].stage
        if self.state == GREETED and not self.commands:
            return 0  # at connect: it has said nothing yet
        if self.state >= BODY:
            return STAGE_EOD
        return 1 + (self.state if self.state < CHUNKS else RCPT)

    # -- the output

    cdef int _say(self, bytes reply, int code) except -1:
        cdef int said = self.verb
        cdef int kind = code // 100 - 2
        cdef int place, seen
        if said < 0:
            said = SAID_OTHER if said == OTHER else SAID_EOD
        place = said * 4 + kind
        self.service.cells[COMMAND_CELLS + place] += 1
        place = durations.first + place * DURATION_WIDTH
        seen = seen_of[said]
        if seen >= 0:
            seen += kind * SEEN_WIDTH
        self._time(&durations, place, seen, self.began)
        self.said += PyBytes_GET_SIZE(reply)
        if self.out is None:
            self.out = reply
        elif type(self.out) is list:
            (<list> self.out).append(reply)
        else:
            self.out = [self.out, reply]
        return 0

    cdef object _said(self):
        cdef object out = self.out
        self.out = None
        self.said = 0
        return b"".join(out) if type(out) is list else out

    # -- the message

    cdef int _abort_stream(self) except -1:
        cdef object stream = self.stream
        self.stream = None
        if stream is not None:
            try:
                stream.abort()
            except Exception as error:
                self.service.trouble(error)
        return 0

    cdef int _accepted(self) except -1:
        """Durable: this reply passes responsibility to us (RFC 5321 4.2.5)."""
        self._say(b"250 2.0.0 Ok: queued as %b\r\n" % self.queue_id.encode(), 250)
        return self._taken()

    cdef int _taken(self) except -1:
        self._count_message(None)
        cdef long long[::1] cells = self.service.cells
        self._time(&accepts, accepts.first, accepts.seen, self.opened)
        observe(cells, &sizes, sizes.first, self.size, 1)
        observe(cells, &crowds, crowds.first, PyList_GET_SIZE(self.recipients), 1)
        self.errors = self.idle = 0
        self.stream = None
        self._clear()
        return 0

    cdef int _rejected(self, refused) except -1:
        """The message was refused, by its content or by the door."""
        self._refuse(refused)
        return self._left(refused)

    cdef int _left(self, refused) except -1:
        """Nothing of the message is kept."""
        self._count_message(refused)
        self._abort_stream()
        return self._clear()

    cdef int _count_message(self, refused) except -1:
        cdef object result = "accepted"
        if refused is not None:
            result = "rejected" if refused.code >= 500 else "deferred"
        self.service.cells[RESULT_CELLS + <int> RESULT[result]] += 1
        return 0

    cdef int _time(
        self, const Edges *edges, int first, int seen, double since
    ) except -1:
        """How long it took, and whose it was; `seen` -1: nobody's."""
        cdef long long[::1] cells = self.service.cells
        cdef double now = <double> self.service.clock()
        cdef int n = observe(cells, edges, first, now - since, 1)
        if seen >= 0 and self.id:
            seen += 3 * n
            note(cells, seen, edges.scale, now - since, <long long> self.id, now)
        return 0

    # -- the end

    cdef int _move(self, Row *row) except -1:
        if row.next != STAY and self.state != CLOSED:
            self.state = row.next
        return 0

    cdef void _drop_body(self) noexcept:
        if self.body is not None:
            self.service.kept -= self.body.room
            self.body = None

    cdef int _clear(self) except -1:
        """The only place where a transaction's fields end."""
        self._drop_body()
        self.recipients = self.head = self.refused = self.address = None
        self.reverse_path = self.queue_id = ""
        self.id = self.declared_size = self.arrived = self.skip = 0
        self.eight_bit = self.chunked = False
        if self.extras:
            forget_extras(self)
        return 0

    cdef int _abandon(self) except -1:
        """RSET, EHLO or the end of the connection inside a transaction."""
        if not MAIL <= self.state <= BODY:
            return 0
        self._abort_stream()
        self.service.cells[RESULT_CELLS + <int> RESULT["aborted"]] += 1
        try:
            self.service.door.aborted(self)
        except Exception as error:
            self.service.trouble(error)
        return self._clear()

    cdef int _close(self, str parting) except -1:
        self._abandon()
        cancel(self)
        self.state = CLOSED
        self.parting = parting
        self._forget_input()
        return 0

    cdef void _forget_input(self) noexcept:
        self.skipping = False
        self.chunk_no = None
        free(self.line)
        self.line = NULL
        drop_held(self)


include "held.pxi"
include "lines.pxi"
include "message.pxi"
include "chunks.pxi"
include "login.pxi"
include "parameters.pxi"
include "handlers.pxi"
