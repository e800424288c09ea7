"""XCLIENT: a proxy that is trusted tells whom it speaks for.

The command is Postfix's: `XCLIENT NAME=… ADDR=… PORT=…`, values in xtext,
`[UNAVAILABLE]` for what the proxy does not know, `[TEMPUNAVAIL]` for what it could not
find out now.
"""

import ipaddress
import re
from typing import Final

from fastsmtp.smtp.offers import ATTRIBUTES
from fastsmtp.smtp.parameters import printable, xtext

NAMES: Final = frozenset((*ATTRIBUTES.split(), "LOGIN"))
LONGEST: Final = 255  # characters of a value
TEMPORARY: Final = "[TEMPUNAVAIL]"
_UNKNOWN: Final = ("[UNAVAILABLE]", TEMPORARY)
_HOST: Final = re.compile(r"[0-9A-Za-z._:\[\]-]+")
_PORT: Final = re.compile(r"[0-9]{1,5}")


def attributes(told: bytes) -> dict[str, str]:
    """The attributes by name, decoded and checked; `ValueError` when one is wrong.

    What is unknown is ""; NAME is TEMPORARY when DNS may know it later. Addresses are
    as `ipaddress` writes them.
    """
    found: dict[str, str] = {}
    for word in told.split():
        name, equals, value = word.partition(b"=")
        key = name.decode("latin-1").upper()
        if not equals or key not in NAMES or key in found:
            raise ValueError(f"{key!r} is no attribute, or stands twice")
        found[key] = _checked(key, value)
    if not found:
        raise ValueError("no attribute")
    return found


def _checked(key: str, value: bytes) -> str:
    said = value.decode("latin-1").upper()
    if said in _UNKNOWN:
        return TEMPORARY if key == "NAME" and said == TEMPORARY else ""
    text = printable(xtext(value))
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"the length of {key}")
    if key in ("ADDR", "DESTADDR"):
        if "%" in text:
            raise ValueError(f"{key} has a zone, which means nothing elsewhere")
        return str(ipaddress.ip_address(re.sub("(?i)^ipv6:", "", text)))
    if key in ("PORT", "DESTPORT"):
        if not _PORT.fullmatch(text) or int(text) > 65_535:
            raise ValueError(f"{key} is no port")
    elif key == "PROTO":
        text = text.upper()
        if text not in ("SMTP", "ESMTP", "LMTP"):
            raise ValueError("an unknown protocol")
    elif key in ("NAME", "HELO") and not _HOST.fullmatch(text):
        raise ValueError(f"{key} is no host name")
    return text
