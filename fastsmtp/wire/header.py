"""The lines a server puts in front of a message: Return-Path and Received.

RFC 5321 4.4: Received goes on top at each hop, Return-Path only at final delivery.
What a peer chose (its HELO name, addresses) is reduced to what cannot end a line,
open a comment or begin another clause. Lines are folded at 78 columns where a token
allows it (RFC 5322 2.1.1).
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

WIDTH: Final = 78  # columns without CRLF

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_STRANGE: Final = re.compile(r"[^0-9A-Za-z._:\[\]-]")  # in a name or address literal


@lru_cache(maxsize=4)
def date(second: int) -> str:
    """The date-time of RFC 5322 3.3, in UTC; `second` counts from 1970.

    Cached, because all messages of a second carry the same.
    """
    at = datetime.fromtimestamp(second, UTC)
    return (
        f"{_DAYS[at.weekday()]}, {at.day} {_MONTHS[at.month - 1]} {at.year:04}"
        f" {at.hour:02}:{at.minute:02}:{at.second:02} +0000"
    )


def origin(helo: str, ip: str, name: str = "") -> str:
    """The From clause, made once per session: `from helo (name [ip])`.

    ip    the peer's address; an IPv6 address gets its tag (RFC 5321 4.1.3)
    name  what DNS calls the peer; "" when nobody asked
    """
    literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
    known = f"{_name(name)} " if name else ""
    return f"from {_name(helo)} ({known}{literal})"


def received(
    origin: str, by: str, protocol: str, id: str, recipient: str, date: str
) -> bytes:
    """A Received field with its CRLF.

    by         our host name
    protocol   "ESMTP", "SMTP", "ESMTPS", … (RFC 3848)
    id         the queue id
    recipient  the one recipient; "" when there are several, because naming one would
               tell it to the others (RFC 5321 7.6)
    date       from `date`
    """
    if recipient:
        last = [f"for <{_printable(recipient)}>;", date]
    else:
        last = [date]
        id += ";"
    middle = f"by {by} with {protocol} id {id}"
    clauses = (origin, middle, " ".join(last))
    if max(map(len, clauses)) < WIDTH - len("Received: "):
        return "Received: {}\r\n\t{}\r\n\t{}\r\n".format(*clauses).encode()
    return _folded("Received:", (origin.split(" "), middle.split(" "), last))


def return_path(reverse_path: str) -> bytes:
    """The Return-Path field with its CRLF; "" is the null reverse-path."""
    return f"Return-Path: <{_printable(reverse_path)}>\r\n".encode()


def _name(text: str) -> str:
    """A host name or address literal; whatever neither may hold becomes "?"."""
    return _STRANGE.sub("?", text) or "?"


def _printable(text: str) -> str:
    """Paths were parsed; this is the second lock against an injected line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)


def _folded(name: str, clauses: Iterable[Sequence[str]]) -> bytes:
    """Each clause but the first begins a line, and so does a word that is too much."""
    text = name
    column = len(name)
    for clause in clauses:
        for n, word in enumerate(clause):
            first = n == 0 and column > len(name)
            if first or column + 1 + len(word) > WIDTH:
                text += "\r\n\t" + word
                column = 1 + len(word)
            else:
                text += " " + word
                column += 1 + len(word)
    return f"{text}\r\n".encode()
