"""The control socket: requests, octets behind them, answers, and what goes wrong."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastsmtp.cli import Failure
from fastsmtp.cli.remote import Local, Remote, ask
from fastsmtp.errors import StoreUnavailable
from fastsmtp.serve import control
from fastsmtp.serve.control import (
    ControlServer,
    Declined,
    Octets,
    Operation,
    Summary,
    alive,
)


class Echo(msgspec.Struct):
    sizes: tuple[int, ...] = ()
    data: bytes = b""


async def echo(request: Echo, octets: Octets) -> AsyncIterator[dict[str, Any]]:
    for size in request.sizes:
        yield {"text": (await octets(size)).decode()}
    yield Summary(data=request.data.hex())


async def decline(request: Echo, octets: Octets) -> AsyncIterator[dict[str, Any]]:
    raise Declined("not today")
    yield {}


async def trouble(request: Echo, octets: Octets) -> AsyncIterator[dict[str, Any]]:
    raise StoreUnavailable("the disk is full")
    yield {}


async def broken(request: Echo, octets: Octets) -> AsyncIterator[dict[str, Any]]:
    raise ZeroDivisionError("oops")
    yield {}


TABLE = {
    "echo": Operation(Echo, echo),
    "decline": Operation(Echo, decline),
    "trouble": Operation(Echo, trouble),
    "broken": Operation(Echo, broken),
}
Faults = list[tuple[str, BaseException]]
Story = Callable[[ControlServer, Remote, Faults], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Story], None]:
    def play(story: Story) -> None:
        async def scene() -> None:
            faults: Faults = []
            server = ControlServer(
                tmp_path / "run", TABLE, lambda op, error: faults.append((op, error))
            )
            await server.start()
            remote = await Remote.connect(tmp_path / "run")
            assert remote is not None
            try:
                await asyncio.wait_for(story(server, remote, faults), 5)
            finally:
                await remote.close()
                await server.close()
            assert not server.path.exists()

        asyncio.run(scene())

    return play


async def raw(server: ControlServer, data: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(data)
    writer.write_eof()
    lines = (await reader.read()).splitlines()
    writer.close()
    return [json.loads(line) for line in lines]


def test_items_and_a_summary(run: Callable[[Story], None]) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        request = Echo((2, 3), b"\x00\xff")
        found = [item async for item in remote.call("echo", request, [b"ab", b"cde"])]
        assert found == [{"text": "ab"}, {"text": "cde"}, {"data": "00ff"}]
        assert isinstance(found[-1], Summary)
        assert await ask(remote, "echo", Echo()) == {"data": ""}

    run(story)


def test_local_does_the_same() -> None:
    async def story() -> None:
        local = Local(TABLE)
        request = Echo((2, 3), b"\x00\xff")
        found = [item async for item in local.call("echo", request, [b"abc", b"de"])]
        assert found == [{"text": "ab"}, {"text": "cde"}, {"data": "00ff"}]
        with pytest.raises(Failure, match="not today"):
            await ask(local, "decline", Echo())
        await local.close()

    asyncio.run(story())


def test_only_the_owner_may_connect(run: Callable[[Story], None]) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        mode = server.path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700

    run(story)


@pytest.mark.parametrize(
    ("op", "text"), [("decline", "not today"), ("trouble", "the disk is full")]
)
def test_refusals_leave_the_connection_usable(
    run: Callable[[Story], None], op: str, text: str
) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        with pytest.raises(Failure, match=text):
            await ask(remote, op, Echo((9,)), [b"x" * 600_000])
        assert await ask(remote, "echo", Echo((1,)), [b"y"]) == {"data": ""}
        assert faults == []

    run(story)


def test_a_bug_is_reported_and_survived(run: Callable[[Story], None]) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        with pytest.raises(Failure, match="a bug, see the log: ZeroDivisionError"):
            await ask(remote, "broken", Echo())
        assert [(op, type(error)) for op, error in faults] == [
            ("broken", ZeroDivisionError)
        ]
        assert await ask(remote, "echo", Echo()) == {"data": ""}

    run(story)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"op": "unheard"}\n', "does not know 'unheard'"),
        (b'{"ops": 1}\n', "not a request: "),
        (b"nonsense\n", "not a request: "),
        (b'{"op": "echo", "sizes": "x"}\n', "not a request: "),
        (b'{"op": "echo", "octets": 1, "sizes": [2]}\nz', "less octets than it needs"),
        (b'{"op": "echo", "octets": 1, "sizes": [-1]}\nz', "less octets than it needs"),
    ],
)
def test_what_is_no_request(
    run: Callable[[Story], None], line: bytes, text: str
) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        (answer,) = await raw(server, line)
        assert answer["ok"] is False
        assert text in answer["error"]
        assert faults == []

    run(story)


def test_a_request_without_end(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LONGEST_LINE", 1000)

    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        (answer,) = await raw(server, b"x" * 3000)
        assert answer == {"ok": False, "error": "the request is too long"}

    run(story)


def test_a_command_that_is_interrupted(run: Callable[[Story], None]) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        cut = b'{"op": "echo", "octets": 9, "sizes": [9]}\nhalf'
        assert await raw(server, cut) == []
        assert await ask(remote, "echo", Echo()) == {"data": ""}
        assert faults == []

    run(story)


def test_too_many_connections(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONNECTIONS", 1)

    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        (answer,) = await raw(server, b"")
        assert answer["error"] == "too many control connections"
        assert await ask(remote, "echo", Echo()) == {"data": ""}

    run(story)


def test_a_server_that_goes_away(run: Callable[[Story], None]) -> None:
    async def story(server: ControlServer, remote: Remote, faults: Faults) -> None:
        await ask(remote, "echo", Echo())
        await server.close()
        with pytest.raises(Failure, match="went away"):
            await ask(remote, "echo", Echo())

    run(story)


def test_what_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "run").mkdir()
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(tmp_path / "run/control.sock"))
        left.close()
        assert not alive(tmp_path / "run")
        assert await Remote.connect(tmp_path / "run") is None
        server = ControlServer(tmp_path / "run", TABLE)
        await server.start()
        assert alive(tmp_path / "run")
        await server.close()
        await server.close()
        assert not alive(tmp_path / "run")

    asyncio.run(story())
