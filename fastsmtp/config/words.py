"""What a name or an address in a configuration may be; a sentence if it is none."""

import ipaddress
import re
from typing import Final

_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def name_fault(name: str) -> str | None:
    """Why this is not a domain name (RFC 5321 4.1.2 Domain, 4.5.3.1.2), or None."""
    if not name.isascii():
        return "has letters outside ASCII; write its xn-- form"
    if not name or len(name) > 255:
        return "is empty" if not name else "is longer than 255 octets"
    if name.endswith("."):
        return "ends with a dot"
    if re.fullmatch(r"[0-9.]+|\[.*\]", name):
        return "is an IP address, not a name"
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            shown = f'has the part "{label}"' if label else "has two dots in a row"
            return f"{shown}; parts are letters, digits and inner hyphens, at most 63"
    return None


def local_part_fault(local: str) -> str | None:
    """Why this cannot be the name of an account or alias (a dot-atom), or None."""
    if not local or len(local) > 64:
        return "is empty" if not local else "is longer than 64 octets"
    if not all(_ATOM.fullmatch(atom) for atom in local.split(".")):
        return "has a local-part that is not plain words joined by single dots"
    return None


def mailbox_fault(address: str) -> str | None:
    """Why this is not a plain e-mail address, or None."""
    local, at, domain = address.rpartition("@")
    if not at:
        return "has no @domain"
    return local_part_fault(local) or name_fault(domain)


def pattern_fault(text: str) -> str | None:
    """Why this names no domains ("example.org", ".example.org", "*"), or None."""
    return None if text == "*" else name_fault(text.removeprefix("."))


def origin_fault(text: str) -> str | None:
    """Why this names no senders (an address, "@domain", "<>", "*"), or None."""
    if text in ("*", "<>"):
        return None
    return name_fault(text[1:]) if text.startswith("@") else mailbox_fault(text)


def destination_fault(text: str) -> str | None:
    """Why this names nobody whom mail goes to (a pattern, an IP address, the path of a
    socket), or None."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return None if text.startswith("/") else pattern_fault(text)
    return None
