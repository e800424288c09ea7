"""Which entries of the queue may fit a filter, without decoding them; see sieve.pyi.

An entry is walked where it lies: `queue.message.Queued` as msgpack. What cannot be told
here, because it is not ASCII or does not look like an entry, may fit.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:  # fields of Queued, of Envelope and of Target, in their order
    OCTETS = 1
    TARGETS = 4
    RECIPIENTS = 1
    ARRIVED = 2
    VIA = 7
    STANDING = 2
    ATTEMPTS = 3
    ERROR = 5
    DEPTH = 64  # arrays in each other; an entry has 3
    DOMAIN_MOST = 63  # octets of one that is told as it stands
    WAYS = 100_000  # answers that are remembered

cdef enum Verdict:
    NO
    MAYBE  # it does not look like an entry, or is not ASCII
    YES

cdef struct Reader:
    const uint8_t* at
    const uint8_t* end

cdef struct Text:
    const uint8_t* at
    uint64_t n


cdef inline bint big(Reader* r, int size, uint64_t* number) noexcept nogil:
    cdef int i
    if r.end - r.at < size:
        return False
    number[0] = 0
    for i in range(size):
        number[0] = number[0] << 8 | r.at[i]
    r.at += size
    return True


cdef inline bint jump(Reader* r, uint64_t size) noexcept nogil:
    if <uint64_t>(r.end - r.at) < size:
        return False
    r.at += size
    return True


cdef bint read_length(Reader* r, uint8_t short_form, uint8_t mask, uint8_t long_form,
                      uint64_t* length) noexcept nogil:
    """Of a text or an array: in its first octet, or behind it."""
    cdef uint8_t kind
    cdef int wide
    if r.at == r.end:
        return False
    kind = r.at[0]
    r.at += 1
    if kind & ~mask == short_form:
        length[0] = kind & mask
        return True
    if kind < long_form or kind > (0xDB if mask == 31 else 0xDD):
        return False
    wide = 1 << (kind - long_form) if mask == 31 else 2 << (kind - long_form)
    return big(r, wide, length)


cdef inline bint read_array(Reader* r, uint64_t* length) noexcept nogil:
    return read_length(r, 0x90, 15, 0xDC, length)


cdef inline bint read_text(Reader* r, Text* text) noexcept nogil:
    if not read_length(r, 0xA0, 31, 0xD9, &text.n):
        return False
    text.at = r.at
    return jump(r, text.n)


cdef inline bint read_number(Reader* r, int64_t* number) noexcept nogil:
    cdef uint64_t n
    if r.at == r.end:
        return False
    cdef uint8_t kind = r.at[0]
    r.at += 1
    if kind < 0x80:
        number[0] = kind
        return True
    if kind < 0xCC or kind > 0xCF or not big(r, 1 << (kind - 0xCC), &n) or n >> 63:
        return False
    number[0] = <int64_t>n
    return True


cdef bint skip(Reader* r, uint64_t count) noexcept nogil:
    """So many values, whatever they are."""
    cdef uint64_t n
    cdef uint8_t kind
    while count:
        count -= 1
        if r.at == r.end:
            return False
        kind = r.at[0]
        if kind < 0x80 or kind >= 0xE0 or 0xC0 <= kind <= 0xC3:
            r.at += 1
        elif kind >> 4 == 9 or kind == 0xDC or kind == 0xDD:
            if not read_array(r, &n) or n > <uint64_t>(r.end - r.at):
                return False
            count += n
        elif kind >> 5 == 5 or 0xD9 <= kind <= 0xDB:
            if not read_length(r, 0xA0, 31, 0xD9, &n) or not jump(r, n):
                return False
        elif 0xCA <= kind <= 0xD3:
            n = 1
            n = n << ((kind - 0xCC) & 3) if kind >= 0xCC else n << (kind - 0xC8)
            r.at += 1
            if not jump(r, n):
                return False
        else:
            return False
    return True


cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c + 32 if c"A" <= c <= c"Z" else c


cdef Verdict equals(Text text, Text wanted) noexcept nogil:
    """`wanted` is ASCII in lower case."""
    cdef uint64_t i
    cdef uint8_t seen = 0
    if text.n == wanted.n:
        i = 0
        while i < text.n and lower(text.at[i]) == wanted.at[i]:
            i += 1
        if i == text.n:
            return YES
    for i in range(text.n):
        seen |= text.at[i]
    return MAYBE if seen & 0x80 else NO


cdef Verdict ends_with(Text text, Text wanted) noexcept nogil:
    cdef Text end
    cdef Verdict made
    if text.n < wanted.n:
        return not_ascii(text)
    end.at, end.n = text.at + text.n - wanted.n, wanted.n
    made = equals(end, wanted)
    return made if made != NO else not_ascii(text)


cdef Verdict not_ascii(Text text) noexcept nogil:
    cdef uint8_t seen = 0
    cdef uint64_t i
    for i in range(text.n):
        seen |= text.at[i]
    return MAYBE if seen & 0x80 else NO


cdef Verdict contains(Text text, Text wanted) noexcept nogil:
    cdef Text part
    cdef uint64_t i, j
    if text.n >= wanted.n:
        for i in range(text.n - wanted.n + 1):
            j = 0
            while j < wanted.n and lower(text.at[i + j]) == wanted.at[j]:
                j += 1
            if j == wanted.n:
                return YES
    return not_ascii(text)


cdef Verdict whole_or_domain(Text text, Text wanted) noexcept nogil:
    """`wanted` is an address, or "@domain"."""
    if wanted.n and wanted.at[0] == c"@":
        return ends_with(text, wanted)
    return equals(text, wanted)


cdef inline Verdict worse(Verdict a, Verdict b) noexcept nogil:
    return a if a < b else b


cdef struct Waiting:  # of a target, what can be asked for
    Text address, recipient, error
    int64_t standing, attempts


cdef bint read_envelope(
    Reader* r, Text* path, int64_t* arrived, uint64_t* rest
) noexcept nogil:
    """Up to when it arrived; `rest` of its fields are still to be skipped."""
    cdef uint64_t fields
    if not read_array(r, &fields) or fields <= ARRIVED:
        return False
    rest[0] = fields - ARRIVED - 1
    return read_text(r, path) and skip(r, 1) and read_number(r, arrived)


cdef bint read_target(Reader* r, Waiting* to) noexcept nogil:
    cdef uint64_t fields
    return (
        read_array(r, &fields)
        and fields > ERROR
        and read_text(r, &to.address)
        and read_text(r, &to.recipient)
        and read_number(r, &to.standing)
        and read_number(r, &to.attempts)
        and skip(r, ERROR - ATTEMPTS - 1)
        and read_text(r, &to.error)
        and skip(r, fields - ERROR - 1)
    )


cdef uint64_t domain_at(Text address) noexcept nogil:
    """Where its domain begins; 0: it has none."""
    cdef uint64_t at = address.n
    while at and address.at[at - 1] != c"@":
        at -= 1
    return at


cdef bytes domain_of(Text address):
    """As `queue.message.destination_of` has it; None where that is not so simple."""
    cdef uint64_t i, at = domain_at(address)
    cdef uint8_t c
    cdef bint upper = False
    if not at:
        return None if not_ascii(address) == MAYBE else b""
    if address.n - at > DOMAIN_MOST:
        return None
    for i in range(at, address.n):
        c = address.at[i]
        if not c or c >= 0x80:
            return None
        upper |= c"A" <= c <= c"Z"
    found = (<const char*>address.at)[at : address.n]
    return found.lower() if upper else found


cdef Text pattern(bytes text) noexcept:
    cdef Text made
    made.at = <const uint8_t*>PyBytes_AS_STRING(text)
    made.n = PyBytes_GET_SIZE(text)
    return made


cdef bytes ascii(object text):
    """As it is compared; empty when that cannot be done here."""
    return text.lower().encode() if text is not None and text.isascii() else b""


@cython.final
cdef class Sieve:
    """See sieve.pyi."""

    cdef bytes kept_sender, kept_recipient, kept_domain, kept_error, kept_state
    cdef Text sender, recipient, domain, error, state
    cdef int64_t before, since, larger, smaller, attempts
    cdef bint null_sender, waiting, exact
    cdef Text path  # of the entry that is being looked at
    cdef object leads
    cdef dict ways  # what `leads` said

    def __init__(self, wanted, leads=None):
        self.leads = leads
        self.ways = {}
        self.kept_state = ascii(wanted.state)
        if self.kept_state == b"active":
            self.kept_state = b""
        self.state = pattern(self.kept_state)
        self.kept_sender = ascii(wanted.sender)
        self.null_sender = wanted.sender == ""
        self.kept_recipient = ascii(wanted.recipient)
        at = "@" + wanted.domain if wanted.domain else None
        self.kept_domain = ascii(at)
        self.kept_error = ascii(wanted.error)
        self.sender = pattern(self.kept_sender)
        self.recipient = pattern(self.kept_recipient)
        self.domain = pattern(self.kept_domain)
        self.error = pattern(self.kept_error)
        self.before = -1 if wanted.before is None else wanted.before
        self.since = wanted.since or 0
        self.larger = wanted.larger or 0
        self.smaller = -1 if wanted.smaller is None else wanted.smaller
        self.attempts = wanted.attempts
        asked = self.recipient.n or self.domain.n or self.error.n or self.attempts
        self.waiting = bool(asked) or leads is not None
        self.exact = wanted.hop is None and wanted.state != "active" and all(
            [
                wanted.sender is None or self.sender.n or self.null_sender,
                wanted.recipient is None or self.recipient.n,
                wanted.domain is None or self.domain.n and "@" not in wanted.domain,
                wanted.error is None or self.error.n,
            ]
        )

    def fits(self, bytes value not None):
        """See sieve.pyi."""
        cdef Reader reader
        reader.at = <const uint8_t*>PyBytes_AS_STRING(value)
        reader.end = reader.at + PyBytes_GET_SIZE(value)
        return self.may_fit(&reader)

    def survey(self, list rows not None, active, found):
        """See sieve.pyi."""
        cdef list left = []
        cdef list ids = found.ids
        cdef set domains = found.octet_domains
        cdef int64_t octets = found.octets
        cdef int64_t oldest = found.oldest
        cdef int64_t size = 0
        cdef int64_t arrived = 0
        cdef uint64_t id
        cdef Reader reader
        cdef Verdict verdict
        cdef bytes key, value
        if not self.exact:
            return rows
        for row in rows:
            key, value = row
            reader.at = <const uint8_t*>PyBytes_AS_STRING(key) + 1
            reader.end = reader.at + 8
            big(&reader, 8, &id)
            verdict = MAYBE
            if not active or id not in active:
                reader.at = <const uint8_t*>PyBytes_AS_STRING(value)
                reader.end = reader.at + PyBytes_GET_SIZE(value)
                verdict = self.told(&reader, &size, &arrived, domains)
            if verdict == MAYBE:
                left.append(row)
            elif verdict == YES:
                ids.append(id)
                octets += size
                if not oldest or arrived < oldest:
                    oldest = arrived
        found.octets, found.oldest = octets, oldest
        return left

    cdef Verdict told(self, Reader* r, int64_t* octets, int64_t* arrived,
                      set domains) except *:
        """Whether an entry that nobody works on is meant, and what is to be known of
        it. It has to be one from the first octet to the last."""
        cdef uint64_t fields, rest
        cdef Text state
        cdef list names = []
        cdef Verdict verdict
        if not read_array(r, &fields) or fields <= TARGETS:
            return MAYBE
        if not read_envelope(r, &self.path, arrived, &rest):
            return MAYBE
        verdict = self.envelope_meant(arrived[0])
        if verdict != YES:
            return verdict
        if not skip(r, rest):
            return MAYBE
        if not read_number(r, octets) or not read_text(r, &state) or not skip(r, 1):
            return MAYBE
        if octets[0] < self.larger or 0 <= self.smaller < octets[0]:
            return NO
        if self.state.n and equals(state, self.state) == NO:
            return NO
        verdict = self.targets_told(r, names)
        if not skip(r, fields - TARGETS - 1) or r.at != r.end or not names:
            return MAYBE
        if verdict == YES:
            domains.update(names)
        return verdict

    cdef Verdict envelope_meant(self, int64_t arrived) noexcept nogil:
        """Whether one from `path` is, that arrived then."""
        if arrived < self.since or 0 <= self.before <= arrived:
            return NO
        if self.null_sender and self.path.n:
            return NO
        return whole_or_domain(self.path, self.sender) if self.sender.n else YES

    cdef Verdict target_meant(self, const Waiting* to) noexcept nogil:
        """Whether one who waits is, whatever the next hop."""
        cdef Verdict one, other, verdict = NO if to.attempts < self.attempts else YES
        if verdict != NO and self.error.n:
            verdict = worse(verdict, contains(to.error, self.error))
        if verdict != NO and self.domain.n:
            verdict = worse(verdict, ends_with(to.address, self.domain))
        if verdict != NO and self.recipient.n:
            one = whole_or_domain(to.address, self.recipient)
            other = whole_or_domain(to.recipient, self.recipient)
            verdict = worse(verdict, one if one > other else other)
        return verdict

    cdef Verdict targets_told(self, Reader* r, list names) except *:
        """Whether one who waits is meant; where they wait is put into `names`, none
        where that cannot be told."""
        cdef uint64_t count
        cdef Waiting to
        cdef Verdict verdict, best = NO
        cdef bytes name
        cdef bint known = True
        if not read_array(r, &count):
            return MAYBE
        while count:
            count -= 1
            if not read_target(r, &to):
                names.clear()
                return MAYBE
            if to.standing:
                continue
            name = domain_of(to.address)
            known = known and name is not None
            names.append(name)
            verdict = self.target_meant(&to)
            if verdict > best:
                best = verdict
        if not known:
            names.clear()
        return best

    cdef bint may_fit(self, Reader* r) except -1:
        cdef uint64_t fields, rest
        cdef Text state, via
        cdef int64_t octets, arrived
        if not read_array(r, &fields) or fields <= TARGETS:
            return True
        if not read_envelope(r, &self.path, &arrived, &rest):
            return True
        if self.envelope_meant(arrived) == NO:
            return False
        if not skip(r, rest):
            return True
        if not read_number(r, &octets):
            return True
        if octets < self.larger or 0 <= self.smaller < octets:
            return False
        if not read_text(r, &state):
            return True
        if self.state.n and equals(state, self.state) == NO:
            return False
        if not self.waiting:
            return True
        if not skip(r, 1):  # when it is due
            return True
        if self.a_target_fits(r):
            return True
        if self.leads is None or fields <= VIA:
            return False
        if not skip(r, VIA - TARGETS - 1) or not read_text(r, &via):
            return True
        return via.n > 0  # an operator chose a next hop

    cdef bint goes_there(self, Text address) except -1:
        """Whether mail for an address may go to the next hop that is asked for."""
        cdef uint64_t at = domain_at(address)
        domain = (<const char*>address.at)[at : address.n] if at else b""
        found = self.ways.get(domain, self)
        if found is self:
            found = self.remember(domain, self.leads(domain, None))
        if found is not None:
            return found
        path = (<const char*>self.path.at)[: self.path.n]
        found = self.ways.get((domain, path))
        if found is None:
            found = self.remember((domain, path), bool(self.leads(domain, path)))
        return found

    cdef object remember(self, object key, object said):
        if len(self.ways) >= WAYS:
            self.ways.clear()
        self.ways[key] = said
        return said

    cdef bint a_target_fits(self, Reader* r) except -1:
        cdef uint64_t count
        cdef Waiting to
        if not read_array(r, &count):
            return True
        while count:
            count -= 1
            if not read_target(r, &to):
                return True
            if to.standing or self.target_meant(&to) == NO:
                continue
            if self.leads is None or self.goes_there(to.address):
                return True
        return False
