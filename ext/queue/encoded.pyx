"""What a receiver writes for every message: its queue id and its envelope.

The readable twins are `queue.message.Envelope` with msgspec, and `parse_queue_id`; the
tests hold both to each other.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    FIELDS = 7  # of an Envelope; those behind them have their defaults
    NUMBER = 9  # octets of the longest integer
    LENGTH = 5  # octets of the longest length

cdef const char *DIGITS = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def queue_id(uint64_t id):
    """The 13 base-32 characters that stand in the 250, in Received and in the logs."""
    cdef char[13] text
    cdef int n
    for n in range(12, -1, -1):
        text[n] = DIGITS[id & 31]
        id >>= 5
    return PyUnicode_DecodeASCII(text, 13, NULL)


def encode_mail(
    str reverse_path,
    list recipients,
    long long arrived,
    int skip,
    str body,
    str client,
    str helo,
):
    """The `Envelope` of a message from the network, as `encode_envelope` writes it.

    `recipients` are addresses as they were given."""
    cdef Py_ssize_t size = 1 + text_room(reverse_path) + LENGTH + 2 * NUMBER
    cdef str address
    cdef bytes made
    cdef uint8_t *at
    cdef uint8_t *start
    for address in recipients:
        size += 1 + text_room(address)
    size += text_room(body) + text_room(client) + text_room(helo)
    made = PyBytes_FromStringAndSize(NULL, size)
    start = at = <uint8_t *> PyBytes_AS_STRING(made)
    at[0] = 0x90 | FIELDS
    at = put_text(at + 1, reverse_path)
    at = put_array(at, len(recipients))
    for address in recipients:
        at[0] = 0x91
        at = put_text(at + 1, address)
    at = put_number(at, arrived)
    at = put_number(at, skip)
    at = put_text(at, body)
    at = put_text(at, client)
    at = put_text(at, helo)
    return made[: at - start]


cdef Py_ssize_t text_room(str text) except -1:
    cdef Py_ssize_t size
    PyUnicode_AsUTF8AndSize(text, &size)
    return LENGTH + size


cdef uint8_t *put_text(uint8_t *at, str text) except NULL:
    cdef Py_ssize_t size
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &size)
    if size < 32:
        at[0] = 0xA0 | <uint8_t> size
        at += 1
    elif size < 1 << 8:
        at[0] = 0xD9
        at = put_big_endian(at + 1, size, 1)
    elif size < 1 << 16:
        at[0] = 0xDA
        at = put_big_endian(at + 1, size, 2)
    else:
        at[0] = 0xDB
        at = put_big_endian(at + 1, size, 4)
    memcpy(at, data, size)
    return at + size


cdef uint8_t *put_array(uint8_t *at, Py_ssize_t length) noexcept nogil:
    if length < 16:
        at[0] = 0x90 | <uint8_t> length
        return at + 1
    if length < 1 << 16:
        at[0] = 0xDC
        return put_big_endian(at + 1, length, 2)
    at[0] = 0xDD
    return put_big_endian(at + 1, length, 4)


cdef uint8_t *put_number(uint8_t *at, int64_t number) noexcept nogil:
    """At least 0, as short as it goes."""
    if number < 128:
        at[0] = <uint8_t> number
        return at + 1
    if number < 1 << 8:
        at[0] = 0xCC
        return put_big_endian(at + 1, number, 1)
    if number < 1 << 16:
        at[0] = 0xCD
        return put_big_endian(at + 1, number, 2)
    if number < <int64_t> 1 << 32:
        at[0] = 0xCE
        return put_big_endian(at + 1, number, 4)
    at[0] = 0xCF
    return put_big_endian(at + 1, number, 8)


cdef uint8_t *put_big_endian(uint8_t *at, uint64_t number, int octets) noexcept nogil:
    cdef int n
    for n in range(octets):
        at[n] = <uint8_t> (number >> 8 * (octets - 1 - n))
    return at + octets
