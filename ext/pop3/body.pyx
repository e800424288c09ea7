"""A message as a POP3 client is given it; see body.pyi."""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from popbody cimport (
    Giving,
    giving_begin,
    giving_cut,
    giving_end,
    giving_narrow,
    giving_put,
    giving_wide,
)


@cython.final
cdef class Giver:
    """See the .pyi."""

    cdef Giving giving
    cdef bint top, narrow

    def __init__(self, lines=None, bint narrow=False):
        self.top = lines is not None
        self.narrow = narrow
        giving_begin(&self.giving, lines if self.top else -1)

    def give(self, bytes data not None):
        """See the .pyi."""
        cdef const unsigned char *octets = <unsigned char *> PyBytes_AS_STRING(data)
        cdef size_t n = PyBytes_GET_SIZE(data)
        cdef unsigned char *own
        cdef unsigned char *out = <unsigned char *> malloc(2 * n + n // 2 + 1)
        if out is NULL:
            raise MemoryError
        own = out + n + n // 2 + 1
        memcpy(own, octets, n)
        try:
            if self.narrow:
                giving_narrow(&self.giving, own, n)
            if self.top:
                n = giving_cut(&self.giving, own, n)
            n = giving_put(&self.giving, own, n, out)
            return PyBytes_FromStringAndSize(<char *> out, n)
        finally:
            free(out)

    def end(self):
        """See the .pyi."""
        cdef unsigned char out[8]
        cdef size_t n = giving_end(&self.giving, out)
        return PyBytes_FromStringAndSize(<char *> out, n)

    @property
    def done(self):
        """See the .pyi."""
        return self.giving.done


def is_wide(bytes data not None):
    """See the .pyi."""
    return bool(giving_wide(<unsigned char *> PyBytes_AS_STRING(data), len(data)))
