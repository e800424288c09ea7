# AUTH (RFC 4954), STARTTLS (RFC 3207), XCLIENT: who the client is. Part of session.pyx.


cdef int do_auth(Session s, Line *line) except -1:
    """The mechanism and, perhaps, its initial response; the door does the rest."""
    cdef Octets at = line.at
    cdef Span name, first
    cdef bytes response = None
    if s.login:
        return s._refuse(replies.KNOWN)
    if not s.secured and not s.private:
        return s._refuse(replies.IN_CLEAR)
    while at < line.end and not is_blank(at[0]):
        at += 1
    name = Span(line.at, at - line.at)
    while at < line.end and is_blank(at[0]):
        at += 1
    first = Span(at, line.end - at)
    mechanism = (<const char *> name.at)[:name.n].decode("latin-1").upper()
    if mechanism not in s.service.offers.mechanisms:
        return s._refuse(replies.MECHANISM)
    if first.n == 1 and first.at[0] == c"=":
        response = b""
    elif first.n:
        response = base64(first)
        if response is None:
            return s._refuse(replies.BASE64)
    s.mechanism = mechanism
    s.about = (mechanism, response)
    return s._ask(s.service.door.auth)


cdef int respond(Session s, Octets at, Octets end) except -1:
    """A line inside the exchange: the answer to a challenge, or `*`."""
    cdef bytes response
    s._begin(AUTH)
    if s._exhausted(True):
        return 0
    if end - at == 1 and at[0] == c"*":
        return s._refuse(replies.CANCELLED)
    response = base64(Span(at, end - at))
    if response is None:
        return s._refuse(replies.BASE64)
    s.about = (s.mechanism, response)
    return s._ask(s.service.door.auth)


cdef bytes base64(Span text):
    """What the text stands for; None: it is not base64 (RFC 4648 4)."""
    try:
        return a2b_base64((<const char *> text.at)[:text.n], strict_mode=True)
    except NotBase64:
        return None


cdef int not_yet(Session s, answer) except -1:
    """A challenge, or the exchange has failed."""
    if type(answer) is bytes:
        s.exchanging = True
        return s._say(b"334 %b\r\n" % b2a_base64(answer, newline=False), 334)
    s.exchanging = False
    return s._refuse(answer)


cdef int do_auth_yes(Session s) except -1:
    s.exchanging = False
    s.about = None
    if not s.login:
        s.service.trouble(Misused("AUTH succeeded and nobody is logged in"))
        return s._refuse(replies.TROUBLE)
    return s._say(replies.LOGGED_IN, 235)


cdef int cancel(Session s) except -1:
    """An exchange ends that the door waits to go on."""
    if s.exchanging:
        s.exchanging = False
        try:
            s.service.door.auth_cancelled(s)
        except Exception as error:
            s.service.trouble(error)
    return 0


cdef object login_first(Session s):
    """530, with what is to be done first (RFC 4954 6, RFC 3207 4)."""
    cdef bint possible = s.secured or s.private or not s.service.starttls
    return replies.LOGIN_FIRST if possible else replies.TLS_FIRST


cdef size_t line_limit(Session s, Octets line, size_t n) noexcept:
    """Octets a line may have: those of AUTH are longer than others (RFC 4954 4)."""
    cdef bint long_line = s.exchanging
    if s.service.auth and not long_line and n >= VERB_ROOM:
        long_line = span_is(Span(line, 4), b"AUTH", 4) and is_blank(line[4])
    return LOGIN_LINE if long_line else s.service.max_command_line


cdef int do_starttls(Session s, Line *line) except -1:
    """The driver writes the reply and hands the connection to TLS (RFC 3207)."""
    if s.secured:
        return s._refuse(replies.SECURED)
    if s.login:
        return s._refuse(replies.KNOWN)
    s._say(replies.UPGRADE, 220)
    s.upgrade = True
    return 0


cdef int do_xclient(Session s, Line *line) except -1:
    cdef bytes told = (<const char *> line.at)[:line.end - line.at]
    cdef dict about
    if not s.trusted:
        return s._refuse(replies.STRANGER)
    try:
        about = xclient.attributes(told)
    except ValueError:
        return s._refuse(replies.BAD_PARAMETER)
    if "LOGIN" in about and not s.service.auth:  # as EHLO said
        return s._refuse(replies.BAD_PARAMETER)
    s.about = (about,)
    return s._ask(s.service.door.xclient)


cdef int do_xclient_yes(Session s) except -1:
    """As after connect, and with a greeting: it is another client now, and nobody has
    logged in unless the proxy says so."""
    cdef dict told = s.about[0]
    s.about = None
    s.login = told.get("LOGIN", "")
    s.helo = told.get("HELO", "")
    s.extended = False
    return s._say(s.service.greeting, 220)


cdef int turn_away(Session s, no) except -1:
    """The client of a proxy may not come in; the proxy cannot go on as itself."""
    s._deny(no)
    return s._close("shutdown")


cdef int told_bare(Session s) except -1:
    s._begin(OTHER)
    return s._refuse(replies.BARE)


cdef int told_long(Session s) except -1:
    s._begin(OTHER)
    return s._refuse(replies.LOGIN_LONG if s.exchanging else replies.TOO_LONG)
