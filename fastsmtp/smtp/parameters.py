"""Values of the parameters of MAIL and RCPT that are more than a number or a word.

Each function takes the octets behind "=", which the parser found to be printable, and
returns what they stand for; `ValueError` when they are not what the RFC allows.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from fastsmtp.wire.command import SyntaxFault, parse_mailbox

ENVID_MAX: Final = 100  # characters as they come, RFC 3461 4.4
ORCPT_MAX: Final = 500  # 4.2
NOTICES: Final = ("SUCCESS", "FAILURE", "DELAY")

_ESCAPE: Final = re.compile(rb"\+([0-9A-Fa-f]{2})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PRIORITY: Final = re.compile(rb"0|-?[1-9]")
_HOLD: Final = re.compile(rb"[1-9][0-9]{0,8}")
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_BY: Final = re.compile(rb"([+-]?[0-9]{1,9});([NR])(T?)")
_TYPE: Final = re.compile(rb"[0-9A-Za-z!#$%&'*/?^_`{|}~-]+")


def xtext(value: bytes) -> bytes:
    """Undo "+3D" and the like (RFC 3461 4)."""
    if b"+" in _ESCAPE.sub(b"", value):
        raise ValueError("a plus is not followed by two hexadecimal digits")
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), value)


def printable(octets: bytes) -> str:
    """As ASCII without controls: no value can end a line of a report or a log."""
    text = octets.decode("ascii")
    if not text.isprintable():
        raise ValueError("a control character")
    return text


def ret(value: bytes) -> str:
    """RET: "FULL" or "HDRS" (RFC 3461 4.3)."""
    word = value.decode("ascii").upper()
    if word not in ("FULL", "HDRS"):
        raise ValueError("neither FULL nor HDRS")
    return word


def envid(value: bytes) -> str:
    """ENVID, decoded (RFC 3461 4.4)."""
    if not 0 < len(value) <= ENVID_MAX:
        raise ValueError("too long")
    return printable(xtext(value))


def notify(value: bytes) -> str:
    """NOTIFY: "NEVER" alone, or words of `NOTICES` in their order (RFC 3461 4.1)."""
    words = value.decode("ascii").upper().split(",")
    if words == ["NEVER"]:
        return "NEVER"
    if not words or not set(words) <= set(NOTICES):
        raise ValueError("an unknown word, or NEVER with others")
    return ",".join(word for word in NOTICES if word in words)


def orcpt(value: bytes, utf8: bool) -> str:
    """ORCPT as "type;address", decoded (RFC 3461 4.2, RFC 6533 3).

    utf8  whether SMTPUTF8 was asked for: only then may it hold more than ASCII
    """
    kind, semicolon, address = value.partition(b";")
    if len(value) > ORCPT_MAX or not semicolon or not address:
        raise ValueError("not type;address")
    if not _TYPE.fullmatch(kind):
        raise ValueError("the type is not an atom")
    octets = xtext(address)
    if utf8 and kind.lower() == b"utf-8":
        text = octets.decode()
        if not text.isprintable():
            raise ValueError("a control character")
        return f"utf-8;{text}"
    return f"{kind.decode().lower()};{printable(octets)}"


def submitter(value: bytes) -> str:
    """AUTH: a mailbox, or "" for `<>` (RFC 4954 5)."""
    octets = xtext(value)
    if octets == b"<>":
        return ""
    try:
        return parse_mailbox(octets).mailbox.decode()
    except SyntaxFault as fault:
        raise ValueError(fault.text) from None


def priority(value: bytes) -> int:
    """MT-PRIORITY: -9 to 9 (RFC 6710 5)."""
    if not _PRIORITY.fullmatch(value):
        raise ValueError("not a number from -9 to 9")
    return int(value)


def hold_for(value: bytes) -> int:
    """HOLDFOR: seconds, 1 to 999999999 (RFC 4865 4)."""
    if not _HOLD.fullmatch(value):
        raise ValueError("not a number of seconds")
    return int(value)


def hold_until(value: bytes) -> int:
    """HOLDUNTIL: milliseconds of the wall clock (RFC 4865 4, RFC 3339 5.6); a moment
    that is over is one, too."""
    text = value.decode("ascii").upper()
    if not _MOMENT.fullmatch(text):
        raise ValueError("not a date and time of RFC 3339")
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def by(value: bytes) -> tuple[int, str]:
    """BY: seconds from now and "R", "N", "RT" or "NT" (RFC 2852 4). Mail that is to
    come back has time until then (4.1.3); "N" may be late already."""
    found = _BY.fullmatch(value.upper())
    if not found:
        raise ValueError("not seconds;mode")
    seconds, mode = int(found[1]), (found[2] + found[3]).decode()
    if mode[0] == "R" and seconds <= 0:
        raise ValueError("it is over already")
    return seconds, mode
