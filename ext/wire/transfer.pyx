"""Octets of a body for servers that take less than came in; see `transfer.pyi`.

Everything here works on a stretch of a body and knows nothing of what is around it
but what it is told, so that a large body never stands in memory as a whole.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp, memcpy

from bodyscan cimport BodyScan, body_begin, body_feed, body_finish

ctypedef const unsigned char *Octets

cdef enum:
    LINE = 76  # columns of encoded text, RFC 2045 6.7, 6.8
    TRIPLES = LINE / 4  # of base64 in a line
    DELIMITER_MOST = 400  # octets of a delimiter line with its white space

cdef const char *HEX = b"0123456789ABCDEF"
cdef const char *ALPHABET = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)


cdef class Survey:
    """What stands in octets; see `bodyscan.pxd`, which counts them."""

    cdef BodyScan scan

    def __init__(self):
        body_begin(&self.scan)
        self.scan.plain = True

    def feed(self, data):
        cdef const unsigned char[::1] view = data
        cdef size_t made
        if view.shape[0]:
            body_feed(&self.scan, &view[0], view.shape[0], NULL, &made)

    def finish(self):
        cdef size_t made
        body_finish(&self.scan, NULL, &made)

    @property
    def size(self):
        return self.scan.size

    @property
    def longest(self):
        return self.scan.longest

    @property
    def eight_bit(self):
        return self.scan.eight_bit.offset >= 0

    @property
    def broken(self):
        return (
            self.scan.nul.offset >= 0
            or self.scan.bare_cr.offset >= 0
            or self.scan.bare_lf.offset >= 0
        )

    @property
    def header_end(self):
        return self.scan.header_end


cdef inline bint _blank(unsigned char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef inline bint _hex(unsigned char c) noexcept nogil:
    return c"0" <= c <= c"9" or c"A" <= c <= c"F" or c"a" <= c <= c"f"


cdef inline int _which(
    Octets line, Py_ssize_t size, tuple boundaries, bint *closing
) except -2:
    """Of which boundary this line is a delimiter; -1: of none."""
    cdef bytes boundary
    cdef Py_ssize_t more
    cdef int i
    while size > 2 and (line[size - 1] in b"\r\n" or _blank(line[size - 1])):
        size -= 1
    for i in range(len(boundaries)):
        boundary = boundaries[i]
        more = size - 2 - len(boundary)
        closing[0] = more == 2 and line[size - 1] == c"-" and line[size - 2] == c"-"
        if more != 0 and not closing[0]:
            continue
        if memcmp(line + 2, PyBytes_AS_STRING(boundary), len(boundary)) == 0:
            return i
    return -1


def find_delimiter(data, Py_ssize_t start, tuple boundaries, bint last):
    cdef const unsigned char[::1] view = data
    cdef Py_ssize_t n = view.shape[0]
    cdef Py_ssize_t at = start
    cdef Py_ssize_t stop
    cdef bint closing = False
    cdef bint ends
    cdef int which
    if at >= n:
        return n, -1, False, n
    if at > 0 and view[at - 1] != c"\n":
        at = _behind_line(&view[0], at, n, &ends)
    while at < n:
        stop = _behind_line(&view[0], at, n, &ends)
        if not ends and not last and n - at < DELIMITER_MOST:
            return at, -1, False, at
        if stop - at < DELIMITER_MOST and _dashes(&view[at], n - at):
            which = _which(&view[at], stop - at, boundaries, &closing)
            if which >= 0:
                return at, which, closing, stop
        at = stop
    return n, -1, False, n


cdef inline Py_ssize_t _behind_line(
    Octets octets, Py_ssize_t at, Py_ssize_t n, bint *ends
) noexcept nogil:
    """Where the next line begins, or n; ends: this one does."""
    cdef Octets found = <Octets> memchr(octets + at, c"\n", n - at)
    ends[0] = found is not NULL
    return n if found is NULL else found - octets + 1


cdef inline bint _dashes(Octets line, Py_ssize_t size) noexcept nogil:
    return size > 2 and line[0] == c"-" and line[1] == c"-"


cdef inline bint _line_end(Octets data, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    return i + 1 < n and data[i] == 13 and data[i + 1] == 10


cdef inline bint _escape(Octets data, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Whether =XX stands here."""
    return i + 2 < n and data[i] == c"=" and _hex(data[i + 1]) and _hex(data[i + 2])


cdef inline int _width(
    Octets data, Py_ssize_t i, Py_ssize_t n, bint equals
) noexcept nogil:
    """Columns of what stands for octet i: 3 where it is escaped, 1 as it is."""
    cdef unsigned char c = data[i]
    if c > 126 or (c < 32 and c != c"\t"):
        return 3
    if c == c"=":
        return 3 if equals or not _line_end(data, i + 1, n) else 1
    if _blank(c) and equals:  # at the end of a line it would get lost
        return 3 if i + 1 == n or data[i + 1] == 13 else 1
    return 1


cdef inline Py_ssize_t _soft_break(char *out) noexcept nogil:
    out[0] = c"="
    out[1] = 13
    out[2] = 10
    return 3


def quoted(data, bint equals=True, bint soft=False):
    cdef const unsigned char[::1] view = data
    cdef Py_ssize_t n = view.shape[0]
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t made = 0
    cdef Py_ssize_t column = 0
    cdef int width
    cdef unsigned char c
    # 3 columns an octet, and a soft break of 3 octets for each 73 columns or more
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, 3 * n + 3 * (3 * n / 73 + 2))
    cdef char *out = PyBytes_AS_STRING(whole)
    if n == 0:
        return b""
    while i < n:
        c = view[i]
        if c"!" <= c <= c"~" and c != c"=" and column < LINE - 1:  # nearly all of it
            out[made] = c
            made += 1
            column += 1
            i += 1
            continue
        if _line_end(&view[0], i, n):
            out[made] = 13
            out[made + 1] = 10
            made += 2
            column = 0
            i += 2
            continue
        width = _width(&view[0], i, n, equals)
        # column 76 is for the "=" of a soft break, ours or one that was there
        if column + width >= LINE and not (c == c"=" and width == 1):
            made += _soft_break(out + made)
            column = 0
        if width == 1:
            out[made] = c
            i += 1
        elif not equals and _escape(&view[0], i, n):
            memcpy(out + made, &view[i], 3)
            i += 3
        else:
            out[made] = c"="
            out[made + 1] = HEX[c >> 4]
            out[made + 2] = HEX[c & 15]
            i += 1
        made += width
        column += width
    if soft:
        made += _soft_break(out + made)
    return whole[:made]


def based(data):
    cdef const unsigned char[::1] view = data
    cdef Py_ssize_t n = view.shape[0]
    cdef Py_ssize_t triples = (n + 2) / 3
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t made = 0
    cdef Py_ssize_t left
    cdef int in_line = 0
    cdef unsigned bits
    cdef Octets octets
    cdef bytes whole
    cdef char *out
    if n == 0:
        return b""
    octets = &view[0]
    whole = PyBytes_FromStringAndSize(
        NULL, 4 * triples + 2 * ((triples + TRIPLES - 1) / TRIPLES)
    )
    out = PyBytes_AS_STRING(whole)
    while i < n:
        left = n - i
        bits = octets[i] << 16
        if left > 1:
            bits |= octets[i + 1] << 8
        if left > 2:
            bits |= octets[i + 2]
        out[made] = ALPHABET[bits >> 18]
        out[made + 1] = ALPHABET[bits >> 12 & 63]
        out[made + 2] = ALPHABET[bits >> 6 & 63] if left > 1 else c"="
        out[made + 3] = ALPHABET[bits & 63] if left > 2 else c"="
        made += 4
        i += 3
        in_line += 1
        if in_line == TRIPLES or i >= n:
            out[made] = 13
            out[made + 1] = 10
            made += 2
            in_line = 0
    return whole


def rewrapped(data, int column):
    cdef const unsigned char[::1] view = data
    cdef Py_ssize_t n = view.shape[0]
    cdef Py_ssize_t i
    cdef Py_ssize_t made = 0
    cdef unsigned char c
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, n + 2 * (n / LINE + 1))
    cdef char *out = PyBytes_AS_STRING(whole)
    for i in range(n):
        c = view[i]
        if not (
            c"A" <= c <= c"Z"
            or c"a" <= c <= c"z"
            or c"/" <= c <= c"9"
            or c == c"+"
            or c == c"="
        ):
            continue
        if column == LINE:
            out[made] = 13
            out[made + 1] = 10
            made += 2
            column = 0
        out[made] = c
        made += 1
        column += 1
    return whole[:made], column
