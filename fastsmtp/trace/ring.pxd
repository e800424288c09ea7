from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    DRAFT = 16384  # octets of the largest record

cdef struct Ring:
    int file
    uint8_t *map  # NULL: this ring takes nothing
    uint64_t mapped  # octets of records that there is an address for
    uint64_t limit  # that it may have
    uint64_t room  # octets it has by now
    uint64_t place  # where the next record goes
    uint64_t clear  # octets from there on that hold no record
    uint32_t lap
    uint32_t salt

cdef struct Taken:
    uint64_t id
    int64_t came, arrived  # milliseconds of the wall clock: connection, MAIL
    int64_t size
    int64_t data, whole, durable  # microseconds since MAIL

cdef class Trace:
    cdef readonly bint on
    cdef Ring mail, refused
    cdef uint8_t[DRAFT] draft
    cdef uint8_t *at

    cdef int accepted(
        self, const Taken *taken, bytes card, str sender, str name, list recipients
    ) except -1
    cpdef applied(self, uint64_t id, int delivered, int deferred)
    cdef int begin(self, int kind, uint64_t id, int numbers) except -1
    cdef int number(self, int n, int64_t value) except -1
    cdef int octets(self, const uint8_t *text, size_t n) except -1
    cdef int text(self, str text) except -1
    cdef int card(self, bytes card) except -1
    cdef int end(self, Ring *ring) except -1
