"""Keys of the queue's partition, as `store.keys` makes them, and what they are of."""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from msgpack cimport put_big

cdef enum:
    ENTRY_KEY = 9  # octets: a letter, u64
    RANK = 9  # `queue.moves`: of priority 0
    MINUTE = 60_000  # milliseconds, of a counter


cdef inline bytes queued_key(uint64_t id):
    cdef uint8_t[ENTRY_KEY] data
    data[0] = c"m"
    put_big(data + 1, id, 8)
    return PyBytes_FromStringAndSize(<char*>data, ENTRY_KEY)


cdef inline bytes due_key(bytes waiting, uint64_t due, uint64_t id):
    """`waiting`: what the rows of that destination and rank begin with."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(waiting)
    cdef bytes key = PyBytes_FromStringAndSize(NULL, size + 16)
    cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(key)
    memcpy(at, PyBytes_AS_STRING(waiting), size)
    put_big(put_big(at + size, due, 8), id, 8)
    return key
