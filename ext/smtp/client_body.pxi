# The body of a letter. Part of client.pyx.


cdef int begin_body(Client c, _Post post) except -1:
    """The server wants it: after 354, or as one chunk."""
    cdef char line[40]
    cdef int n
    if post.held:
        post.asked = True
        return 0
    post.at = post.letter[SKIP]
    post.pouring = True
    stuff_begin(&post.stuffing)
    if post.chunked:  # the driver asks for the octets, which need no copy then
        n = snprintf(line, sizeof(line), "BDAT %lld LAST\r\n", post.end - post.at)
        return c._put(line, n)
    pour(c, post)
    return 0


cdef bytes pour(Client c, _Post post):
    """Say the next piece; of a chunk it is returned instead, to be written before what
    is said behind it."""
    cdef bytes piece = None
    if post.at < post.end:
        piece = next_piece(c, post)
        if piece is None or not passed(c, post, piece):
            return None
    if post.at == post.end:
        end_body(c, post)
    return piece if post.chunked else None


cdef bytes next_piece(Client c, _Post post):
    """None: it cannot be read, and everything has ended."""
    cdef bytes piece = None
    cdef long long size = post.end - post.at
    if size > PIECE:
        size = PIECE
    try:
        piece = post.letter[BODY].read(post.at, size)
    except Exception as error:
        c.trouble(error)
    if not piece:
        text = "our own trouble: the message cannot be read"
        c._end(Answer(0, "4.3.0", text, "body"))
        return None
    post.at += PyBytes_GET_SIZE(piece)
    return piece


cdef bint passed(Client c, _Post post, bytes piece) except -1:
    """Say a piece with its dots, of a chunk only look at it; false: it must not be said
    and all has ended."""
    cdef Octets data = <Octets> PyBytes_AS_STRING(piece)
    cdef size_t n = PyBytes_GET_SIZE(piece)
    cdef size_t room = n + n // 32 + 8 * STUFF_BLOCK
    cdef size_t taken = 0
    cdef size_t made
    cdef unsigned char *out = NULL
    while taken < n:
        if not post.chunked:
            out = c._room(room)
        taken += stuff(&post.stuffing, data + taken, n - taken, out, room, &made)
        if post.stuffing.bare >= 0:
            break
        c.used += made
        room = n - taken + (n - taken) // 2 + 8 * STUFF_BLOCK
    if post.stuffing.bare >= 0 or (post.at == post.end and post.stuffing.after_cr):
        refuse_body(c, post)
        return False
    return True


cdef int refuse_body(Client c, _Post post) except -1:
    """NUL, bare CR or bare LF: the caller had promised that there is none. The server
    has a part of the message, and only the end of the connection takes it back."""
    cdef long long where = post.stuffing.bare
    if where < 0:
        where = post.stuffing.taken - 1
    text = f"the message has a bare CR, bare LF or NUL at octet {where}"
    c.used = 0
    return c._end(Answer(554, "5.6.0", text, "body", True))


cdef int end_body(Client c, _Post post) except -1:
    """All of it is said. The end of a body may begin the next group."""
    cdef Py_ssize_t replies = post.taken if c.lmtp else 1
    if post.chunked:
        c.owed += replies  # its last piece goes out now
    else:
        c.fresh += replies
        if post.stuffing.begin:
            c._put(b".\r\n", 3)
        else:
            c._put(b"\r\n.\r\n", 5)
    post.pouring = False
    post.ended = True
    if c.second is not None and not c.second.begun and c.pipelining:
        begin(c, c.second)
    return 0
