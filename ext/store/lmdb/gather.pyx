"""Records of a living segment to a `Quick`, without an object for each; gather.pyi."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport crc32c as checksum
cimport logformat
from logformat cimport RecordHead

from fastsmtp.store.base import Kind

cdef uint8_t MAIL = Kind.MAIL

cdef packed struct Place:  # `index.pack_place`; little-endian, as this machine is
    uint32_t series
    uint32_t segment
    uint64_t offset
    uint64_t length
    uint32_t crc
    int32_t refs
    uint32_t since
    uint8_t big

cdef struct Segment:
    uint32_t series
    uint32_t number
    uint64_t salt
    uint64_t limit

checksum.crc32c_begin()


cdef inline bytes octets(uint64_t number):
    cdef uint8_t[8] data
    cdef int i
    for i in range(8):
        data[i] = <uint8_t>(number >> (56 - 8 * i))
    return PyBytes_FromStringAndSize(<char*>data, 8)


cdef bytes place_value(
    const RecordHead* head, const Segment* of, uint64_t body, int refs
):
    cdef Place place
    place.series, place.segment = of.series, of.number
    place.offset, place.length, place.crc = body, head.body_length, head.body_crc
    place.refs, place.since, place.big = refs, 0, 0
    return PyBytes_FromStringAndSize(<char*>&place, sizeof(Place))


def gather(data, uint64_t offset, segment, take, list places not None):
    """See the .pyi."""
    cdef Py_buffer view
    cdef Segment of
    of.series, of.number, of.salt, of.limit = segment
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return _gather(
            <const char*>view.buf, <uint64_t>view.len, offset, &of, take, places
        )
    finally:
        PyBuffer_Release(&view)


cdef tuple _gather(
    const char* data, uint64_t size, uint64_t offset, const Segment* of, object take,
    list places,
):
    cdef RecordHead head
    cdef uint64_t at = 0, live = 0, whole
    cdef uint32_t records = 0
    cdef bytes envelope
    cdef int refs
    while offset < of.limit and at <= size:
        if logformat.open_record(
            data + at, size - at, of.limit - offset, offset, of.salt, &head
        ) != 0 or head.kind != MAIL or head.flags:
            break
        envelope = PyBytes_FromStringAndSize(
            data + at + logformat.RECORD_HEADER, head.envelope_length
        )
        refs = take(head.id, envelope, head.body_length)
        if refs == 0:
            break
        whole = logformat.RECORD_HEADER + <uint64_t>head.envelope_length
        places.append(
            (octets(head.id),
             place_value(&head, of, offset + whole, refs))
        )
        whole = logformat.record_size(head.envelope_length, head.body_length)
        at += whole
        offset += whole
        live += head.body_length
        records += 1
    return records, live, offset


def overlay(list puts not None, dict over not None, prefixes not None):
    """See the .pyi."""
    cdef bytes prefix = b""
    cdef object last = None
    for part, key, value in puts:
        if part is not last:
            prefix = prefixes[part]
            last = part
        over[prefix + <bytes>key] = value
