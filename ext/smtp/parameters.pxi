# Parameters of MAIL and RCPT. Part of session.pyx.

cdef enum:  # of MAIL; each may stand once (RFC 5321 4.1.1.11)
    HAS_SIZE = 1
    HAS_BODY = 2
    HAS_UTF8 = 4
    HAS_TLS = 8
    HAS_RET = 16
    HAS_ENVID = 32
    HAS_AUTH = 64
    HAS_PRIORITY = 128
    HAS_HOLD = 256  # HOLDFOR or HOLDUNTIL: not both (RFC 4865 4)
    HAS_BY = 512


cdef bint mail_parameters(Session s, Octets rest, Octets end) except -1:
    """SIZE (RFC 1870), BODY (RFC 6152) and others; whether one of them was refused."""
    cdef Parameter parameter
    cdef Fault fault = FAULT_NONE
    cdef unsigned seen = 0
    cdef unsigned bit
    s.declared_size = 0
    s.eight_bit = False
    if s.extras:
        forget_extras(s)
    while next_parameter(&rest, end, &parameter, &fault):
        bit = mail_parameter(&parameter.keyword)
        if seen & bit:
            return refused(s, replies.REPEATED)
        seen |= bit
        no = take_mail_parameter(s, bit, &parameter)
        if no is not None:
            return refused(s, no)
    if fault != FAULT_NONE:
        return refused(s, bad_path(fault, ""))
    return False


cdef unsigned mail_parameter(const Span *keyword) noexcept:
    if span_is(keyword[0], b"SIZE", 4):
        return HAS_SIZE
    if span_is(keyword[0], b"BODY", 4):
        return HAS_BODY
    if span_is(keyword[0], b"SMTPUTF8", 8):
        return HAS_UTF8
    if span_is(keyword[0], b"REQUIRETLS", 10):
        return HAS_TLS
    if span_is(keyword[0], b"RET", 3):
        return HAS_RET
    if span_is(keyword[0], b"ENVID", 5):
        return HAS_ENVID
    if span_is(keyword[0], b"MT-PRIORITY", 11):
        return HAS_PRIORITY
    if span_is(keyword[0], b"HOLDFOR", 7) or span_is(keyword[0], b"HOLDUNTIL", 9):
        return HAS_HOLD
    if span_is(keyword[0], b"BY", 2):
        return HAS_BY
    return HAS_AUTH if span_is(keyword[0], b"AUTH", 4) else 0


cdef object take_mail_parameter(Session s, unsigned bit, Parameter *parameter):
    """None, or why it is not taken: what EHLO did not offer is not recognized."""
    cdef uint64_t size
    cdef Service service = s.service
    if bit == HAS_SIZE:
        if not parse_count(parameter.value, &size):
            return replies.BAD_PARAMETER
        s.declared_size = <long long> min(size, <uint64_t> 1 << 62)
        return None
    if bit == HAS_BODY and not service.refuse_eight_bit:
        s.eight_bit = span_is(parameter.value, b"8BITMIME", 8)
        if not s.eight_bit and not span_is(parameter.value, b"7BIT", 4):
            return replies.BAD_PARAMETER
        return None
    if bit == HAS_UTF8 and service.smtputf8:
        s.extras = s.smtputf8 = True
        return replies.BAD_PARAMETER if parameter.has_value else None
    if bit == HAS_TLS and service.requiretls and s.secured:
        s.extras = s.requiretls = True
        return replies.BAD_PARAMETER if parameter.has_value else None
    if bit & (HAS_RET | HAS_ENVID) and service.dsn or bit == HAS_AUTH and service.auth:
        return take_told(s, bit, parameter.value)
    if bit == HAS_BY and service.deliver_by:
        return take_wish(s, bit, parameter)
    if bit == HAS_PRIORITY and service.priorities and s.login:
        return take_wish(s, bit, parameter)
    if bit == HAS_HOLD and service.future_release and s.login:
        return take_wish(s, bit, parameter)
    return replies.PARAMETER


cdef object take_told(Session s, unsigned bit, Span value):
    """RET and ENVID (RFC 3461 4.3, 4.4), AUTH (RFC 4954 5)."""
    cdef bytes told = octets_of(value)
    s.extras = True
    try:
        if bit == HAS_RET:
            s.ret = parameters.ret(told)
        elif bit == HAS_ENVID:
            s.envid = parameters.envid(told)
        else:
            submitter = parameters.submitter(told)
            s.submitter = submitter if s.login else ""  # a stranger's word is nothing
    except ValueError:
        return replies.BAD_PARAMETER
    return None


cdef object take_wish(Session s, unsigned bit, Parameter *parameter):
    """When it is to go on: MT-PRIORITY (RFC 6710), HOLDFOR and HOLDUNTIL (RFC 4865),
    BY (RFC 2852). The door makes moments of them when it knows when MAIL came."""
    cdef bytes told = octets_of(parameter.value)
    cdef object options = s.service.options
    s.extras = True
    try:
        if bit == HAS_PRIORITY:
            s.priority = parameters.priority(told)
        elif bit == HAS_BY:
            s.by, s.by_mode = parameters.by(told)
            if s.by_mode[0] == "R" and s.by < options.min_deliver_by:
                return replies.TOO_SOON
        elif parameter.keyword.n == 9:
            s.hold_until = parameters.hold_until(told)
        else:
            s.hold_for = parameters.hold_for(told)
            if s.hold_for > options.max_future_release:
                return replies.HELD_LONG
    except ValueError:
        return replies.BAD_PARAMETER
    return None


cdef bint rcpt_parameters(Session s, Octets rest, Octets end) except -1:
    """NOTIFY and ORCPT (RFC 3461 4.1, 4.2); whether one of them was refused."""
    cdef Parameter parameter
    cdef Fault fault = FAULT_NONE
    cdef str notify = ""
    cdef str orcpt = ""
    while next_parameter(&rest, end, &parameter, &fault):
        told = octets_of(parameter.value)
        try:
            if not s.service.dsn:
                return refused(s, replies.PARAMETER)
            if span_is(parameter.keyword, b"NOTIFY", 6):
                repeated = notify
                notify = parameters.notify(told)
            elif span_is(parameter.keyword, b"ORCPT", 5):
                repeated = orcpt
                orcpt = parameters.orcpt(told, s.smtputf8)
            else:
                return refused(s, replies.PARAMETER)
        except ValueError:
            return refused(s, replies.BAD_PARAMETER)
        if repeated:
            return refused(s, replies.REPEATED)
    if fault != FAULT_NONE:
        return refused(s, bad_path(fault, ""))
    s.notice = (notify, orcpt)
    return False


cdef int keep_notice(Session s) except -1:
    """Of the recipient that was just added."""
    if s.notice is not None:
        s.extras = True
        if s.notices is None:
            s.notices = [NO_NOTICE] * (PyList_GET_SIZE(s.recipients) - 1)
    if s.notices is not None:
        s.notices.append(s.notice or NO_NOTICE)
    s.notice = None
    return 0


cdef int forget_extras(Session s) except -1:
    s.extras = s.smtputf8 = s.requiretls = False
    s.ret = s.envid = s.submitter = s.by_mode = ""
    s.priority = s.hold_for = s.hold_until = s.by = 0
    s.notices = None
    return 0


cdef bytes octets_of(Span span):
    return (<const char *> span.at)[:span.n]
