# What belongs to all sessions, and the body of a message. Part of session.pyx.


@cython.final
cdef class Service:
    """What all sessions of a listener share: the door, limits, replies, counters.

    clock    seconds, for the durations that are counted; never for deadlines
    trouble  called with what the door raised
    kept     octets of memory in bodies and held input, of all sessions
    """

    cdef object door, clock, trouble
    cdef long long[::1] cells
    cdef bytes greeting, helo, help
    cdef list ehlos  # the answer to EHLO by the number of a standing; None: not yet
    cdef object options, offers
    cdef str hostname
    cdef unsigned offered, known  # rows, a bit each: taken at all; only after AUTH
    cdef readonly long long kept
    cdef long long budget, max_size
    cdef size_t memory, max_command_line
    cdef Py_ssize_t max_recipients
    cdef long long max_received, max_line, max_errors, max_commands, max_idle
    cdef bint refuse_eight_bit, eight_bit_declared, vrfy
    cdef bint lmtp, smtputf8, dsn, requiretls, auth, starttls
    cdef bint priorities, future_release, deliver_by
    cdef bint dated  # the answer to EHLO tells the time
    cdef long long max_priority

    def __init__(
        self, options, str hostname, door, cells, clock, trouble, offers=None
    ):
        """offers  `smtp.offers.Offers`; None: no extension that needs one"""
        self.door = door
        self.clock = clock
        self.trouble = trouble
        self.cells = cells
        self.options = options
        self.hostname = hostname
        self._limit(options)
        self._offer(Offers() if offers is None else offers)
        banner = options.banner
        if self.lmtp and banner.startswith("ESMTP"):
            banner = banner[1:].replace("SMTP", "LMTP", 1)
        self.greeting = replies.line(220, "", f"{hostname} {banner}")
        self.helo = replies.line(250, "", hostname)

    cdef int _limit(self, options) except -1:
        self.budget = options.memory_for_bodies
        self.max_size = options.max_message_size
        self.memory = options.memory_per_message
        self.max_command_line = options.max_command_line
        self.max_recipients = options.max_recipients
        self.max_received = options.max_received
        self.max_line = options.max_line
        self.max_errors = options.max_errors
        self.max_commands = options.max_commands
        self.max_idle = options.max_idle_commands
        self.refuse_eight_bit = options.eight_bit == "reject"
        self.eight_bit_declared = options.eight_bit == "declared"
        self.vrfy = options.vrfy
        self.max_priority = options.max_priority
        return 0

    cdef int _offer(self, offers) except -1:
        cdef set verbs = {row.verb for row in ROWS if row.verb not in OFFERED}
        verbs |= offers.verbs
        self.offers = offers
        self.ehlos = [None] * len(STANDINGS)
        self.lmtp = offers.lmtp
        self.smtputf8 = offers.smtputf8 and not self.refuse_eight_bit
        self.dsn = offers.dsn
        self.requiretls = offers.requiretls
        self.priorities = offers.priorities
        self.future_release = offers.future_release
        self.deliver_by = offers.deliver_by
        self.auth = bool(offers.mechanisms)
        self.dated = offers.future_release and self.auth
        self.starttls = offers.starttls
        for n, row in enumerate(ROWS):
            if row.verb in verbs:
                self.offered |= 1u << n
            if row.known and offers.auth_required:
                self.known |= 1u << n
        heard = [row.verb for row in ROWS if row.verb in verbs and row.handler != "off"]
        self.help = replies.line(214, "2.0.0", "Commands: " + " ".join(heard))
        return 0

    cdef bytes ehlo(self, int standing):
        """The answer to EHLO in a standing; made when it is first asked for."""
        cdef bytes made = self.ehlos[standing]
        if made is None or self.dated:
            shown = keywords(self.offers, self.options, STANDINGS[standing])
            made = self.ehlos[standing] = replies.lines(250, (self.hostname, *shown))
        return made

    @property
    def crowded(self):
        """Whether sessions that collect bodies should not be read for now."""
        return self.kept > 2 * self.budget


@cython.final
@cython.freelist(32)
cdef class Body:
    """A message as it is kept: a read-only buffer, and what one pass found in it."""

    cdef unsigned char *octets
    cdef size_t room
    cdef size_t used
    cdef BodyScan scan

    def __cinit__(self):
        body_begin(&self.scan)

    def __dealloc__(self):
        free(self.octets)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.octets, self.used, 1, flags)

    def __len__(self):
        return self.used

    @property
    def size(self):
        """Octets of the message with CRLF, without transparency dots (RFC 1870 3)."""
        return self.scan.size

    @property
    def lines(self):
        return self.scan.lines

    @property
    def longest(self):
        """Octets of the longest line with CRLF."""
        return self.scan.longest

    @property
    def eight_bit(self):
        """The first line with an octet above 127, from 1; 0: there is none."""
        return self.scan.eight_bit.line if self.scan.eight_bit.offset >= 0 else 0

    @property
    def received(self):
        """Received fields in the header."""
        return self.scan.received

    @property
    def header_end(self):
        """Octets up to and with the empty line; -1: there is no such line."""
        return self.scan.header_end
