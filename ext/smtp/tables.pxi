# The tables of fastsmtp.smtp.commands and counts as C. Part of session.pyx.

from commandline cimport (
    FAULT_NO_DOMAIN,
    FAULT_NO_HOST,
    FAULT_NONE,
    FAULT_PARAMETER,
    FAULT_TRAILING,
    LINE_LONG,
    LINE_MORE,
    LINE_WHOLE,
    VERB_AUTH,
    VERB_BDAT,
    VERB_DATA,
    VERB_EHLO,
    VERB_EXPN,
    VERB_HELO,
    VERB_HELP,
    VERB_LHLO,
    VERB_MAIL,
    VERB_NOOP,
    VERB_QUIT,
    VERB_RCPT,
    VERB_RSET,
    VERB_STARTTLS,
    VERB_VRFY,
    VERB_XCLIENT,
    VERBS,
    Fault,
    LineEnd,
    Parameter,
    Path,
    Span,
    fault_texts,
    find_line,
    has_control,
    is_blank,
    is_utf8,
    line_text_end,
    next_parameter,
    parse_count,
    parse_host,
    parse_path,
    parse_verb,
    skip_line,
    span_is,
)

cdef enum:
    GREETED, READY, MAIL, RCPT, CHUNKS, BODY, COMMIT, CLOSED
    STATES

cdef enum:
    ROW_MAX = 24
    SAID_ALL = ROW_MAX + 2  # rows, other, eod
    OTHER = -1  # no row: an unknown verb
    EOD = -2  # the end of the data, answered like a command
    STAY = -1
    HELO = 1  # the stage of a greeting
    SAID_MAX = 16384  # octets of replies collected before input is held
    FIRST_ROOM = 8192  # octets of a body's first buffer
    CROWDED_ROOM = 16384  # what a body may keep in memory when memory is short
    LOGIN_LINE = 12290  # octets of a line of AUTH with CRLF, RFC 4954 4
    VERB_ROOM = 5  # octets of a line that tell whether it is AUTH

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
cdef int BDAT = ROW_VERBS.index("BDAT")
cdef int AUTH = ROW_VERBS.index("AUTH")
cdef int XCLIENT = ROW_VERBS.index("XCLIENT")
cdef tuple NO_NOTICE = ("", "")
cdef tuple PROTOCOLS = tuple(
    ("UTF8" + word.lstrip("E") if utf8 else word) + secured + known
    for word in ("SMTP", "ESMTP", "LMTP")
    for utf8 in (False, True)
    for secured in ("", "S")
    for known in ("", "A")
)
cdef int row_of[VERBS]

cdef Edges durations, receives, accepts, sizes, crowds
cdef int[SAID_ALL] seen_of  # where the exemplars of a command begin; -1: it has none
cdef int SEEN_WIDTH = counts.SPOKEN.width
cdef int COMMAND_CELLS = counts.COMMANDS.first
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
