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
    cdef bytes greeting, helo, ehlo, ehlo_secured
    cdef unsigned offered  # rows, a bit each
    cdef readonly long long kept
    cdef long long budget, max_size
    cdef size_t memory, max_command_line
    cdef Py_ssize_t max_recipients
    cdef long long max_received, max_line, max_errors, max_commands, max_idle
    cdef bint refuse_eight_bit, eight_bit_declared, vrfy

    def __init__(self, options, str hostname, door, cells, clock, trouble):
        self.door = door
        self.clock = clock
        self.trouble = trouble
        self.cells = cells
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
        self.greeting = replies.line(220, "", f"{hostname} {options.banner}")
        self.helo = replies.line(250, "", hostname)
        self.ehlo = replies.lines(250, extensions(options, hostname))
        self.ehlo_secured = self.ehlo
        self.offered = always

    def offer(self, str verb, str keyword):
        """Turn a command on, and its keyword in the answer to EHLO.

        STARTTLS is no longer offered once TLS is on (RFC 3207 4.2)."""
        cdef int row = ROW_VERBS.index(verb)
        self.offered |= 1u << row
        self.ehlo = with_keyword(self.ehlo, keyword)
        if verb != "STARTTLS":
            self.ehlo_secured = with_keyword(self.ehlo_secured, keyword)

    @property
    def crowded(self):
        """Whether sessions that collect bodies should not be read for now."""
        return self.kept > 2 * self.budget


def extensions(options, str hostname):
    """The lines of the answer to EHLO: exactly what is on (RFC 5321 4.1.1.1)."""
    offered = ["PIPELINING", f"SIZE {options.max_message_size}"]
    if options.eight_bit != "reject":
        offered.append("8BITMIME")
    return (hostname, *offered, "ENHANCEDSTATUSCODES")


cdef bytes with_keyword(bytes ehlo, str keyword):
    """One line more, in front of the last."""
    at = ehlo.rindex(b"250 ")
    return ehlo[:at] + f"250-{keyword}\r\n".encode() + ehlo[at:]


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
