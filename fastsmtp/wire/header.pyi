"""The lines a server puts in front of a message: Return-Path and Received."""

from typing import Final

WIDTH: Final = 78

def date(second: int) -> str:
    """The date-time of RFC 5322 3.3, in UTC; `second` counts from 1970."""

def origin(helo: str, ip: str, name: str = "", tls: str = "") -> str:
    """The From clause, made once per session: `from helo (name [ip])`.

    ip    the peer's address; an IPv6 address gets its tag (RFC 5321 4.1.3)
    name  what DNS calls the peer; "" when nobody asked
    tls   version and cipher, for a comment on a line of its own; "" in clear
    """

def received(
    origin: str,
    by: str,
    protocol: str,
    id: str,
    recipient: str,
    date: str,
    priority: int = 0,
) -> bytes:
    """A Received field with its CRLF.

    by         our host name
    protocol   "ESMTP", "SMTP", "ESMTPS", … (RFC 3848)
    id         the queue id
    recipient  the one recipient; "" when there are several, because naming one would
               tell it to the others (RFC 5321 7.6)
    date       from `date`
    priority   of MT-PRIORITY, in a clause of its own (RFC 6710 4.1); 0: none
    """

def return_path(reverse_path: str) -> bytes:
    """The Return-Path field with its CRLF; "" is the null reverse-path."""
