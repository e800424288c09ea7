"""Listening sockets: opened here or inherited, accepted on the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

BACKLOG: Final = 4096  # connections that may wait to be accepted


def split_address(text: str) -> tuple[str, int]:
    """ "host:port" or "[v6]:port"; `ValueError` says what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, [::1]:25")
    return host, int(port)


class CannotListen(OSError):
    """An address that cannot be listened on; the text names it and says why."""


def bind(
    address: str, *, backlog: int = BACKLOG, share: bool = False
) -> list[socket.socket]:
    """Listen on "host:port"; an empty host is every address of the machine.

    share   SO_REUSEPORT: several sockets on one port, the kernel spreads connections

    Raises `CannotListen`.
    """
    host, port = split_address(address)
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, protocol)
            bound.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(place)
            sock.listen(backlog)
    except OSError as error:
        for sock in bound:
            sock.close()
        raise CannotListen(
            error.errno, f"cannot listen on {address}: {_why(error)}"
        ) from error
    return bound


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there"
    if error.errno == errno.EACCES:
        return "ports below 1024 need CAP_NET_BIND_SERVICE or an inherited socket"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address"
    return error.strerror or os.strerror(error.errno or 0) or str(error)


class Listener:
    """Accepts on sockets that already listen and makes a protocol for each.

    The sockets are the caller's and stay open after `close`: what waits in their
    queue is not lost when another process takes them over.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connection: Callable[[], asyncio.BaseProtocol],
        backlog: int = BACKLOG,
    ) -> None:
        self._sockets = tuple(sockets)
        self._connection = connection
        self._backlog = backlog
        self._servers: list[asyncio.AbstractServer] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._servers.append(
                await loop.create_server(
                    self._connection, sock=sock.dup(), backlog=self._backlog
                )
            )

    def close(self) -> None:
        """Stop accepting; open connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, "host:port", with the port that was really given."""
        named = []
        for sock in self._sockets:
            host, port = sock.getsockname()[:2]
            named.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        return tuple(named)
