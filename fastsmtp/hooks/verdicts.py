"""What a hook may answer. Each checks itself when it is made, so that a mistake is
reported with the line of the hook that made it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

TEXT_MOST: Final = 400  # octets; a reply line has 512 with code, status and CRLF
LINE_MOST: Final = 998  # octets of a header line (RFC 5322 2.1.1)
HEADERS_MOST: Final = 64 * 1024  # octets that one answer may add
LINE_GOOD: Final = 78

_STATUS: Final = re.compile(r"([245])\.\d{1,3}\.\d{1,3}")
_NAME: Final = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 3.6.8


class Reject(msgspec.Struct, frozen=True):
    """Never: the sender gets the mail back.

    text      one line of ASCII for the peer
    code      5xx
    enhanced  RFC 3463 status
    """

    text: str = "Rejected by policy"
    code: int = 554
    enhanced: str = "5.7.1"

    def __post_init__(self) -> None:
        check_reply(self.code, self.enhanced, self.text, 5)


class Defer(msgspec.Struct, frozen=True):
    """Not now: a mail server tries again later. Code 421 also ends the connection."""

    text: str = "Try again later"
    code: int = 451
    enhanced: str = "4.7.1"

    def __post_init__(self) -> None:
        check_reply(self.code, self.enhanced, self.text, 4)


class Accept(msgspec.Struct, frozen=True):
    """This hook has nothing against it; the next is asked. The same as None.

    headers  fields to put above those of the message: names and values. Allowed as an
             answer to `message` only. A value may have line breaks where a space or tab
             follows; it is folded where it is long, and encoded where it is not ASCII
             (RFC 2047).
    """

    headers: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        self.lines()

    def lines(self) -> bytes:
        """The fields with CRLF. Raises `ValueError` for what cannot be one."""
        lines = b"".join(field(name, value) for name, value in self.headers)
        if len(lines) > HEADERS_MOST:
            raise ValueError(f"{len(lines)} octets of headers, allowed: {HEADERS_MOST}")
        return lines


Verdict = Accept | Reject | Defer | None


def check_reply(code: int, enhanced: str, text: str, first: int) -> None:
    """Raises `ValueError` unless this makes a reply of class `first`."""
    if not first * 100 <= code < first * 100 + 100:
        raise ValueError(f"the code of {text!r} must be {first}xx, not {code}")
    status = _STATUS.fullmatch(enhanced)
    if status is None or int(status[1]) != first:
        raise ValueError(f"{enhanced!r} is not a status such as {first}.7.1")
    if not text or len(text) > TEXT_MOST:
        raise ValueError(f"the text has 1 to {TEXT_MOST} characters, not {len(text)}")
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"the text {text!r} is not one line of printable ASCII")


def field(name: str, value: str) -> bytes:
    """One header field with CRLF; raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    lines = value.replace("\r\n", "\n").split("\n")
    if not value.isascii() and len(lines) == 1:
        from email.header import Header  # most processes never need it

        lines = Header(value, "utf-8", 76, name).encode().split("\n")
    elif len(lines) == 1:
        lines = folded(value, LINE_GOOD - len(name) - 2)
    for line in lines:
        if not (line.replace("\t", " ").isprintable() and line.isascii()):
            raise ValueError(f"the value of {name} has a character that no field may")
        if len(name) + 2 + len(line) > LINE_MOST:
            raise ValueError(f"the value of {name} has a line over {LINE_MOST} octets")
    for line in lines[1:]:
        if line[:1] not in (" ", "\t") or not line.strip():
            raise ValueError(f"a line of {name} does not begin with a space or tab")
    return f"{name}: {lines[0]}\r\n".encode() + b"".join(
        line.encode() + b"\r\n" for line in lines[1:]
    )


def folded(value: str, room: int) -> list[str]:
    """`value` in lines, cut at single spaces; the first has `room` (RFC 5322 2.2.3)."""
    lines = [""]
    for word in value.split(" "):
        line = f"{lines[-1]} {word}" if lines != [""] else word
        if len(line) > room and word and lines[-1].strip():
            lines.append(f" {word}")
            room = LINE_GOOD
        else:
            lines[-1] = line
    return lines
