cdef class Connection:
    cdef readonly object shared, transport
    cdef object put  # the transport's write
    cdef int socket
    cdef bint behind  # the transport was given something that it may still hold
    cdef readonly bint closing, full, paused
    cdef public int slot
    cdef double patience

    cpdef opened(self)
    cpdef steer(self)
    cpdef ended(self)
    cdef double deadline(self) except? -1
    cdef int late(self) except -1
    cpdef use(self, transport)
    cdef int write(self, bytes out) except -1
    cdef bint _must_queue(self) except -1
    cpdef read(self, bint on)
    cpdef close(self)
    cpdef part(self)
    cpdef abort(self)
