"""The Python face of `commandline.pxd`; see `fastsmtp/wire/command.pyi`."""

from typing import NamedTuple

from commandline cimport (
    FAULT_CONTROL,
    FAULT_ENCODING,
    FAULT_NONE,
    FAULT_TRAILING,
    LINE_BARE_LF,
    LINE_LONG,
    LINE_MORE,
    LINE_WHOLE,
    VERB_EHLO,
    VERB_HELO,
    VERB_LHLO,
    VERB_MAIL,
    VERB_RCPT,
    Fault,
    LineEnd,
    Parameter,
    Path as PathSpans,
    Span,
    Verb,
    fault_texts,
    find_line as c_find_line,
    has_control,
    line_text_end,
    next_parameter,
    parse_bare_path,
    parse_count as c_parse_count,
    parse_host,
    parse_path,
    parse_verb,
    skip_line as c_skip_line,
)
from libc.stdint cimport uint64_t

VERBS = (
    "", "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP",
    "VRFY", "EXPN", "HELP", "QUIT", "STARTTLS", "AUTH", "XCLIENT",
)  # fmt: skip

FAULTS = (
    "none", "keyword", "no_path", "no_host", "unclosed", "route", "local", "quotes",
    "no_domain", "domain", "literal", "local_long", "domain_long", "path_long",
    "control", "encoding", "trailing", "parameter",
)  # fmt: skip

cdef dict _ENDS = {
    LINE_MORE: "more",
    LINE_WHOLE: "whole",
    LINE_BARE_LF: "bare_lf",
    LINE_LONG: "long",
}


class SyntaxFault(ValueError):
    def __init__(self, fault: str, text: str) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text


class Path(NamedTuple):
    mailbox: bytes
    local: bytes
    domain: bytes
    bracketed: bool
    routed: bool
    quoted: bool
    literal: bool
    non_ascii: bool
    postmaster: bool


class Command(NamedTuple):
    verb: str
    argument: bytes
    host: bytes = b""
    path: Path | None = None
    parameters: tuple[tuple[bytes, bytes | None], ...] = ()


cdef bytes _bytes(Span span):
    return (<const char *> span.at)[:span.n]


cdef int _check(Fault fault) except -1:
    if fault != FAULT_NONE:
        raise SyntaxFault(FAULTS[<int> fault], fault_texts[<int> fault].decode())
    return 0


cdef object _path(PathSpans *path):
    return Path(
        _bytes(path.mailbox),
        _bytes(path.local),
        _bytes(path.domain),
        bool(path.bracketed),
        bool(path.routed),
        bool(path.quoted),
        bool(path.literal),
        bool(path.non_ascii),
        bool(path.postmaster),
    )


def find_line(const unsigned char[::1] data, size_t limit=1024):
    cdef size_t length
    cdef size_t n = data.shape[0]
    cdef LineEnd found = c_find_line(&data[0] if n else NULL, n, limit, &length)
    return _ENDS[<int> found], length


def skip_line(const unsigned char[::1] data):
    cdef size_t length
    cdef size_t n = data.shape[0]
    cdef bint ended = c_skip_line(&data[0] if n else NULL, n, &length)
    return bool(ended), length


def parse(bytes line):
    cdef const unsigned char *at = <const unsigned char *> <const char *> line
    cdef const unsigned char *end
    cdef const unsigned char *rest = NULL
    cdef PathSpans path
    cdef Span host = Span(NULL, 0)
    if not line.endswith(b"\r\n"):
        raise ValueError("a command line ends with CRLF")
    end = line_text_end(at, len(line))
    cdef Verb verb = parse_verb(at, end, &rest)
    cdef bytes argument = _bytes(Span(rest, end - rest))
    name = VERBS[<int> verb]
    if has_control(at, end):
        _check(FAULT_CONTROL)
    if verb == VERB_MAIL or verb == VERB_RCPT:
        if verb == VERB_MAIL:
            _check(parse_path(rest, end, b"FROM", 4, &path))
        else:
            _check(parse_path(rest, end, b"TO", 2, &path))
        return Command(name, argument, b"", _path(&path), _parameters(path.rest, end))
    if verb == VERB_HELO or verb == VERB_EHLO or verb == VERB_LHLO:
        _check(parse_host(&rest, end, &host))
        return Command(name, argument, _bytes(host))
    return Command(name, argument)


cdef tuple _parameters(const unsigned char *rest, const unsigned char *end):
    cdef Parameter parameter
    cdef Fault fault = FAULT_NONE
    cdef list found = []
    while next_parameter(&rest, end, &parameter, &fault):
        value = _bytes(parameter.value) if parameter.has_value else None
        found.append((_bytes(parameter.keyword), value))
    _check(fault)
    return tuple(found)


def parse_mailbox(bytes text):
    cdef const unsigned char *at = <const unsigned char *> <const char *> text
    cdef const unsigned char *end = at + len(text)
    cdef PathSpans path
    _check(parse_bare_path(at, end, &path))
    if path.rest != end or path.bracketed:
        _check(FAULT_TRAILING)
    return _path(&path)


def parse_count(bytes digits):
    cdef uint64_t value
    cdef Span span = Span(<const unsigned char *> <const char *> digits, len(digits))
    return value if c_parse_count(span, &value) else None
