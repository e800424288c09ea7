"""A name server for load tests: every name has the same address, and no other record.

It listens on loopback, by UDP alone, in a thread of its own.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

ADDRESS: Final = socket.inet_aton("127.0.0.1")
A: Final = 1
TTL: Final = 3600
END: Final = b"\0"  # of a question: what a name server may get to end its work


def answer(query: bytes) -> bytes:
    """NOERROR; without a record where something else than an address is wanted."""
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack_from(">H", query, end - 4)
    count = 1 if kind == A else 0
    head = query[:2] + struct.pack(">5H", 0x8180, 1, count, 0, 0)
    record = b"\xc0\x0c" + struct.pack(">HHIH", A, 1, TTL, 4) + ADDRESS
    return head + query[12:end] + record * count


@contextmanager
def names() -> Iterator[str]:
    """Where it listens, "127.0.0.1:port", until the end of the context."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        place = sock.getsockname()
        thread = Thread(target=_serve, args=(sock,), daemon=True)
        thread.start()
        try:
            yield f"{place[0]}:{place[1]}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(END, place)
            thread.join()


def _serve(sock: socket.socket) -> None:
    while True:
        query, peer = sock.recvfrom(512)
        if query == END:
            return
        sock.sendto(answer(query), peer)
