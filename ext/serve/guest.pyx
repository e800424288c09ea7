"""The clients of a listener: who may come in, and octets to and from a session.

    connection_made → opened: count it in or send it away, greet
    buffer_updated  → session.receive → write
    settle, decided → session.answer  → write    what the session waited for is known
    check           → deadlines, see `fastsmtp.serve.smtpd`
    connection_lost → ended

Everything that happens for every message is here, compiled. What happens seldom, or
waits, is in `fastsmtp.serve.smtpd` and the checks it is given.
"""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from fastsmtp.net.connection cimport Connection
from fastsmtp.trace.ring cimport Taken, Trace

from functools import partial

from fastsmtp.net.networks import Networks
from fastsmtp.report import Peer
from fastsmtp.serve.checks import Asking
from fastsmtp.serve.networks import is_loopback, network_of
from fastsmtp.serve.refusals import EARLY, FULL, LEAVING, SHARE, TIMEOUT, unavailable
from fastsmtp.smtp import counts, replies, states
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.session import Session
from fastsmtp.trace.ring import AWAY, DROPPED, REFUSED, card

cdef enum:
    LINGER = 2  # seconds for a client to hear our last words and leave
    BACKLOG_MOST = 1 << 20  # octets of one body on their way to the disk
    COMMANDS_MOST = 1 << 14  # octets of commands read at once
    FEW = 4  # connections that no network is blamed for while the machine is behind

cdef int BODY = states.BODY
cdef int CLOSED = states.CLOSED
cdef int OPEN = counts.OPEN
cdef dict ARRIVED = {
    (family, result): counts.CONNECTIONS.place(family, result)
    for family in counts.FAMILIES
    for result in counts.ARRIVALS
}
cdef dict PARTED = {why: counts.DISCONNECTS.place(why) for why in counts.PARTINGS}
cdef double FOREVER = float("inf")


def nothing(about=None):
    """What is done where nothing is to be done."""


cdef double seconds() noexcept:
    """The monotonic clock, as `time.monotonic`."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cdef class Crowd:
    """All clients of one listener. Counts connections and partings.

    terms    as in `fastsmtp.serve.smtpd`
    shared   what all of them read into; commands into its first octets, `small`,
             because they may have to be held
    most     connections at once
    highest  descriptor, the first that no connection may have
    draining send clients away when their transaction is over
    gently   while draining: not before they had a transaction, others serve new ones
    late     called with a client that must wait for disk or memory
    emptied  called when the last one has left
    tls      `net.tls.Tls` for STARTTLS, or None
    near     connections from which on a client network gets no more than its share
    strained the machine is behind: who has more than most gets no more for now
    proxies  who may use XCLIENT, or None. They are not counted as a network of clients:
             whom they speak for is, see `follow`
    """

    cdef readonly object terms, service, report, clock, shared, small
    cdef readonly Trace trace
    cdef readonly set guests
    cdef readonly double shortest
    cdef public bint draining, gently
    cdef public int highest
    cdef public object late, emptied, tls
    cdef public Py_ssize_t near
    cdef public bint strained
    cdef object options, at_connect, proxies
    cdef int64_t[::1] cells
    cdef object network_of, arrive, porch, trusts
    cdef readonly dict networks
    cdef readonly Py_ssize_t most
    cdef Py_ssize_t most_per_network
    cdef long long number

    def __init__(self, terms, service, report, clock, shared, Py_ssize_t most):
        self.terms = terms
        self.service = service
        self.report = report
        self.trace = terms.trace
        self.clock = clock
        self.shared = shared
        self.small = memoryview(shared)[:COMMANDS_MOST]
        self.most = self.near = most
        self.network_of = network_of
        self.options = options = terms.options
        self.most_per_network = options.max_connections_per_network
        self.at_connect = terms.checks.connect
        self.proxies = Networks(options.xclient) if options.xclient else None
        self.cells = terms.cells
        self.late = self.emptied = nothing
        self.guests = set()
        self.networks = {}
        self.highest = 1 << 30
        self.shortest = min(
            options.command_timeout,
            options.data_timeout,
            options.transaction_timeout,
            options.reply_timeout,
        )

    def heed(self, strangers, porch):
        """Have clients asked what `serve.strangers` asks; `porch` is where they wait
        for the greeting, or None."""
        self.network_of = strangers.network_of
        self.trusts = strangers.trusts
        self.arrive = strangers.arrive if strangers.gated else None
        self.porch = porch
        self.at_connect = strangers.checks.connect + self.terms.checks.connect
        self.near = -(-self.most * strangers.share_above // 100)

    cpdef Py_ssize_t share(self):
        """Connections of a client network that has its part of them and no more.

        When they run short, of all that there can be; for one more network than is
        here, which may come. Else of those that there are."""
        if len(self.guests) >= self.near:
            return max(1, self.most // (len(self.networks) + 1))
        return max(FEW, len(self.guests) // max(1, len(self.networks)))

    def greedy(self, Client guest):
        """Whether its network has more than its share."""
        return self.networks.get(guest.network, 0) > self.share()

    cdef bint _has_enough(self, Py_ssize_t here) except -1:
        """Whether a network that has so many connections gets no more for now."""
        if len(self.guests) >= self.near:  # as much as is left for everybody
            return here >= max(1, self.most - len(self.guests))
        return self.strained and here > self.share()

    cdef object admit(self, Client guest):
        """Count a new connection in; a `Refused` when it may not stay."""
        cdef object refused = None
        cdef object sent_away
        cdef str result = "accepted"
        cdef Py_ssize_t here
        guest.proxy = self.proxies is not None and guest.address in self.proxies
        guest.family, guest.network = self.network_of(guest.address)
        here = self.networks.get(guest.network, 0)
        if self.draining and not self.gently:
            result, refused = "overload", LEAVING
        elif (
            len(self.guests) >= self.most
            or (here >= self.most_per_network and not guest.proxy)
            or guest.descriptor() >= self.highest
        ):
            result, refused = "limit", FULL
        elif guest.proxy:
            refused = None
        elif self._has_enough(here):
            result, refused = "overload", SHARE
        elif self.arrive is not None:
            sent_away = self.arrive(guest)
            if sent_away is not None:
                result, refused = sent_away
        if refused is None and self.porch is not None and not guest.proxy:
            guest.waiting = not self.trusts(guest.address)
        if not guest.waiting:
            self.arrived(guest, result)
        if refused is not None:
            stage = ("connect", refused.reason, str(refused.code // 100))
            self.cells[<int> counts.REJECTS.place(*stage)] += 1
            turned_away(guest, result, refused)
            return refused
        self.number += 1
        guest.who = Peer(self.number, guest.address)
        self.networks[guest.network] = here + 1
        self.guests.add(guest)
        self.cells[OPEN] += 1
        self.report.session_opened(guest.who)
        return None

    cdef int arrived(self, Client guest, str result) except -1:
        self.cells[<int> ARRIVED[guest.family, result]] += 1
        return 0

    def follow(self, Client guest not None, str address):
        """A proxy says that `guest` is at this address; a `Refused` when one from there
        would not be let in."""
        cdef object no = self._move(guest, address)
        guest.address = address
        guest.facts = None
        guest.who = Peer(guest.who.session, address, guest.session.secured)
        if no is None and self.arrive is not None:
            no = self.arrive(guest)
        if no is not None:
            turned_away(guest, no[0], no[1])
            return no[1]
        self.report.session_opened(guest.who)
        return None

    cdef object _move(self, Client guest, str address):
        """Count it where it is; or how and why it may not be there."""
        cdef Py_ssize_t here
        family, network = self.network_of(address)
        if network == guest.network:
            return None
        here = self.networks.get(network, 0)
        if here >= self.most_per_network:
            return "limit", FULL
        if self._has_enough(here):
            return "overload", SHARE
        self._uncount(guest)
        guest.family, guest.network = family, network
        self.networks[network] = here + 1
        return None

    cdef int _uncount(self, Client guest) except -1:
        cdef Py_ssize_t left = self.networks[guest.network] - 1
        if left:
            self.networks[guest.network] = left
        else:
            del self.networks[guest.network]
        return 0

    cdef int leave(self, Client guest) except -1:
        self.guests.discard(guest)
        self._uncount(guest)
        self.cells[OPEN] -= 1
        self.cells[<int> PARTED[guest.session.parting]] += 1
        self.report.session_closed(guest.who, guest.session.parting)
        if not self.guests:
            self.emptied()
        return 0


cdef class Client(Connection):
    """One client: moves octets between the transport and its session.

    proxy     it may say with XCLIENT for whom it speaks
    name      what a proxy knows its client as by DNS; "" when it does not say
    network   what counts as one client network; empty when it was not let in
    waiting   for the greeting, on the porch: who speaks now is sent away
    origin    the From clause of Received
    facts     what policy knows of it; None until somebody sets it
    deciding  the task of a check whose answer is awaited; None: there is none
    finished  the client will send no more
    sealed    version and cipher of TLS; "" in clear
    served    it has heard what became of a message
    came      milliseconds of the wall clock, for the trace
    card      who it is, for the trace; None: to be made anew
    message_id  of the message that is being stored
    """

    cdef readonly Crowd server
    cdef readonly object session
    cdef public object address, network, who, origin, facts, deciding
    cdef public str name
    cdef str family
    cdef bint waiting, proxy
    cdef public bint finished
    cdef readonly str sealed
    cdef bint shaking
    cdef readonly bint greeted, served
    cdef readonly double active
    cdef int64_t came
    cdef public bytes card
    cdef public str message_id

    def __init__(self, Crowd server not None):
        self.shared = server.shared
        self.server = server
        self.address = self.network = self.origin = self.sealed = self.name = ""
        self.active = server.clock.now
        self.patience = server.shortest
        self.message_id = ""

    # what the event loop calls

    def get_buffer(self, sizehint):
        """Only a body is read in large pieces: commands may have to be held."""
        if self.session is not None and self.session.state == BODY:
            return self.shared
        return self.server.small

    def buffer_updated(self, Py_ssize_t nbytes):
        cdef object session = self.session
        if self.closing:
            return
        if self.waiting:
            self._spoke_early()
            return
        self._write(session.receive(self.shared, nbytes))
        if self.paused or session.busy:
            self.steer()

    def eof_received(self):
        """Who pipes a dialogue into a socket still hears what became of its mail."""
        self.finished = True
        return not self.closing and self.session.pending

    cpdef ended(self):
        self.server.clock.forget(self)
        if self.waiting:
            self.server.arrived(self, "accepted")
        if self.network:
            self.session.lost()
            self.server.leave(self)
        if self.deciding is not None:
            self.deciding.cancel()

    # the dialogue

    cpdef opened(self):
        cdef object peer = self.transport.get_extra_info("peername")
        cdef Crowd server = self.server
        cdef object refused
        self.address = peer[0] if isinstance(peer, tuple) else "unix"
        self.came = now_ms()
        refused = server.admit(self)
        if refused is not None:
            self.network = ""
            self.write(replies.refusal(refused))
            self.close()
        else:
            self.session = Session(server.service, self)
            if server.terms.private:
                self.session.private = is_loopback(self.address)
            self.session.trusted = self.proxy
            if server.terms.whose is not None:
                self.session.login = server.terms.whose(self.transport)
            if self.waiting:
                server.porch.wait(self)
            else:
                self._begin()
        server.clock.watch(self, self.active + server.shortest)

    def welcome(self):
        """It has waited for the greeting long enough."""
        if self.waiting and not self.closing:
            self.waiting = False
            self.server.arrived(self, "accepted")
            self._begin()

    cdef int _begin(self) except -1:
        return self._ask() if self.server.at_connect else self._greet(None)

    cdef int _spoke_early(self) except -1:
        """No mail server does (RFC 5321 4.3.1: wait for the greeting)."""
        self.waiting = False
        self.server.arrived(self, "early_talker")
        turned_away(self, "early_talker", EARLY)
        self._write(self.session.shut(EARLY, "too_many_errors"))
        self.part()
        self.server.clock.watch(self, self.server.clock.now + LINGER)
        return 0

    cdef int descriptor(self) except -1:
        """Of its socket; 0 when the transport has none."""
        cdef object sock = self.transport.get_extra_info("socket")
        return 0 if sock is None else sock.fileno()

    cdef int _ask(self) except -1:
        """Before the greeting; who speaks earlier is not listened to yet."""
        cdef object failed = partial(self.server.report.fault, "a check")
        asking = Asking(self, (self,), nothing, nothing, failed)
        answer = asking.ask(self.server.at_connect)
        if answer is PENDING:
            self.read(False)
        else:
            self._greet(answer)
        return 0

    cdef int _greet(self, refused) except -1:
        self.greeted = True
        if refused is not None:
            self.shut(refused, "shutdown")
            return 0
        self._write(self.session.greet())
        self.read(True)
        return 0

    cdef int _write(self, out) except -1:
        """What is not a whole command gets no reply, and so gains no time."""
        if out is not None:
            self.active = self.server.clock.now
            self.write(out)
        elif self.session.state == BODY:
            self.active = self.server.clock.now
        return 0

    def answer(self, answer):
        """What the session waited for has been decided."""
        cdef object session = self.session
        if not self.greeted:
            self._greet(answer)
            return
        self._write(session.answer(answer))
        if session.busy or self.paused or self.finished or self.server.draining:
            self.steer()

    def settle(self, error):
        """The store's word on the message: durable, or never will be."""
        cdef object session = self.session
        cdef int64_t microseconds
        self.served = True
        if error is not None:
            self.answer(unavailable(str(error)))
            return
        microseconds = since(session.opened, seconds())
        self.server.report.message_accepted(
            self.who,
            session.queue_id,
            session.reverse_path,
            len(session.recipients),
            session.size,
            microseconds,
        )
        if self.server.trace.on:
            trace_accepted(self, microseconds)
        self.answer(None)

    def refused(self, str stage, refused):
        """It was answered 4xx or 5xx; for the trace."""
        trace_refused(self, stage, refused)

    def dropped(self):
        """It left a transaction in which somebody could have had mail."""
        trace_dropped(self)

    def shut(self, refused, parting):
        """End the dialogue with this refusal."""
        if self.session is not None:
            self._write(self.session.shut(refused, parting))
        self.close()

    cpdef steer(self):
        """Go on with held input if we may, read if we may, leave if we should."""
        cdef object session = self.session
        cdef bint late
        if self.closing:
            return
        if session.upgrade and not self.shaking:
            self.shaking = True
            self.read(True)
            self.server.tls.upgrade(self)
            return
        while session.holding and not session.pending and not self.full:
            self._write(session.resume())
        if self._may_go(session):
            self._write(session.shut(LEAVING, "shutdown"))
            self.part()
            self.server.clock.watch(self, self.server.clock.now + LINGER)
            return
        if session.state == CLOSED or (self.finished and not session.pending):
            self.close()
            return
        late = self._must_wait()
        if late:
            self.server.late(self)
        self.read(not (late or self.full or session.holding))

    cdef bint _may_go(self, session) except -1:
        """Whether we end, and this client has nothing under way."""
        if not self.server.draining or session.in_transaction:
            return False
        return self.served or not self.server.gently

    cdef bint _must_wait(self) except -1:
        """Whether what this session collects goes faster than it can be put away."""
        cdef object stream
        if self.session.state != BODY:
            return False
        stream = self.session.stream
        if stream is not None and stream.backlog() > BACKLOG_MOST:
            return True
        return self.server.service.crowded

    def secured(self, str version, str cipher):
        """The TLS handshake is done."""
        self.shaking = False
        self.sealed = f"{version} with cipher {cipher}"
        self.card = None
        self.active = self.server.clock.now
        if self.session is not None:
            self.who = Peer(self.who.session, self.who.client, version)
            self.session.secure(version)

    # deadlines

    cdef int late(self) except -1:
        self._write(self.session.shut(TIMEOUT, "timeout"))
        if self.full:
            self.abort()
        else:
            self.close()
        return 0

    cdef double deadline(self) except? -1:
        cdef object options = self.server.options
        cdef object session = self.session
        cdef double due
        if self.full:
            return self.active + options.reply_timeout
        if session.pending:
            return FOREVER
        if session.state == BODY:
            due = self.active + options.data_timeout
        else:
            due = self.active + options.command_timeout
        if session.in_transaction:
            due = min(due, session.opened + options.transaction_timeout)
        return due


include "traces.pxi"
