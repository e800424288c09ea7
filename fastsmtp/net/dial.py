"""A connection to the first of several addresses that takes one (RFC 8305).

    dial = Dial(addresses, stagger=0.25, timeout=30)
    sock, address = await dial.next()     # `NoConnection`: none of them is left
    sock, address = await dial.next()     # that one was no good: another

Addresses are tried in their order, which is the caller's business (RFC 8305 4). The
next one is not waited for longer than `stagger`: then it is tried beside those that do
not answer, or at once when the last of them has failed. The first that connects wins,
the others are closed. What was tried is never tried again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

from fastsmtp.options import unix_path


class Place(NamedTuple):
    """Where a server listens: an IP address and a port; or "unix:/path", and 0."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        if unix_path(self.host):
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def target(self) -> str | tuple[str, int]:
        return unix_path(self.host) or (self.host, self.port)

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
TIMEOUT: Final = "timeout"


class Failure(NamedTuple):
    """why: REFUSED, UNREACHABLE or TIMEOUT; text: for people."""

    place: Place
    why: str
    text: str


class NoConnection(Exception):
    """None of the addresses has taken a connection. `failures` are all, in order."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        told = "; ".join(f"{f.place}: {f.text}" for f in self.failures)
        super().__init__(told or "there is no address to connect to")


class Dial:
    """
    sources  addresses to connect from, by family; none: any
    timeout  seconds for one address
    """

    def __init__(
        self,
        places: Sequence[Place],
        *,
        stagger: float = 0.25,
        timeout: float = 30.0,
        sources: dict[socket.AddressFamily, str] | None = None,
    ) -> None:
        self.left = list(reversed(places))
        self.failures: list[Failure] = []
        self._stagger = stagger
        self._timeout = timeout
        self._sources = sources or {}

    async def next(self) -> tuple[socket.socket, Place]:
        """The socket is connected, does not block and is the caller's."""
        running: dict[asyncio.Task[socket.socket], Place] = {}
        try:
            while self.left or running:
                if self.left:
                    place = self.left.pop()
                    running[asyncio.ensure_future(self._one(place))] = place
                won = await self._first(running)
                if won is not None:
                    return won
        finally:
            self._drop(running)
        raise NoConnection(self.failures)

    async def _first(
        self, running: dict[asyncio.Task[socket.socket], Place]
    ) -> tuple[socket.socket, Place] | None:
        """Wait until one of them connects, or it is time for another."""
        pause = self._stagger if self.left else None
        done, _ = await asyncio.wait(
            running, timeout=pause, return_when=asyncio.FIRST_COMPLETED
        )
        won = None
        for task in [task for task in running if task in done]:
            place = running.pop(task)
            error = task.exception()
            if error is None and won is None:
                won = task.result(), place
            elif error is None:  # two at once: the other may be wanted later
                task.result().close()
                self.left.append(place)
            else:
                self.failures.append(_failure(place, error))
        return won

    def _drop(self, running: dict[asyncio.Task[socket.socket], Place]) -> None:
        """Give up what has not answered; it comes after what was not tried."""
        for task, place in running.items():
            task.cancel()
            task.add_done_callback(_close)
            self.left.insert(0, place)
        running.clear()

    async def _one(self, place: Place) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock = socket.socket(place.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            source = self._sources.get(place.family)
            if source:
                sock.bind((source, 0))
            async with asyncio.timeout(self._timeout):
                await loop.sock_connect(sock, place.target)
        except BaseException:
            sock.close()
            raise
        return sock


def _close(task: asyncio.Task[socket.socket]) -> None:
    """It connected when it was not wanted any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _failure(place: Place, error: BaseException) -> Failure:
    if isinstance(error, TimeoutError) and getattr(error, "errno", None) is None:
        return Failure(place, TIMEOUT, "no connection in time")
    if not isinstance(error, OSError):
        raise error
    why = UNREACHABLE
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ENOENT:
        why = REFUSED
    elif error.errno == errno.ETIMEDOUT:
        why = TIMEOUT
    return Failure(place, why, os.strerror(error.errno) if error.errno else str(error))
