"""The HTTP client of hooks, against a small real server and against bad ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastsmtp.hooks.body import Body
from fastsmtp.hooks.http import (
    HEADERS_MOST,
    KEPT_FOR,
    Answer,
    BadAnswer,
    Client,
    Lost,
    place,
)

MOST = 10_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Service:
    """Answers each request with the next of `answers`, the last one for good; b"" hangs
    up. Knows what it was asked, and on how many connections."""

    def __init__(self, *answers: bytes, before_body: bool = False) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, list[str]], bytes]] = []
        self.connections = 0
        self.hang_up_after = False
        self.port = 0
        self._before_body = before_body
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")[:-2]
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers.setdefault(name, []).append(value)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self._before_body:
            self.asked.append((request, headers, b""))
            writer.write(answer)
            return False
        body = await reader.readexactly(int(headers["Content-Length"][0]))
        self.asked.append((request, headers, body))
        if not answer:
            return False
        writer.write(answer)
        await writer.drain()
        return not self.hang_up_after

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    @asynccontextmanager
    async def running(self, unix: Path | None = None) -> AsyncIterator[str]:
        """Its URL."""
        if unix is not None:
            server = await asyncio.start_unix_server(self.serve, unix)
            url = f"http+unix:{unix}"
        else:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{self.port}/checkv2"
        try:
            yield url
        finally:
            server.close()
            self.hang_up()


def against(
    service: Service, test: Callable[[Client], Awaitable[None]], **settings: Any
) -> None:
    async def run() -> None:
        async with service.running() as url:
            client = Client(place(url), MOST, **settings)
            try:
                await asyncio.wait_for(test(client), 20)
            finally:
                client.close()

    asyncio.run(run())


async def ask(client: Client, octets: bytes = b"Subject: x\r\n\r\n") -> Answer:
    body = Body(octets)
    return await client.post([("Helo", "c.test")], body.pieces, body.size)


def test_a_connection_is_used_again() -> None:
    service = Service(OK)

    async def test(client: Client) -> None:
        for _ in range(3):
            assert await ask(client) == (200, b"{}")
        assert service.connections == 1
        request, headers, body = service.asked[2]
        assert request == "POST /checkv2 HTTP/1.1"
        assert headers["Host"] == [f"127.0.0.1:{service.port}"]
        assert headers["Helo"] == ["c.test"]
        assert body == b"Subject: x\r\n\r\n"

    against(service, test)


def test_a_large_body_is_sent_whole() -> None:
    service = Service(OK)
    large = bytes(range(256)) * 40_000

    async def test(client: Client) -> None:
        assert await ask(client, large) == (200, b"{}")
        assert service.asked[0][2] == large

    against(service, test)


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    service = Service(OK)

    async def test(client: Client) -> None:
        await ask(client)
        await ask(client)
        service.hang_up_after = True
        await ask(client)  # the server closes behind this one
        assert await ask(client) == (200, b"{}")
        assert service.connections == 2

    against(service, test)


def test_a_connection_that_ends_instead_of_answering_is_tried_anew_once() -> None:
    service = Service(OK, b"", OK)

    async def test(client: Client) -> None:
        await ask(client)
        assert await ask(client) == (200, b"{}")  # on a fresh one
        assert service.connections == 2
        assert len(service.asked) == 3

    against(service, test)


def test_a_fresh_connection_that_ends_is_lost() -> None:
    async def test(client: Client) -> None:
        with pytest.raises(Lost):
            await ask(client)

    against(Service(b""), test)


def test_old_connections_are_not_kept() -> None:
    now = [0.0]
    service = Service(OK)

    async def test(client: Client) -> None:
        await ask(client)
        now[0] += KEPT_FOR + 1
        await ask(client)
        assert service.connections == 2

    against(service, test, now=lambda: now[0])


def test_several_questions_have_connections_of_their_own() -> None:
    service = Service(OK)

    async def test(client: Client) -> None:
        answers = await asyncio.gather(*(ask(client) for _ in range(5)))
        assert answers == [(200, b"{}")] * 5
        assert service.connections == 5
        await asyncio.gather(*(ask(client) for _ in range(5)))
        assert service.connections == 5

    against(service, test)


def test_an_answer_before_the_body_is_read_counts() -> None:
    answer = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    async def test(client: Client) -> None:
        assert (await ask(client, b"x" * 20_000_000)).status == 413

    against(Service(answer, before_body=True), test)


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_ways_to_say_how_long_an_answer_is(answer: bytes) -> None:
    async def test(client: Client) -> None:
        assert await ask(client) == (200, b"{}")
        assert await ask(client) == (200, b"{}")

    service = Service(answer)
    service.hang_up_after = b"1.0" in answer or b"close" in answer
    against(service, test)


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mx.example.test ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n"
        + b"x" * 20_000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (HEADERS_MOST + 1) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        OK + OK,
        b"\0" * 100,
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    service = Service(answer)
    service.hang_up_after = True

    async def test(client: Client) -> None:
        with pytest.raises(BadAnswer):
            await ask(client)
        assert client._kept == []

    against(service, test)


def test_an_answer_that_is_cut_off() -> None:
    service = Service(OK[:-1])
    service.hang_up_after = True

    async def test(client: Client) -> None:
        with pytest.raises(BadAnswer, match="cut off"):
            await ask(client)

    against(service, test)


def test_whoever_is_cancelled_leaves_no_connection() -> None:
    class Silent(Service):
        async def _one(self, reader: Any, writer: Any) -> bool:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            ended.set_result(await reader.read() or b"closed")
            return False

    async def test(client: Client) -> None:
        task = asyncio.ensure_future(ask(client, b""))
        await asked.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ended
        assert client._kept == []

    async def run() -> None:
        nonlocal asked, ended
        asked, ended = asyncio.Event(), asyncio.get_running_loop().create_future()
        async with Silent(OK).running() as url:
            await asyncio.wait_for(test(Client(place(url), MOST)), 20)

    asked: Any = None
    ended: Any = None
    asyncio.run(run())


def test_a_unix_socket(tmp_path: Path) -> None:
    async def run() -> None:
        async with Service(OK).running(tmp_path / "s") as url:
            client = Client(place(url), MOST)
            assert await ask(client) == (200, b"{}")
            client.close()

    asyncio.run(run())


def test_a_header_with_a_line_break_is_never_sent() -> None:
    async def test(client: Client) -> None:
        with pytest.raises(ValueError, match="line break"):
            await client.post([("Helo", "a\r\nB: c")], Body(b"").pieces, 0)

    against(Service(OK), test)


@pytest.mark.parametrize(
    "url",
    [
        *("https://h/", "ftp://h/", "h:80", "http://", "http+unix:x", ""),
        *("http://u:p@h/", "http://h/?a", "http://h:99999/", "http://h/a b"),
    ],
)
def test_a_url_that_leads_nowhere(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        place(url)
    assert url in str(caught.value) or "port" in str(caught.value).lower()


def test_where_urls_lead() -> None:
    assert place("http://[::1]:1/x") == ("::1", 1, "/x", "")
    assert place("http://h") == ("h", 80, "/", "")
    assert place("http+unix:/run/r.sock").unix == "/run/r.sock"
