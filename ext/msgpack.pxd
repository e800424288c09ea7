"""msgpack as the records of the queue use it, read and written where it lies.

What reads gives False at what it does not know, and then nothing is said of where it
stands; what writes gives the place behind, and takes the room for granted.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    NUMBER_ROOM = 9  # octets of the longest integer
    LENGTH_ROOM = 5  # octets of the longest length


cdef struct Reader:
    const uint8_t* at
    const uint8_t* end


cdef inline bint take(Reader* r, Py_ssize_t size, const uint8_t** data) noexcept nogil:
    if r.end - r.at < size:
        return False
    data[0] = r.at
    r.at += size
    return True


cdef inline bint take_big(Reader* r, int size, uint64_t* number) noexcept nogil:
    cdef const uint8_t* data
    cdef uint64_t n = 0
    cdef int i
    if not take(r, size, &data):
        return False
    for i in range(size):
        n = n << 8 | data[i]
    number[0] = n
    return True


cdef inline bint read_number(Reader* r, uint64_t* number) noexcept nogil:
    """One that is not negative and has less than 64 bits."""
    cdef const uint8_t* data
    cdef uint8_t kind
    if not take(r, 1, &data):
        return False
    kind = data[0]
    if kind < 0x80:
        number[0] = kind
        return True
    if kind < 0xCC or kind > 0xCF:
        return False
    return take_big(r, 1 << (kind - 0xCC), number) and not number[0] >> 63


cdef inline bint read_text(
    Reader* r, const uint8_t** text, uint64_t* size
) noexcept nogil:
    cdef const uint8_t* data
    cdef uint8_t kind
    if not take(r, 1, &data):
        return False
    kind = data[0]
    if kind >> 5 == 5:
        size[0] = kind & 31
    elif kind < 0xD9 or kind > 0xDB:
        return False
    elif not take_big(r, 1 << (kind - 0xD9), size):
        return False
    return take(r, <Py_ssize_t>size[0], text)


cdef inline bint skip_ascii(Reader* r) noexcept nogil:
    cdef const uint8_t* text
    cdef uint64_t size
    cdef uint8_t all_bits = 0
    cdef uint64_t i
    if not read_text(r, &text, &size):
        return False
    for i in range(size):
        all_bits |= text[i]
    return all_bits < 0x80


cdef inline bint skip_empty(Reader* r) noexcept nogil:
    """nil, false, 0, an empty text or an empty array."""
    cdef const uint8_t* data
    if not take(r, 1, &data):
        return False
    return data[0] in (0xC0, 0xC2, 0x00, 0xA0, 0x90)


cdef inline bint skip_octet(Reader* r, uint8_t value) noexcept nogil:
    """nil, false, true or an empty text, as `value` says; if it is another, nothing is
    taken."""
    if r.at == r.end or r.at[0] != value:
        return False
    r.at += 1
    return True


cdef inline bint skip_any(Reader* r) noexcept nogil:
    """One value of whatever kind."""
    cdef const uint8_t* data
    cdef uint64_t left = 1, size
    cdef uint8_t kind
    while left:
        left -= 1
        if not take(r, 1, &data):
            return False
        kind = data[0]
        size = 0
        if kind < 0x80 or kind >= 0xE0 or kind == 0xC0 or kind == 0xC2 or kind == 0xC3:
            continue  # small numbers, nil, false, true
        if kind < 0x90:
            left += 2 * (kind & 15)
        elif kind < 0xA0:
            left += kind & 15
        elif kind < 0xC0:
            size = kind & 31
        elif 0xCC <= kind <= 0xD3:
            size = 1 << (kind & 3)
        elif 0xD9 <= kind <= 0xDB:
            if not take_big(r, 1 << (kind - 0xD9), &size):
                return False
        elif kind == 0xDC or kind == 0xDD:
            if not take_big(r, 2 << (kind - 0xDC), &size):
                return False
            left += size
            continue
        else:
            return False  # what no entry holds
        if size > <uint64_t>(r.end - r.at):
            return False
        r.at += size
    return True


cdef inline bint read_array(Reader* r, uint64_t* length) noexcept nogil:
    cdef const uint8_t* data
    if not take(r, 1, &data):
        return False
    if data[0] >> 4 == 9:
        length[0] = data[0] & 15
        return True
    if data[0] != 0xDC and data[0] != 0xDD:
        return False
    return take_big(r, 2 << (data[0] - 0xDC), length)


cdef inline uint8_t* put_big(uint8_t* at, uint64_t number, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        at[i] = <uint8_t>(number >> (8 * (size - 1 - i)))
    return at + size


cdef inline uint8_t* put_number(uint8_t* at, uint64_t number) noexcept nogil:
    """In as few octets as it takes."""
    if number < 0x80:
        at[0] = <uint8_t>number
        return at + 1
    if number < 1 << 8:
        at[0] = 0xCC
        return put_big(at + 1, number, 1)
    if number < 1 << 16:
        at[0] = 0xCD
        return put_big(at + 1, number, 2)
    if number < <uint64_t>1 << 32:
        at[0] = 0xCE
        return put_big(at + 1, number, 4)
    at[0] = 0xCF
    return put_big(at + 1, number, 8)


cdef inline uint8_t* put_text(
    uint8_t* at, const char* text, uint64_t size
) noexcept nogil:
    if size < 32:
        at[0] = 0xA0 | <uint8_t>size
        at += 1
    elif size < 1 << 8:
        at[0] = 0xD9
        at = put_big(at + 1, size, 1)
    elif size < 1 << 16:
        at[0] = 0xDA
        at = put_big(at + 1, size, 2)
    else:
        at[0] = 0xDB
        at = put_big(at + 1, size, 4)
    memcpy(at, text, size)
    return at + size


cdef inline uint8_t* put_array(uint8_t* at, uint64_t length) noexcept nogil:
    if length < 16:
        at[0] = 0x90 | <uint8_t>length
        return at + 1
    if length < 1 << 16:
        at[0] = 0xDC
        return put_big(at + 1, length, 2)
    at[0] = 0xDD
    return put_big(at + 1, length, 4)
