"""Command lines of SMTP: their end, verb, path and parameters. No allocation.

    if find_line(data, n, limit, &length) == LINE_WHOLE:
        end = line_text_end(data, length)
        verb = parse_verb(data, end, &rest)
        fault = parse_path(rest, end, b"FROM", &path)
        rest = path.rest
        while not fault and next_parameter(&rest, end, &parameter, &fault): ...

Header-only; see `fastsmtp/wire/command.pyi` for the Python face and
`tests/model/command.py` for the slow twin that this must agree with.

Laws
- Only CRLF ends a line (RFC 5321 2.3.8). Spans point into the line; nothing is copied.
- What is too long is a fault and never cut (4.5.3.1): local-part 64 octets, domain
  255, path 256 with its brackets and route.
- Read as Postfix reads by default: spaces behind "FROM:", a path without brackets,
  dots anywhere in a local-part (mail comes from such addresses), "_" in a domain.
- Addresses outside ASCII are parsed as RFC 6531 has them and flagged; invalid UTF-8
  is a fault. Control characters are faults everywhere.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    int inet_pton(int family, const char *text, void *address) noexcept

cdef extern from *:
    """
    enum {
        IN_ATOM = 0x01,     /* atext or "." (RFC 5322 3.2.3) */
        IN_LABEL = 0x02,    /* letter, digit, "-", "_" */
        IN_QUOTES = 0x04,   /* qtextSMTP, 4.1.2 */
        IN_KEYWORD = 0x08,  /* letter, digit, "-" */
        IN_VALUE = 0x10,    /* %d33-60 / %d62-126 */
        IN_LITERAL = 0x20   /* of an IPv4 or tagged IPv6 address */
    };
    #define IN_WORD \\
        (IN_ATOM | IN_LABEL | IN_QUOTES | IN_KEYWORD | IN_VALUE | IN_LITERAL)
    static const unsigned char octet_class[256] = {
        [' '] = IN_QUOTES,
        ['!'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        ['"'] = IN_VALUE,
        ['#' ... '\\''] = IN_ATOM | IN_QUOTES | IN_VALUE,
        ['(' ... ')'] = IN_QUOTES | IN_VALUE,
        ['*' ... '+'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        [','] = IN_QUOTES | IN_VALUE,
        ['-'] = IN_ATOM | IN_LABEL | IN_QUOTES | IN_KEYWORD | IN_VALUE,
        ['.'] = IN_ATOM | IN_QUOTES | IN_VALUE | IN_LITERAL,
        ['/'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        ['0' ... '9'] = IN_WORD,
        [':'] = IN_QUOTES | IN_VALUE | IN_LITERAL,
        [';' ... '<'] = IN_QUOTES | IN_VALUE,
        ['='] = IN_ATOM | IN_QUOTES,
        ['>'] = IN_QUOTES | IN_VALUE,
        ['?'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        ['@'] = IN_QUOTES | IN_VALUE,
        ['A' ... 'Z'] = IN_WORD,
        ['['] = IN_QUOTES | IN_VALUE,
        ['\\\\'] = IN_VALUE,
        [']'] = IN_QUOTES | IN_VALUE,
        ['^'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        ['_'] = IN_ATOM | IN_LABEL | IN_QUOTES | IN_VALUE,
        ['`'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        ['a' ... 'z'] = IN_WORD,
        ['{' ... '~'] = IN_ATOM | IN_QUOTES | IN_VALUE,
        [0x80 ... 0xff] = IN_ATOM | IN_LABEL | IN_QUOTES,
    };

    typedef enum {
        FAULT_NONE,
        FAULT_KEYWORD,
        FAULT_NO_PATH,
        FAULT_NO_HOST,
        FAULT_UNCLOSED,
        FAULT_ROUTE,
        FAULT_LOCAL,
        FAULT_QUOTES,
        FAULT_NO_DOMAIN,
        FAULT_DOMAIN,
        FAULT_LITERAL,
        FAULT_LOCAL_LONG,
        FAULT_DOMAIN_LONG,
        FAULT_PATH_LONG,
        FAULT_CONTROL,
        FAULT_ENCODING,
        FAULT_TRAILING,
        FAULT_PARAMETER,
        FAULTS
    } Fault;
    /* For the reply, behind "501 5.5.4 ", "501 5.1.7 " or "501 5.1.3 ". */
    __attribute__((unused)) static const char *const fault_texts[FAULTS] = {
        [FAULT_NONE] = "OK",
        [FAULT_KEYWORD] = "FROM:<address> or TO:<address> expected",
        [FAULT_NO_PATH] = "an address is expected",
        [FAULT_NO_HOST] = "the name of your host is expected",
        [FAULT_UNCLOSED] = "the address has no closing >",
        [FAULT_ROUTE] = "the source route is malformed",
        [FAULT_LOCAL] = "the local part is malformed",
        [FAULT_QUOTES] = "the quoted local part is malformed",
        [FAULT_NO_DOMAIN] = "the address has no domain",
        [FAULT_DOMAIN] = "the domain is malformed",
        [FAULT_LITERAL] = "the address literal is malformed",
        [FAULT_LOCAL_LONG] = "the local part is longer than 64 octets",
        [FAULT_DOMAIN_LONG] = "the domain is longer than 255 octets",
        [FAULT_PATH_LONG] = "the path is longer than 256 octets",
        [FAULT_CONTROL] = "control characters are not allowed",
        [FAULT_ENCODING] = "the address is not valid UTF-8",
        [FAULT_TRAILING] = "a space is expected after the address",
        [FAULT_PARAMETER] = "a parameter is malformed",
    };

    /* Four letters as a number, the order of octets being the machine's. */
    static inline uint32_t four_letters(const char *word) {
        uint32_t letters;
        memcpy(&letters, word, 4);
        return letters;
    }
    """
    enum:
        IN_ATOM
        IN_LABEL
        IN_QUOTES
        IN_KEYWORD
        IN_VALUE
        IN_LITERAL
    const unsigned char octet_class[256]
    ctypedef enum Fault:
        FAULT_NONE
        FAULT_KEYWORD  # neither FROM: nor TO:
        FAULT_NO_PATH  # nothing behind it
        FAULT_NO_HOST  # HELO alone
        FAULT_UNCLOSED  # "<" without ">"
        FAULT_ROUTE  # "<@host," without ":"
        FAULT_LOCAL
        FAULT_QUOTES
        FAULT_NO_DOMAIN  # and it is not "Postmaster"
        FAULT_DOMAIN
        FAULT_LITERAL  # neither [IPv4] nor [IPv6:...]
        FAULT_LOCAL_LONG
        FAULT_DOMAIN_LONG
        FAULT_PATH_LONG
        FAULT_CONTROL
        FAULT_ENCODING
        FAULT_TRAILING  # something between the path and the parameters
        FAULT_PARAMETER
        FAULTS
    const char *const fault_texts[FAULTS]
    uint32_t four_letters(const char *word) noexcept nogil

cdef enum LineEnd:
    LINE_MORE  # no end yet, and there may still be one within the limit
    LINE_WHOLE  # length octets, CRLF among them
    LINE_BARE_LF  # octet length - 1 is an LF without CR: it ends nothing
    LINE_LONG  # no CRLF within the limit; `skip_line` finds its end

cdef enum Verb:
    VERB_UNKNOWN
    VERB_HELO
    VERB_EHLO
    VERB_LHLO
    VERB_MAIL
    VERB_RCPT
    VERB_DATA
    VERB_BDAT
    VERB_RSET
    VERB_NOOP
    VERB_VRFY
    VERB_EXPN
    VERB_HELP
    VERB_QUIT
    VERB_STARTTLS
    VERB_AUTH
    VERB_XCLIENT
    VERBS

cdef enum:  # octets, RFC 5321 4.5.3.1 and RFC 1035 2.3.4
    LOCAL_MAX = 64
    DOMAIN_MAX = 255
    PATH_MAX = 256
    LABEL_MAX = 63

cdef struct Span:
    const unsigned char *at
    size_t n

cdef struct Path:
    Span mailbox  # without brackets and route; empty is the null path
    Span local  # as it came, with its quotes
    Span domain  # with its [ ]; empty: null path or Postmaster
    bint bracketed  # it stood in < >
    bint routed  # a source route was ignored (RFC 5321 C)
    bint quoted
    bint literal
    bint non_ascii  # wants SMTPUTF8
    bint postmaster  # "Postmaster" alone, any case (4.5.1)
    const unsigned char *rest  # what follows

cdef struct Parameter:
    Span keyword
    Span value
    bint has_value  # there was an "="


cdef inline LineEnd find_line(
    const unsigned char *data, size_t n, size_t limit, size_t *length
) noexcept nogil:
    """Where the line at `data` ends; limit counts its CRLF."""
    cdef size_t within = n if n < limit else limit
    cdef const unsigned char *lf = NULL
    if within:
        lf = <const unsigned char *> memchr(data, c"\n", within)
    length[0] = 0
    if lf is NULL:
        return LINE_MORE if n < limit else LINE_LONG
    length[0] = lf - data + 1
    return LINE_WHOLE if lf > data and (lf - 1)[0] == c"\r" else LINE_BARE_LF


cdef inline bint skip_line(
    const unsigned char *data, size_t n, size_t *length
) noexcept nogil:
    """Whether a line that is dropped ends here; `length` octets of it may go.

    A CR that may be the first half of its end is left in place.
    """
    cdef const unsigned char *at = data
    cdef const unsigned char *end = data + n
    while at < end:
        at = <const unsigned char *> memchr(at, c"\n", end - at)
        if at is NULL:
            break
        at += 1
        if at - data > 1 and (at - 2)[0] == c"\r":
            length[0] = at - data
            return True
    length[0] = n - 1 if n and data[n - 1] == c"\r" else n
    return False


cdef inline const unsigned char *line_text_end(
    const unsigned char *line, size_t length
) noexcept nogil:
    """The end of a whole line without CRLF and blanks before it (tolerated)."""
    cdef const unsigned char *end = line + length - 2
    while end > line and is_blank((end - 1)[0]):
        end -= 1
    return end


cdef inline bint is_blank(unsigned char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef inline bint is_control(unsigned char c) noexcept nogil:
    return c < 32 and c != c"\t" or c == 127


cdef inline bint has_control(
    const unsigned char *at, const unsigned char *end
) noexcept nogil:
    """Whether the text holds a control character other than TAB: bare CR, NUL, …"""
    cdef bint found = False
    cdef size_t i
    cdef size_t n = end - at
    for i in range(n):
        found |= is_control(at[i])
    return found


cdef inline Verb parse_verb(
    const unsigned char *line,
    const unsigned char *end,
    const unsigned char **rest,
) noexcept nogil:
    """The first word in any case; `rest` is set to what follows it and blanks."""
    cdef const unsigned char *at = line
    cdef uint32_t word
    cdef size_t n
    while at < end and not is_blank(at[0]):
        at += 1
    n = at - line
    while at < end and is_blank(at[0]):
        at += 1
    rest[0] = at
    if n == 8 and span_is(Span(line, 8), b"STARTTLS", 8):
        return VERB_STARTTLS
    if n == 7 and span_is(Span(line, 7), b"XCLIENT", 7):
        return VERB_XCLIENT
    if n != 4:
        return VERB_UNKNOWN
    memcpy(&word, line, 4)
    return _verb(word & 0xDFDFDFDFU)  # letters only differ in that bit, RFC 20


cdef inline Verb _verb(uint32_t word) noexcept nogil:
    if word == four_letters(b"MAIL"):
        return VERB_MAIL
    if word == four_letters(b"RCPT"):
        return VERB_RCPT
    if word == four_letters(b"DATA"):
        return VERB_DATA
    if word == four_letters(b"BDAT"):
        return VERB_BDAT
    if word == four_letters(b"RSET"):
        return VERB_RSET
    if word == four_letters(b"EHLO"):
        return VERB_EHLO
    if word == four_letters(b"HELO"):
        return VERB_HELO
    if word == four_letters(b"LHLO"):
        return VERB_LHLO
    if word == four_letters(b"QUIT"):
        return VERB_QUIT
    if word == four_letters(b"NOOP"):
        return VERB_NOOP
    if word == four_letters(b"AUTH"):
        return VERB_AUTH
    if word == four_letters(b"VRFY"):
        return VERB_VRFY
    if word == four_letters(b"EXPN"):
        return VERB_EXPN
    if word == four_letters(b"HELP"):
        return VERB_HELP
    return VERB_UNKNOWN


cdef inline bint span_is(Span span, const char *upper, size_t n) noexcept nogil:
    """Whether the text is `upper`, in any case."""
    cdef size_t i
    cdef unsigned char c
    if span.n != n:
        return False
    for i in range(n):
        c = span.at[i]
        if c"a" <= c <= c"z":
            c -= 32
        if c != <unsigned char> upper[i]:
            return False
    return True


cdef inline bint parse_count(Span span, uint64_t *value) noexcept nogil:
    """1 to 20 digits (RFC 1870 3); above 2**64 - 1 it stays there."""
    cdef size_t i
    cdef uint64_t digit
    value[0] = 0
    if not 0 < span.n <= 20:
        return False
    for i in range(span.n):
        if not c"0" <= span.at[i] <= c"9":
            return False
        digit = span.at[i] - c"0"
        if value[0] > (<uint64_t>-1 - digit) // 10:
            value[0] = <uint64_t>-1
        else:
            value[0] = value[0] * 10 + digit
    return True


cdef inline Fault parse_path(
    const unsigned char *at,
    const unsigned char *end,
    const char *keyword,
    size_t keyword_length,
    Path *path,
) noexcept nogil:
    """`FROM:<path>` or `TO:<path>`; fills `path` unless it returns a fault.

    keyword  upper case, without the colon
    """
    if <size_t>(end - at) <= keyword_length or at[keyword_length] != c":":
        return FAULT_KEYWORD
    if not span_is(Span(at, keyword_length), keyword, keyword_length):
        return FAULT_KEYWORD
    at += keyword_length + 1
    while at < end and is_blank(at[0]):  # "MAIL FROM: <a@x>" of many a book
        at += 1
    return parse_bare_path(at, end, path)


cdef inline Fault parse_bare_path(
    const unsigned char *at, const unsigned char *end, Path *path
) noexcept nogil:
    """A path up to a blank or the end; fills `path` unless it returns a fault."""
    cdef const unsigned char *begin = at
    cdef Fault fault
    memset(path, 0, sizeof(Path))
    if at == end:
        return FAULT_NO_PATH
    path.bracketed = at[0] == c"<"
    at += path.bracketed
    if path.bracketed and at < end and at[0] == c"@":
        fault = _route(&at, end)
        if fault:
            return fault
        path.routed = True
    path.mailbox = path.local = path.domain = Span(at, 0)
    if not path.bracketed or path.routed or at == end or at[0] != c">":
        fault = _mailbox(&at, end, path)
        if fault:
            return fault
    if path.bracketed:
        if at == end:
            return FAULT_UNCLOSED
        if at[0] != c">":
            return _blame(at, end, FAULT_LITERAL if path.literal else FAULT_DOMAIN)
        at += 1
    path.rest = at
    if at < end and not is_blank(at[0]):
        return _blame(at, end, FAULT_TRAILING)
    if at - begin + (0 if path.bracketed else 2) > PATH_MAX:
        return FAULT_PATH_LONG
    return FAULT_NONE


cdef inline Fault _blame(
    const unsigned char *at, const unsigned char *end, Fault fault
) noexcept nogil:
    """The fault of an octet that does not fit."""
    return FAULT_CONTROL if at < end and (at[0] < 32 or at[0] == 127) else fault


cdef inline Fault _route(
    const unsigned char **at, const unsigned char *end
) noexcept nogil:
    """`@host,@host:`, which is checked and forgotten (RFC 5321 4.1.2, C)."""
    cdef Span domain
    cdef Fault fault
    while at[0] < end and at[0][0] == c"@":
        at[0] += 1
        fault = _domain(at, end, &domain)
        if fault:
            return FAULT_ROUTE if fault == FAULT_DOMAIN else fault
        if at[0] < end and at[0][0] == c":":
            at[0] += 1
            return FAULT_NONE
        if at[0] == end or at[0][0] != c",":
            break
        at[0] += 1
    return _blame(at[0], end, FAULT_ROUTE)


cdef inline Fault _mailbox(
    const unsigned char **at, const unsigned char *end, Path *path
) noexcept nogil:
    """`local@domain` or Postmaster."""
    cdef const unsigned char *begin = at[0]
    cdef Fault fault
    path.quoted = begin < end and begin[0] == c'"'
    fault = _quoted(at, end) if path.quoted else _atoms(at, end)
    if fault:
        return fault
    path.local = Span(begin, at[0] - begin)
    if path.local.n > LOCAL_MAX:
        return FAULT_LOCAL_LONG
    if at[0] < end and at[0][0] == c"@":
        at[0] += 1
        path.literal = at[0] < end and at[0][0] == c"["
        if path.literal:
            fault = _literal(at, end, &path.domain)
        else:
            fault = _domain(at, end, &path.domain)
    elif at[0] < end and at[0][0] != c">" and not is_blank(at[0][0]):
        fault = _blame(at[0], end, FAULT_LOCAL)
    else:
        path.postmaster = span_is(path.local, b"POSTMASTER", 10)
        fault = FAULT_NONE if path.postmaster else FAULT_NO_DOMAIN
    if fault:
        return fault
    path.mailbox = Span(begin, at[0] - begin)
    path.non_ascii = _is_non_ascii(path.mailbox)
    if path.non_ascii and not is_utf8(path.mailbox):
        return FAULT_ENCODING
    return FAULT_NONE


cdef inline Fault _atoms(
    const unsigned char **at, const unsigned char *end
) noexcept nogil:
    """Atoms and dots, in any order: `a..b` and `a.` are in use."""
    cdef const unsigned char *begin = at[0]
    while at[0] < end and octet_class[at[0][0]] & IN_ATOM:
        at[0] += 1
    return _blame(at[0], end, FAULT_LOCAL) if at[0] == begin else FAULT_NONE


cdef inline Fault _quoted(
    const unsigned char **at, const unsigned char *end
) noexcept nogil:
    """`"text with \\" escapes"`, quotes included."""
    at[0] += 1
    while at[0] < end and at[0][0] != c'"':
        if at[0][0] == c"\\":
            at[0] += 1
            if at[0] == end or not 32 <= at[0][0] <= 126:
                return _blame(at[0], end, FAULT_QUOTES)
        elif not octet_class[at[0][0]] & IN_QUOTES:
            return _blame(at[0], end, FAULT_QUOTES)
        at[0] += 1
    if at[0] == end:
        return FAULT_QUOTES
    at[0] += 1
    return FAULT_NONE


cdef inline Fault _domain(
    const unsigned char **at, const unsigned char *end, Span *domain
) noexcept nogil:
    """Labels of letters, digits, "-" and "_" with single dots between them."""
    cdef const unsigned char *begin = at[0]
    cdef const unsigned char *label = begin
    cdef bint good = True
    cdef bint ends
    while True:
        ends = at[0] == end or not octet_class[at[0][0]] & IN_LABEL
        if ends:
            good &= _is_label(Span(label, at[0] - label))
            if at[0] == end or at[0][0] != c".":
                break
            label = at[0] + 1
        at[0] += 1
    domain[0] = Span(begin, at[0] - begin)
    if domain.n > DOMAIN_MAX:
        return FAULT_DOMAIN_LONG
    return FAULT_NONE if good else _blame(at[0], end, FAULT_DOMAIN)


cdef inline bint _is_label(Span label) noexcept nogil:
    """Not empty, not "-" at an end; the length of a U-label is the resolver's."""
    if label.n == 0 or label.at[0] == c"-" or label.at[label.n - 1] == c"-":
        return False
    return label.n <= LABEL_MAX or _is_non_ascii(label)


cdef inline Fault _literal(
    const unsigned char **at, const unsigned char *end, Span *domain
) noexcept nogil:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]` (4.1.3); no other tag is registered."""
    cdef char text[48]
    cdef unsigned char address[16]
    cdef Span inside = Span(at[0] + 1, 0)
    cdef bint six
    while inside.at + inside.n < end and octet_class[inside.at[inside.n]] & IN_LITERAL:
        inside.n += 1
    at[0] = inside.at + inside.n
    if at[0] == end or at[0][0] != c"]":
        return _blame(at[0], end, FAULT_LITERAL)
    at[0] += 1
    domain[0] = Span(inside.at - 1, inside.n + 2)
    six = inside.n > 5 and span_is(Span(inside.at, 5), b"IPV6:", 5)
    if six:
        inside = Span(inside.at + 5, inside.n - 5)
    if inside.n >= sizeof(text):
        return FAULT_LITERAL
    memcpy(text, inside.at, inside.n)
    text[inside.n] = 0
    if inet_pton(AF_INET6 if six else AF_INET, text, address) != 1:
        return FAULT_LITERAL
    return FAULT_NONE


cdef inline bint _is_non_ascii(Span text) noexcept nogil:
    cdef unsigned char seen = 0
    cdef size_t i
    for i in range(text.n):
        seen |= text.at[i]
    return seen & 0x80


cdef inline bint is_utf8(Span text) noexcept nogil:
    """RFC 3629: shortest forms only, no surrogates, up to U+10FFFF."""
    cdef const unsigned char *at = text.at
    cdef const unsigned char *end = at + text.n
    cdef uint32_t point
    cdef int more, i
    while at < end:
        point = at[0]
        at += 1
        if point < 0x80:
            continue
        if point < 0xC2 or point > 0xF4:
            return False
        more = 1 if point < 0xE0 else 2 if point < 0xF0 else 3
        if end - at < more:
            return False
        point &= 0x3F >> more
        for i in range(more):
            if at[i] & 0xC0 != 0x80:
                return False
            point = point << 6 | at[i] & 0x3F
        at += more
        if more == 2 and (point < 0x800 or 0xD800 <= point < 0xE000):
            return False
        if more == 3 and not 0x10000 <= point < 0x110000:
            return False
    return True


cdef inline bint next_parameter(
    const unsigned char **rest,
    const unsigned char *end,
    Parameter *parameter,
    Fault *fault,
) noexcept nogil:
    """The next `KEYWORD` or `KEYWORD=value` (4.1.2); False at the end or at a fault."""
    cdef const unsigned char *at = rest[0]
    cdef const unsigned char *begin
    fault[0] = FAULT_NONE
    while at < end and is_blank(at[0]):
        at += 1
    rest[0] = at
    if at == end:
        return False
    begin = at
    while at < end and octet_class[at[0]] & IN_KEYWORD:
        at += 1
    parameter.keyword = Span(begin, at - begin)
    parameter.value = Span(at, 0)
    parameter.has_value = at < end and at[0] == c"="
    if parameter.has_value:
        at += 1
        begin = at
        while at < end and octet_class[at[0]] & IN_VALUE:
            at += 1
        parameter.value = Span(begin, at - begin)
    if (
        parameter.keyword.n == 0
        or parameter.keyword.at[0] == c"-"
        or parameter.has_value and parameter.value.n == 0
        or at < end and not is_blank(at[0])
    ):
        fault[0] = _blame(at, end, FAULT_PARAMETER)
        return False
    rest[0] = at
    return True


cdef inline Fault parse_host(
    const unsigned char **rest, const unsigned char *end, Span *host
) noexcept nogil:
    """The argument of HELO and EHLO: one word of printable ASCII or UTF-8.

    Its truth is never checked (4.1.4: a server must not refuse mail over it); what
    stands here goes to the Received line, so control characters are faults.
    """
    cdef const unsigned char *at = rest[0]
    while at < end and not is_blank(at[0]):
        if is_control(at[0]):
            return FAULT_CONTROL
        at += 1
    host[0] = Span(rest[0], at - rest[0])
    if host.n == 0:
        return FAULT_NO_HOST
    if host.n > DOMAIN_MAX:
        return FAULT_DOMAIN_LONG
    if _is_non_ascii(host[0]) and not is_utf8(host[0]):
        return FAULT_ENCODING
    rest[0] = at
    return FAULT_NONE
