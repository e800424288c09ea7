"""A small HTTP/1.1 client for services that hooks ask: POST, connections that are kept,
answers with limits. `httptools` reads what comes; nothing here trusts it.

    client = Client(place("http://127.0.0.1:11333/checkv2"), most=1 << 20)
    answer = await client.post(headers, body.pieces, body.size)

One request is on a connection at a time. When one that was kept ends before the first
octet of an answer, the request is sent again on another: who is asked twice only looks
at a message twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httptools

READ: Final = 64 * 1024  # octets
HEADERS_MOST: Final = 200
HEADER_MOST: Final = 64 * 1024  # octets of all of them
KEPT_MOST: Final = 32  # idle connections
KEPT_FOR: Final = 5.0  # seconds; servers close idle ones after ten and more

Headers = Sequence[tuple[str, str]]


class BadAnswer(Exception):
    """What came is not HTTP, or more than we take."""


class Lost(Exception):
    """The connection ended before anything was answered."""


class Answer(NamedTuple):
    status: int
    body: bytes


class Place(NamedTuple):
    """Where a URL leads: `http://host:port/path`, or `http+unix:/path/of/socket`."""

    host: str
    port: int
    path: str
    unix: str = ""


def place(url: str) -> Place:
    """Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        if not parts.path.startswith("/"):
            raise ValueError(f"{url}: a Unix socket has a full path")
        return Place("localhost", 0, "/checkv2", parts.path)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url}: not http://host:port or http+unix:/path")
    if parts.username or parts.query or parts.fragment or " " in parts.path:
        raise ValueError(f"{url}: more than host, port and path")
    return Place(parts.hostname, parts.port or 80, parts.path or "/")


class Parsed:
    """Collects one answer for `httptools`."""

    def __init__(self, most: int) -> None:
        self.body = bytearray()
        self.complete = self.keep = False
        self.parser: Any = None
        self._most, self._headers, self._octets = most, 0, 0

    def on_message_begin(self) -> None:
        if self.complete:
            raise BadAnswer("two answers to one question")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        self._octets += len(name) + len(value)
        if self._headers > HEADERS_MOST or self._octets > HEADER_MOST:
            raise BadAnswer("too many headers")

    def on_body(self, data: bytes) -> None:
        if len(self.body) + len(data) > self._most:
            raise BadAnswer(f"an answer of more than {self._most} octets")
        self.body += data

    def on_headers_complete(self) -> None:
        self.keep = self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.complete = True


class Connection:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer = reader, writer
        self.kept_since = 0.0

    @property
    def usable(self) -> bool:
        return not (self._reader.at_eof() or self._writer.is_closing())

    def close(self) -> None:
        self._writer.transport.abort()

    async def ask(
        self, head: bytes, pieces: Iterable[memoryview], most: int
    ) -> tuple[Answer, bool]:
        """The answer, and whether the connection may be kept. Raises `Lost`,
        `BadAnswer`, `OSError`."""
        answering = asyncio.ensure_future(self._read(most))
        try:
            await self._send(head, pieces, answering)
            return await answering
        finally:
            answering.cancel()

    async def _send(
        self,
        head: bytes,
        pieces: Iterable[memoryview],
        answering: asyncio.Future[tuple[Answer, bool]],
    ) -> None:
        """Until all is sent, or there is an answer already: a server may refuse what
        it has not read to its end."""
        try:
            self._writer.write(head)
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
                if answering.done():
                    return
            await self._writer.drain()
        except ConnectionError:
            if not answering.done():
                await asyncio.wait([answering], timeout=1.0)

    async def _read(self, most: int) -> tuple[Answer, bool]:
        parsed = Parsed(most)
        parsed.parser = parser = httptools.HttpResponseParser(parsed)
        came = 0
        while not parsed.complete:
            try:
                data = await self._reader.read(READ)
            except ConnectionError as error:
                raise Lost(str(error)) from error
            came += len(data)
            if came > most + HEADER_MOST + READ:
                raise BadAnswer("more than an answer")
            if not data:
                raise BadAnswer("it was cut off") if came else Lost("it was closed")
            feed(parser, data)
        status = parser.get_status_code()
        if status < 200:
            raise BadAnswer(f"status {status}")
        return Answer(status, bytes(parsed.body)), parsed.keep and self.usable


def feed(parser: httptools.HttpResponseParser, data: bytes) -> None:
    """Raises `BadAnswer`."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserCallbackError as error:
        if isinstance(error.__context__, BadAnswer):
            raise error.__context__ from None
        raise BadAnswer(str(error)) from error
    except httptools.HttpParserError as error:
        raise BadAnswer(f"not HTTP: {error}") from error


class Client:
    """Asks one server.

    most  octets of an answer's body
    now   seconds, monotonic
    """

    def __init__(
        self,
        where: Place,
        most: int,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._where, self._most = where, most
        self._now = asyncio.get_running_loop().time if now is None else now
        self._kept: list[Connection] = []

    async def post(
        self, headers: Headers, pieces: Callable[[], Iterable[memoryview]], length: int
    ) -> Answer:
        """pieces  gives the body anew, `length` octets in all.

        The deadline is the caller's: who is cancelled closes the connection. Raises
        `OSError`, `Lost`, `BadAnswer`; `ValueError` for a header with a line break."""
        head = self._head(headers, length)
        while (connection := self._take()) is not None:
            try:
                return await self._ask(connection, head, pieces())
            except Lost:
                continue
        return await self._ask(await self._connect(), head, pieces())

    async def _ask(
        self, connection: Connection, head: bytes, pieces: Iterable[memoryview]
    ) -> Answer:
        keep = False
        try:
            answer, keep = await connection.ask(head, pieces, self._most)
            return answer
        finally:
            if keep and len(self._kept) < KEPT_MOST:
                connection.kept_since = self._now()
                self._kept.append(connection)
            else:
                connection.close()

    def _take(self) -> Connection | None:
        """The connection that was used last, if any is still good."""
        while self._kept:
            connection = self._kept.pop()
            if connection.usable and self._now() - connection.kept_since < KEPT_FOR:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        where = self._where
        if where.unix:
            return Connection(*await asyncio.open_unix_connection(where.unix))
        return Connection(*await asyncio.open_connection(where.host, where.port))

    def _head(self, headers: Headers, length: int) -> bytes:
        where = self._where
        host = f"[{where.host}]" if ":" in where.host else where.host
        lines = [
            f"POST {where.path} HTTP/1.1",
            f"Host: {host}" + (f":{where.port}" if where.port else ""),
            f"Content-Length: {length}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if any("\r" in line or "\n" in line or "\0" in line for line in lines):
            raise ValueError("a header with a line break")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()
