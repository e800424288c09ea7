# Command lines out of the input, however it is cut. Part of each engine's session.pyx,
# which says what a line may be and what is done with it:
#
#     s._command(data, length)    a whole line with its CRLF
#     line_limit(s, data, n)      octets that the line which begins so may have
#     told_bare(s), told_long(s)  the answers to one that is none
#
# Fields: line, line_length, line_room; skipping, skipping_said, skipped_cr;
# service.max_command_line. VERB_ROOM octets of a line tell how long it may be.

cdef enum:  # as in fastsmtp.wire.argument
    NO_ARGUMENT = 0
    NEEDS_ARGUMENT = 2


cdef size_t whole_line(Session s, Octets data, size_t n) except? 0:
    """The line begins at `data`; most often it also ends in this read."""
    cdef size_t length
    cdef size_t limit = s.service.max_command_line
    cdef LineEnd end = find_line(data, n, limit, &length)
    if end != LINE_WHOLE:
        limit = line_limit(s, data, n)
        end = find_line(data, n, limit, &length)
    if end == LINE_WHOLE:
        s._command(data, length)
        return length
    if end == LINE_MORE:
        line_room(s, limit)
        memcpy(s.line, data, n)
        s.line_length = n
        return n
    return bad_line(s, data, limit if end == LINE_LONG else length, end)


cdef size_t more_line(Session s, Octets data, size_t n) except? 0:
    """The line began in an earlier read."""
    cdef size_t limit = line_limit(s, s.line, s.line_length)
    cdef size_t length, room, more
    cdef Octets lf
    cdef unsigned char *line
    cdef LineEnd end
    line_room(s, limit)
    line = s.line
    room = (VERB_ROOM if s.line_length < VERB_ROOM else limit) - s.line_length
    more = n if n < room else room
    lf = <Octets> memchr(data, c"\n", more)
    if lf is not NULL:
        more = lf - data + 1
    memcpy(line + s.line_length, data, more)
    s.line_length += more
    end = find_line(line, s.line_length, limit, &length)
    if end == LINE_MORE:
        return more
    s.line = NULL
    try:
        if end == LINE_WHOLE:
            s._command(line, length)
        else:
            bad_line(s, line, s.line_length, end)
    finally:
        free(line)
    return more


cdef int line_room(Session s, size_t room) except -1:
    """Memory for a line that comes in pieces."""
    cdef void *line
    if s.line is NULL or room > s.line_room:
        line = realloc(s.line, room)
        if line is NULL:
            raise MemoryError
        s.line = <unsigned char *> line
        s.line_room = room
    return 0


cdef size_t bad_line(Session s, Octets line, size_t n, LineEnd end) except? 0:
    """A bare LF is told at once, so that nobody waits for an answer in vain; a
    long line at its end. Both are skipped to their CRLF, which keeps step."""
    s.skipping = True
    s.skipping_said = end != LINE_LONG
    s.skipped_cr = line[n - 1] == c"\r"
    if s.skipping_said:
        told_bare(s)
    return n


cdef size_t skip(Session s, Octets data, size_t n) except? 0:
    cdef size_t length = 1
    if not (s.skipped_cr and data[0] == c"\n"):
        if not skip_line(data, n, &length):
            s.skipped_cr = data[n - 1] == c"\r"
            return n
    s.skipping = False
    if not s.skipping_said:
        told_long(s)
    return length
