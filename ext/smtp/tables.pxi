# The tables of fastsmtp.smtp.commands and counts as C. Part of session.pyx.

cdef enum:
    GREETED, READY, MAIL, RCPT, BODY, COMMIT, CLOSED
    STATES

cdef enum:
    ROW_MAX = 24
    OTHER = -1  # no row: an unknown verb
    EOD = -2  # the end of the data, answered like a command
    STAY = -1
    NO_ARGUMENT = 0  # as in commands.Argument
    NEEDS_ARGUMENT = 2
    SAID_MAX = 16384  # octets of replies collected before input is held
    FIRST_ROOM = 8192  # octets of a body's first buffer
    CROWDED_ROOM = 16384  # what a body may keep in memory when memory is short
    DURATIONS = 6  # edges

ctypedef const unsigned char *Octets

cdef struct Line:
    Octets at  # the argument
    Octets end

ctypedef int (*Handler)(Session, Line *) except -1
ctypedef int (*Yes)(Session) except -1

cdef struct Row:
    unsigned states
    int next
    bint last
    int argument
    bint idle
    Handler handler
    Yes yes
    int stage

cdef Row rows[ROW_MAX]
cdef int row_of[VERBS]
cdef double duration_edges[DURATIONS]
cdef int COMMAND_CELLS = counts.COMMANDS.first
cdef int DURATION_CELLS = counts.DURATIONS.first
cdef int DURATION_WIDTH = counts.DURATIONS.width
cdef int REJECT_CELLS = counts.REJECTS.first
cdef int RESULT_CELLS = counts.MESSAGES.first
cdef int REASONS = len(counts.REASONS)
cdef dict REASON = {reason: n for n, reason in enumerate(counts.REASONS)}
cdef dict RESULT = {result: n for n, result in enumerate(counts.RESULTS)}
cdef int SAID_OTHER = counts.SAID.index("other")
cdef int SAID_EOD = counts.SAID.index("eod")
cdef int STAGE_EOD = counts.STAGES.index("eod")
cdef tuple STAGES_BY_NUMBER = counts.STAGES
cdef bytes OK = replies.OK
cdef bytes SENDER_OK = replies.SENDER_OK
cdef bytes RECIPIENT_OK = replies.RECIPIENT_OK
