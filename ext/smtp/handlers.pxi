# One handler per command, and what a yes of the door does. Part of session.pyx.


cdef int do_hello(Session s, Line *line) except -1:
    """HELO and EHLO again are a RSET (RFC 5321 4.1.4). HELO alone is tolerated."""
    cdef Span host
    cdef Octets rest = line.at
    cdef Fault fault = FAULT_NONE
    if line.at < line.end:
        fault = parse_host(&rest, line.end, &host)
    else:
        host = Span(line.at, 0)
    if fault == FAULT_NONE:
        fault = ascii_fault(host)
    if fault != FAULT_NONE:
        return s._refuse(replies.BAD_NAME)
    s._abandon()
    if s.state != GREETED:
        s.state = READY
    s.helo = text(host)
    return s._ask(s.service.door.hello)


cdef int do_hello_yes(Session s) except -1:
    s.extended = rows[s.verb].last
    cdef int standing
    if not s.extended:
        return s._say(s.service.helo, 250)
    standing = (1 if s.secured else 0) | s.private << 1  # bits as in offers.Standing
    standing |= (4 if s.login else 0) | s.trusted << 3
    return s._say(s.service.ehlo(standing), 250)


cdef int do_mail(Session s, Line *line) except -1:
    cdef Path path
    cdef Fault fault = parse_path(line.at, line.end, b"FROM", 4, &path)
    if fault == FAULT_NONE and path.postmaster:
        fault = FAULT_NO_DOMAIN
    if fault != FAULT_NONE:
        return s._refuse(bad_path(fault, "5.1.7"))
    if mail_parameters(s, path.rest, line.end):
        return 0
    if path.non_ascii and not s.smtputf8:
        return s._refuse(replies.NOT_ASCII)
    if s.declared_size > s.service.max_size:
        return s._refuse(replies.TOO_BIG)
    s.reverse_path = text(path.mailbox)
    s.opened = s.began
    return s._ask(s.service.door.mail)


cdef int do_mail_yes(Session s) except -1:
    s.recipients = []
    if s.priority > s.service.max_priority:  # RFC 6710 4.1: lowered, and that is said
        s.priority = s.service.max_priority
        return s._say(replies.LOWERED[s.priority], 250)
    return s._say(SENDER_OK, 250)


cdef int do_rcpt(Session s, Line *line) except -1:
    cdef Path path
    cdef Fault fault = parse_path(line.at, line.end, b"TO", 2, &path)
    s.notice = None
    if fault != FAULT_NONE:
        return s._refuse(bad_path(fault, "5.1.3"))
    if not path.mailbox.n:
        return s._refuse(replies.BAD_RECIPIENT)
    if path.non_ascii and not s.smtputf8:
        return s._refuse(replies.NOT_ASCII)
    if path.rest < line.end and rcpt_parameters(s, path.rest, line.end):
        return 0
    if PyList_GET_SIZE(s.recipients) >= s.service.max_recipients:
        return s._refuse(replies.RECIPIENTS)
    s.address = text(path.mailbox)
    return s._ask(s.service.door.recipient)


cdef int do_rcpt_yes(Session s) except -1:
    s.recipients.append(s.address)
    s.address = None
    if s.notice is not None or s.notices is not None:
        keep_notice(s)
    return s._say(RECIPIENT_OK, 250)


cdef int do_data(Session s, Line *line) except -1:
    return s._ask(s.service.door.data)


cdef int do_data_yes(Session s) except -1:
    s.body = Body()
    s.data_at = s.service.clock()
    s.idle = 0
    return s._say(replies.START, 354)


cdef int do_rset(Session s, Line *line) except -1:
    """Allowed before HELO too, where it changes nothing."""
    s._abandon()
    if s.state != GREETED:
        s._move(&rows[s.verb])
    return s._say(OK, 250)


cdef int do_noop(Session s, Line *line) except -1:
    return s._say(OK, 250)


cdef int do_vrfy(Session s, Line *line) except -1:
    """The same for every name: nobody learns who has an account (RFC 5321 7.3)."""
    if not s.service.vrfy:
        return s._refuse(replies.OFF)
    if ascii_text(line.at, line.end):
        return s._say(replies.CANNOT_VERIFY, 252)
    if not is_utf8(Span(line.at, line.end - line.at)):
        return s._refuse(replies.NOT_UTF8)
    if not s.service.smtputf8 or not asks_utf8(line):
        return s._refuse(replies.NOT_ASCII)
    return s._say(replies.CANNOT_VERIFY, 252)


cdef int do_help(Session s, Line *line) except -1:
    return s._say(s.service.help, 214)


cdef int do_quit(Session s, Line *line) except -1:
    s._say(replies.BYE, 221)
    return s._close("quit")


cdef int do_off(Session s, Line *line) except -1:
    return s._refuse(replies.OFF)


cdef str text(Span span):
    return PyUnicode_DecodeUTF8(<const char *> span.at, span.n, NULL)


cdef bint ascii_text(Octets at, Octets end) noexcept:
    cdef unsigned char seen = 0
    while at < end:
        seen |= at[0]
        at += 1
    return not seen & 0x80


cdef bint asks_utf8(Line *line) noexcept:
    """Whether VRFY ends with SMTPUTF8 (RFC 6531 3.7.4.2)."""
    return line.end - line.at > 9 and span_is(Span(line.end - 9, 9), b" SMTPUTF8", 9)


cdef Fault ascii_fault(Span span) noexcept:
    """What is said at HELO goes into Received, which is ASCII here."""
    cdef size_t i
    for i in range(span.n):
        if not 32 < span.at[i] < 127:
            return FAULT_NO_HOST
    return FAULT_NONE


cdef object bad_path(Fault fault, str status):
    cdef bint parameter = fault == FAULT_PARAMETER or fault == FAULT_TRAILING
    cdef str said = (<bytes> fault_texts[<int> fault]).decode("ascii")
    said = said[0].upper() + said[1:]
    return Refused(501, "5.5.4" if parameter else status, said, "syntax")


cdef bint refused(Session s, no) except -1:
    s._refuse(no)
    return True


cdef int row_functions(Row *row, str name) except -1:
    """Handlers by the names that `fastsmtp.smtp.commands` uses."""
    row.yes = NULL
    if name == "hello":
        row.handler = do_hello
        row.yes = do_hello_yes
    elif name == "mail":
        row.handler = do_mail
        row.yes = do_mail_yes
    elif name == "rcpt":
        row.handler = do_rcpt
        row.yes = do_rcpt_yes
    elif name == "data":
        row.handler = do_data
        row.yes = do_data_yes
    elif name == "bdat":
        row.handler = do_bdat
        row.yes = do_bdat_yes
    elif name == "auth":
        row.handler = do_auth
        row.yes = do_auth_yes
    elif name == "xclient":
        row.handler = do_xclient
        row.yes = do_xclient_yes
    else:
        row.handler = plain_handler(name)
    return 0


cdef Handler plain_handler(str name) except NULL:
    if name == "rset":
        return do_rset
    if name == "noop":
        return do_noop
    if name == "vrfy":
        return do_vrfy
    if name == "help":
        return do_help
    if name == "quit":
        return do_quit
    if name == "starttls":
        return do_starttls
    if name == "off":
        return do_off
    raise Misused(f"no handler {name}")


cdef int read_tables() except -1:
    """Once, at import: the rows as C, and which row a parsed verb has."""
    cdef int n
    cdef Row *row
    cdef dict stages = {
        **{"HELO": HELO, "EHLO": HELO, "LHLO": HELO},
        **{"MAIL": 2, "RCPT": 3, "DATA": 4, "BDAT": 4},
    }
    for n, entry in enumerate(ROWS):
        row = &rows[n]
        row.states = sum(1 << state for state in entry.states)
        row.next = STAY if entry.next is None else entry.next
        row.last = entry.last
        row.argument = entry.argument
        row.idle = entry.idle
        row.stage = stages.get(entry.verb, -1)
        row_functions(row, entry.handler)
    for n in range(<int> VERBS):
        row_of[n] = OTHER
    for verb, name in (
        (VERB_HELO, "HELO"), (VERB_EHLO, "EHLO"), (VERB_LHLO, "LHLO"),
        (VERB_XCLIENT, "XCLIENT"), (VERB_MAIL, "MAIL"),
        (VERB_RCPT, "RCPT"), (VERB_DATA, "DATA"), (VERB_BDAT, "BDAT"),
        (VERB_RSET, "RSET"), (VERB_NOOP, "NOOP"), (VERB_VRFY, "VRFY"),
        (VERB_EXPN, "EXPN"), (VERB_HELP, "HELP"), (VERB_QUIT, "QUIT"),
        (VERB_STARTTLS, "STARTTLS"), (VERB_AUTH, "AUTH"),
    ):
        row_of[<int> verb] = ROW_VERBS.index(name)
    read_edges(&durations, counts.duration("HELO", "2"))
    for n, said in enumerate(counts.SAID):
        about = said in counts.ABOUT_MAIL
        seen_of[n] = counts.SPOKEN.place(said, counts.CLASSES[0]) if about else -1
    read_edges(&receives, counts.RECEIVE_SEEN)
    read_edges(&accepts, counts.ACCEPT_SEEN)
    read_edges(&sizes, counts.SIZE)
    read_edges(&crowds, counts.RECIPIENTS)
    assert len(ROWS) <= ROW_MAX
    assert [int(s) for s in State] == list(range(STATES))
    return 0


read_tables()
