"""The lines a server puts in front of a message: Return-Path and Received.

RFC 5321 4.4: Received goes on top at each hop, Return-Path only at final delivery.
What a peer chose (its HELO name, addresses) is reduced to what cannot end a line,
open a comment or begin another clause. Lines are folded at 78 columns where a token
allows it (RFC 5322 2.1.1).
"""

import re
from datetime import UTC, datetime
from functools import lru_cache

WIDTH = 78  # columns without CRLF

cdef tuple DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
cdef tuple MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
cdef object STRANGE = re.compile(r"[^0-9A-Za-z._:\[\]-]")  # in a name or literal
cdef Py_ssize_t CLAUSE = WIDTH - len("Received: ")
cdef str FOLD = "\r\n\t"


@lru_cache(maxsize=4)
def date(second):
    """The date-time of RFC 5322 3.3, in UTC; `second` counts from 1970.

    Cached, because all messages of a second carry the same.
    """
    at = datetime.fromtimestamp(second, UTC)
    return (
        f"{DAYS[at.weekday()]}, {at.day} {MONTHS[at.month - 1]} {at.year:04}"
        f" {at.hour:02}:{at.minute:02}:{at.second:02} +0000"
    )


def origin(str helo, str ip, str name="", str tls=""):
    """The From clause, made once per session: `from helo (name [ip])`.

    ip    the peer's address; an IPv6 address gets its tag (RFC 5321 4.1.3); "unix" is
          a peer without one, and that is said
    name  what DNS calls the peer; "" when nobody asked
    tls   version and cipher, for a comment on a line of its own; "" in clear
    """
    literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
    if ip == "unix":
        literal = "Unix socket"
    known = f"{host_name(name)} " if name else ""
    text = f"from {host_name(helo)} ({known}{literal})"
    if tls:
        text += f"{FOLD if len(text) < CLAUSE else ' '}(using {tls})"
    return text


def received(
    str origin, str by, str protocol, str id, str recipient, str date, int priority=0
):
    """A Received field with its CRLF.

    by         our host name
    protocol   "ESMTP", "SMTP", "ESMTPS", … (RFC 3848)
    id         the queue id
    recipient  the one recipient; "" when there are several, because naming one would
               tell it to the others (RFC 5321 7.6)
    date       from `date`
    priority   of MT-PRIORITY, in a clause of its own (RFC 6710 4.1); 0: none
    """
    cdef str middle, last
    if priority:
        return prioritized((origin, by, protocol, id, recipient, date), priority)
    if recipient:
        middle = f"by {by} with {protocol} id {id}"
        last = f"for <{printable(recipient)}>; {date}"
    else:
        middle = f"by {by} with {protocol} id {id};"
        last = date
    fits = len(origin) < CLAUSE or FOLD in origin
    if fits and len(middle) < CLAUSE and len(last) < CLAUSE:
        return f"Received: {origin}\r\n\t{middle}\r\n\t{last}\r\n".encode()
    origin = origin.replace(FOLD, " ")
    parts = (last[:-len(date) - 1], date) if recipient else (date,)
    return folded("Received:", (origin.split(" "), middle.split(" "), parts))


cdef bytes prioritized(tuple said, int priority):
    """The clause stands behind all that RFC 5321 4.4 knows, in front of the date."""
    cdef str origin, by, protocol, id, recipient, date
    origin, by, protocol, id, recipient, date = said
    clauses = [origin.replace(FOLD, " ").split(" ")]
    clauses.append(f"by {by} with {protocol} id {id}".split(" "))
    if recipient:
        clauses.append([f"for <{printable(recipient)}>"])
    clauses.append([f"PRIORITY {priority};", date])
    return folded("Received:", clauses)


def return_path(str reverse_path):
    """The Return-Path field with its CRLF; "" is the null reverse-path."""
    return f"Return-Path: <{printable(reverse_path)}>\r\n".encode()


cdef str host_name(str text):
    """A host name or address literal; whatever neither may hold becomes "?"."""
    return STRANGE.sub("?", text) or "?"


cdef str printable(str text):
    """Paths were parsed; this is the second lock against an injected line."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else "?" for c in text])


cdef bytes folded(str text, clauses):
    """Each clause but the first begins a line, and so does a word that is too much."""
    cdef Py_ssize_t name = len(text)
    cdef Py_ssize_t column = name
    for clause in clauses:
        for n, word in enumerate(clause):
            first = n == 0 and column > name
            if first or column + 1 + len(word) > WIDTH:
                text += "\r\n\t" + word
                column = 1 + len(word)
            else:
                text += " " + word
                column += 1 + len(word)
    return f"{text}\r\n".encode()
