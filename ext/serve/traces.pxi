# What a client did, for the trace (`fastsmtp why`). Part of guest.pyx.


cdef int64_t now_ms() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <int64_t> t.tv_sec * 1000 + t.tv_nsec // 1_000_000


cdef int64_t since(double then, double now) noexcept:
    """Microseconds between two times of the monotonic clock."""
    return <int64_t> ((now - then) * 1e6)


cdef bytes card_of(Client guest):
    """Who it is, encoded once for all that it does."""
    cdef object session = guest.session
    cdef str name = guest.name or getattr(guest.facts, "name", "") or ""
    cdef str helo = "", login = ""
    if guest.card is None:
        if session is not None:
            helo, login = session.helo, session.login
        about = (guest.server.terms.listener, guest.address, name)
        guest.card = card(*about, helo, guest.sealed, login)
    return guest.card


cdef int turned_away(Client guest, str result, refused) except -1:
    """It may not come in; `result` is of `smtp.counts.ARRIVALS`."""
    cdef tuple texts = (result, refused.enhanced, refused.text)
    guest.server.report.connection_refused(guest.address, result)
    if guest.server.trace.on:
        numbers = (guest.came, refused.code)
        guest.server.trace.note(AWAY, 0, numbers, texts, card_of(guest))
    return 0


cdef int trace_accepted(Client guest, int64_t microseconds) except -1:
    """A message is durable, so long after MAIL."""
    cdef object session = guest.session
    cdef Taken taken
    taken.id, taken.size = session.id, session.size
    taken.came, taken.arrived = guest.came, session.arrived
    taken.data = since(session.opened, session.data_at)
    taken.whole = since(session.opened, session.began)
    taken.durable = microseconds
    return guest.server.trace.accepted(
        &taken,
        card_of(guest),
        session.reverse_path,
        guest.message_id,
        session.recipients,
    )


cdef int trace_refused(Client guest, str stage, refused) except -1:
    cdef object session = guest.session
    cdef tuple texts
    if session is None:
        return 0
    texts = (
        session.reverse_path,
        session.address or "",
        stage,
        refused.enhanced,
        refused.reason,
        refused.text,
        refused.cause or "",
    )
    numbers = (guest.came, session.arrived, refused.code)
    guest.server.trace.note(REFUSED, session.id, numbers, texts, card_of(guest))
    return 0


cdef int trace_dropped(Client guest) except -1:
    cdef object session = guest.session
    cdef list whom = session.recipients
    if whom:
        how = "in the middle" if session.state == BODY else "before the message"
        texts = (session.reverse_path, how, *whom)
        numbers = (guest.came, session.arrived, len(whom))
        guest.server.trace.note(DROPPED, session.id, numbers, texts, card_of(guest))
    return 0
