# The commands of a session that has its maildrop. Part of session.pyx.

cdef const char *HEX = b"0123456789abcdef"


cdef bint is_marked(Session s, uint32_t n) noexcept:
    return s.marks is not NULL and s.marks[n >> 3] >> (n & 7) & 1


cdef int message_of(Session s, Span said, uint32_t *n) except -1:
    """The message of a number, from 0; False when there was a refusal instead."""
    cdef uint64_t number
    cdef size_t i
    for i in range(said.n):
        if not c"0" <= said.at[i] <= c"9":
            s._refuse(replies.NUMBER)
            return False
    if not parse_count(said, &number) or not 0 < number <= s.count:
        s._refuse(replies.NO_MESSAGE)
        return False
    n[0] = <uint32_t> (number - 1)
    if is_marked(s, n[0]):
        s._refuse(replies.DELETED)
        return False
    return True


cdef int do_stat(Session s, Span said) except -1:
    left = (s.count - s.marked, s.octets - s.marked_octets)
    return s._yes(b"+OK %d %d\r\n" % left)


cdef unsigned char *put_number(unsigned char *at, uint64_t number) noexcept nogil:
    cdef unsigned char digits[NUMBER]
    cdef int n = NUMBER
    while True:
        n -= 1
        digits[n] = <unsigned char> (c"0" + number % 10)
        number //= 10
        if not number:
            break
    memcpy(at, digits + n, NUMBER - n)
    return at + NUMBER - n


cdef unsigned char *put_unique(
    unsigned char *at, uint32_t validity, uint32_t uid
) noexcept nogil:
    """UIDVALIDITY and UID in 16 digits: unique for ever, at most 70 (RFC 1939 7)."""
    cdef uint64_t both = <uint64_t> validity << 32 | uid
    cdef int i
    for i in range(16):
        at[i] = HEX[both >> (60 - 4 * i) & 15]
    return at + 16


cdef int tell_one(Session s, Span said, bint unique) except -1:
    cdef unsigned char line[64]
    cdef unsigned char *at = line
    cdef uint32_t n
    if not message_of(s, said, &n):
        return 0
    memcpy(at, b"+OK ", 4)
    at = put_number(at + 4, n + 1)
    at[0] = c" "
    if unique:
        at = put_unique(at + 1, s.drop.validity, s.uids[n])
    else:
        at = put_number(at + 1, s.sizes[n])
    at[0], at[1] = c"\r", c"\n"
    return s._yes(PyBytes_FromStringAndSize(<char *> line, at + 2 - line))


cdef int tell_all(Session s, bint unique) except -1:
    """All that are not marked, in one piece: lines of at most 44 octets."""
    cdef size_t most = 128 + <size_t> (s.count - s.marked) * (NUMBER + 24)
    cdef unsigned char *room = <unsigned char *> malloc(most)
    cdef unsigned char *at = room
    cdef uint32_t n, validity = s.drop.validity
    if room is NULL:
        raise MemoryError
    memcpy(at, b"+OK ", 4)
    at = put_number(at + 4, s.count - s.marked)
    memcpy(at, b" messages\r\n", 11)
    at += 11
    for n in range(s.count):
        if is_marked(s, n):
            continue
        at = put_number(at, n + 1)
        at[0] = c" "
        if unique:
            at = put_unique(at + 1, validity, s.uids[n])
        else:
            at = put_number(at + 1, s.sizes[n])
        at[0], at[1] = c"\r", c"\n"
        at += 2
    memcpy(at, b".\r\n", 3)
    try:
        return s._yes(PyBytes_FromStringAndSize(<char *> room, at + 3 - room))
    finally:
        free(room)


cdef int do_list(Session s, Span said) except -1:
    return tell_one(s, said, False) if said.n else tell_all(s, False)


cdef int do_uidl(Session s, Span said) except -1:
    return tell_one(s, said, True) if said.n else tell_all(s, True)


cdef int do_retr(Session s, Span said) except -1:
    cdef uint32_t n
    if not message_of(s, said, &n):
        return 0
    return s._push(n, s.sizes[n] + AROUND)


cdef int do_top(Session s, Span said) except -1:
    cdef uint32_t n
    cdef uint64_t lines, size
    cdef Span first = Span(said.at, 0)
    cdef Span second
    while first.n < said.n and not is_blank(said.at[first.n]):
        first.n += 1
    second = Span(said.at + first.n, said.n - first.n)
    while second.n and is_blank(second.at[0]):
        second.at += 1
        second.n -= 1
    if not parse_count(second, &lines):
        return s._refuse(replies.LINES)
    if not message_of(s, first, &n):
        return 0
    size = s.sizes[n] if s.sizes[n] < TOP_MAX else TOP_MAX
    return s._push((n, lines), size + AROUND)


cdef int do_dele(Session s, Span said) except -1:
    cdef uint32_t n
    if not message_of(s, said, &n):
        return 0
    if s.marks is NULL:
        s.marks = <uint8_t *> calloc(s.count // 8 + 1, 1)
        if s.marks is NULL:
            raise MemoryError
    s.marks[n >> 3] |= 1 << (n & 7)
    s.marked += 1
    s.marked_octets += s.sizes[n]
    return s._yes(replies.OK)


cdef int do_rset(Session s, Span said) except -1:
    free(s.marks)
    s.marks = NULL
    s.marked = 0
    s.marked_octets = 0
    return s._yes(replies.OK)


cdef int do_noop(Session s, Span said) except -1:
    return s._yes(replies.OK)


cdef int do_utf8(Session s, Span said) except -1:
    """RFC 6856 2.1. Messages are given as they are kept, in this mode or not."""
    s.utf8 = True
    return s._yes(replies.UTF8_OK)


cdef int do_capa(Session s, Span said) except -1:
    standing = Standing(bool(s.secured), s.private, bool(s.login))
    return s._yes(offers.shown(s.service.offers, standing))


cdef int do_quit(Session s, Span said) except -1:
    """RFC 1939 6: what is marked goes now, and only now; and where mail does not stay
    for ever, what was fetched long ago."""
    cdef uint32_t n
    cdef list marked = []
    if not (s.marked or s.service.keeps) or s.state != TRANSACTION:
        s._say(replies.BYE, YES)
        return s._close("quit")
    for n in range(s.count):
        if is_marked(s, n):
            marked.append(s.uids[n])
    s.state = UPDATE
    s.about = (marked,)
    return s._ask(s.service.door.update)


cdef int updated(Session s, answer) except -1:
    """All of them are removed, or none; the session ends either way."""
    if answer is None:
        s._say(replies.removed(s.marked) if s.marked else replies.BYE, YES)
        s.service.counters[DELETED_CELL] += s.marked
    else:
        s._say(replies.refusal(answer), ERR)
    return s._close("quit")


cdef int DELETED_CELL = counts.MESSAGES.place("deleted")


cdef Handler handler_of(str name) except NULL:
    """The table of functions: which one a row names."""
    cdef Handler found = NULL
    cdef int i
    cdef tuple known = (
        *("user", "password", "auth", "stls", "utf8", "capa", "stat", "list", "uidl"),
        *("retr", "top", "dele", "rset", "noop", "quit"),
    )
    cdef Handler *all = [
        do_user, do_password, do_auth, do_stls, do_utf8, do_capa, do_stat, do_list,
        do_uidl, do_retr, do_top, do_dele, do_rset, do_noop, do_quit,
    ]
    for i in range(len(known)):
        if known[i] == name:
            found = all[i]
    assert found is not NULL, name
    return found


fill_tables()
