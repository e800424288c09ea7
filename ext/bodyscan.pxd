"""One pass over the body of a message: framing, transparency and facts.

    cdef BodyScan scan
    body_begin(&scan)
    taken = body_feed(&scan, data, n, out, &made)     # again until scan.state == ENDED

What comes with BDAT has no dots and no end of its own: `scan.plain = True` behind
`body_begin`, and `body_finish(&scan, out, &made)` when there is no more (RFC 3030).

Header-only; see `fastsmtp/wire/scan.pyi` for the Python face and
`tests/model/framing.py` for the slow twin that this must agree with.

Laws
- Input may be cut anywhere: feeding it octet by octet gives the same facts and output.
- Only CRLF ends a line, only CRLF "." CRLF ends the data (RFC 5321 2.3.8, 4.1.1.4);
  the data also ends when "." is its first line. Nothing behind the end is taken.
- One leading dot of a line is taken away, whatever follows it (4.5.2).
- Bare CR, bare LF, NUL and 8-bit octets pass through; the first of each is reported,
  so that the message can be refused at its true end.
- Return-Path fields of the header are left out of the output (4.4: only final
  delivery adds one); everything else is kept as it came.
- Offsets and `size` count the message as its author sent it: without the dots and
  the final ".", with Return-Path. `header_end` counts what was put out.

How: `_run` walks 64 octets at a time with the CR and LF of a block as bit masks and
stops at whatever is not plain text; `_step` walks the table of 20 cells for such
octets one by one.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__) && !defined(BODYSCAN_PORTABLE)
    #include <emmintrin.h>
    #endif

    /* What has been seen when the next octet comes. */
    enum {
        BODY_LINE,        /* nothing, or CRLF: a line begins */
        BODY_DOT,         /* CRLF "."; the dot is taken away */
        BODY_DOT_CR,      /* CRLF "." CR; this CR is not put out yet */
        BODY_TEXT,        /* anything else */
        BODY_CR,          /* CR behind text */
        BODY_ENDED        /* CRLF "." CRLF */
    };

    /* What an octet does besides leading to the next state. */
    enum {
        DO_CR = 0x08,       /* put out the CR that was held back */
        DO_BARE_CR = 0x10,  /* the CR before this octet was bare */
        DO_BARE_LF = 0x20,  /* this octet is a bare LF */
        DO_KEEP = 0x40,     /* this octet belongs to the message */
        DO_LINE = 0x80      /* and ends a line */
    };
    #define BODY_KEEP(next) (DO_KEEP | (next))
    #define BODY_STRAY(next) (DO_BARE_CR | DO_KEEP | (next))
    #define BODY_UNDO(next) (DO_CR | DO_BARE_CR | DO_KEEP | (next))

    static const unsigned char body_cells[5][4] = {
        /* seen: a line begins */
        [BODY_LINE] = {
            /* CR    */ BODY_KEEP(BODY_CR),
            /* LF    */ DO_BARE_LF | BODY_KEEP(BODY_TEXT),
            /* dot   */ BODY_DOT,
            /* other */ BODY_KEEP(BODY_TEXT),
        },
        /* seen: CRLF . */
        [BODY_DOT] = {
            /* CR    */ BODY_DOT_CR,
            /* LF    */ DO_BARE_LF | BODY_KEEP(BODY_TEXT),
            /* dot   */ BODY_KEEP(BODY_TEXT),
            /* other */ BODY_KEEP(BODY_TEXT),
        },
        /* seen: CRLF . CR */
        [BODY_DOT_CR] = {
            /* CR    */ BODY_UNDO(BODY_CR),
            /* LF    */ BODY_ENDED,
            /* dot   */ BODY_UNDO(BODY_TEXT),
            /* other */ BODY_UNDO(BODY_TEXT),
        },
        /* seen: text */
        [BODY_TEXT] = {
            /* CR    */ BODY_KEEP(BODY_CR),
            /* LF    */ DO_BARE_LF | BODY_KEEP(BODY_TEXT),
            /* dot   */ BODY_KEEP(BODY_TEXT),
            /* other */ BODY_KEEP(BODY_TEXT),
        },
        /* seen: text CR */
        [BODY_CR] = {
            /* CR    */ BODY_STRAY(BODY_CR),
            /* LF    */ DO_LINE | BODY_KEEP(BODY_LINE),
            /* dot   */ BODY_STRAY(BODY_TEXT),
            /* other */ BODY_STRAY(BODY_TEXT),
        },
    };

    enum { ODD_EIGHT_BIT = 1, ODD_NUL = 2 };

    #if defined(__SSE2__) && !defined(BODYSCAN_PORTABLE)
    /* Copies 64 octets (unless out is NULL); bit i of cr, lf: what octet i is. */
    static inline unsigned body_block(const unsigned char *in, unsigned char *out,
                                      uint64_t *cr, uint64_t *lf) {
        const __m128i CRS = _mm_set1_epi8(13), LFS = _mm_set1_epi8(10);
        __m128i a = _mm_loadu_si128((const __m128i *)in);
        __m128i b = _mm_loadu_si128((const __m128i *)in + 1);
        __m128i c = _mm_loadu_si128((const __m128i *)in + 2);
        __m128i d = _mm_loadu_si128((const __m128i *)in + 3);
        if (out) {
            _mm_storeu_si128((__m128i *)out, a);
            _mm_storeu_si128((__m128i *)out + 1, b);
            _mm_storeu_si128((__m128i *)out + 2, c);
            _mm_storeu_si128((__m128i *)out + 3, d);
        }
    #define BODY_BITS(v, of) \
        ((uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, of)))
        *cr = BODY_BITS(a, CRS) | BODY_BITS(b, CRS) << 16 | BODY_BITS(c, CRS) << 32
            | BODY_BITS(d, CRS) << 48;
        *lf = BODY_BITS(a, LFS) | BODY_BITS(b, LFS) << 16 | BODY_BITS(c, LFS) << 32
            | BODY_BITS(d, LFS) << 48;
        __m128i any = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
        __m128i least = _mm_min_epu8(_mm_min_epu8(a, b), _mm_min_epu8(c, d));
        return (_mm_movemask_epi8(any) ? ODD_EIGHT_BIT : 0)
            | (BODY_BITS(least, _mm_setzero_si128()) ? ODD_NUL : 0);
    #undef BODY_BITS
    }
    #else
    /* The same in words of 8 octets; the topmost bit of an octet marks a match. */
    #define BODY_ALL(octet) (0x0101010101010101u * (uint64_t)(octet))
    static inline uint64_t body_zeros(uint64_t w) {
        return ~(((w & BODY_ALL(0x7f)) + BODY_ALL(0x7f)) | w | BODY_ALL(0x7f));
    }
    static inline uint64_t body_bits(uint64_t marks) {
        return ((marks >> 7) * 0x0102040810204080u) >> 56;
    }
    static inline unsigned body_block(const unsigned char *in, unsigned char *out,
                                      uint64_t *cr, uint64_t *lf) {
        uint64_t w, crs = 0, lfs = 0, high = 0, nul = 0;
        for (int i = 0; i < 64; i += 8) {
            memcpy(&w, in + i, 8);
            if (out) memcpy(out + i, &w, 8);
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            w = __builtin_bswap64(w);
    #endif
            crs |= body_bits(body_zeros(w ^ BODY_ALL(13))) << i;
            lfs |= body_bits(body_zeros(w ^ BODY_ALL(10))) << i;
            high |= w & BODY_ALL(0x80);
            nul |= body_zeros(w);
        }
        *cr = crs;
        *lf = lfs;
        return (high ? ODD_EIGHT_BIT : 0) | (nul ? ODD_NUL : 0);
    }
    #endif
    """
    enum:
        LINE "BODY_LINE"
        DOT "BODY_DOT"
        DOT_CR "BODY_DOT_CR"
        TEXT "BODY_TEXT"
        AFTER_CR "BODY_CR"
        ENDED "BODY_ENDED"
        DO_CR
        DO_BARE_CR
        DO_BARE_LF
        DO_KEEP
        DO_LINE
        ODD_EIGHT_BIT
        ODD_NUL
    const unsigned char body_cells[5][4]
    unsigned body_block(
        const unsigned char *data,
        unsigned char *out,
        uint64_t *cr,
        uint64_t *lf,
    ) noexcept nogil
    int ctz "__builtin_ctzll"(uint64_t bits) noexcept nogil

cdef enum:
    BODY_ROOM = 16  # octets that `out` must be longer than the input
    _BLOCK = 64

# What is known of the line that is being read, in the header.
cdef enum:
    PLAIN  # nothing to do with it; also: not in the header any more
    FRESH  # no octet of it was seen
    BLANK  # it began with CR: perhaps the end of the header
    NAMED  # all octets fit "Received:" or "Return-Path:", held back
    LEFT_OUT  # it belongs to a Return-Path field

cdef struct Place:
    # Where something was first seen: offset from 0 and line from 1; offset -1 is never.
    int64_t offset
    int64_t line

cdef struct BodyScan:
    int state  # see the table; ENDED is final
    # facts; final when state is ENDED
    int64_t size  # octets with CRLF
    int64_t lines  # that ended with CRLF
    int64_t longest  # octets with CRLF
    int64_t longest_line  # its number, from 1; the first of several
    Place eight_bit
    Place nul
    Place bare_cr
    Place bare_lf
    int64_t header_end  # octets of output up to and with the empty line; -1: none
    int64_t received  # Received fields of the header
    int64_t return_paths  # fields left out
    int64_t left_out  # their octets
    # private
    int plain  # no transparency: a dot is an octet like others
    int64_t line_begin  # offset of the current line
    int kind  # of the current line
    int in_header
    int leaving_out  # the field before this line is a Return-Path
    int held  # octets in `name`
    unsigned char name[BODY_ROOM]


# What `_run` keeps in registers; offsets from the octet it began with.
cdef struct Lines:
    int64_t begin  # of the current line
    int64_t count
    int64_t longest
    int64_t longest_line
    bint halt  # the octet at `begin` needs a step


cdef inline void body_begin(BodyScan *s) noexcept nogil:
    """Ready for the first octet behind the 354."""
    memset(s, 0, sizeof(BodyScan))
    s.in_header = 1
    s.kind = FRESH
    s.header_end = -1
    s.eight_bit.offset = s.nul.offset = s.bare_cr.offset = s.bare_lf.offset = -1


cdef inline size_t body_feed(
    BodyScan *s,
    const unsigned char *data,
    size_t n,
    unsigned char *out,
    size_t *made,
) noexcept nogil:
    """Take up to n octets; returns how many. All of them, unless state is now ENDED.

    out   room for n + BODY_ROOM octets, apart from data; NULL puts nothing out and
          only keeps the facts (a message that will be refused)
    made  set to the octets put out
    """
    cdef size_t i = 0
    cdef size_t took
    made[0] = 0
    while i < n and s.state != ENDED:
        if s.kind == PLAIN and s.state != DOT and s.state != DOT_CR:
            took = _run(s, data + i, n - i, NULL if out is NULL else out + made[0])
            i += took
            made[0] += took
            if i == n:
                break
        _step(s, data[i], out, made)
        i += 1
    if out is NULL:
        made[0] = 0
    return i


cdef inline void body_finish(
    BodyScan *s, unsigned char *out, size_t *made
) noexcept nogil:
    """A message without an end of its own is whole (`plain`).

    out   room for BODY_ROOM octets, or NULL as for `body_feed`
    made  set to the octets put out
    """
    cdef int64_t rest = s.size - s.line_begin
    made[0] = 0
    if s.state == AFTER_CR:
        _note(s, &s.bare_cr, s.size - 1)
    if s.kind == NAMED:
        _put(out, made, s.name, s.held)
        s.kind = PLAIN
    if rest > s.longest:
        s.longest = rest
        s.longest_line = s.lines + 1
    s.state = ENDED
    if out is NULL:
        made[0] = 0


cdef inline bint _needs_step(unsigned char first, bint header) noexcept nogil:
    """Whether a line that begins with this octet is for `_step`."""
    if header:
        return first == c"." or first == c"R" or first == c"r" or first == c"\r"
    return first == c"."


cdef inline unsigned _masks(
    const unsigned char *data,
    size_t left,
    unsigned char *out,
    uint64_t *cr,
    uint64_t *lf,
) noexcept nogil:
    """`body_block` for the last octets too: neither reads nor writes past `left`."""
    cdef unsigned char tail[_BLOCK]
    if left >= _BLOCK:
        return body_block(data, out, cr, lf)
    memset(tail, c" ", _BLOCK)
    memcpy(tail, data, left)
    if out is not NULL:
        memcpy(out, data, left)
    return body_block(tail, NULL, cr, lf)


cdef inline size_t _first_odd(
    const BodyScan *s, const unsigned char *data, size_t limit, bint before
) noexcept nogil:
    """Offset of the first octet that shows something not yet reported, or `limit`."""
    cdef size_t i
    cdef unsigned char c
    for i in range(limit):
        c = data[i]
        if c & 0x80 and s.eight_bit.offset < 0 or c == 0 and s.nul.offset < 0:
            return i
        if c == c"\n" and not before and s.bare_lf.offset < 0:
            return i
        if before and c != c"\n" and s.bare_cr.offset < 0:
            return i
        before = c == c"\r"
    return limit


cdef inline size_t _lines(
    Lines *lines,
    const unsigned char *data,
    size_t at,
    size_t stop,
    size_t left,
    uint64_t ends,
    bint header,
) noexcept nogil:
    """Count the lines that end in the block at `at`, as far as `stop`.

    Returns `stop`, or less when a line behind one of them needs a step.
    """
    cdef size_t here
    while ends:
        here = ctz(ends) + 1
        if here > stop:
            break
        ends &= ends - 1
        lines.count += 1
        if <int64_t>(at + here) - lines.begin > lines.longest:
            lines.longest = at + here - lines.begin
            lines.longest_line = lines.count
        lines.begin = at + here
        if here < left and _needs_step(data[at + here], header):
            lines.halt = True
            return here
    return stop


cdef inline size_t _run(
    BodyScan *s, const unsigned char *data, size_t n, unsigned char *out
) noexcept nogil:
    """Take plain octets up to the first that needs a step; returns how many."""
    cdef uint64_t cr, lf, pairs
    cdef uint64_t want_lf = ~(<uint64_t>0) if s.bare_lf.offset < 0 else 0
    cdef uint64_t want_cr = ~(<uint64_t>0) if s.bare_cr.offset < 0 else 0
    cdef unsigned want = (
        (ODD_EIGHT_BIT if s.eight_bit.offset < 0 else 0)
        | (ODD_NUL if s.nul.offset < 0 else 0)
    )
    cdef unsigned odd
    cdef uint64_t before = s.state == AFTER_CR
    cdef bint header = s.in_header
    cdef size_t i = 0
    cdef size_t left = n
    cdef size_t stop
    cdef Lines lines
    if s.state == LINE and _needs_step(data[0], header):
        return 0
    lines.begin = s.line_begin - s.size
    lines.count = s.lines
    lines.longest = s.longest
    lines.longest_line = s.longest_line
    lines.halt = False
    while left:
        odd = want & _masks(data + i, left, NULL if out is NULL else out + i, &cr, &lf)
        stop = left if left < _BLOCK else _BLOCK
        pairs = cr << 1 | before
        odd |= ((lf & ~pairs & want_lf) | (pairs & ~lf & want_cr)) != 0
        if odd:
            stop = _first_odd(s, data + i, stop, before)
        stop = _lines(&lines, data, i, stop, left, lf & pairs, header)
        if stop:
            before = cr >> (stop - 1) & 1
        i += stop
        if lines.halt or stop < _BLOCK:
            break
        left -= stop
    s.line_begin = s.size + lines.begin
    s.size += i
    s.lines = lines.count
    s.longest = lines.longest
    s.longest_line = lines.longest_line
    s.state = AFTER_CR if before else TEXT
    if s.line_begin == s.size:
        s.state = LINE
        s.kind = FRESH if header else PLAIN
    return i


cdef inline void _step(
    BodyScan *s, unsigned char c, unsigned char *out, size_t *made
) noexcept nogil:
    """Take one octet, by the table."""
    cdef int octet = 0 if c == c"\r" else 1 if c == c"\n" else 2 if c == c"." else 3
    if octet == 2 and s.plain:
        octet = 3
    cdef int cell = body_cells[s.state][octet]
    s.state = cell & 7
    if cell & DO_CR:
        _keep(s, c"\r", out, made)
    if cell & DO_BARE_CR:
        _note(s, &s.bare_cr, s.size - 1)
    if cell & DO_BARE_LF:
        _note(s, &s.bare_lf, s.size)
    if cell & DO_KEEP:
        _keep(s, c, out, made)
    if cell & DO_LINE:
        _end_line(s)


cdef inline void _note(BodyScan *s, Place *place, int64_t offset) noexcept nogil:
    """Remember the place of the first of a kind."""
    if place.offset < 0:
        place.offset = offset
        place.line = s.lines + 1


cdef inline void _keep(
    BodyScan *s, unsigned char c, unsigned char *out, size_t *made
) noexcept nogil:
    """An octet of the message: count it, and put it out unless its line is held."""
    if c & 0x80:
        _note(s, &s.eight_bit, s.size)
    elif c == 0:
        _note(s, &s.nul, s.size)
    s.size += 1
    if s.kind == FRESH:
        _first(s, c)
    elif s.kind == BLANK:
        s.kind = PLAIN
    if s.kind == LEFT_OUT:
        s.left_out += 1
    elif s.kind == NAMED:
        _name(s, c, out, made)
    else:
        _put(out, made, &c, 1)


cdef inline void _put(
    unsigned char *out, size_t *made, const unsigned char *octets, size_t n
) noexcept nogil:
    if out is not NULL:
        memcpy(out + made[0], octets, n)
    made[0] += n


cdef inline void _first(BodyScan *s, unsigned char c) noexcept nogil:
    """The first octet of a line of the header says what the line may be."""
    if s.leaving_out and (c == c" " or c == c"\t"):
        s.kind = LEFT_OUT
        return
    s.leaving_out = 0
    if c == c"R" or c == c"r":
        s.kind = NAMED
        s.held = 0
    else:
        s.kind = BLANK if c == c"\r" else PLAIN


cdef inline void _name(
    BodyScan *s, unsigned char c, unsigned char *out, size_t *made
) noexcept nogil:
    """One more octet of what may be the name of a field we look for."""
    cdef int received = _fits(b"received", 8, s.held, c)
    cdef int return_path = _fits(b"return-path", 11, s.held, c)
    if s.held > 2:  # both begin with "re"; the third octet decided
        if s.name[2] | 0x20 == c"c":
            return_path = 0
        else:
            received = 0
    s.name[s.held] = c
    s.held += 1
    if return_path == 2:
        s.kind = LEFT_OUT
        s.leaving_out = 1
        s.return_paths += 1
        s.left_out += s.held
    elif received != 1 and return_path != 1:
        s.received += received == 2
        s.kind = PLAIN
        _put(out, made, s.name, s.held)


cdef inline int _fits(
    const char *name, int length, int at, unsigned char c
) noexcept nogil:
    """Octet `at` of "name:", with up to 4 blanks before the colon (RFC 5322 4.5.3):
    0 does not fit, 1 fits, 2 is the colon."""
    if at < length:
        return (c | 0x20 if c"A" <= c <= c"Z" else c) == name[at]
    if c == c":":
        return 2
    return at < length + 4 and (c == c" " or c == c"\t")


cdef inline void _end_line(BodyScan *s) noexcept nogil:
    """CRLF ends a line."""
    cdef int64_t length = s.size - s.line_begin
    s.lines += 1
    s.line_begin = s.size
    if length > s.longest:
        s.longest = length
        s.longest_line = s.lines
    if s.in_header:
        s.kind = FRESH
        if length == 2:
            s.kind = PLAIN
            s.in_header = 0
            s.header_end = s.size - s.left_out
