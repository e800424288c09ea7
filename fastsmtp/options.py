"""How a package declares its settings: frozen dataclasses that document themselves.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class LogOptions:
        segment_size: int = option(64 * MIB, "bytes in a segment file", SIZE, low=MIB)

`fastsmtp.config` reads these fields to decode the TOML file, to check it and to print
its defaults; a package is handed its own object and never sees the file.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

COUNT: Final = "count"  # a whole number
NUMBER: Final = "number"  # may have decimals
SCORES: Final = "scores"  # table: answer of a DNS list -> number
SIZE: Final = "size"  # bytes; written "50 MiB", "512 B" or a whole number
DURATION: Final = "duration"  # seconds; written "5 min", "250 ms", "1 d" or a number
TEXT: Final = "text"
SWITCH: Final = "switch"  # true or false
CHOICE: Final = "choice"  # one word of a Literal
ADDRESS: Final = "address"  # "host:port", "[::1]:port"; "" is none
ADDRESSES: Final = "addresses"  # list of "host:port" or "unix:/path"
PATH: Final = "path"  # a pathlib.Path; a relative one starts at the file's folder
HOSTNAME: Final = "hostname"  # a full host name, "mx.example.org"
MAILBOX: Final = "mailbox"  # an e-mail address; "" is nobody
CERTIFICATES: Final = "certificates"  # list of { certificate = path, key = path }
NETWORKS: Final = "networks"  # list of "192.0.2.0/24", "2001:db8::/32"
CHOICES: Final = "choices"  # list of words of a Literal
TEXTS: Final = "texts"  # list of texts
DURATIONS: Final = "durations"  # list of durations, in seconds
MODULE: Final = "module"  # a .py file, or the dotted name of a module
TABLE: Final = "table"  # any TOML table
SENDERS: Final = "senders"  # table: account -> addresses, "@domain" or "*"
FILE: Final = "file"  # the path of a file, as text; a relative one as PATH
NEXT_HOP: Final = "next hop"  # "mx", "smtp://host:port", "lmtp:///path" …
PATTERNS: Final = "patterns"  # list of "example.org", ".example.org", "*"
ORIGINS: Final = "origins"  # list of addresses, "@domain", "*", "<>"
ALIASES: Final = "aliases"  # table: local-part -> list of e-mail addresses


REQUIRED: Final = MISSING


def split_address(text: str) -> tuple[str, int]:
    """ "host:port" or "[IPv6]:port" as (host, port); port 0 is any free one.

    Raises `ValueError` with a sentence that says what is wrong."""
    host, colon, digits = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError("has no port")
    if not (digits.isascii() and digits.isdigit() and int(digits) < 65536):
        raise ValueError("has a port that is not a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_address(host, 6):
            raise ValueError("has brackets around what is not an IPv6 address")
    elif ":" in host:
        raise ValueError("is an IPv6 address without its brackets")
    elif host.rpartition(".")[2].isdigit() and not _is_address(host, 4):
        raise ValueError("has a host that is no IPv4 address, and ends as one")
    if not host:
        raise ValueError("has no host")
    return host, int(digits)


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def unix_path(text: str) -> str:
    """The path of "unix:/path"; "" for an address of another kind."""
    kind, colon, path = text.partition(":")
    return path if colon and kind == "unix" else ""


def option(
    default: Any,
    doc: str,
    kind: str = TEXT,
    *,
    low: float | None = None,
    high: float | None = None,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A documented field of an options class.

    kind   how the value is written in the file, one of the constants above
    low, high  the inclusive range allowed, in bytes, seconds or units
    check  returns None, or one sentence that says what is allowed

    A `default` of REQUIRED means that the file must hold the key.
    """
    meta = {"doc": doc, "kind": kind, "low": low, "high": high, "check": check}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=meta)
    return field(default=default, metadata=meta)
