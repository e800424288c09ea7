"""The door of a listener: decides with the policy, hands mail to the store.

Where responsibility passes: `done` is called by the store when a message is durable,
and only then does the session say 250. Before that call anything may be lost without
harm; after it the mail survives whatever happens to this process.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastsmtp.trace.ring cimport Trace

from fastsmtp.errors import Refused
from fastsmtp.policy.recipients import Foreign, Unknown
from fastsmtp.queue.encoded import encode_mail, queue_id
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope
from fastsmtp.serve.checks import NONE, Asking
from fastsmtp.serve.large import Large
from fastsmtp.serve.refusals import RELAY, SHARE_OF_MAIL, UNKNOWN, unavailable
from fastsmtp.serve.wishes import by, refusal, release
from fastsmtp.smtp.counts import ADMISSION
from fastsmtp.smtp.door import PENDING
from fastsmtp.store.base import Kind
from fastsmtp.wire import header

cdef enum:
    FOUND_MOST = 20_000  # addresses remembered
    NAME_MOST = 256  # octets of a Message-ID that are kept
    NAMED_BEFORE = 1 << 16  # octets of a header in which it is looked for

cdef double REMEMBER = 1.0  # seconds, by a clock that ticks once a second
cdef int MAIL = int(Kind.MAIL)
cdef frozenset QUIET = frozenset({"syntax", "sequence"})  # refusals only counted


cdef long long now_ms() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <long long> t.tv_sec * 1000 + t.tv_nsec // 1_000_000


cdef bytes with_extras(session, str client):
    """The envelope of a message whose parameters are kept."""
    return encode_envelope(
        Envelope(
            session.reverse_path,
            tuple(map(Recipient, session.recipients, *zip(*session.options))),
            session.arrived,
            session.skip,
            session.body_type,
            client,
            session.helo,
            None,
            session.smtputf8,
            session.requiretls,
            session.ret,
            session.envid,
            session.submitter,
            session.login,
            session.priority,
            release(session),
            by(session),
            session.by_mode,
        )
    )


cdef bint named(const unsigned char *at) noexcept:
    """Whether a Message-ID field begins here; 11 octets can be read."""
    cdef const char *name = b"message-id:"
    cdef int i
    for i in range(11):
        if (at[i] | 0x20 if c"A" <= at[i] <= c"Z" else at[i]) != name[i]:
            return False
    return True


cdef str message_id(body):
    """What the Message-ID field of a header says; "" when there is none."""
    cdef Py_buffer view
    cdef const unsigned char *at
    cdef const unsigned char *end
    cdef str found = ""
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    at = <const unsigned char *> view.buf
    end = at + min(view.len, <Py_ssize_t> NAMED_BEFORE)
    while end - at > 11 and at[0] != c"\r":
        if at[0] | 0x20 == c"m" and named(at):
            found = value(at + 11, end)
            break
        at = <const unsigned char *> memchr(at, c"\n", end - at)
        if at is NULL:
            break
        at += 1
    PyBuffer_Release(&view)
    return found


cdef str value(const unsigned char *at, const unsigned char *end):
    """Of a field, up to white space; it may begin on the next line (RFC 5322 2.2.3)."""
    cdef Py_ssize_t n = 0
    while at < end and at[0] <= 32:
        at += 1
    while n < end - at and n < NAME_MOST and 32 < at[n]:
        n += 1
    return PyUnicode_DecodeLatin1(<const char *> at, n, NULL)


def nothing():
    """When a check refuses: there is nothing to give back."""


@cython.final
cdef class Reception:
    """`smtp.door.Doorkeeper` over a store and a policy; one for all sessions of a
    listener.

    resolve   `policy.recipients.Recipients.resolve`; may be replaced at a reload
    checks    what else decides, see `serve.checks`
    logins    `serve.login.Logins` where AUTH is offered
    submission  `serve.submission.Submission` for sessions that have logged in; None:
              they are like any other
    strained  the machine is behind: `greedy` clients get no new transaction
    longest_hold  milliseconds for which mail may be held (RFC 4865)
    cells     of `smtp.counts`
    trace     told what becomes of mail here

    Addresses that were found are remembered for about a second, because mail comes in
    bursts for the same people; what was not found is asked for each time, so that a
    new account receives at once.
    """

    cdef object store, report, clock
    cdef long long[::1] cells
    cdef str hostname
    cdef public object resolve
    cdef public object checks
    cdef public object logins, submission
    cdef public bint strained
    cdef public object greedy
    cdef public long long longest_hold
    cdef public Trace trace
    cdef set found
    cdef double found_at

    def __init__(self, str hostname, store, resolve, report, clock, cells):
        self.hostname = hostname
        self.store = store
        self.resolve = resolve
        self.report = report
        self.clock = clock
        self.cells = cells
        self.checks = NONE
        self.logins = self.submission = None
        self.trace = Trace()
        self.found = set()
        self.found_at = clock.now

    def hello(self, session):
        cdef object guest = session.peer
        guest.card = None
        guest.origin = header.origin(
            session.helo, guest.address, guest.name, guest.sealed
        )
        if self.checks.hello:
            return self._ask(self.checks.hello, session, (session,), self._yes)
        return None

    def auth(self, session, str mechanism, response):
        session.peer.card = None
        return self.logins.auth(session, mechanism, response)

    def auth_cancelled(self, session):
        self.logins.cancelled(session)

    cdef bint _ours(self, session) except -1:
        """Whether this is a user of ours who submits mail."""
        return self.submission is not None and session.login

    def xclient(self, session, dict told):
        """The client is whom the proxy says; checks see it as if it had come now."""
        cdef object guest = session.peer
        cdef object refused
        cdef str name = told.get("NAME", guest.name)
        guest.name = "" if name.startswith("[") else name
        guest.card = None
        if told.get("ADDR"):
            refused = guest.server.follow(guest, told["ADDR"])
            if refused is not None:
                return refused
        session.private = False  # whoever it is, its way here is not only our machine
        if self.checks.connect:
            return self._ask(self.checks.connect, session, (guest,), self._yes)
        return None

    def mail(self, session):
        cdef object trouble = self.store.healthy()
        if trouble is not None:
            self._deferred(trouble.kind)
            return unavailable(trouble.text)
        if self.strained and self.greedy(session.peer):
            self._deferred("share")
            return SHARE_OF_MAIL
        id = self.store.next_id()
        session.id = id
        session.queue_id = queue_id(id)
        session.arrived = now_ms()
        if session.extras:
            refused = refusal(session, self.longest_hold)
            if refused is not None:
                return refused
        if self._ours(session):
            refused = self.submission.mail(session)
            if refused is not None:
                return refused
        if self.checks.mail:
            return self._ask(self.checks.mail, session, (session,), self._yes)
        return None

    cdef int _deferred(self, str reason) except -1:
        cdef Py_ssize_t place = ADMISSION.place(reason)
        self.cells[place] += 1
        return 0

    def recipient(self, session, str address):
        cdef object refused = self._refusal(session, address)
        if refused is not None:
            self.report.recipient_refused(
                session.peer.who, session.queue_id, address, refused
            )
            return refused
        if self.checks.rcpt:
            return self._ask(self.checks.rcpt, session, (session, address), self._yes)
        return None

    cdef object _refusal(self, session, str address):
        """Why there is no mail for this address here; None: there is."""
        cdef object verdict
        if self.clock.now - self.found_at >= REMEMBER:
            self.found.clear()
            self.found_at = self.clock.now
        elif address in self.found:
            return None
        verdict = self.resolve(address)
        if isinstance(verdict, Unknown):
            return UNKNOWN
        if isinstance(verdict, Foreign):
            return None if self._ours(session) else RELAY
        if len(self.found) < FOUND_MOST:
            self.found.add(address)
        return None

    def data(self, session):
        if self.checks.data:
            then = lambda added: self._head(session)
            return self._ask(self.checks.data, session, (session,), then)
        return self._head(session)

    cdef object _head(self, session):
        """Fix the head now: nothing in front of the body can be moved later."""
        cdef bytes path = header.return_path(session.reverse_path)
        cdef list recipients = session.recipients
        session.skip = len(path)
        if session.peer.facts is not None:
            self._name(session, session.peer)
        session.head = path + <bytes> header.received(
            session.peer.origin,
            self.hostname,
            session.protocol,
            session.queue_id,
            recipients[0] if len(recipients) == 1 else "",
            header.date(session.arrived // 1000),
            session.priority,
        )
        return None

    cdef int _name(self, session, guest) except -1:
        """Received has the name in DNS if it is known by now (RFC 5321 4.4)."""
        cdef object facts = guest.facts
        if facts.name and facts.address == guest.address:
            said = (session.helo, guest.address, facts.name, guest.sealed)
            guest.origin = header.origin(*said)
        return 0

    def stream(self, session):
        if self.trace.on:
            session.peer.message_id = message_id(session.body)
        cdef object spool = self.store.spool(session.id, session.head)
        return self.submission.stream(session, spool) if self._ours(session) else spool

    def message(self, session, body):
        cdef object stream = session.stream
        cdef object kept = body
        cdef bytes head = b""
        if self.trace.on and stream is None:
            session.peer.message_id = message_id(body)
        if self._ours(session):
            mended = self.submission.message(session, body)
            if isinstance(mended, Refused):
                return mended
            head, kept = mended
            if head and self.trace.on and not session.peer.message_id:
                session.peer.message_id = message_id(head)
            if stream is not None:
                stream = kept
        if self.checks.message:
            then = lambda added: self._keep(session, kept, stream, added + head)
            give_up = stream.abort if stream is not None else nothing
            about = (session, body if stream is None else stream)
            return self._ask(self.checks.message, session, about, then, give_up)
        return self._keep(session, kept, stream, head)

    cdef object _keep(self, session, body, stream, bytes added):
        """Hand it to the store, which will say when it is durable."""
        cdef object guest = session.peer
        cdef bytes envelope
        if session.extras or self._ours(session):
            envelope = with_extras(session, guest.address)
        else:
            envelope = encode_mail(
                session.reverse_path,
                session.recipients,
                session.arrived,
                session.skip,
                "8BITMIME" if session.eight_bit else "7BIT",
                guest.address,
                session.helo,
            )
        if stream is None:
            head = session.head + added if added else session.head
            self.store.submit(session.id, MAIL, envelope, head, body, guest.settle)
        elif added:
            large = Large(guest, stream, len(session.head), envelope)
            large.rewrite(self.store.spool(session.id, session.head + added))
        else:
            stream.finish(Kind.MAIL, envelope, guest.settle)
        return PENDING

    def refused(self, session, stage, refused):
        if stage != "rcpt" and refused.reason not in QUIET and session.queue_id:
            self.report.message_refused(
                session.peer.who, session.queue_id, session.reverse_path, refused
            )
        if self.trace.on and refused.reason != "sequence":
            session.peer.refused(stage, refused)

    def aborted(self, session):
        """Nothing was promised and nothing is kept."""
        if self.trace.on:
            session.peer.dropped()

    cdef object _ask(self, checks, session, about, then, give_up=nothing):
        failed = self._failed
        return Asking(session.peer, about, then, give_up, failed).ask(checks)

    def _failed(self, error):
        self.report.fault("a check", error)

    def _yes(self, added):
        return None
