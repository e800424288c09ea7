# USER, PASS, AUTH and STLS: who the client is. Part of session.pyx.


cdef int do_user(Session s, Span said) except -1:
    """Yes to any name: nobody learns from it who has an account."""
    s.name = said.at[:said.n]
    return s._yes(replies.NAME_OK)


cdef int do_password(Session s, Span said) except -1:
    s.about = (s.name, <bytes> said.at[:said.n])
    return s._ask(s.service.door.password)


cdef int do_auth(Session s, Span said) except -1:
    """The mechanism and, perhaps, its initial response (RFC 5034 4)."""
    cdef Octets at = said.at
    cdef Octets end = said.at + said.n
    cdef bytes response = None
    while at < end and not is_blank(at[0]):
        at += 1
    mechanism = (<const char *> said.at)[:at - said.at].decode("latin-1").upper()
    while at < end and is_blank(at[0]):
        at += 1
    if mechanism not in s.service.offers.mechanisms:
        return s._refuse(replies.MECHANISM)
    if end - at == 1 and at[0] == c"=":
        response = b""
    elif at < end:
        response = base64(at, end)
        if response is None:
            return s._refuse(replies.BASE64)
    s.mechanism = mechanism
    s.about = (mechanism, response)
    return s._ask(s.service.door.auth)


cdef int respond(Session s, Octets at, Octets end) except -1:
    """A line inside the exchange: the answer to a challenge, or `*`."""
    cdef bytes response
    if end - at == 1 and at[0] == c"*":
        cancel(s)
        return s._refuse(replies.CANCELLED)
    response = base64(at, end)
    if response is None:
        cancel(s)
        return s._refuse(replies.BASE64)
    s.about = (s.mechanism, response)
    return s._ask(s.service.door.auth)


cdef bytes base64(Octets at, Octets end):
    """What the text stands for; None: it is not base64 (RFC 4648 4)."""
    try:
        return a2b_base64((<const char *> at)[:end - at], strict_mode=True)
    except NotBase64:
        return None


cdef int cancel(Session s) except -1:
    """An exchange ends that the door waits to go on."""
    s.exchanging = False
    try:
        s.service.door.auth_cancelled(s)
    except Exception as error:
        s.service.trouble(error)
    return 0


cdef int entered(Session s) except -1:
    """Somebody has logged in, and the door has given the maildrop."""
    cdef uint32_t i
    if not s.login or s.drop is None:
        s.service.trouble(Misused("a login succeeded without a name or a maildrop"))
        return s._refuse(replies.refusal(replies.TROUBLE))
    s.uids, s.sizes = s.drop.uids, s.drop.sizes
    s.count = <uint32_t> s.uids.shape[0]
    s.octets = 0
    for i in range(s.count):
        s.octets += s.sizes[i]
    s.errors = 0
    s.name = b""
    return s._yes(replies.logged_in(s.count, s.octets))


cdef int do_stls(Session s, Span said) except -1:
    """The driver writes the reply and hands the connection to TLS (RFC 2595 4)."""
    if s.secured:
        return s._refuse(replies.SECURED)
    if not s.service.stls:
        return s._refuse(replies.OFF)
    s._yes(replies.UPGRADE)
    s.upgrade = True
    return 0


cdef bytes misplaced(Session s):
    """The answer to a command in a state that its row does not have."""
    if s.state == TRANSACTION:
        return replies.LOGGED_IN
    return replies.USER_FIRST if s.verb == PASS else replies.LOGIN_FIRST


cdef size_t line_limit(Session s, Octets line, size_t n) noexcept:
    """Octets a line may have: those of AUTH are longer than others."""
    cdef bint long_line = s.exchanging
    if not long_line and n >= VERB_ROOM:
        long_line = span_is(Span(line, 4), b"AUTH", 4) and is_blank(line[4])
    return LOGIN_LINE if long_line else s.service.max_command_line


cdef int told_bare(Session s) except -1:
    return ill(s, replies.BARE)


cdef int told_long(Session s) except -1:
    return ill(s, replies.TOO_LONG)


cdef int ill(Session s, bytes reply) except -1:
    """What is no line at all ends an exchange, too."""
    if s.exchanging:
        cancel(s)
    s.verb = OTHER
    return s._refuse(reply)
