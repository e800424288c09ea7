"""The PROXY protocol, versions 1 and 2: who a client is, told by the proxy before it.

Bytes in, an answer out; no socket and no clock. The header comes once, at the very
beginning, before TLS and before SMTP:

    1   PROXY TCP4 192.0.2.7 192.0.2.1 4711 25 CRLF      at most 107 octets
    2   signature (12), version and command, family, length (2), addresses, extensions

Only who was told to is asked to read it: a stranger could name any address here.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, NamedTuple

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
OLD: Final = b"PROXY "
LONGEST_LINE: Final = 107  # octets of version 1 with CRLF
FIXED: Final = 16  # octets of version 2 before the addresses
LONGEST: Final = 4096  # octets of version 2 in all; extensions are rarely 200

LOCAL: Final = 0x20
PROXY: Final = 0x21
TCP4: Final = 0x11
TCP6: Final = 0x21
FOUR: Final = 12  # octets of two IPv4 addresses and ports
SIX: Final = 36  # of IPv6
STREAMS: Final = (0x00, TCP4, TCP6, 0x31)
"""Unknown, TCP over IPv4 and IPv6, a Unix stream; anything else is no connection."""


class NotProxy(ValueError):
    """What came is no header of the protocol; the text says why."""


class Header(NamedTuple):
    """client  address and port; None: what the socket says (a check of the proxy's own)
    size    octets of the header
    """

    client: tuple[str, int] | None
    size: int


def parse(data: bytes) -> Header | None:
    """The header at the beginning of `data`, None while it is not complete.

    Raises `NotProxy` as soon as it cannot become one."""
    if data.startswith(SIGNATURE):
        return _binary(data)
    if SIGNATURE.startswith(data):
        return None
    if data.startswith(OLD):
        return _line(data)
    if OLD.startswith(data):
        return None
    raise NotProxy("the connection does not begin with a PROXY header")


def _line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(data) >= LONGEST_LINE:
            raise NotProxy("the line is too long")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(None, end + 2)
    family = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}.get(words[1])
    if family is None or len(words) != 6:
        raise NotProxy("the line is not of the form it must have")
    client = _address(words[2], family)
    _address(words[3], family)
    _port(words[5])
    return Header((client, _port(words[4])), end + 2)


def _address(text: bytes, family: int) -> str:
    """As `getpeername` would give it."""
    try:
        packed = socket.inet_pton(family, text.decode("ascii"))
    except (OSError, ValueError):
        raise NotProxy("an address is wrong") from None
    return str(ipaddress.ip_address(packed))


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or text != str(int(text)).encode():
        raise NotProxy("a port is wrong")
    if (port := int(text)) > 65535:
        raise NotProxy("a port is wrong")
    return port


def _binary(data: bytes) -> Header | None:
    if len(data) > 12 and data[12] not in (LOCAL, PROXY):
        raise NotProxy("an unknown version or command")
    if len(data) < FIXED:
        return None
    command, family = data[12], data[13]
    size = FIXED + int.from_bytes(data[14:16], "big")
    if size > LONGEST:
        raise NotProxy("the header is too long")
    needed = {TCP4: FOUR, TCP6: SIX}.get(family, 0)
    if command == PROXY and (family not in STREAMS or size < FIXED + needed):
        raise NotProxy("the addresses are wrong")
    if len(data) < size:
        return None
    if command == LOCAL or not needed:
        return Header(None, size)
    addresses = data[FIXED : FIXED + needed]
    width = (needed - 4) // 2
    client = str(ipaddress.ip_address(addresses[:width]))
    return Header((client, int.from_bytes(addresses[-4:-2], "big")), size)
