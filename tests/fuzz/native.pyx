"""Millions of executions of the parsers, compiled with sanitizers.

Each target puts its input into blocks of exactly its size, so that AddressSanitizer
sees the first octet too far, and checks laws that need no oracle. It returns a
signature of what happened; an input with a new one joins the corpus.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

import msgspec

from fastsmtp.queue.message import decode_envelope
from fastsmtp.store import record
from tests.fuzz.call import Call
from tests.fuzz.fetch import Fetch
from tests.fuzz.stretch import stretch
from tests.fuzz.talk import Talk

from bodyscan cimport BODY_ROOM, ENDED, BodyScan, Place, body_begin, body_feed
from commandline cimport (
    DOMAIN_MAX,
    FAULT_NONE,
    FAULTS,
    LINE_LONG,
    LINE_MORE,
    LINE_WHOLE,
    LOCAL_MAX,
    PATH_MAX,
    VERB_MAIL,
    Fault,
    LineEnd,
    Parameter,
    Path,
    Span,
    Verb,
    find_line,
    has_control,
    is_utf8,
    line_text_end,
    next_parameter,
    parse_bare_path,
    parse_count,
    parse_host,
    parse_path,
    parse_verb,
    skip_line,
)
from crc32c cimport crc32c, crc32c_begin
from logformat cimport (
    RECORD_HEADER,
    RecordHead,
    open_record,
    record_fits,
    seal_record,
)
from mutation cimport (
    CORPUS_MAX,
    DICTIONARY_MAX,
    INPUT_MAX,
    Corpus,
    Input,
    add,
    below,
    draw,
    insert,
    mutate,
)

crc32c_begin()

cdef enum:
    BROKEN = 0xFFFFFFFF  # a law does not hold
    SIGNATURES = 1 << 16
    SALT = 0x12345678
    OFFSET = 64  # of the first record of a segment

ctypedef uint32_t (*Target)(Corpus *corpus, Input *made) except? 0xFFFFFFFE


cdef struct Scanned:
    BodyScan scan
    size_t taken
    size_t made
    unsigned char *output  # NULL when nothing is kept


cdef inline unsigned char *_exact(const unsigned char *data, size_t n) noexcept nogil:
    cdef unsigned char *copy = <unsigned char *> malloc(n)
    if n:
        memcpy(copy, data, n)
    return copy


cdef void _feed(Scanned *s, const unsigned char *data, size_t n) noexcept nogil:
    """One piece, in blocks of its own."""
    cdef unsigned char *piece = _exact(data, n)
    cdef unsigned char *out = <unsigned char *> malloc(n + BODY_ROOM)
    cdef size_t made
    s.taken += body_feed(&s.scan, piece, n, NULL if s.output is NULL else out, &made)
    if s.output is not NULL:
        memcpy(s.output + s.made, out, made)
        s.made += made
    free(piece)
    free(out)


cdef void _scan(
    Scanned *s, const Input *made, size_t step, unsigned char *output
) noexcept nogil:
    """The whole input in pieces of `step` octets."""
    cdef size_t at = 0
    memset(s, 0, sizeof(Scanned))
    body_begin(&s.scan)
    s.output = output
    while at < made.n and s.scan.state != ENDED:
        _feed(s, made.data + at, min(step, made.n - at))
        at += step


cdef inline bint _same(const BodyScan *a, const BodyScan *b) noexcept nogil:
    """All public facts; they stand before `line_begin`."""
    return memcmp(a, b, <const char *> &a.line_begin - <const char *> a) == 0


cdef inline bint _sound(const Place *place, const BodyScan *s) noexcept nogil:
    if place.offset < 0:
        return place.line == 0
    return place.offset < s.size and 1 <= place.line <= s.lines + 1


cdef bint _lawful(const Scanned *s, const Input *made) noexcept nogil:
    cdef const BodyScan *scan = &s.scan
    if not (
        _sound(&scan.eight_bit, scan)
        and _sound(&scan.nul, scan)
        and _sound(&scan.bare_cr, scan)
        and _sound(&scan.bare_lf, scan)
    ):
        return False
    if scan.longest > scan.size or scan.lines * 2 > scan.size:
        return False
    if scan.header_end > <int64_t> s.made or scan.left_out > scan.size:
        return False
    if scan.state != ENDED:
        return s.taken == made.n
    if s.taken < 3 or memcmp(made.data + s.taken - 3, b".\r\n", 3):
        return False
    if s.taken > 3 and memcmp(made.data + s.taken - 5, b"\r\n", 2):
        return False
    return <int64_t> s.made == scan.size - scan.left_out


cdef uint32_t body(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    """At once, in pieces and without output: the same, and lawful."""
    cdef unsigned char first[INPUT_MAX + BODY_ROOM]
    cdef unsigned char second[INPUT_MAX + BODY_ROOM]
    cdef Scanned whole, pieces, facts
    cdef size_t step = 1 + below(corpus, INPUT_MAX if below(corpus, 8) else 70)
    _scan(&whole, made, INPUT_MAX, first)
    _scan(&pieces, made, step, second)
    _scan(&facts, made, 1 + below(corpus, INPUT_MAX), NULL)
    if not _same(&whole.scan, &pieces.scan) or not _same(&whole.scan, &facts.scan):
        return BROKEN
    if whole.taken != pieces.taken or whole.taken != facts.taken:
        return BROKEN
    if whole.made != pieces.made or memcmp(first, second, whole.made):
        return BROKEN
    if not _lawful(&whole, made):
        return BROKEN
    return (
        whole.scan.state
        | (whole.scan.eight_bit.offset >= 0) << 3
        | (whole.scan.nul.offset >= 0) << 4
        | (whole.scan.bare_cr.offset >= 0) << 5
        | (whole.scan.bare_lf.offset >= 0) << 6
        | (whole.scan.header_end >= 0) << 7
        | min(whole.scan.received, 3) << 8
        | min(whole.scan.return_paths, 3) << 10
        | min(whole.scan.longest // 64, 3) << 12
        | min(whole.scan.lines // 8, 3) << 14
    )


cdef bint _inside(
    Span span, const unsigned char *at, const unsigned char *end
) noexcept nogil:
    return span.n == 0 or (at <= span.at and span.at + span.n <= end)


cdef bint _path_lawful(
    const Path *path, const unsigned char *at, const unsigned char *end
) noexcept nogil:
    """Within the line and the limits, without controls, the same when read again."""
    cdef const unsigned char *stop = path.mailbox.at + path.mailbox.n
    cdef Path again
    if not at <= path.rest <= end or not _inside(path.mailbox, at, path.rest):
        return False
    if path.local.n > LOCAL_MAX or path.domain.n > DOMAIN_MAX:
        return False
    if path.mailbox.n == 0:
        return path.bracketed and path.local.n == 0 and path.domain.n == 0
    if path.mailbox.n + 2 > PATH_MAX or has_control(path.mailbox.at, stop):
        return False
    if path.domain.n + path.local.n + (not path.postmaster) != path.mailbox.n:
        return False
    if not is_utf8(path.mailbox) or path.postmaster != (path.domain.n == 0):
        return False
    if parse_bare_path(path.mailbox.at, stop, &again) or again.rest != stop:
        return False
    return again.local.n == path.local.n and again.domain.n == path.domain.n


cdef uint32_t address(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    cdef unsigned char *text = _exact(made.data, made.n)
    cdef Path path
    cdef uint64_t count
    cdef uint32_t seen = parse_bare_path(text, text + made.n, &path)
    if seen == FAULT_NONE and not _path_lawful(&path, text, text + made.n):
        seen = BROKEN
    elif seen == FAULT_NONE:
        seen = 32 | path.bracketed << 6 | path.routed << 7 | path.quoted << 8
        seen |= path.literal << 9 | path.non_ascii << 10 | path.postmaster << 11
    parse_count(Span(text, made.n), &count)
    free(text)
    return seen


cdef uint32_t _arguments(
    Verb verb, const unsigned char *rest, const unsigned char *end
) noexcept nogil:
    """A fault, or FAULTS plus the number of parameters."""
    cdef const unsigned char *begin = rest
    cdef Path path
    cdef Parameter parameter
    cdef Fault fault
    cdef uint32_t n = 0
    if verb == VERB_MAIL:
        fault = parse_path(rest, end, b"FROM", 4, &path)
    else:
        fault = parse_path(rest, end, b"TO", 2, &path)
    if fault:
        return fault
    if not _path_lawful(&path, rest, end):
        return BROKEN
    rest = path.rest
    while next_parameter(&rest, end, &parameter, &fault):
        n += 1
        if not _inside(parameter.keyword, begin, rest) or parameter.keyword.n == 0:
            return BROKEN
        if not _inside(parameter.value, begin, rest):
            return BROKEN
    if not fault and rest != end:
        return BROKEN
    return fault if fault else FAULTS + min(n, 6)


cdef uint32_t command(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    cdef size_t limit = 1 + below(corpus, 600)
    cdef size_t length, dropped
    cdef unsigned char *text = _exact(made.data, made.n)
    cdef LineEnd found = find_line(text, made.n, limit, &length)
    cdef bint ended = skip_line(text, made.n, &dropped)
    cdef const unsigned char *rest
    cdef const unsigned char *end
    cdef unsigned char *line
    cdef Span host
    cdef Verb verb
    cdef uint32_t seen = found
    if length > min(limit, made.n) or dropped > made.n:
        seen = BROKEN
    elif ended and (dropped < 2 or memcmp(text + dropped - 2, b"\r\n", 2)):
        seen = BROKEN
    elif (found == LINE_MORE or found == LINE_LONG) != (length == 0):
        seen = BROKEN
    elif found == LINE_WHOLE:
        line = _exact(text, length)
        end = line_text_end(line, length)
        verb = parse_verb(line, end, &rest)
        seen = _arguments(verb, rest, end)
        if not line <= rest <= end or seen == BROKEN:
            seen = BROKEN
        else:
            seen = 8 | verb << 4 | seen << 9 | parse_host(&rest, end, &host) << 14
            if not line <= rest <= end:
                seen = BROKEN
        free(line)
    free(text)
    return seen


cdef void _reseal(Input *made) noexcept nogil:
    """Make the first record's checksums right, so that its lengths are believed."""
    cdef RecordHead head
    if made.n < RECORD_HEADER:
        return
    memcpy(&head, made.data, RECORD_HEADER)
    if head.envelope_length <= made.n - RECORD_HEADER:
        head.envelope_crc = crc32c(
            0, made.data + RECORD_HEADER, head.envelope_length
        )
    seal_record(&head, SALT, OFFSET)
    memcpy(made.data, &head, RECORD_HEADER)


cdef uint32_t records(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    """The records of a segment and their envelopes, as the keeper reads them."""
    cdef unsigned char *text
    cdef RecordHead head
    cdef uint64_t room = below(corpus, 2 * INPUT_MAX)
    cdef int64_t need
    cdef uint32_t seen
    if below(corpus, 4):
        _reseal(made)
    text = _exact(made.data, made.n)
    try:
        need = open_record(<char *> text, made.n, room, OFFSET, SALT, &head)
        seen = 1 if need < 0 else 2 if need else 4
        if need > 0 and <size_t> need <= made.n:
            return BROKEN
        if need == 0 and not record_fits(&head, room):
            return BROKEN
        if need:
            return seen
        view = PyMemoryView_FromMemory(<char *> text, made.n, PyBUF_READ)
        found, offset, _ = record.scan(view, OFFSET, SALT, OFFSET + room)
        if not OFFSET <= offset <= OFFSET + room:
            return BROKEN
        for one in found:
            seen |= one.kind << 3
            try:
                decode_envelope(one.envelope)
                seen |= 1 << 12
            except (msgspec.DecodeError, msgspec.ValidationError):
                pass
        return seen | min(len(found), 7) << 13
    finally:
        free(text)


cdef uint32_t session(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    """A dialogue in pieces that are gone when the session has seen them."""
    return in_pieces(corpus, made, Talk(<long> (draw(corpus) & 0xFFFF)))


cdef uint32_t replies(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    """The same for a client and what a server says to it."""
    return in_pieces(corpus, made, Call(<long> (draw(corpus) & 0xFFFF)))


cdef uint32_t fetch(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    """The same for POP3, beside its slow twin."""
    return in_pieces(corpus, made, Fetch(<long> (draw(corpus) & 0xFFFF)))


cdef uint32_t transfer(Corpus *corpus, Input *made) except? 0xFFFFFFFE:
    """A stretch of a body that is encoded and searched."""
    cdef unsigned char *text = _exact(made.data, made.n)
    try:
        return stretch(PyMemoryView_FromMemory(<char *> text, made.n, PyBUF_READ))
    finally:
        free(text)


cdef uint32_t in_pieces(Corpus *corpus, Input *made, talk) except? 0xFFFFFFFE:
    cdef size_t step = 1 + below(corpus, INPUT_MAX if below(corpus, 4) else 30)
    cdef size_t at = 0
    cdef size_t n
    cdef unsigned char *piece
    while at < made.n:
        n = min(step, made.n - at)
        piece = _exact(made.data + at, n)
        try:
            talk.feed(PyMemoryView_FromMemory(<char *> piece, n, PyBUF_READ))
        finally:
            free(piece)
        at += n
    return talk.end()


cdef Target _target(name) except *:
    if name == "body":
        return body
    if name == "command":
        return command
    if name == "address":
        return address
    if name == "record":
        return records
    if name == "session":
        return session
    if name == "replies":
        return replies
    if name == "transfer":
        return transfer
    if name == "fetch":
        return fetch
    raise ValueError(f"no target {name!r}")


cdef class Fuzzer:
    """One target with its corpus; `run` as often as you like.

    target  body, command, address, record, session, replies, transfer or fetch
    inputs, tokens  to begin with; longer ones than INPUT_MAX are cut
    """

    cdef Corpus *corpus
    cdef Target target
    cdef unsigned char seen[SIGNATURES]

    def __cinit__(self, str target, list inputs, list tokens, uint64_t seed):
        cdef bytes text
        self.corpus = <Corpus *> calloc(1, sizeof(Corpus))
        if self.corpus is NULL:
            raise MemoryError
        self.target = _target(target)
        self.corpus.random = seed * 2 + 1
        memset(self.seen, 0, SIGNATURES)
        for text in inputs[:CORPUS_MAX]:
            insert(&self.corpus.inputs[self.corpus.n], 0, text, len(text))
            self.corpus.n += 1
        for text in tokens[:DICTIONARY_MAX]:
            insert(&self.corpus.dictionary[self.corpus.tokens], 0, text, len(text))
            self.corpus.tokens += 1

    def __dealloc__(self):
        free(self.corpus)

    @property
    def size(self):
        """Inputs in the corpus."""
        return self.corpus.n

    def run(self, long long executions, unsigned char[::1] place):
        """Raises AssertionError with the input for which a law does not hold.

        Each input is written to `place` first, its length and its octets, so that it
        can be found there when a sanitizer has ended the process."""
        cdef Input made
        cdef uint32_t seen
        cdef long long n
        for n in range(executions):
            mutate(self.corpus, &made)
            memcpy(&place[0], &made, sizeof(size_t) + made.n)
            try:
                seen = self.target(self.corpus, &made)
            except Exception as error:
                error.add_note(f"input: {made.data[:made.n]!r}")
                raise
            if seen == BROKEN:
                raise AssertionError(f"a law is broken by {made.data[:made.n]!r}")
            seen = (seen ^ seen >> 16) % SIGNATURES
            if not self.seen[seen]:
                self.seen[seen] = 1
                add(self.corpus, &made)


def overrun(size_t n):
    """Reads one octet behind n: the control that must end the process."""
    cdef unsigned char *text = <unsigned char *> malloc(n)
    memset(text, 0, n)
    past = text[n]
    free(text)
    return past
