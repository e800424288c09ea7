"""The two headers of the message log as C sees them; drawn in store/record.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from crc32c cimport crc32c

cdef enum:
    FORMAT = 1
    SEGMENT_HEADER = 64  # octets
    RECORD_HEADER = 64  # octets
    RECORD_MAGIC = 0x31434552  # "REC1"
    ENVELOPE_LIMIT = 1 << 26  # octets; a thousand recipients take a quarter MiB
    BODY_BIG = 1  # record flag: the body is in a file of its own
    SEGMENT_BIG = 1  # segment flag: this is such a file
    SEGMENT_AFTER_FAILURE = 2  # segment flag: the previous one ended by a failure

cdef struct SegmentHead:
    char magic[8]
    uint16_t version
    uint16_t series
    uint32_t number
    uint64_t epoch
    uint64_t salt
    uint64_t previous_end
    uint32_t previous
    uint32_t flags
    uint32_t spare[3]
    uint32_t check

cdef struct RecordHead:
    uint32_t magic
    uint8_t kind
    uint8_t flags
    uint16_t spare
    uint64_t id
    uint64_t sequence
    uint64_t body_length
    uint32_t envelope_length
    uint32_t envelope_crc
    uint32_t body_crc
    uint32_t number
    uint64_t mark
    uint32_t spare2
    uint32_t check


cdef inline void seal_segment(SegmentHead* head) noexcept nogil:
    memcpy(head.magic, b"FSMTPLOG", 8)
    head.version = FORMAT
    memset(head.spare, 0, sizeof(head.spare))
    head.check = crc32c(0, head, SEGMENT_HEADER - 4)


cdef inline uint64_t record_mark(uint64_t salt, uint64_t offset) noexcept nogil:
    """64 bits that nobody guesses who has not read the segment's header.

    The offset is in it, so that a record is valid in one place only (splitmix64)."""
    cdef uint64_t x = salt + offset * <uint64_t>0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint32_t record_check(const RecordHead* head, uint64_t salt) noexcept nogil:
    return crc32c(<uint32_t>(salt ^ (salt >> 32)), head, RECORD_HEADER - 4)


cdef inline void seal_record(
    RecordHead* head, uint64_t salt, uint64_t offset
) noexcept nogil:
    head.magic = RECORD_MAGIC
    head.mark = record_mark(salt, offset)
    head.check = record_check(head, salt)


cdef inline uint64_t inline_body(const RecordHead* head) noexcept nogil:
    """Octets of body in the record itself."""
    return 0 if head.flags & BODY_BIG else head.body_length


cdef inline uint64_t record_size(uint64_t envelope, uint64_t body) noexcept nogil:
    """Octets of a record with its padding: records begin at multiples of 8."""
    return (RECORD_HEADER + envelope + body + 7) & ~<uint64_t>7


cdef inline bint record_fits(const RecordHead* head, uint64_t room) noexcept nogil:
    """Does the whole record lie within `room` octets? Overflows nowhere."""
    cdef uint64_t left
    if room < RECORD_HEADER or head.envelope_length > ENVELOPE_LIMIT:
        return False
    left = room - RECORD_HEADER
    if head.envelope_length > left:
        return False
    left -= head.envelope_length
    if inline_body(head) > left:
        return False
    return record_size(head.envelope_length, inline_body(head)) <= room


cdef inline int64_t open_record(
    const char* data, uint64_t available, uint64_t room, uint64_t offset,
    uint64_t salt, RecordHead* head,
) noexcept nogil:
    """Validate the header and the envelope of the record at `data`.

    available   octets that may be read at `data`
    room        octets from here to the limit of the segment
    offset      place in the segment, a part of the mark

    Returns 0: valid; n > 0: n octets are needed at `data` to tell; -1: no record."""
    if room < RECORD_HEADER:
        return -1
    if available < RECORD_HEADER:
        return RECORD_HEADER
    memcpy(head, data, RECORD_HEADER)
    if head.magic != RECORD_MAGIC or head.mark != record_mark(salt, offset):
        return -1
    if head.check != record_check(head, salt) or not record_fits(head, room):
        return -1
    if available < RECORD_HEADER + <uint64_t>head.envelope_length:
        return RECORD_HEADER + <int64_t>head.envelope_length
    if crc32c(0, data + RECORD_HEADER, head.envelope_length) != head.envelope_crc:
        return -1
    return 0
