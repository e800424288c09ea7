"""The watching server, spoken to in bytes."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastsmtp.serve import http
from fastsmtp.serve.http import Connection, HttpServer, watching


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False
        self.unread = 0

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unread


class Clock:
    """A loop of timers alone: they run when told."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, act: Callable[[], None]) -> Clock:
        self.timers = [(delay, act)]  # a connection has one timer
        return self

    def cancel(self) -> None:
        self.timers = []

    def run_out(self) -> float:
        ((delay, act),) = self.timers
        act()
        return delay


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


reasons: list[str | None] = [None]


@pytest.fixture
def server() -> HttpServer:
    reasons[0] = None
    return HttpServer(watching(lambda: ("a 1\n", "text/plain"), lambda: reasons[0]))


def connect(server: HttpServer) -> tuple[Connection, Wire]:
    connection, wire = Connection(server), Wire()
    connection.connection_made(wire)
    return connection, wire


def ask(server: HttpServer, *pieces: bytes) -> tuple[bytes, bool]:
    """What came back, and whether the connection was closed."""
    connection, wire = connect(server)
    for piece in pieces:
        connection.data_received(piece)
    return wire.sent, wire.closed


def request(path: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/metrics", b"a 1\n"), ("/healthz", b"ok\n"), ("/readyz?verbose", b"ok\n")],
)
def test_routes(clock: Clock, server: HttpServer, path: str, body: bytes) -> None:
    sent, closed = ask(server, request(path))
    head, _, found = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert (found, closed) == (body, False)


def test_not_ready_says_why(clock: Clock, server: HttpServer) -> None:
    reasons[0] = "draining"
    sent, _ = ask(server, request("/readyz"))
    assert sent.startswith(b"HTTP/1.1 503 ")
    assert sent.endswith(b"\r\n\r\ndraining\n")
    assert ask(server, request("/healthz"))[0].startswith(b"HTTP/1.1 200 ")


def test_byte_by_byte_is_the_same(clock: Clock, server: HttpServer) -> None:
    whole = request("/metrics")
    split = ask(server, *(whole[i : i + 1] for i in range(len(whole))))
    assert split == ask(server, whole)


def test_pipelined_requests_are_answered_in_order(
    clock: Clock, server: HttpServer
) -> None:
    sent, closed = ask(server, request("/metrics") + request("/nothing"))
    assert sent.index(b"a 1\n") < sent.index(b"404 Not Found")
    assert not closed


def test_head_has_no_body(clock: Clock, server: HttpServer) -> None:
    sent, _ = ask(server, request("/metrics", "HEAD"))
    assert b"Content-Length: 4\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


def test_other_methods_are_refused(clock: Clock, server: HttpServer) -> None:
    sent, _ = ask(server, request("/metrics", "DELETE"))
    assert sent.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in sent


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"EHLO x\r\n\r\n", b"400"),
        (request("/" + "a" * 9000), b"431"),
        (request("/metrics", "POST", "Content-Length: 2\r\n") + b"ab", b"413"),
        (request("/" + "a" * 9000)[:8500], b"431"),
        (request("/healthz", more="X: y\r\n" * 3000), b"431"),
        (request("/healthz", more="Upgrade: h2c\r\nConnection: upgrade\r\n"), b"200"),
        (request("/healthz", "CONNECT"), b"405"),
    ],
)
def test_what_ends_a_connection(
    clock: Clock, server: HttpServer, data: bytes, status: bytes
) -> None:
    sent, closed = ask(server, data)
    assert (status in sent.split(b"\r\n")[0], closed) == (True, True)


def test_close_is_honoured(clock: Clock, server: HttpServer) -> None:
    sent, closed = ask(server, request("/metrics", more="Connection: close\r\n"))
    assert b"\r\nConnection: close\r\n" in sent
    assert closed


def test_a_slow_request_is_cut(clock: Clock, server: HttpServer) -> None:
    connection, wire = connect(server)
    connection.data_received(b"GET /me")
    connection.data_received(b"tr")
    assert clock.run_out() == http.REQUEST_TIMEOUT
    assert wire.closed


def test_an_idle_client_is_cut(clock: Clock, server: HttpServer) -> None:
    connection, wire = connect(server)
    connection.data_received(request("/metrics"))
    assert clock.run_out() == http.IDLE_TIMEOUT
    assert wire.closed


def test_a_client_that_never_reads_is_cut(clock: Clock, server: HttpServer) -> None:
    connection, wire = connect(server)
    wire.unread = http.MAX_UNREAD + 1
    connection.data_received(request("/metrics") * 3)
    assert wire.closed
    assert wire.sent.count(b"HTTP/1.1") == 1


def test_connections_are_limited(clock: Clock, server: HttpServer) -> None:
    wires = [connect(server)[1] for _ in range(http.MAX_CONNECTIONS + 1)]
    assert wires[-1].sent.startswith(b"HTTP/1.1 503 ")
    assert [w.closed for w in wires].count(True) == 1


def test_a_failing_route_tells_no_more_than_its_kind(clock: Clock) -> None:
    def broken() -> http.Answer:
        raise OSError("/secret/path")

    sent, _ = ask(HttpServer({"/metrics": broken}), request("/metrics"))
    assert b"500" in sent.split(b"\r\n")[0]
    assert b"secret" not in sent
    assert b"OSError" in sent


def test_a_real_client_reads_it(server: HttpServer) -> None:
    async def talk() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        await server.listen(listener)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/metrics", more="Connection: close\r\n"))
        answer = await reader.read()
        writer.close()
        server.close()
        return answer

    assert asyncio.run(talk()).endswith(b"a 1\n")
    assert server.connections == set()


HERE = {b"host": b"127.0.0.1:9925"}
BASIC = b"Basic " + base64.b64encode(b"anybody:secret")


@pytest.mark.parametrize(
    ("peer", "header", "status"),
    [
        ("127.0.0.1", HERE, 0),
        ("::1", {b"host": b"[::1]:9925"}, 0),
        ("127.0.0.1", {b"host": b"localhost"}, 0),
        ("127.0.0.1", {b"host": b"LocalHost:9925"}, 0),
        ("127.0.0.1", {b"host": b"rebound.example:9925"}, 401),
        ("127.0.0.1", {}, 401),
        ("127.0.0.1", HERE | {b"x-forwarded-for": b"192.0.2.1"}, 401),
        ("127.0.0.1", HERE | {b"forwarded": b"for=192.0.2.1"}, 401),
        ("192.0.2.1", HERE, 401),
        ("", HERE, 401),
        ("192.0.2.1", HERE | {b"authorization": b"Bearer secret"}, 0),
        ("192.0.2.1", HERE | {b"authorization": BASIC}, 0),
        ("192.0.2.1", HERE | {b"authorization": b"Bearer secret2"}, 401),
        ("192.0.2.1", HERE | {b"authorization": b"Bearer"}, 401),
        ("192.0.2.1", HERE | {b"authorization": b"Basic ###"}, 401),
        ("192.0.2.1", HERE | {b"authorization": b"\xff\xfe \x00"}, 401),
    ],
)
def test_the_status_page_is_for_this_machine_or_who_has_the_token(
    peer: str, header: dict[bytes, bytes], status: int
) -> None:
    guard = http.Guard(frozenset(["/status"]), "secret")
    answer = guard.refusal("/status", peer, header)
    assert (answer.status if answer else 0) == status
    assert guard.refusal("/metrics", peer, header) is None
    without = http.Guard(frozenset(["/status"])).refusal("/status", peer, header)
    open_here = status == 0 and b"authorization" not in header
    assert (without.status if without else 0) == (0 if open_here else 403)


def test_a_browser_is_asked_for_the_token(clock: Clock) -> None:
    server = HttpServer(
        {"/status": lambda: http.Answer(http.HTTPStatus.OK, "depth\n")},
        http.Guard(frozenset(["/status"]), "secret"),
    )
    sent, _ = ask(server, b"GET /status?x=1 HTTP/1.1\r\nHost: mx.test\r\n\r\n")
    assert sent.startswith(b"HTTP/1.1 401 ")
    assert b'\r\nWWW-Authenticate: Basic realm="fastsmtp"\r\n' in sent
    assert b"depth" not in sent
    known = b"GET /status HTTP/1.1\r\nHost: mx.test\r\nAuthorization: " + BASIC
    sent, _ = ask(
        server, known + b"\r\n\r\nGET /status HTTP/1.1\r\nHost: mx.test\r\n\r\n"
    )
    assert sent.count(b"depth\n") == 1  # the second request had no token
    assert sent.count(b"HTTP/1.1 401 ") == 1


def test_openmetrics_is_for_who_asks_for_it(clock: Clock) -> None:
    def route(text: str) -> http.Route:
        return lambda: http.Answer(http.HTTPStatus.OK, text)

    server = HttpServer({"/metrics": route("old")}, None, {"/metrics": route("new")})
    get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
    wanted = b"Accept: text/plain;q=0.5,Application/OpenMetrics-Text;version=1.0.0\r\n"
    assert ask(server, get + b"\r\n")[0].endswith(b"old")
    assert ask(server, get + b"Accept: text/plain\r\n\r\n")[0].endswith(b"old")
    assert ask(server, get + wanted + b"\r\n")[0].endswith(b"new")
