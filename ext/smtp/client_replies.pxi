# Replies out of the input, however it is cut. Part of client.pyx.


cdef int read_input(Client c, Octets data, size_t n) except -1:
    cdef size_t used = 0
    while used < n and c.state != ENDED:
        if c.state == SHAKING:
            # CVE-2011-0411 and its kin: an answer in clear to what is said over TLS
            text = "octets in clear behind the answer to STARTTLS"
            return c._end(Answer(0, "4.7.5", text, "tls"))
        used += read_line(c, data + used, n - used)
    return 0


cdef size_t read_line(Client c, Octets data, size_t n) except? 0:
    """A line, or as much of it as there is. Who ends lines with LF alone is read, too:
    many do, and we never pass on what they say."""
    cdef Octets lf
    cdef size_t took = n
    cdef size_t copied
    if took > REPLY_MOST:
        took = REPLY_MOST
    lf = <Octets> memchr(data, c"\n", took)
    if lf is not NULL:
        took = lf - data + 1
    c.octets += took
    if c.octets > REPLY_MOST:
        return babble(c, f"a reply of more than {<int> REPLY_MOST} octets", took)
    if lf is not NULL and not c.kept:
        one_line(c, data, took - 1)
        return took
    copied = LINE_MOST - c.kept
    if copied > took:
        copied = took
    memcpy(c.line + c.kept, data, copied)
    c.kept += copied
    if lf is not NULL:
        copied = c.kept - 1 if c.line[c.kept - 1] == c"\n" else c.kept
        c.kept = 0
        one_line(c, c.line, copied)
    return took


cdef size_t babble(Client c, str what, size_t took) except? 0:
    c._end(Answer(0, "4.5.0", what, c.stage))
    return took


cdef int one_line(Client c, Octets at, size_t n) except -1:
    """A line without its LF."""
    cdef int code
    cdef bint last
    if n and at[n - 1] == c"\r":
        n -= 1
    code = code_of(at, n)
    if not code:
        babble(c, f"not a reply: {text_of(at, n if n < 100 else 100)!r}", 0)
        return 0
    last = n == 3 or at[3] == c" "
    c.lines += 1
    if c.lines > LINES_MOST:
        babble(c, f"a reply of more than {<int> LINES_MOST} lines", 0)
        return 0
    at += 4
    n = n - 4 if n > 4 else 0
    if c.shown is not None:
        c.shown.append(text_of(at, n))
    if last and c.lines == 1:
        return one_reply(c, code, at, n)
    keep_text(c, at, n)
    return one_reply(c, code, c.text, c.texts) if last else 0


cdef inline int code_of(Octets at, size_t n) noexcept nogil:
    """200 to 599; 0: the line is no part of a reply (RFC 5321 4.2)."""
    cdef unsigned a, b, d
    if n < 3 or (n > 3 and at[3] != c" " and at[3] != c"-"):
        return 0
    a = at[0] - <unsigned> c"0"
    b = at[1] - <unsigned> c"0"
    d = at[2] - <unsigned> c"0"
    if a < 2 or a > 5 or b > 9 or d > 9:
        return 0
    return a * 100 + b * 10 + d


cdef void keep_text(Client c, Octets at, size_t n) noexcept:
    """Join the lines of a reply, as far as there is room."""
    cdef size_t room, status
    if c.texts and n:
        status = status_length(at, n)  # every line has it again
        if status and c.texts >= status and not memcmp(at, c.text, status):
            at += status
            n -= status
        elif c.texts < TEXT_MOST:
            c.text[c.texts] = c" "
            c.texts += 1
    room = TEXT_MOST - c.texts
    if n > room:
        n = room
    memcpy(c.text + c.texts, at, n)
    c.texts += n


cdef inline size_t status_length(Octets at, size_t n) noexcept nogil:
    """Octets of an enhanced code at the begin of a text; 0: there is none (RFC 2034
    4: class, subject, detail, then a space or the end)."""
    cdef size_t i = 2
    cdef int part
    cdef size_t digits
    if n < 5 or at[1] != c"." or not (at[0] == c"2" or c"4" <= at[0] <= c"5"):
        return 0
    for part in range(2):
        digits = 0
        while i < n and c"0" <= at[i] <= c"9" and digits < 3:
            i += 1
            digits += 1
        if not digits:
            return 0
        if part == 0:
            if i == n or at[i] != c".":
                return 0
            i += 1
    return i if i == n or at[i] == c" " else 0


cdef str text_of(Octets at, size_t n):
    """Octets of a stranger as text that can do nothing to a log or a notice."""
    cdef size_t i
    cdef bint ascii = True
    cdef bint plain = True
    cdef str text
    for i in range(n):
        ascii &= at[i] < 0x80
        plain &= 0x20 <= at[i] != 0x7F
    if ascii and plain:
        return PyUnicode_DecodeASCII(<const char *> at, n, NULL)
    text = (<const char *> at)[:n].decode("utf-8", "replace")
    return "".join([x if x.isprintable() else "?" for x in text])


cdef object made_answer(int code, Octets at, size_t n, Stage stage):
    """A reply as an `Answer`; a status that contradicts the code stays in the text."""
    cdef size_t status = status_length(at, n)
    cdef str enhanced = ""
    if status and <int> at[0] - c"0" == code // 100:
        enhanced = text_of(at, status)
        at += status
        n -= status
        while n and at[0] == c" ":
            at += 1
            n -= 1
    if n > TEXT_MOST:
        n = TEXT_MOST
    return Answer(code, enhanced, text_of(at, n), STAGES[<int> stage])


cdef object out_of_step(int code, Stage stage):
    """A reply that is no answer to what was said: nobody knows what it is about."""
    text = f"a reply of {code} where it has no meaning ({STAGES[<int> stage]})"
    return Answer(0, "4.5.0", text, STAGES[<int> stage])


cdef int one_reply(Client c, int code, Octets at, size_t n) except -1:
    cdef Stage stage = AT_RSET if c.resetting else c._stage()
    cdef int place = REPLY_CELLS + (<int> stage - 1) * 4 + code // 100 - 2
    c.cells[place] += 1
    c.progress += 1
    c.octets = c.lines = c.texts = 0
    if stage == AT_RSET:
        stage = AT_MAIL  # that is what a letter waits for
    if c.state == LEAVING:
        return c._end(None)
    if code == 421:
        return c._end(made_answer(code, at, n, stage))
    if not c.owed and c.state != GREETING:
        return unasked(c, code, at, n, stage)
    if c.owed:
        c.owed -= 1
    if c.state < READY:
        return opening(c, code, at, n)
    if c.resetting:
        return reset(c, code)
    return answered(c, c.first, code, at, n)


cdef int unasked(Client c, int code, Octets at, size_t n, Stage stage) except -1:
    """Nothing was said that this could answer. Who refuses a body while it comes means
    that body; it cannot be stopped but with the connection."""
    if code >= 400 and (stage == AT_BODY or stage == AT_LMTP):
        return c._end(made_answer(code, at, n, stage))
    return c._end(out_of_step(code, stage))
