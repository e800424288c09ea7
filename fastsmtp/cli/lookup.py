"""Questions to the DNS from a command: what the world sees, without /etc/hosts.

A stub resolver of its own, blocking, for MX, A, AAAA and PTR: UDP, and TCP when an
answer is cut short (RFC 1035 4.2). The server uses `fastsmtp.net`.
"""

import ipaddress
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TYPES: Final = {"A": 1, "PTR": 12, "MX": 15, "AAAA": 28}
PORT: Final = 53
PATIENCE: Final = 3.0  # seconds for an answer of one server
TRIES: Final = 2  # rounds over all servers
NO_ERROR: Final = 0
NO_NAME: Final = 3
CUT: Final = 0x0200  # TC
JUMPS: Final = 32  # compression pointers in one name

Server = tuple[str, int]


class NoAnswer(Exception):
    """No server answered, or what it said is no answer; the text says which."""


class NoSuchName(Exception):
    """The name does not exist."""


def servers(file: Path = Path("/etc/resolv.conf")) -> list[Server]:
    """The name servers of this machine; the local one when none is named."""
    try:
        words = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        words = []
    named = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver"]
    return [(address, PORT) for address in named or ["127.0.0.1"]]


def ask(name: str, kind: str, of: Sequence[Server] | None = None) -> list[str]:
    """Records of `kind` in words: addresses, names; MX as "10 mx.example.org", in the
    order of preference. Empty when the name has none.

    Raises `NoSuchName` or `NoAnswer`."""
    number = secrets.randbelow(65536)
    query = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0)
    query += _encoded(name) + struct.pack(">2H", TYPES[kind], 1)
    why = "there is no name server"
    for server in list(servers() if of is None else of) * TRIES:
        try:
            answer = _exchange(server, query)
        except OSError as error:
            why = f"{server[0]}: {error.strerror or 'no answer in time'}"
            continue
        code = answer[3] & 15
        if code == NO_NAME:
            raise NoSuchName(f"{name} does not exist")
        if code != NO_ERROR:
            why = f"{server[0]} could not answer (code {code})"
            continue
        try:
            return _records(answer, TYPES[kind])
        except (IndexError, struct.error, ValueError):
            why = f"{server[0]} gave no proper answer"
    raise NoAnswer(why)


def reverse(address: str) -> str:
    """The name under which the DNS keeps the names of an address."""
    return ipaddress.ip_address(address).reverse_pointer


def _encoded(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    if any(len(label) > 63 for label in labels):
        raise NoSuchName(f"{name} is no name")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _exchange(server: Server, query: bytes) -> bytes:
    """Raises `OSError`, `TimeoutError` among them."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    deadline = time.monotonic() + PATIENCE
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(server)
        sock.send(query)
        while True:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            answer = sock.recv(4096)
            if _answers(query, answer):
                break
    if not int.from_bytes(answer[2:4], "big") & CUT:
        return answer
    with socket.create_connection(server, PATIENCE) as stream:
        stream.sendall(len(query).to_bytes(2, "big") + query)
        with stream.makefile("rb") as file:
            answer = file.read(int.from_bytes(file.read(2), "big"))
    if not _answers(query, answer):
        raise OSError(0, "it answered something else")
    return answer


def _answers(query: bytes, answer: bytes) -> bool:
    """The same number and question, and it is an answer."""
    return (
        len(answer) >= len(query)
        and answer[:2] == query[:2]
        and bool(answer[2] & 0x80)
        and answer[12 : len(query)].lower() == query[12:].lower()
    )


def _records(answer: bytes, wanted: int) -> list[str]:
    questions, count = struct.unpack_from(">2H", answer, 4)
    at = 12
    for _ in range(questions):
        at = _name(answer, at)[1] + 4
    found: list[tuple[int, str]] = []
    for _ in range(count):
        _, at = _name(answer, at)
        kind, _, _, size = struct.unpack_from(">HHIH", answer, at)
        at += 10
        if kind == wanted:
            found.append(_data(answer, at, size, kind))
        at += size
    return [text for _, text in sorted(found)]


def _data(answer: bytes, at: int, size: int, kind: int) -> tuple[int, str]:
    """What to sort by, and the text."""
    if kind in (TYPES["A"], TYPES["AAAA"]):
        return 0, str(ipaddress.ip_address(answer[at : at + size]))
    if kind == TYPES["MX"]:
        (preference,) = struct.unpack_from(">H", answer, at)
        return preference, f"{preference} {_name(answer, at + 2)[0]}"
    return 0, _name(answer, at)[0]


def _name(answer: bytes, at: int) -> tuple[str, int]:
    """A name, "." for the root, and where the next thing begins."""
    labels: list[str] = []
    end = 0
    for _ in range(128 + JUMPS):
        size = answer[at]
        if size >= 0xC0:
            end = end or at + 2
            at = (size & 0x3F) << 8 | answer[at + 1]
        elif size == 0:
            return ".".join(labels) or ".", end or at + 1
        else:
            labels.append(answer[at + 1 : at + 1 + size].decode("latin-1").lower())
            at += 1 + size
    raise ValueError("a name that does not end")
