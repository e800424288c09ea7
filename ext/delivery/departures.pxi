"""Plain mail for other servers, as the queue entries of `queue.moves.enter`; included
by inboxes.pyx. The entry holds the envelope as it was accepted, octet for octet.

What an alias leads to, and mail that is for INBOXes as well, is not for this."""

cdef enum:
    NAMES = 5  # fields of `Queued` up to `targets`; the others have their defaults
    TARGET = 5  # fields of `Target` up to `due`
    TALLY = 13  # octets of a `queue.moves.Tally`: a letter, u32, u64
    DOMAINS = 10_000  # remembered

cdef object QUEUE = keys.QUEUE
cdef bytes SCHEDULED = State.SCHEDULED.value.encode()
cdef bytes LETTER = LETTERS[State.SCHEDULED]
cdef uint64_t LAST_MINUTE = <uint64_t>0xFFFFFFFF


cdef class _Domain:
    """A destination, and what came for it in this transaction."""

    cdef str name
    cdef bytes waiting  # what a row of it begins with
    cdef uint64_t messages, octets
    cdef uint64_t entry  # the last with a row of it


cdef class _Away:
    """An address to which mail is sent."""

    cdef bytes address
    cdef _Domain domain
    cdef uint64_t message  # the last that came


cdef class Departures:
    """The entries of one transaction.

    entered   destination -> when something is due there, for `LocalDelivery`"""

    cdef readonly dict entered
    cdef dict _domains
    cdef list _touched  # domains to which something came
    cdef dict _adds
    cdef uint64_t _entry, _minute, _messages, _octets

    def __cinit__(self):
        self.entered, self._domains = {}, {}
        self.begin()

    cdef int begin(self) except -1:
        """What was not asked for with `end` is forgotten."""
        cdef _Domain domain
        if self._touched is not None:
            for domain in self._touched:
                domain.messages = domain.octets = 0
        if len(self._domains) > DOMAINS:
            self._domains = {}
        self._touched, self._adds = [], {}
        self._minute = self._messages = self._octets = 0
        return 0

    cdef _Away away(self, str address):
        cdef _Away found = _Away.__new__(_Away)
        cdef _Domain domain
        name = destination_of(address)
        domain = self._domains.get(name)
        if domain is None:
            domain = self._domains[name] = _Domain.__new__(_Domain)
            domain.name = name
            domain.waiting = keys.waiting(name, RANK)
        found.address, found.domain = address.encode(), domain
        return found

    cdef int enter(
        self, list puts, list to, bytes envelope, const Message* message
    ) except -1:
        cdef uint64_t minute = message.arrived // MINUTE
        cdef bytes tally = tally_value(message)
        cdef _Away one
        cdef _Domain domain
        cdef bytes row
        puts.append((QUEUE, queued_key(message.id), entry_value(envelope, message, to)))
        self._entry += 1
        for one in to:
            domain = one.domain
            if domain.entry != self._entry:
                domain.entry = self._entry
                row = due_key(domain.waiting, message.arrived, message.id)
                puts.append((QUEUE, row, tally))
                self._came(domain, message)
        if minute != self._minute:
            self._end_minute()
            self._minute = minute
        self._messages += 1
        self._octets += message.octets
        return 0

    cdef int _came(self, _Domain domain, const Message* message) except -1:
        if not domain.messages:
            self._touched.append(domain)
        domain.messages += 1
        domain.octets += message.octets
        self.entered[domain.name] = message.arrived
        return 0

    cdef int _end_minute(self) except -1:
        if self._messages:
            key = keys.arrivals(LETTER, self._minute)
            messages, octets = self._adds.get(key, (0, 0))
            self._adds[key] = (messages + self._messages, octets + self._octets)
        self._messages = self._octets = 0
        return 0

    cdef dict adds(self):
        """What the counters change by; `begin` before the next transaction."""
        cdef _Domain domain
        self._end_minute()
        for domain in self._touched:
            key = keys.destination(domain.name)
            self._adds[key] = (domain.messages, domain.octets)
        return {QUEUE: self._adds} if self._adds else {}


cdef inline bint fits(const Message* message) noexcept nogil:
    """Whether its minute has a counter, see `keys.arrivals`."""
    return message.arrived // MINUTE <= LAST_MINUTE


cdef inline bytes tally_value(const Message* message):
    cdef uint8_t[TALLY] data
    data[0] = <uint8_t>LETTER[0]
    put_big(put_big(data + 1, message.arrived // MINUTE, 4), message.octets, 8)
    return PyBytes_FromStringAndSize(<char*>data, TALLY)


cdef bytes entry_value(bytes envelope, const Message* message, list to):
    """A `Queued` whose targets wait, each the recipient it came from."""
    cdef Py_ssize_t room = PyBytes_GET_SIZE(envelope) + 2 * NUMBER_ROOM + 32
    cdef _Away one
    cdef bytes made
    cdef uint8_t* start
    cdef uint8_t* at
    cdef Py_ssize_t size
    for one in to:
        size = PyBytes_GET_SIZE(one.address)
        room += 3 + 2 * (LENGTH_ROOM + size) + NUMBER_ROOM
    made = PyBytes_FromStringAndSize(NULL, room)
    start = at = <uint8_t*>PyBytes_AS_STRING(made)
    at[0] = 0x90 | NAMES
    size = PyBytes_GET_SIZE(envelope)
    memcpy(at + 1, PyBytes_AS_STRING(envelope), size)
    at = put_number(at + 1 + size, message.octets)
    at = put_text(at, PyBytes_AS_STRING(SCHEDULED), PyBytes_GET_SIZE(SCHEDULED))
    at = put_array(put_number(at, message.arrived), len(to))
    for one in to:
        size = PyBytes_GET_SIZE(one.address)
        at[0] = 0x90 | TARGET
        at = put_text(at + 1, PyBytes_AS_STRING(one.address), size)
        at = put_text(at, PyBytes_AS_STRING(one.address), size)
        at[0] = at[1] = 0  # standing: waiting; attempts
        at = put_number(at + 2, message.arrived)
    return made[: at - start]
