"""A name server on loopback that says what a test tells it, by UDP only."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

NO_NAME = 3
FAILURE = 2
TYPES = {1: "A", 5: "CNAME", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}
CODES = {kind: code for code, kind in TYPES.items()}
Data = tuple[str, bytes]
"""Type and data of a record."""
Zone = dict[tuple[str, str], list[Data] | int]
"""(type, name) to records, or to the code of a failure; what is absent has no name."""


def wire(name: str) -> bytes:
    labels = (bytes((len(part),)) + part.encode() for part in name.split(".") if part)
    return b"".join(labels) + b"\0"


def a(address: str) -> Data:
    return "A", socket.inet_aton(address)


def aaaa(address: str) -> Data:
    return "AAAA", socket.inet_pton(socket.AF_INET6, address)


def ptr(name: str) -> Data:
    return "PTR", wire(name)


def cname(name: str) -> Data:
    return "CNAME", wire(name)


def mx(preference: int, name: str) -> Data:
    return "MX", struct.pack(">H", preference) + wire(name)


def txt(*strings: bytes) -> Data:
    return "TXT", b"".join(bytes((len(s),)) + s for s in strings)


def question(query: bytes) -> tuple[str, str, int]:
    """Type, name, and where the question ends."""
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode())
        at += 1 + size
    (code,) = struct.unpack_from(">H", query, at + 1)
    return TYPES.get(code, str(code)), ".".join(labels).lower(), at + 5


def answer(query: bytes, zone: Zone, ttl: int) -> bytes:
    kind, name, end = question(query)
    found = zone.get((kind, name), NO_NAME)
    code, records = (found, []) if isinstance(found, int) else (0, found)
    head = query[:2] + struct.pack(">5H", 0x8180 | code, 1, len(records), 0, 0)
    body = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", CODES[k], 1, ttl, len(data)) + data
        for k, data in records
    )
    return head + query[12:end] + body


class NameServer(asyncio.DatagramProtocol):
    """asked   what came, in order
    silent  while true, nothing is answered"""

    def __init__(self, zone: Zone, ttl: int) -> None:
        self.zone = zone
        self.ttl = ttl
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        self.address = ""
        self._send: Callable[[bytes, object], None] = lambda data, to: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        self._send = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.asked.append(question(data)[:2])
        if not self.silent:
            self._send(answer(data, self.zone, self.ttl), addr)


@asynccontextmanager
async def serving(zone: Zone, ttl: int = 60) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(zone, ttl), ("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
