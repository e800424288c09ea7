"""What a receiver writes for every message: its queue id and its envelope.

The readable twins are `queue.message.Envelope` with msgspec, and `parse_queue_id`; the
tests hold both to each other.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t, uint64_t

from msgpack cimport LENGTH_ROOM, NUMBER_ROOM, put_array, put_number, put_text

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    FIELDS = 7  # of an Envelope; those behind them have their defaults

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
    cdef Py_ssize_t size = 1 + text_room(reverse_path) + LENGTH_ROOM + 2 * NUMBER_ROOM
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
    at = put_str(at + 1, reverse_path)
    at = put_array(at, len(recipients))
    for address in recipients:
        at[0] = 0x91
        at = put_str(at + 1, address)
    at = put_number(at, arrived)
    at = put_number(at, skip)
    at = put_str(at, body)
    at = put_str(at, client)
    at = put_str(at, helo)
    return made[: at - start]


cdef Py_ssize_t text_room(str text) except -1:
    cdef Py_ssize_t size
    PyUnicode_AsUTF8AndSize(text, &size)
    return LENGTH_ROOM + size


cdef uint8_t *put_str(uint8_t *at, str text) except NULL:
    cdef Py_ssize_t size
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &size)
    return put_text(at, data, size)
