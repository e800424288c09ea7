# The tables of fastsmtp.pop3.commands and counts as C. Part of session.pyx.

cdef enum:
    AUTHORIZATION, NAMED, TRANSACTION, UPDATE, CLOSED

cdef enum:
    ROW_MAX = 24
    OTHER = -1  # no row: an unknown verb
    STAY = -1
    YES = 0  # as in counts.RESULTS
    ERR = 1
    SAID_MAX = 262144  # octets of replies collected before input is held
    AROUND = 64  # octets around a message, at most
    TOP_MAX = 16384  # octets that the top of a message is taken for
    COMMAND_LINE = 2048  # octets of a line with CRLF; RFC 2449 4: at least 255
    LOGIN_LINE = 12290  # of one of AUTH, as in SMTP (RFC 5034 4, RFC 4954 4)
    VERB_ROOM = 5  # octets of a line that tell whether it is AUTH
    EDGES_MAX = 16
    WORD = 8  # octets that the longest verb fits in
    NUMBER = 20  # digits of the largest number

ctypedef const unsigned char *Octets
ctypedef int (*Handler)(Session, Span) except -1

cdef struct Row:
    uint64_t word  # the verb in capitals
    unsigned states
    int next
    int argument
    bint secret
    bint verbatim  # spaces of its argument belong to it
    Handler handler

cdef Row rows[ROW_MAX]
cdef int ROW_COUNT = len(ROWS)
cdef int RETR = ROW_VERBS.index("RETR")
cdef int TOP = ROW_VERBS.index("TOP")
cdef int PASS = ROW_VERBS.index("PASS")
cdef int OTHER_SAID = counts.SAID.index("other")
cdef int COMMAND_CELLS = counts.COMMANDS.first
cdef int DURATION_CELLS = counts.DURATIONS.first
cdef int DURATION_WIDTH = counts.DURATIONS.width
cdef int EDGES = len(counts.DURATION_EDGES)
cdef double edges[EDGES_MAX]


cdef uint64_t word_of(Octets at, size_t n) noexcept nogil:
    """A verb in capitals as a number; 0 for what none can be."""
    cdef uint64_t word = 0
    cdef size_t i
    cdef unsigned char c
    if not 0 < n <= WORD:
        return 0
    for i in range(n):
        c = at[i]
        if c"a" <= c <= c"z":
            c -= 32
        elif not c:
            return 0  # else it would not count
        word = word << 8 | c
    return word


cdef int find_row(Octets at, size_t n) noexcept nogil:
    cdef uint64_t word = word_of(at, n)
    cdef int i
    for i in range(ROW_COUNT):
        if rows[i].word == word:
            return i
    return OTHER


cdef int fill_tables() except -1:
    cdef int n
    cdef bytes verb
    assert [AUTHORIZATION, NAMED, TRANSACTION, UPDATE, CLOSED] == list(State)
    for n, edge in enumerate(counts.DURATION_EDGES):
        edges[n] = edge
    for n, row in enumerate(ROWS):
        verb = row.verb.encode()
        rows[n].word = word_of(<Octets> PyBytes_AS_STRING(verb), len(verb))
        rows[n].states = sum(1 << state for state in row.states)
        rows[n].next = STAY if row.next is None else row.next
        rows[n].argument = row.argument
        rows[n].secret = row.secret
        rows[n].verbatim = row.handler == "password"
        rows[n].handler = handler_of(row.handler)
    return 0
