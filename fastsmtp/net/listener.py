"""Listening sockets: opened here or inherited, accepted on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastsmtp.options import split_address

BACKLOG: Final = 4096  # connections that may wait to be accepted
LOOK: Final = 1.0  # seconds between looks whether accepting works
FIRST_PAUSE: Final = 0.1  # seconds without accepting after it failed; then doubled
SOME: Final = 8  # descriptors that must be free before accepting goes on
LONGEST_PAUSE: Final = 5.0  # seconds
UNIX: Final = "unix:"
KEEP: Final[dict[str, Any]] = (
    {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
)
"""The file of a Unix socket stays: others may listen on it as well."""


class CannotListen(OSError):
    """An address that cannot be listened on; the text names it and says why."""


def bind(
    address: str, *, backlog: int = BACKLOG, share: bool = False
) -> list[socket.socket]:
    """Listen on "host:port", or on "unix:/path", see `bind_path`.

    share   SO_REUSEPORT: several sockets on one port, the kernel spreads connections

    Raises `CannotListen`.
    """
    if address.startswith(UNIX):
        return [bind_path(address.removeprefix(UNIX), backlog)]
    host, port = split_address(address)
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
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


def bind_path(path: str, backlog: int) -> socket.socket:
    """Listen on a Unix socket. One that nobody listens on any more is replaced. Who may
    connect is said by the rights of its folder: its own let everybody.

    Raises `CannotListen`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        if left_behind(path):
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o666)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        why = "who may not write to its folder may not make it"
        why = why if error.errno == errno.EACCES else _why(error)
        text = f"cannot listen on {UNIX}{path}: {why}"
        raise CannotListen(error.errno, text) from error
    return sock


def left_behind(path: str) -> bool:
    """Whether this is a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def name_of(sock: socket.socket) -> str:
    """Where it listens, as one writes it: with the port that was really given."""
    if sock.family == socket.AF_UNIX:
        return f"{UNIX}{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there"
    if error.errno == errno.EACCES:
        return "ports below 1024 need CAP_NET_BIND_SERVICE or an inherited socket"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address"
    return error.strerror or os.strerror(error.errno or 0) or str(error)


def scarce(needed: int) -> str | None:
    """Why so many descriptors cannot be had; None when they can."""
    taken: list[int] = []
    try:
        for _ in range(needed):
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return None


class Listener:
    """Accepts on sockets that already listen and makes a protocol for each.

    The sockets are the caller's and stay open after `close`: what waits in their
    queue is not lost when another process takes them over.

    Law: when accepting fails (no descriptors, no memory) it is neither tried without a
    pause nor given up. The event loop tells nobody: without descriptors libuv accepts
    and drops who waits, at other errors it tries again at once, for ever. So we look
    now and then whether a descriptor can be had, and whether somebody waits while
    nobody comes in. If so, accepting is left for a while, ever longer, and those who
    wait stay in the queue until an attempt of our own succeeds.

    trouble  told why accepting pauses, and "" when it goes again
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connection: Callable[[], asyncio.BaseProtocol],
        backlog: int = BACKLOG,
        trouble: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._sockets = tuple(sockets)
        self._connection = connection
        self._backlog = backlog
        self._trouble = trouble
        self._servers: list[asyncio.AbstractServer] = []
        self._accepted = 0
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._accept()
        self._watching = asyncio.ensure_future(self._watch())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        server: asyncio.AbstractServer
        for sock in self._sockets:
            mine, backlog = sock.dup(), self._backlog
            if sock.family == socket.AF_UNIX:
                server = await loop.create_unix_server(
                    self._make, sock=mine, backlog=backlog, **KEEP
                )
            else:
                server = await loop.create_server(
                    self._make, sock=mine, backlog=backlog
                )
            self._servers.append(server)

    def _make(self) -> asyncio.BaseProtocol:
        self._accepted += 1
        return self._connection()

    async def _watch(self) -> None:
        before = -1
        while True:
            await asyncio.sleep(LOOK)
            stuck = before == self._accepted and self._waiting()
            if stuck or scarce(1) is not None:
                await self._pause()
            before = self._accepted if self._waiting() else -1

    def _waiting(self) -> list[socket.socket]:
        """The sockets with somebody in their queue."""
        poll = select.poll()
        by_number = {sock.fileno(): sock for sock in self._sockets}
        for number in by_number:
            poll.register(number, select.POLLIN)
        return [by_number[number] for number, _ in poll.poll(0)]

    async def _pause(self) -> None:
        """Until an attempt of our own succeeds; returns at once if the first does."""
        pause, told = FIRST_PAUSE, False
        while (why := await self._attempt()) is not None:
            if not told:
                self._trouble(why)
                told = True
            self._stop()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if told:
            self._trouble("")
        if not self._servers:
            await self._accept()

    async def _attempt(self) -> str | None:
        """Accept one from each queue; why that cannot be, None when it can."""
        if (why := scarce(len(self._sockets) + SOME)) is not None:
            return why
        loop = asyncio.get_running_loop()
        for sock in self._waiting():
            try:
                taken, _ = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:
                return error.strerror or str(error)
            taken.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._make, taken)
        return None

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def close(self) -> None:
        """Stop accepting; open connections go on."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        self._stop()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, "host:port", with the port that was really given."""
        return tuple(name_of(sock) for sock in self._sockets)
