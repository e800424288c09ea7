# MAIL, RCPT, DATA, and what is answered to them. Part of client.pyx.


cdef _Post new_post(Client c, letter, done):
    cdef _Post post = _Post.__new__(_Post)
    if type(letter) is not Letter:
        raise Misused("not a Letter")
    post.letter = <tuple> letter
    post.done = done
    post.recipients = post.letter[RECIPIENTS]
    post.count = len(post.recipients)
    post.end = post.letter[BODY].length
    if not post.count or <long long> post.letter[SKIP] > post.end:
        raise Misused("a letter to nobody, or one shorter than what is skipped")
    for rcpt in post.recipients:
        if type(rcpt) is not Rcpt:
            raise Misused("not a Rcpt")
    post.chunked = (
        c.chunking and post.end - <long long> post.letter[SKIP] >= CHUNK_LEAST
    )
    return post


# -- what this server cannot take


cdef list unfit(Client c, _Post post):
    """The answers of all recipients when the letter cannot go; None: it can, to those
    at least whom `post.places` names."""
    cdef tuple letter = post.letter
    cdef object no = None
    cdef Py_ssize_t n
    if letter[EIGHT_BIT] and not c.eight_bit:
        no = local(554, "5.6.3", "the message is 8-bit and 8BITMIME is not offered")
    elif letter[SMTPUTF8] and not c.smtputf8:
        no = local(550, "5.6.7", "the message needs SMTPUTF8, which is not offered")
    elif letter[REQUIRETLS] and not c.requiretls:
        no = local(550, "5.7.30", "the message needs REQUIRETLS over TLS")
    elif c.size and post.end - <long long> letter[SKIP] > c.size:
        no = local(552, "5.3.4", f"the message is larger than {c.size} octets")
    elif letter[BY] is not None and not c.by and letter[BY].mode.startswith("R"):
        no = local(550, "5.3.3", "the message needs DELIVERBY, which is not offered")
    elif not is_path(letter[REVERSE_PATH], letter[SMTPUTF8], True):
        no = local(553, "5.1.7", "the sender is no address that can be said here")
    if no is not None:
        post.answer = no
        return post.outcome()
    for n in range(post.count):
        if not is_path((<tuple> post.recipients[n])[0], letter[SMTPUTF8], False):
            return without_unfit(post)
    return None


cdef object local(int code, str enhanced, str text):
    return Answer(code, enhanced, text, "mail", True)


cdef list without_unfit(_Post post):
    """Some recipients cannot be named in a command."""
    cdef object text = "no address that can be said here"
    cdef Py_ssize_t n
    post.places = []
    for n in range(len(post.recipients)):
        if is_path((<tuple> post.recipients[n])[0], post.letter[SMTPUTF8], False):
            post.places.append(n)
        else:
            post.settle(n, Answer(553, "5.1.3", text, "rcpt", True))
    post.count = len(post.places)
    return None if post.count else post.answers


cdef bint is_path(str address, bint utf8, bint null) except -1:
    """Whether a mailbox is one by the rules: no CR, LF, space or bracket gets out."""
    cdef Py_ssize_t n
    cdef Octets at = <Octets> PyUnicode_AsUTF8AndSize(address, &n)
    cdef Path path
    if not n:
        return null
    if parse_bare_path(at, at + n, &path) != FAULT_NONE or path.rest != at + n:
        return False
    return not path.bracketed and (utf8 or not path.non_ascii)


# -- what is said


cdef int begin(Client c, _Post post) except -1:
    post.begun = True
    if c.dirty:
        c.dirty = False
        c.resetting = True
        c._say(b"RSET\r\n", 1)
        if not c.pipelining:
            return 0
    return say_envelope(c, post)


cdef int say_envelope(Client c, _Post post) except -1:
    """MAIL; where commands go in groups also all that follows."""
    cdef Py_ssize_t n
    say_mail(c, post)
    if c.pipelining:
        for n in range(post.count):
            say_rcpt(c, post, n)
        if not post.chunked:
            c._say(b"DATA\r\n", 1)
    return 0


cdef int say_mail(Client c, _Post post) except -1:
    cdef tuple letter = post.letter
    cdef char line[64]
    c._put(b"MAIL FROM:<", 11)
    put_text(c, letter[REVERSE_PATH])
    c._put(b">", 1)
    if c.sized:
        n = snprintf(
            line, sizeof(line), " SIZE=%lld", post.end - <long long> letter[SKIP]
        )
        c._put(line, n)
    if letter[EIGHT_BIT]:
        c._put(b" BODY=8BITMIME", 14)
    if letter[SMTPUTF8]:
        c._put(b" SMTPUTF8", 9)
    if letter[REQUIRETLS]:
        c._put(b" REQUIRETLS", 11)
    if c.dsn or c.priority or c.submitters or letter[BY] is not None:
        say_wishes(c, letter)
    return c._say(b"\r\n", 1)


cdef int say_wishes(Client c, tuple letter) except -1:
    """The parameters of MAIL that are rare."""
    if c.dsn and letter[RET]:
        put_text(c, " RET=" + letter[RET])
    if c.dsn and letter[ENVID]:
        c._put(b" ENVID=", 7)
        put_xtext(c, letter[ENVID])
    if c.submitters and letter[SUBMITTER]:
        c._put(b" AUTH=", 6)
        put_xtext(c, letter[SUBMITTER])
    if c.priority and letter[PRIORITY] is not None:
        put_text(c, f" MT-PRIORITY={letter[PRIORITY]:d}")
    if c.by and letter[BY] is not None:
        seconds, mode = letter[BY]
        put_text(c, f" BY={seconds:d};{mode}")
    return 0


cdef int say_rcpt(Client c, _Post post, Py_ssize_t n) except -1:
    cdef tuple rcpt = <tuple> post.recipients[post.place(n)]
    c._put(b"RCPT TO:<", 9)
    put_text(c, rcpt[0])
    c._put(b">", 1)
    if c.dsn and rcpt[1]:
        put_text(c, " NOTIFY=" + rcpt[1])
    if c.dsn and rcpt[2]:
        kind, _, address = rcpt[2].partition(";")
        put_text(c, f" ORCPT={kind};")
        if kind == "utf-8":
            put_unitext(c, address, post.letter[SMTPUTF8])
        else:
            put_xtext(c, address)
    return c._say(b"\r\n", 1)


cdef int put_text(Client c, str text) except -1:
    """Text that was checked."""
    cdef Py_ssize_t n
    cdef const char *octets = PyUnicode_AsUTF8AndSize(text, &n)
    return c._put(octets, n)


cdef int put_xtext(Client c, str text) except -1:
    """RFC 3461 4: what is not printable ASCII, "+" and "=" as "+" and two digits."""
    cdef Py_ssize_t n, i
    cdef Octets octets = <Octets> PyUnicode_AsUTF8AndSize(text, &n)
    cdef char code[4]
    for i in range(n):
        if 0x21 <= octets[i] <= 0x7E and octets[i] != c"+" and octets[i] != c"=":
            c._put(octets + i, 1)
        else:
            snprintf(code, sizeof(code), "+%02X", <unsigned> octets[i])
            c._put(code, 3)
    return 0


cdef int put_unitext(Client c, str text, bint utf8) except -1:
    r"""RFC 6533 3: as xtext, but what it does not take is `\x{...}`, and beyond ASCII
    it takes everything where SMTPUTF8 is on. A backslash stays: it is such a form."""
    for x in text:
        if 0x21 <= ord(x) <= 0x7E and x not in "+=" or utf8 and ord(x) > 0xA0:
            put_text(c, x)
        else:
            put_text(c, r"\x{%X}" % ord(x))
    return 0


# -- what is answered


cdef int reset(Client c, int code) except -1:
    c.resetting = False
    if code // 100 != 2:
        return c._end(out_of_step(code, AT_MAIL))
    if c.first is not None and not c.pipelining:
        return say_envelope(c, c.first)
    return 0


cdef int answered(Client c, _Post post, int code, Octets at, size_t n) except -1:
    """The next reply of a letter."""
    cdef Py_ssize_t heard = post.heard
    if heard == 0:
        return mail_answered(c, post, code, at, n)
    if heard <= post.count:
        return rcpt_answered(c, post, code, at, n)
    if heard == post.count + 1 and not post.chunked:
        return data_answered(c, post, code, at, n)
    return body_answered(c, post, code, at, n)


cdef int mail_answered(Client c, _Post post, int code, Octets at, size_t n) except -1:
    post.heard = 1
    if code // 100 == 3:
        return c._end(out_of_step(code, AT_MAIL))
    if code // 100 == 2:
        post.mail_taken = True
        return 0 if c.pipelining else say_rcpt(c, post, 0)
    post.answer = made_answer(code, at, n, AT_MAIL)
    return 0 if c.pipelining else finish(c, post)


cdef int rcpt_answered(Client c, _Post post, int code, Octets at, size_t n) except -1:
    cdef Py_ssize_t which = post.heard - 1
    post.heard += 1
    if code // 100 == 3:
        return c._end(out_of_step(code, AT_RCPT))
    if post.mail_taken:
        if code // 100 == 2:
            post.taken += 1
        else:
            post.settle(post.place(which), made_answer(code, at, n, AT_RCPT))
    if post.heard <= post.count:
        return 0 if c.pipelining else say_rcpt(c, post, post.heard - 1)
    if c.pipelining and not post.chunked:
        return 0  # DATA was said
    if not post.taken:
        return finish(c, post)
    if post.chunked:
        return begin_body(c, post)
    return c._say(b"DATA\r\n", 1)


cdef int data_answered(Client c, _Post post, int code, Octets at, size_t n) except -1:
    post.heard += 1
    if code // 100 == 2:
        return c._end(out_of_step(code, AT_DATA))
    if code // 100 != 3:
        if post.answer is None:
            post.answer = made_answer(code, at, n, AT_DATA)
        return finish(c, post)
    if post.taken:
        return begin_body(c, post)
    post.empty = post.ended = True
    c._say(b".\r\n", 0 if c.lmtp else 1)
    return finish(c, post) if c.lmtp else 0


cdef int body_answered(Client c, _Post post, int code, Octets at, size_t n) except -1:
    """The end: one reply, or with LMTP one for each recipient that was taken."""
    cdef object answer
    if post.empty:
        return finish(c, post)
    if code // 100 == 3:
        return c._end(out_of_step(code, AT_BODY))
    if not c.lmtp:
        post.answer = made_answer(code, at, n, AT_BODY)
        return finish(c, post)
    answer = made_answer(code, at, n, AT_LMTP)
    while post.answers is not None and post.answers[post.turn] is not None:
        post.turn += 1
    post.settle(post.turn, answer)
    post.turn += 1
    post.taken -= 1
    return 0 if post.taken else finish(c, post)


cdef int finish(Client c, _Post post) except -1:
    """A letter is done; the next is at the head now. A transaction that has no end of
    its own is left open: RSET goes before the next MAIL."""
    cdef _Post following = c.second
    if post.mail_taken and not post.ended:
        c.dirty = True
    c.first = following
    c.second = None
    if following is not None and not following.begun:
        begin(c, following)
    c._tell(post.done, post.outcome())
    if c.leave and c.state == READY and c.first is None:
        say_quit(c)
    return 0
