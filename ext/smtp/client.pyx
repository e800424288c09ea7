"""The sending end of an SMTP or LMTP dialogue: reply octets in, commands and mail out.

    out = client.hear(buffer, n)           # octets to write, or None
    refused = client.give(letter, done)    # then `take` for what to write
    out = client.more()                    # while `pouring`, when there is room for it
    out = client.secure("TLSv1.3")         # when `upgrade` and the handshake is done

How it moves; any state goes to ENDED by 421, nonsense, a lost connection:

    GREETING    the connection is there       2xx → EHLO → HELLO
    HELLO       EHLO or LHLO was said         2xx → what is next; 5xx → HELO → HELO_ONLY
    HELO_ONLY   HELO was said                 2xx → what is next
    STARTING    STARTTLS was said             220 → SHAKING
    SHAKING     the driver shakes hands       secure → EHLO → HELLO
    PROVING     AUTH was said                 235 → READY
    READY       letters go out
    LEAVING     QUIT was said                 any → ENDED
    ENDED       nothing is said or heard; `parting` says why, None after QUIT

and a letter in READY:

    MAIL, RCPT …, DATA → 354 → body, dot → answer       (BDAT n LAST, body → answer)

Laws
- No socket, clock or task: the driver owns them, and ends what does not move within
  `patience` seconds of a step (`progress`).
- Cutting the input differently changes nothing, but what is said too early:
- A reply counts only if something was written before it came that it can answer
  (`owed`). So nobody answers in advance: what stands behind the 220 to STARTTLS, or an
  early "250", ends the connection. 421 may come at any time.
- A reply has limits: lines, octets, and what is kept of it. Beyond them the connection
  ends; a line that never ends costs REPLY_MOST octets of looking.
- At most two letters are inside. With PIPELINING the second's MAIL, RCPT and DATA go
  out with the final dot of the first: RFC 2920 3.1 lets the end of a body begin a
  group. We always read, so a long group cannot wedge both sides (3.1).
- The body of a letter that is held goes out after `release`, however early the server
  asks for it. It answers meanwhile for the envelope alone, and can do that for good.
- `done` is called once for each letter that `give` took, with an answer for each of its
  recipients in their order. It may give the next letter.
- No NUL, no bare CR, no bare LF is ever sent, neither in a command nor in a body.
- No recipient that was taken: no body. If DATA was under way by then and gets its 354,
  a lone dot ends it (RFC 2920 3.1), and what is answered to that means nothing.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_XDECREF
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, memcpy

from commandline cimport FAULT_NONE, Path, Span, is_utf8, parse_bare_path
from stuffing cimport STUFF_BLOCK, Stuffing, stuff, stuff_begin

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64

from fastsmtp.auth.login import NotAsAgreed
from fastsmtp.auth.login import begin as begin_exchange
from fastsmtp.errors import Misused
from fastsmtp.smtp import counts
from fastsmtp.smtp.letter import STAGES, Answer, Letter, Rcpt
from fastsmtp.smtp.offered import Offered
from fastsmtp.smtp.offered import read as read_offers

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **octets, Py_ssize_t size) except -1
    void set_size "Py_SET_SIZE"(void *octets, Py_ssize_t size)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *v, Py_ssize_t n)
    char *octets_of "PyBytes_AS_STRING"(PyObject *octets)
    object PyUnicode_DecodeASCII(const char *s, Py_ssize_t n, const char *errors)

ctypedef const unsigned char *Octets

cdef enum State:
    GREETING, HELLO, HELO_ONLY, STARTING, SHAKING, PROVING, READY, LEAVING, ENDED

cdef enum Stage:  # the order of letter.STAGES
    AT_CONNECT, AT_GREETING, AT_EHLO, AT_TLS, AT_AUTH, AT_MAIL, AT_RCPT, AT_DATA
    AT_BODY, AT_LMTP, AT_RSET, AT_QUIT

cdef enum Field:  # the order of letter.Letter
    REVERSE_PATH, RECIPIENTS, BODY, SKIP, EIGHT_BIT, SMTPUTF8, REQUIRETLS
    RET, ENVID, SUBMITTER, PRIORITY, BY

cdef enum:
    LINE_MOST = 1024  # octets kept of a line that comes in pieces
    TEXT_MOST = 1000  # octets kept of a reply's text
    LINES_MOST = 200  # of one reply
    REPLY_MOST = 64 * 1024  # octets of one reply
    PIECE = 256 * 1024  # octets of a body that are read at once
    CHUNK_LEAST = 256 * 1024  # octets from which on BDAT saves a copy worth a trip
    OUT_LEAST = 512  # octets of room that output begins with
    COMMAND_MOST = 510  # octets of AUTH with its initial response, without CRLF
    FAREWELL = 5  # seconds for the answer to QUIT, which nobody needs

assert Letter._fields[BY] == "by" and len(Letter._fields) == BY + 1
assert STAGES[AT_QUIT] == "quit" and len(STAGES) == AT_QUIT + 1

cdef int REPLY_CELLS = counts.OUT_REPLIES.first
cdef object NEVER = float("inf")


@cython.final
@cython.freelist(32)
cdef class _Post:
    """One letter on its way. `heard` replies have come: MAIL's, one for each RCPT that
    was said, DATA's, and then the final ones."""

    cdef tuple letter
    cdef object done
    cdef tuple recipients
    cdef list places  # of the recipients that are said; None: all of them
    cdef list answers  # of each recipient; None: nobody has one yet
    cdef object answer  # of all the others
    cdef Py_ssize_t count  # RCPTs that are said
    cdef Py_ssize_t heard, taken
    cdef Py_ssize_t turn  # LMTP: recipients before this one have their answer
    cdef bint begun, chunked, pouring, ended
    cdef bint held, asked  # the body waits for `release`; the server wants it
    cdef bint mail_taken
    cdef bint empty  # a lone dot ends it: nobody is to get anything
    cdef long long at, end  # of the body: the next octet, and behind the last
    cdef Stuffing stuffing

    cdef Py_ssize_t place(self, Py_ssize_t n) except -1:
        """The recipient that the RCPT of this number names."""
        return n if self.places is None else self.places[n]

    cdef int settle(self, Py_ssize_t n, object answer) except -1:
        """The answer of one recipient."""
        if self.answers is None:
            self.answers = [None] * len(self.recipients)
        self.answers[n] = answer
        return 0

    cdef list outcome(self):
        cdef object answer = self.answer
        if self.answers is None:
            return [answer] * len(self.recipients)
        if answer is None:
            return self.answers
        return [answer if one is None else one for one in self.answers]


@cython.final
cdef class Client:
    """One dialogue; see the head of this file for its laws.

    secured   version of TLS, "" in clear
    upgrade   the server is ready for TLS: shake hands, then call `secure`
    progress  grows with each step; a step that takes longer than `patience` is too long
    parting   why it has ended, an `Answer`; None: it has not, or QUIT was answered
    letters   that were taken by `give`
    """

    cdef object manners, opened, trouble, options
    cdef long long[::1] cells
    cdef readonly object offers, secured, parting
    cdef readonly long long progress, letters
    cdef State state
    # what the server offers and we use
    cdef bint lmtp, pipelining, chunking, sized, eight_bit, smtputf8, dsn, requiretls
    cdef bint priority, submitters, by
    cdef bint implicit
    cdef long long size
    # letters
    cdef _Post first, second
    cdef bint dirty  # a transaction is open that nobody wants: RSET comes first
    cdef bint resetting  # RSET was said and not answered
    cdef bint leave  # QUIT when the letters are answered
    cdef bint hearing  # what is said goes out when all that came was heard
    # AUTH
    cdef object exchange
    cdef bytes initial  # the response that did not fit behind AUTH
    # input
    cdef Py_ssize_t owed, fresh  # replies: to what was written, to what will be
    cdef size_t octets, lines  # of the reply that is being read
    cdef size_t kept  # octets in `line`
    cdef size_t texts  # octets in `text`
    cdef list shown  # lines of the answer to EHLO
    cdef unsigned char line[LINE_MOST]
    cdef unsigned char text[TEXT_MOST]
    # output
    cdef PyObject *out
    cdef Py_ssize_t used, made

    def __cinit__(self, manners, cells, opened, trouble):
        self.manners = manners
        self.options = manners.options
        self.lmtp = manners.lmtp
        self.implicit = manners.implicit
        self.cells = cells
        self.opened = opened
        self.trouble = trouble
        self.offers = Offered()
        self.secured = ""

    def __dealloc__(self):
        Py_XDECREF(self.out)

    # -- the driver's side

    @property
    def state(self):
        """The number of its state, in the order of the table above."""
        return <int> self.state

    @property
    def upgrade(self):
        return self.state == SHAKING

    @property
    def finished(self):
        """Write what `take` gives, then close."""
        return self.state == ENDED

    @property
    def pouring(self):
        """A body is under way: call `more` when there is room."""
        return self.first is not None and self.first.pouring

    @property
    def idle(self):
        """No letter is inside."""
        return self.first is None

    @property
    def room(self):
        """Whether `give` takes a letter."""
        return self.state == READY and self.second is None and not self.leave

    @property
    def stage(self):
        """What is awaited, one of `letter.STAGES`."""
        return STAGES[<int> self._stage()]

    @property
    def patience(self):
        """Seconds that this step may take, from the last one on (RFC 5321 4.5.3.2)."""
        cdef Stage stage = self._stage()
        if stage == AT_GREETING:
            return self.options.greeting_timeout
        if stage == AT_DATA:
            return self.options.data_timeout
        if stage == AT_BODY or stage == AT_LMTP:
            if self.first.pouring or self.first.asked and self.first.held:
                return self.options.block_timeout
            return self.options.end_timeout
        if stage == AT_QUIT:
            return FAREWELL
        if self.state == READY and self.first is None and not self.resetting:
            return NEVER
        return self.options.command_timeout

    def hear(self, data, Py_ssize_t n):
        """The first n octets of a buffer have come; returns what to write, or None."""
        cdef Py_buffer view
        if self.state == ENDED:
            return None
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        self.hearing = True
        try:
            if not 0 <= n <= view.len:
                raise Misused(f"{n} octets of a buffer of {view.len}")
            read_input(self, <Octets> view.buf, n)
        finally:
            self.hearing = False
            PyBuffer_Release(&view)
        return self._said()

    def take(self):
        """What is to be written, or None."""
        return None if self.hearing else self._said()

    def give(self, letter not None, done, bint held=False):
        """Send a letter; held, its body waits for `release`. None: it was taken, and
        `done` will be called. A list: it cannot be sent to this server, and these are
        the answers of its recipients."""
        cdef _Post post
        cdef list refused
        if not self.room:
            raise Misused("no room for a letter")
        post = new_post(self, letter, done)
        refused = unfit(self, post)
        if refused is not None:
            return refused
        self.letters += 1
        post.held = held
        if self.first is None:
            self.first = post
            self.progress += 1
            begin(self, post)
        else:
            self.second = post
            if self.first.ended and self.pipelining:
                begin(self, post)
        return None

    def release(self):
        """The body of the letter that is held may go, if it still is; returns what to
        write, or None."""
        cdef _Post post = self.first
        if post is None or not post.held:
            post = self.second
        if post is None or not post.held:
            return None  # it was answered meanwhile
        post.held = False
        if post.asked:
            self.progress += 1
            begin_body(self, post)
        return self.take()

    def more(self):
        """The next piece of the body to write, or None. Behind the last one `take` may
        have more."""
        cdef bytes piece
        if self.first is None or not self.first.pouring:
            return None
        self.progress += 1
        piece = pour(self, self.first)
        return self._said() if piece is None else piece

    def secure(self, str version not None):
        """TLS is on. What was said in clear is forgotten (RFC 3207 4.2)."""
        self.secured = version
        self.progress += 1
        if self.state == SHAKING:
            self.offers = Offered()
            say_hello(self)
        return self._said()

    def quit(self):
        """Leave when all is answered; returns what to write, or None."""
        self.leave = True
        if self.state == READY and self.first is None:
            say_quit(self)
        elif self.state < READY:
            self._end(Answer(0, "", "given up before it was ready", self.stage))
        return self._said()

    def lost(self, str enhanced not None, str text not None):
        """The connection is gone, or the driver ends it: whatever is inside gets an
        answer that says so."""
        if self.state != ENDED:
            self._end(Answer(0, enhanced, text, self.stage))

    # -- inside

    cdef Stage _stage(self) noexcept:
        cdef _Post post = self.first
        if self.state == READY and post is not None:
            if post.heard == 0:
                return AT_MAIL
            if post.heard <= post.count:
                return AT_RCPT
            if post.heard == post.count + 1 and not post.chunked:
                return AT_DATA
            return AT_LMTP if self.lmtp else AT_BODY
        if self.state == GREETING:
            return AT_TLS if self.implicit and not self.secured else AT_GREETING
        if self.state == HELLO or self.state == HELO_ONLY:
            return AT_EHLO
        if self.state == STARTING or self.state == SHAKING:
            return AT_TLS
        if self.state == PROVING:
            return AT_AUTH
        return AT_QUIT if self.state == LEAVING else AT_MAIL

    cdef int _end(self, object answer) except -1:
        """Nothing goes on; the letters inside get this answer."""
        cdef _Post first = self.first
        cdef _Post second = self.second
        cdef bint ready = self.state >= READY
        self.progress += 1
        self.state = ENDED
        self.parting = answer
        self.first = self.second = self.exchange = None
        if not ready:
            self._open(answer)
        if first is not None and first.held:
            self._give_back(first, answer._replace(stage="mail"))
        elif first is not None:
            self._give_back(first, answer)
        if second is not None:
            self._give_back(second, answer._replace(stage="mail"))
        return 0

    cdef int _open(self, answer) except -1:
        """Whoever waits for READY is told, once."""
        cdef object opened = self.opened
        self.opened = None  # it may hold what holds us
        return self._tell(opened, answer)

    cdef int _give_back(self, _Post post, answer) except -1:
        if post.answer is None:
            post.answer = answer
        return self._tell(post.done, post.outcome())

    cdef int _tell(self, call, about) except -1:
        """Call whoever waits; what he raises is his trouble, not this connection's."""
        try:
            call(about)
        except Exception as error:
            self.trouble(error)
        return 0

    # -- the output

    cdef unsigned char *_room(self, Py_ssize_t n) except NULL:
        """Where the next n octets of output go; `used` is to be moved."""
        cdef Py_ssize_t wanted = self.used + n
        if self.out is NULL:
            self.made = wanted if wanted > OUT_LEAST else OUT_LEAST
            self.out = new_bytes(NULL, self.made)
            if self.out is NULL:
                raise MemoryError
        elif wanted > self.made:
            self.made = wanted + wanted // 2
            _PyBytes_Resize(&self.out, self.made)
        return <unsigned char *> octets_of(self.out) + self.used

    cdef int _put(self, const void *octets, Py_ssize_t n) except -1:
        memcpy(self._room(n), octets, n)
        self.used += n
        return 0

    cdef int _say(self, bytes octets, Py_ssize_t replies) except -1:
        """Commands that will have so many replies."""
        self.fresh += replies
        return self._put(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))

    cdef bytes _said(self):
        cdef bytes out
        self.owed += self.fresh
        self.fresh = 0
        if self.out is NULL:
            return None
        # not resized: to give the rest of 200 KiB back is a mapping made and undone
        octets_of(self.out)[self.used] = 0
        set_size(self.out, self.used)
        out = <bytes> self.out
        Py_DECREF(out)  # `out` holds it now, and the field lets go
        self.out = NULL
        self.used = 0
        return out


include "client_opening.pxi"
include "client_replies.pxi"
include "client_envelope.pxi"
include "client_body.pxi"
