"""A message on its way to a POP3 client: dots added, its top found, its end marked.

    giving_begin(&g, lines)            lines < 0: all of it
    n = giving_cut(&g, data, n)        octets of the next piece that are to be given
    out += giving_put(&g, data, n, out)  at most n + n / 2 + 1 octets
    out += giving_end(&g, out)         at most 5 octets

A line that begins with a dot gets one more (RFC 1939 3). The top of a message is its
header, the empty line, and so many lines of the body (7). Octets are given as they are
kept; only where the last line has no end it gets one, because the mark of the end must
begin a line.

Header-only; `tests/model/popbody.py` is the slow twin that this must agree with.
"""

from libc.stdint cimport int64_t
from libc.string cimport memchr, memcpy

cdef struct Giving:
    int64_t lines  # of the body that are still to be given; below 0: all
    bint begins  # what comes next begins a line
    bint ended  # by CRLF, or nothing has come
    bint cr  # the last octet was CR
    bint header  # the empty line has not come
    bint done  # nothing more is to be given
    size_t column  # octets of the present line


cdef inline void giving_begin(Giving *g, int64_t lines) noexcept nogil:
    g.lines = lines
    g.begins = g.ended = g.header = True
    g.cr = g.done = False
    g.column = 0


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
