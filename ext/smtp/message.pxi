# The body of a message while it arrives, and the judgement at its end. Part of
# session.pyx.


cdef size_t collect(Session s, Octets data, size_t n) except? 0:
    """Take a piece of the body; to its end, if the end is in it."""
    cdef size_t took
    if s.chunked:
        return collect_chunk(s, data, n)
    took = put_away(s, data, n)
    if s.body.scan.state == ENDED:
        complete(s)
    return took


cdef size_t put_away(Session s, Octets data, size_t n) except? 0:
    """Scan some octets, and keep them unless the message is refused already."""
    cdef Body body = s.body
    cdef size_t made, took
    if s.refused is None:
        n = make_room(s, n)
    if s.refused is not None:
        took = body_feed(&body.scan, data, n, NULL, &made)
    else:
        took = body_feed(&body.scan, data, n, body.octets + body.used, &made)
        body.used += made
        if body.scan.size > s.service.max_size:
            give_up(s, replies.TOO_BIG)
    return took


cdef size_t make_room(Session s, size_t n) except? 0:
    """Room for the next octets of the body; returns how many may come."""
    cdef Body body = s.body
    cdef Service service = s.service
    cdef size_t limit = service.memory
    cdef size_t room
    if service.kept > service.budget and limit > CROWDED_ROOM:
        limit = body.room - BODY_ROOM if body.room > CROWDED_ROOM else CROWDED_ROOM
    if body.used and body.used + n > limit:
        spill(s)
    n = n if n < limit else limit
    if body.used + n + BODY_ROOM > body.room and s.refused is None:
        room = 2 * body.room if body.room else FIRST_ROOM
        room = room if room < limit + BODY_ROOM else limit + BODY_ROOM
        if room < body.used + n + BODY_ROOM:
            room = body.used + n + BODY_ROOM
        grow(s, room)
    return n


cdef int grow(Session s, size_t room) except -1:
    cdef Body body = s.body
    cdef void *octets = realloc(body.octets, room)
    if octets is NULL:
        return give_up(s, replies.NO_ROOM)
    s.service.kept += <long long> room - <long long> body.room
    body.octets = <unsigned char *> octets
    body.room = room
    return 0


cdef int spill(Session s) except -1:
    """Write what is in memory to the stream; the door opens it the first time."""
    cdef Body body = s.body
    cdef object view
    try:
        if s.stream is None:
            s.stream = s.service.door.stream(s)
        view = memoryview(body)
        try:
            s.stream.write(view)
        finally:
            view.release()
    except StoreUnavailable:
        return give_up(s, replies.NO_ROOM)
    except Exception as error:
        s.service.trouble(error)
        return give_up(s, replies.TROUBLE)
    body.used = 0
    return 0


cdef int give_up(Session s, refused) except -1:
    """It will be refused at its end: keep nothing of it from now on."""
    cdef Body body = s.body
    s.refused = refused
    s.service.kept -= body.room
    free(body.octets)
    body.octets = NULL
    body.room = body.used = 0
    return s._abort_stream()


cdef int complete(Session s) except -1:
    """The message is whole: judge what it holds, then ask the door to take it."""
    cdef object refused = s.refused
    s.verb = EOD
    s._time(&receives, receives.first, receives.seen, s.data_at)
    if refused is None:
        refused = verdict(s)
    if refused is None and s.stream is not None:
        spill(s)
        refused = s.refused
    if refused is not None:
        return s._settle(refused)
    s.state = COMMIT
    s.size = s.body.scan.size
    s._ask(s.service.door.message)
    if s.pending:
        s.stream = None  # the store's now
        s._drop_body()
    return 0


cdef object verdict(Session s):
    """None, or why this content is not taken."""
    cdef Service service = s.service
    cdef BodyScan *scan = &s.body.scan
    cdef object line
    if scan.received > service.max_received:
        return replies.LOOP
    if scan.bare_lf.offset >= 0 or scan.bare_cr.offset >= 0:
        line = min(
            place for place in (
                scan.bare_lf.line if scan.bare_lf.offset >= 0 else 0,
                scan.bare_cr.line if scan.bare_cr.offset >= 0 else 0,
            ) if place
        )
        return replies.content("5.6.11", "Bare CR or LF in the message", line)
    if scan.nul.offset >= 0:
        return replies.content("5.6.11", "NUL in the message", scan.nul.line)
    if scan.eight_bit.offset >= 0:
        line = scan.eight_bit.line
        if service.refuse_eight_bit:
            return replies.content("5.6.1", "8-bit data is not taken here", line)
        if service.eight_bit_declared and not s.eight_bit:
            return replies.content("5.6.1", "8-bit data without 8BITMIME", line)
    if 0 < service.max_line < scan.longest:
        line = f"Line longer than {service.max_line} octets"
        return replies.content("5.6.0", line, scan.longest_line)
    return None


cdef object overall(answer):
    """What became of a message: None if anybody has it."""
    if type(answer) is list:
        return None if None in answer else answer[0]
    return answer


cdef int settle_each(Session s, answer) except -1:
    """LMTP: one reply for each recipient that was taken, in their order (RFC 2033 4.2).

    `answer` is for all of them, or a list with one for each."""
    cdef list answers
    cdef object no = overall(answer)
    cdef bytes taken
    if type(answer) is list:
        s.stream = None  # the store's, as some may have it
        answers = answer
        if len(answers) != len(s.recipients):
            s.service.trouble(Misused("not one answer for each recipient"))
            no = replies.TROUBLE
            answers = [no] * len(s.recipients)
    else:
        answers = [answer] * len(s.recipients)
    taken = b"250 2.0.0 Ok: queued as %b\r\n" % s.queue_id.encode()
    for each in answers:
        if each is None:
            s._say(taken, 250)
        else:
            s._deny(each)
    if no is None:
        return s._taken()
    s._left(no)
    return s._blame(no.code)
