# From the greeting to the first letter: EHLO, STARTTLS, AUTH. Part of client.pyx.


cdef int say_hello(Client c) except -1:
    cdef bytes verb = b"LHLO " if c.lmtp else b"EHLO "
    c.state = HELLO
    c.shown = []
    return c._say(verb + c.manners.hostname.encode() + b"\r\n", 1)


cdef int say_helo(Client c) except -1:
    c.state = HELO_ONLY
    c.shown = []
    return c._say(b"HELO " + c.manners.hostname.encode() + b"\r\n", 1)


cdef int say_quit(Client c) except -1:
    c.state = LEAVING
    c.progress += 1
    return c._say(b"QUIT\r\n", 1)


cdef int give_up(Client c, answer) except -1:
    """We cannot use this server: say so politely, and wait for nothing."""
    c._say(b"QUIT\r\n", 0)
    return c._end(answer)


cdef int opening(Client c, int code, Octets at, size_t n) except -1:
    """A reply before READY."""
    if c.state == GREETING:
        if code // 100 == 2:
            return say_hello(c)
        return give_up(c, refusal(code, at, n, AT_GREETING))
    if c.state == HELLO or c.state == HELO_ONLY:
        return introduced(c, code, at, n)
    if c.state == STARTING:
        return upgraded(c, code, at, n)
    return proving(c, code, at, n)


cdef object refusal(int code, Octets at, size_t n, Stage stage):
    """The answer to what needed a yes, when it was not one."""
    if code >= 400:
        return made_answer(code, at, n, stage)
    return out_of_step(code, stage)


cdef int introduced(Client c, int code, Octets at, size_t n) except -1:
    """EHLO or HELO was answered. Who refuses EHLO for good knows HELO, perhaps: then
    there is neither TLS nor AUTH (RFC 5321 3.2, 4.1.4)."""
    cdef bint hello = c.state == HELLO
    cdef list shown = c.shown
    cdef bint demanding = c.lmtp or c.secured or c.manners.login is not None
    c.shown = None
    if code // 100 == 2:
        use_offers(c, read_offers(shown, hello))
        return further(c)
    if hello and code >= 500 and not demanding and c.manners.tls in ("none", "may"):
        return say_helo(c)
    return give_up(c, refusal(code, at, n, AT_EHLO))


cdef int use_offers(Client c, offers) except -1:
    options = c.options
    c.offers = offers
    c.pipelining = offers.pipelining and options.pipelining
    c.chunking = offers.chunking and options.chunking
    c.size = offers.size
    c.sized = offers.sized
    c.eight_bit = offers.eight_bit
    c.smtputf8 = offers.smtputf8
    c.dsn = offers.dsn
    c.requiretls = offers.requiretls and c.secured
    c.priority = offers.priority
    c.by = offers.deliver_by is not None
    return 0


cdef int further(Client c) except -1:
    """What comes next on the way to READY."""
    manners = c.manners
    offers = c.offers
    if not c.secured and manners.tls != "none":
        if offers.starttls:
            c.state = STARTING
            return c._say(b"STARTTLS\r\n", 1)
        if manners.tls != "may":
            text = "TLS is demanded and STARTTLS is not offered"
            return give_up(c, Answer(0, "4.7.5", text, "tls"))
    return log_in(c)


cdef int upgraded(Client c, int code, Octets at, size_t n) except -1:
    """STARTTLS was answered. Where TLS only may be, mail goes on without."""
    if code == 220:
        c.state = SHAKING
        return 0
    if code >= 400 and c.manners.tls == "may":
        return log_in(c)
    return give_up(c, refusal(code, at, n, AT_TLS))


cdef int log_in(Client c) except -1:
    cdef object first
    cdef bytes line
    manners = c.manners
    if manners.login is None:
        return ready(c)
    private = manners.private or bool(c.secured)
    mechanisms = c.offers.mechanisms
    c.exchange = begin_exchange(mechanisms, manners.login, private)
    if c.exchange is None:
        known = " ".join(mechanisms) or "none"
        text = f"no way to log in that may be used here; offered: {known[:200]}"
        return give_up(c, Answer(0, "4.7.0", text, "auth"))
    c.state = PROVING
    line = b"AUTH " + c.exchange.mechanism.encode()
    first = c.exchange.first()
    if first is not None:
        c.initial = b2a_base64(first, newline=False) or b"="
        if len(line) + 1 + len(c.initial) <= COMMAND_MOST:
            line += b" " + c.initial
            c.initial = None
    return c._say(line + b"\r\n", 1)


cdef int proving(Client c, int code, Octets at, size_t n) except -1:
    """AUTH or the answer to a challenge was answered (RFC 4954 4)."""
    cdef bytes line
    if code == 334:
        try:
            if c.initial is not None:
                line, c.initial = c.initial, None
            else:
                challenge = a2b_base64((<const char *> at)[:n], strict_mode=True)
                line = b2a_base64(c.exchange.step(challenge), newline=False)
        except (NotAsAgreed, NotBase64) as error:
            c._say(b"*\r\n", 0)
            return give_up(c, Answer(0, "4.7.0", f"AUTH failed: {error}", "auth"))
        return c._say(line + b"\r\n", 1)
    if code // 100 == 2:
        if not c.exchange.satisfied:
            text = "the server did not show that it knows the password"
            return give_up(c, Answer(0, "4.7.0", text, "auth"))
        c.submitters = True
        return ready(c)
    return give_up(c, refusal(code, at, n, AT_AUTH))


cdef int ready(Client c) except -1:
    c.state = READY
    c.exchange = None
    return c._open(None)
