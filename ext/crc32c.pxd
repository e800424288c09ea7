"""CRC-32C for every module that reads or writes the message log; see crc32c.h."""

from libc.stdint cimport uint32_t


cdef extern from "crc32c.h" nogil:
    void crc32c_begin()
    uint32_t crc32c(uint32_t crc, const void* data, size_t size)
    uint32_t crc32c_portable(uint32_t crc, const void* data, size_t size)
