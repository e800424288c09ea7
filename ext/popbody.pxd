"""A message on its way to a POP3 client: dots added, its top found, its end marked.

    giving_begin(&g, lines)            lines < 0: all of it
    n = giving_cut(&g, data, n)        octets of the next piece that are to be given
    out += giving_put(&g, data, n, out)  at most n + n / 2 + 1 octets
    out += giving_end(&g, out)         at most 5 octets

A line that begins with a dot gets one more (RFC 1939 3). The top of a message is its
header, the empty line, and so many lines of the body (7). Octets are given as they are
kept; only where the last line has no end it gets one, because the mark of the end must
begin a line.

A message that was taken with SMTPUTF8 may have UTF-8 in its header; a client that did
not say UTF8 gets a "?" for each such octet (RFC 6856 4: then what is given must be as
RFC 5322 has it). The size that LIST told stays true:

    giving_wide(data, n)               the first piece: whether it is such a message
    giving_narrow(&g, data, n)         in place, before `giving_cut`

Header-only; `tests/model/popbody.py` is the slow twin that this must agree with.
"""

from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "string.h" nogil:
    void *memmem(const void *text, size_t n, const void *wanted, size_t m)

cdef enum:
    TRACE = 1024  # octets in which our Received field ends

cdef struct Giving:
    int64_t lines  # of the body that are still to be given; below 0: all
    bint begins  # what comes next begins a line
    bint ended  # by CRLF, or nothing has come
    bint cr  # the last octet was CR
    bint header  # the empty line has not come
    bint done  # nothing more is to be given
    size_t column  # octets of the present line
    bint behind  # the header has been made narrow
    size_t width  # octets of its present line
    bint blank  # and whether it began with CR


cdef inline void giving_begin(Giving *g, int64_t lines) noexcept nogil:
    g.lines = lines
    g.begins = g.ended = g.header = True
    g.cr = g.done = g.behind = False
    g.column = g.width = 0


cdef inline size_t giving_cut(
    Giving *g, const unsigned char *data, size_t n
) noexcept nogil:
    """Only for a top; sets `done` at its end."""
    cdef const unsigned char *at = data
    cdef const unsigned char *end = data + n
    cdef const unsigned char *lf
    while at < end and not g.done:
        lf = <const unsigned char *> memchr(at, c"\n", end - at)
        if lf is NULL:
            g.column += end - at
            return n
        g.column += lf + 1 - at
        if not g.header:
            g.lines -= 1
        elif g.column == 1 or (g.column == 2 and _after_cr(g, data, lf)):
            g.header = False
        g.column = 0
        g.done = not g.header and g.lines <= 0
        at = lf + 1
    return at - data


cdef inline bint giving_wide(const unsigned char *data, size_t n) noexcept nogil:
    """Our own Received field says how it came (RFC 6531 3.7.3): it is the first, but
    for a Return-Path."""
    cdef const unsigned char *end = data + (n if n < TRACE else TRACE)
    cdef const unsigned char *field = _behind_field(data, end)
    if field - data > 12 and memcmp(data, b"Return-Path:", 12) == 0:
        data, field = field, _behind_field(field, end)
    if field - data < 9 or memcmp(data, b"Received:", 9) != 0:
        return False
    return memmem(data, field - data, b" with UTF8", 10) is not NULL


cdef inline const unsigned char *_behind_field(
    const unsigned char *at, const unsigned char *end
) noexcept nogil:
    """Lines that begin with a blank go on with the one before (RFC 5322 2.2.3)."""
    while at < end:
        at = <const unsigned char *> memchr(at, c"\n", end - at)
        if at is NULL:
            return end
        at += 1
        if at < end and at[0] != c" " and at[0] != c"\t":
            return at
    return end


cdef inline void giving_narrow(
    Giving *g, unsigned char *data, size_t n
) noexcept nogil:
    cdef size_t i
    if g.behind:
        return
    for i in range(n):
        if data[i] == c"\n":
            if g.width == 0 or (g.width == 1 and g.blank):
                g.behind = True
                return
            g.width = 0
            continue
        if g.width == 0:
            g.blank = data[i] == c"\r"
        g.width += 1
        if data[i] & 0x80:
            data[i] = c"?"


cdef inline bint _after_cr(
    const Giving *g, const unsigned char *data, const unsigned char *lf
) noexcept nogil:
    return (lf - 1)[0] == c"\r" if lf > data else g.cr


cdef inline size_t giving_put(
    Giving *g, const unsigned char *data, size_t n, unsigned char *out
) noexcept nogil:
    cdef const unsigned char *from_ = data
    cdef const unsigned char *at = data + 1
    cdef const unsigned char *end = data + n
    cdef unsigned char *to = out
    if not n:
        return 0
    if g.begins and data[0] == c".":
        to[0] = c"."
        to += 1
    while at < end:
        at = <const unsigned char *> memchr(at, c".", end - at)
        if at is NULL:
            break
        if (at - 1)[0] == c"\n":
            memcpy(to, from_, at - from_)
            to += at - from_
            to[0] = c"."
            to += 1
            from_ = at
        at += 1
    memcpy(to, from_, end - from_)
    to += end - from_
    g.begins = (end - 1)[0] == c"\n"
    g.ended = g.begins and ((end - 2)[0] == c"\r" if n > 1 else g.cr)
    g.cr = (end - 1)[0] == c"\r"
    return to - out


cdef inline size_t giving_end(const Giving *g, unsigned char *out) noexcept nogil:
    if g.ended:
        memcpy(out, b".\r\n", 3)
        return 3
    memcpy(out, b"\r\n.\r\n", 5)
    return 5
