"""A small HTTP/1.1 server for Prometheus and health checks; it takes no bodies.

    /metrics   everything that is counted
    /healthz   200 while the process runs its loop
    /readyz    200 while mail is taken, else 503 and the reason

Answers are made at once and in order. What a client may cost is bounded: octets of a
request, answers it did not read, time for a request, time between two, connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, cast

import httptools

MAX_REQUEST: Final = 8192  # octets of a request line with its header
MAX_UNREAD: Final = 4 * 1024 * 1024  # octets of answers a client has not read
MAX_CONNECTIONS: Final = 100
REQUEST_TIMEOUT: Final = 10.0  # seconds from the first octet, or the connection
IDLE_TIMEOUT: Final = 120.0  # seconds to the next request
TEXT: Final = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    status: HTTPStatus
    body: str
    kind: str = TEXT


Route = Callable[[], Answer]


def watching(
    metrics: Callable[[], tuple[str, str]], ready: Callable[[], str | None]
) -> dict[str, Route]:
    """The routes of this module.

    metrics  gives the text and its content type
    ready    None while mail is taken, else why it is not
    """

    def readyz() -> Answer:
        reason = ready()
        if reason is None:
            return Answer(HTTPStatus.OK, "ok\n")
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n")

    return {
        "/metrics": lambda: Answer(HTTPStatus.OK, *metrics()),
        "/healthz": lambda: Answer(HTTPStatus.OK, "ok\n"),
        "/readyz": readyz,
    }


class HttpServer:
    """Serves fixed routes on any number of listening sockets."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), sock=listener)
        self._servers.append(server)

    def close(self) -> None:
        """Stop listening and end what is open; answers given are still written."""
        for server in self._servers:
            server.close()
        for connection in tuple(self.connections):
            connection.close()

    def answer(self, method: str, path: str) -> Answer:
        route = self.routes.get(path)
        if route is None:
            known = "\n".join(self.routes)
            return Answer(HTTPStatus.NOT_FOUND, f"Not found. Here are:\n{known}\n")
        if method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD.\n")
        try:
            return route()
        except Exception as error:  # a scrape that fails must not end the loop
            name = type(error).__name__
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"Failed: {name}.\n")


class Connection(asyncio.Protocol):
    """One client. Law: a timer runs for as long as the connection is open."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._octets = 0  # that came in since the last request was complete
        self._size = 0  # of the target and the header of this request
        self._body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._timer = self._loop.call_later(REQUEST_TIMEOUT, self.close)
        self._server.connections.add(self)
        if len(self._server.connections) > MAX_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._server.connections.discard(self)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if not self._octets:
            self._wait(REQUEST_TIMEOUT)
        self._octets += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()  # it was answered as if it had not asked
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        if self._octets > MAX_REQUEST:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._url = b""
        self._size = 0
        self._body = False

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4  # ": " and CRLF

    def on_body(self, _body: bytes) -> None:
        self._body = True

    def on_message_complete(self) -> None:
        if self._transport.is_closing():
            return
        if self._body:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        if self._size > MAX_REQUEST:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._octets = 0
        method = self._parser.get_method().decode("ascii", "replace")
        path = self._url.split(b"?", 1)[0].decode("ascii", "replace")
        stays = self._parser.should_keep_alive()
        self._write(self._server.answer(method, path), method != "HEAD", stays)
        if not stays:
            self.close()
        elif self._transport.get_write_buffer_size() > MAX_UNREAD:
            self._transport.abort()
        else:
            self._wait(IDLE_TIMEOUT)

    def _wait(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.close)

    def _refuse(self, status: HTTPStatus) -> None:
        if not self._transport.is_closing():
            self._write(Answer(status, f"{status.phrase}.\n"), True, False)
            self.close()

    def _write(self, answer: Answer, with_body: bool, stays: bool) -> None:
        body = answer.body.encode()
        lines = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            f"Connection: {'keep-alive' if stays else 'close'}",
        ]
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join((*lines, "", "")).encode()
        self._transport.write(head + body if with_body else head)
