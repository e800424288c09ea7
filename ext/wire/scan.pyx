"""The Python face of `bodyscan.pxd`; see `fastsmtp/wire/scan.pyi`."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize

from bodyscan cimport BODY_ROOM, ENDED, BodyScan, Place, body_begin, body_feed


cdef object _place(Place *place):
    return None if place.offset < 0 else (place.offset, place.line)


cdef class BodyScanner:
    cdef BodyScan scan
    cdef readonly bytearray output
    cdef bint keep

    def __init__(self, bint keep=True):
        body_begin(&self.scan)
        self.output = bytearray()
        self.keep = keep

    def feed(self, data):
        cdef const unsigned char[::1] view = data
        cdef size_t n = view.shape[0]
        cdef size_t before = len(self.output)
        cdef size_t made
        cdef unsigned char *out = NULL
        if n == 0:
            return 0
        if self.keep:
            PyByteArray_Resize(self.output, before + n + BODY_ROOM)
            out = <unsigned char *> PyByteArray_AS_STRING(self.output) + before
        taken = body_feed(&self.scan, &view[0], n, out, &made)
        if self.keep:
            PyByteArray_Resize(self.output, before + made)
        return taken

    @property
    def ended(self):
        return self.scan.state == ENDED

    @property
    def size(self):
        return self.scan.size

    @property
    def lines(self):
        return self.scan.lines

    @property
    def longest(self):
        return self.scan.longest

    @property
    def longest_line(self):
        return self.scan.longest_line

    @property
    def eight_bit(self):
        return _place(&self.scan.eight_bit)

    @property
    def nul(self):
        return _place(&self.scan.nul)

    @property
    def bare_cr(self):
        return _place(&self.scan.bare_cr)

    @property
    def bare_lf(self):
        return _place(&self.scan.bare_lf)

    @property
    def header_end(self):
        return None if self.scan.header_end < 0 else self.scan.header_end

    @property
    def received(self):
        return self.scan.received

    @property
    def return_paths(self):
        return self.scan.return_paths

    @property
    def left_out(self):
        return self.scan.left_out
