# BDAT: the message in chunks of a known size (RFC 3030). Part of session.pyx.
#
# The octets of a chunk follow its command whatever we think of it, so they are counted
# off before it is refused: where BDAT is not offered, too, or they would be taken for
# commands. A chunk that is refused ends the transaction: what follows cannot be the
# message any more. A command whose count cannot be read ends the session.


cdef int do_bdat(Session s, Line *line) except -1:
    cdef object no
    cdef bint offered = s.service.offered >> BDAT & 1
    if has_control(line.at, line.end) or not chunk_size(s, line):
        s.chunk = 0
        if not offered:
            return s._refuse(replies.OFF)
        s._refuse(replies.BAD_CHUNK)
        if s.state != CLOSED:
            s.verb = OTHER
            s._deny(replies.OUT_OF_STEP)
            s._close("too_many_errors")
        return 0
    if s._exhausted(s.chunk == 0):
        return 0
    no = replies.EARLY if s.early else chunk_misplaced(s)
    if no is not None:
        return refuse_chunk(s, no)
    if s.state == RCPT:
        return s._ask(s.service.door.data)
    return begin_chunk(s)


cdef bint chunk_size(Session s, Line *line) noexcept:
    """`octets` or `octets LAST`; fills `chunk` and `last_chunk`."""
    cdef Octets at = line.at
    cdef Span size = Span(at, 0)
    while at < line.end and c"0" <= at[0] <= c"9":
        at += 1
    size.n = at - size.at
    if not parse_count(size, &s.chunk):
        return False
    s.last_chunk = at < line.end
    while at < line.end and at[0] == c" ":
        at += 1
    if not s.last_chunk:
        return True
    return at > size.at + size.n and span_is(Span(at, line.end - at), b"LAST", 4)


cdef object chunk_misplaced(Session s):
    """Why there may be no chunk now, or None."""
    if not s.service.offered >> BDAT & 1:
        return replies.OFF
    if s.state != RCPT and s.state != CHUNKS:
        return misplaced(ROWS[BDAT], s.state, s.service.lmtp)
    return None


cdef int do_bdat_yes(Session s) except -1:
    """The first chunk of a message may come."""
    s.body = Body()
    s.body.scan.plain = True
    s.chunked = True
    s.data_at = s.service.clock()
    s.idle = 0
    return begin_chunk(s)


cdef int begin_chunk(Session s) except -1:
    s.state = BODY
    return 0 if s.chunk else end_chunk(s)


cdef size_t collect_chunk(Session s, Octets data, size_t n) except? 0:
    """Take octets of the chunk, as they are: dots mean nothing here."""
    cdef size_t took = put_away(s, data, n if n < s.chunk else <size_t> s.chunk)
    s.chunk -= took
    if s.chunk == 0:
        end_chunk(s)
    return took


cdef int end_chunk(Session s) except -1:
    cdef object refused = s.refused
    if s.last_chunk:
        end_body(s)
        return complete(s)
    if refused is not None:
        s.state = READY
        return s._rejected(refused)
    s.state = CHUNKS
    return s._say(OK, 250)


cdef int end_body(Session s) except -1:
    """There is no more: a CR that stands last is bare, nothing is held back. A last
    line without its end gets one: text is lines (RFC 5322 2.1), a next hop or a reader
    could not be given it otherwise, and signatures count it as ended (RFC 6376 3.4)."""
    cdef Body body = s.body
    cdef size_t made = 0
    cdef bint unended = body.scan.size and body.scan.state == TEXT
    if s.refused is None:
        make_room(s, BODY_ROOM)
    if s.refused is not None:
        body_finish(&body.scan, NULL, &made)
    else:
        body_finish(&body.scan, body.octets + body.used, &made)
        body.used += made
        if unended:
            memcpy(body.octets + body.used, b"\r\n", 2)
            body.used += 2
    return 0


cdef int refuse_chunk(Session s, no) except -1:
    """Its octets go first, then it is refused."""
    if s.chunk:
        s.chunk_no = no
        s.skipping = True
        return 0
    return chunk_refused(s, no)


cdef size_t skip_any(Session s, Octets data, size_t n) except? 0:
    """What is refused already: a chunk, or a line."""
    return skip(s, data, n) if s.chunk_no is None else skip_chunk(s, n)


cdef size_t skip_chunk(Session s, size_t n) except? 0:
    cdef object no = s.chunk_no
    cdef size_t took = n if n < s.chunk else <size_t> s.chunk
    s.chunk -= took
    if s.chunk == 0:
        s.skipping = False
        s.chunk_no = None
        chunk_refused(s, no)
    return took


cdef int chunk_refused(Session s, no) except -1:
    s._refuse(no)
    if MAIL <= s.state <= CHUNKS:
        s._abandon()
        s.state = READY
    return 0
