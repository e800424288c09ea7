cdef class Connection:
    cdef readonly object shared, transport
    cdef object put  # the transport's write
    cdef readonly bint closing, full, paused
    cdef public int slot

    cpdef opened(self)
    cpdef steer(self)
    cpdef ended(self)
    cpdef use(self, transport)
    cpdef read(self, bint on)
    cpdef close(self)
    cpdef part(self)
    cpdef abort(self)
