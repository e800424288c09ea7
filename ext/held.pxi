# Input that waits: for the door's answer, or until the client has read what was said.
# Part of each engine's session.pyx.
#
#     s._eat(data, n)    takes octets until n, or until something must wait
#
# Fields: held, held_length, held_at; service.kept.


cdef int hold(Session s, Octets data, size_t n) except -1:
    cdef unsigned char *room
    cdef size_t left = s.held_length - s.held_at
    room = <unsigned char *> malloc(left + n)
    if room is NULL:
        raise MemoryError
    if left:
        memcpy(room, s.held + s.held_at, left)
    memcpy(room + left, data, n)
    drop_held(s)
    s.held = room
    s.held_length = left + n
    s.service.kept += left + n
    return 0


cdef int eat_held(Session s) except -1:
    cdef size_t used
    if s.held_length:
        used = s._eat(s.held + s.held_at, s.held_length - s.held_at)
        s.held_at += used
        if s.held_at >= s.held_length:  # or closed, and dropped already
            drop_held(s)
    return 0


cdef void drop_held(Session s) noexcept:
    s.service.kept -= s.held_length
    free(s.held)
    s.held = NULL
    s.held_length = s.held_at = 0
