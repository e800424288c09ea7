"""A small HTTP/1.1 server for Prometheus and health checks; it takes no bodies.

    /metrics   everything that is counted
    /healthz   200 while the process runs its loop
    /readyz    200 while mail is taken, else 503 and the reason
    /status    a page for people; from elsewhere it needs a token (`Guard`)

Answers are made at once and in order. What a client may cost is bounded: octets of a
request, answers it did not read, time for a request, time between two, connections.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
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
OPENMETRICS: Final = b"application/openmetrics-text"
LOOKED_AT: Final = (
    b"accept",
    b"authorization",
    b"host",
    b"x-forwarded-for",
    b"forwarded",
)


class Answer(NamedTuple):
    status: HTTPStatus
    body: str
    kind: str = TEXT
    more: tuple[str, ...] = ()  # lines of the header


Route = Callable[[], Answer]


class Guard(NamedTuple):
    """Who may see `paths`: this machine, and who knows the token.

    This machine is a peer on the loopback that no proxy speaks for (X-Forwarded-For)
    and that asked for it by an address or as localhost: a page in a browser that has
    made its own name lead to 127.0.0.1 is a stranger.

    token  empty: nobody from elsewhere
    """

    paths: frozenset[str] = frozenset()
    token: str = ""

    def refusal(
        self, path: str, peer: str, header: Mapping[bytes, bytes]
    ) -> Answer | None:
        """None: it may be shown."""
        if path not in self.paths or _from_here(peer, header):
            return None
        given = _token(header.get(b"authorization", b""))
        if self.token and hmac.compare_digest(given, self.token.encode()):
            return None
        if not self.token:
            text = "Only from this machine, unless metrics.token_file is set.\n"
            return Answer(HTTPStatus.FORBIDDEN, text)
        ask = ('WWW-Authenticate: Basic realm="fastsmtp"',)
        text = "The password is the token, the name does not matter.\n"
        return Answer(HTTPStatus.UNAUTHORIZED, text, more=ask)


def _from_here(peer: str, header: Mapping[bytes, bytes]) -> bool:
    if b"x-forwarded-for" in header or b"forwarded" in header:
        return False
    host = header.get(b"host", b"").decode("ascii", "replace")
    name = host.rpartition(":")[0] if host[-1:] != "]" and ":" in host else host
    if name.lower() != "localhost":
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def _token(authorization: bytes) -> bytes:
    """Of `Bearer TOKEN`, or the password of `Basic` (RFC 7617); b"" for nonsense."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


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
    """Serves fixed routes on any number of listening sockets; those of `openly` to
    whoever asks for OpenMetrics."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        guard: Guard | None = None,
        openly: Mapping[str, Route] | None = None,
    ) -> None:
        self.routes = routes
        self.openly = openly or {}
        self.guard = guard or Guard()
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

    def answer(self, method: str, path: str, accept: bytes = b"") -> Answer:
        route = self.routes.get(path)
        if OPENMETRICS in accept.lower():
            route = self.openly.get(path, route)
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
        self._header: dict[bytes, bytes] = {}  # those that `Guard` looks at
        self._peer = ""
        self._body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
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
        self._header = {}

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4  # ": " and CRLF
        if (known := name.lower()) in LOOKED_AT:
            self._header[known] = value

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
        answer = self._server.guard.refusal(path, self._peer, self._header)
        accept = self._header.get(b"accept", b"")
        answer = answer or self._server.answer(method, path, accept)
        self._write(answer, method != "HEAD", stays)
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
            "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options: nosniff",
            *answer.more,
        ]
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join((*lines, "", "")).encode()
        self._transport.write(head + body if with_body else head)
