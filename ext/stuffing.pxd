"""Transparency of a body that is sent, and a look at every octet of it on the way.

    cdef Stuffing s
    stuff_begin(&s)
    taken = stuff(&s, data, n, out, room, &made)     # again until it is all taken
    if s.bare >= 0: …                                # it must not be sent
    if s.begin: … the last line was whole

Header-only; `tests/model/stuffing.py` is the slow twin that this must agree with.

Laws
- Input may be cut anywhere. Octets pass as they are, but a line that begins with a dot
  gets another in front (RFC 5321 4.5.2).
- The first NUL, CR without LF, or LF without CR stops everything: `bare` is the offset
  where it was noticed (a CR by what is behind it), and what this call has put out is
  not to be sent. What one server takes for the end of a line and another does not is
  how messages are smuggled (2.3.8). A CR at the very end is seen by `after_cr`.
- `out` may be NULL: octets are only looked at (BDAT has no transparency).

How: 64 octets at a time, their CR and LF as bit masks from `bodyscan.body_block`, which
copies them, too. A dot that needs another cuts the block in two.
"""

from bodyscan cimport ODD_NUL, _masks, ctz
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    STUFF_BLOCK = 64

cdef struct Stuffing:
    int64_t taken  # octets, all calls
    int64_t bare  # offset of the first octet that cannot be sent; -1: none
    bint begin  # a line begins with the next octet
    bint after_cr  # the octet before was CR


cdef inline void stuff_begin(Stuffing *s) noexcept nogil:
    s.taken = 0
    s.bare = -1
    s.begin = True
    s.after_cr = False


cdef inline size_t stuff(
    Stuffing *s,
    const unsigned char *data,
    size_t n,
    unsigned char *out,
    size_t room,
    size_t *made,
) noexcept nogil:
    """Take up to n octets; returns how many. Fewer than n when `out` has no room for a
    block and its dot (64 + 1 octets), or when `bare` is set."""
    cdef size_t i = 0
    cdef size_t m = 0
    cdef size_t width
    while i < n and s.bare < 0 and (out is NULL or m + STUFF_BLOCK + 1 <= room):
        if out is not NULL and s.begin and data[i] == c".":
            out[m] = c"."
            m += 1
        width = _block(s, data + i, n - i, NULL if out is NULL else out + m)
        if s.bare >= 0:
            s.bare += s.taken + i
        i += width
        m += width
    s.taken += i
    made[0] = 0 if out is NULL else m
    return i


cdef inline size_t _block(
    Stuffing *s, const unsigned char *data, size_t left, unsigned char *out
) noexcept nogil:
    """Up to 64 octets as they are, and not past a line that begins with a dot."""
    cdef uint64_t cr, lf, wrong, ends
    cdef size_t width = left if left < STUFF_BLOCK else STUFF_BLOCK
    cdef size_t at
    cdef unsigned odd = _masks(data, left, out, &cr, &lf)
    wrong = lf ^ (cr << 1 | <uint64_t> s.after_cr)
    if width < STUFF_BLOCK:
        wrong &= (<uint64_t> 1 << width) - 1
    if wrong or odd & ODD_NUL:
        s.bare = _first_bare(data, width, wrong)
        return s.bare
    ends = lf
    while ends and out is not NULL:
        at = ctz(ends) + 1
        ends &= ends - 1
        if at < width and data[at] == c".":
            width = at
            break
    s.begin = data[width - 1] == c"\n"
    s.after_cr = data[width - 1] == c"\r"
    return width


cdef inline size_t _first_bare(
    const unsigned char *data, size_t width, uint64_t wrong
) noexcept nogil:
    cdef size_t at = ctz(wrong) if wrong else width
    cdef size_t i
    for i in range(at):
        if data[i] == 0:
            return i
    return at
