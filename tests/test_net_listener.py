import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fastsmtp.net import listener
from fastsmtp.net.listener import CannotListen, Listener, bind


def test_a_taken_port_is_explained() -> None:
    (sock,) = bind("127.0.0.1:0")
    with sock, pytest.raises(OSError, match="another process listens there"):
        bind(f"127.0.0.1:{sock.getsockname()[1]}")


def test_several_sockets_can_share_a_port() -> None:
    (one,) = bind("127.0.0.1:0", share=True)
    port = one.getsockname()[1]
    (two,) = bind(f"127.0.0.1:{port}", share=True)
    with one, two:
        assert two.getsockname()[1] == port


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


async def greeted(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = await reader.read()
    writer.close()
    return said


def test_a_listener_accepts_and_leaves_the_socket_open() -> None:
    async def run() -> None:
        (sock,) = bind("127.0.0.1:0")
        port = sock.getsockname()[1]
        listener = Listener([sock], Greeter)
        await listener.open()
        assert listener.addresses == (f"127.0.0.1:{port}",)
        assert await greeted(port) == b"hello"
        listener.close()
        await asyncio.sleep(0)
        with socket.create_connection(("127.0.0.1", port)):
            again = Listener([sock], Greeter)  # what waits in the queue is not lost
            await again.open()
            assert await greeted(port) == b"hello"
            again.close()
        sock.close()

    asyncio.run(run())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_unix_socket_is_listened_on_and_its_file_stays(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    path = tmp_path / "door"

    async def run() -> None:
        (sock,) = bind(f"unix:{path}")
        listener = Listener([sock], Greeter)
        await listener.open()
        assert listener.addresses == (f"unix:{path}",)
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(str(path))
            assert await reader.read() == b"hello"
            writer.close()
        listener.close()
        await asyncio.sleep(0)
        assert path.exists()
        sock.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_a_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/door"
    (old,) = bind(address)
    with pytest.raises(CannotListen, match="another process listens there"):
        bind(address)
    old.close()
    (new,) = bind(address)
    assert (tmp_path / "door").stat().st_mode & 0o777 == 0o666
    new.close()


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotListen):
        bind(f"unix:{tmp_path}/file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(CannotListen, match="No such file"):
        bind(f"unix:{tmp_path}/missing/door")


class Stuck:
    """A listening socket whose accept fails as long as the test wants it to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.error: int | None = None
        self.tries = 0

    def accept(self) -> Any:
        self.tries += 1
        if self.error is not None:
            raise OSError(self.error, "it fails")
        return self.sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def accepting(
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Listener, Stuck, list[str]], Awaitable[None]],
) -> None:
    """With an event loop that cannot accept, as it is without memory."""
    monkeypatch.setattr(listener, "LOOK", 0.005)
    monkeypatch.setattr(listener, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(listener, "LONGEST_PAUSE", 0.01)
    told: list[str] = []

    async def run() -> None:
        (sock,) = bind("127.0.0.1:0")
        stuck = Stuck(sock)
        one: Any = [stuck]
        listening = Listener(one, Greeter, trouble=told.append)

        async def nothing() -> None:
            """The event loop does not come to accept."""

        real = listening._accept
        listening._accept = nothing  # type: ignore[method-assign]
        await listening.open()
        listening._accept = real  # type: ignore[method-assign]
        try:
            await asyncio.wait_for(work(listening, stuck, told), 10)
        finally:
            listening.close()
            sock.close()

    uvloop.run(run())


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM])
def test_accepting_pauses_is_said_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    async def work(listening: Listener, sock: Stuck, told: list[str]) -> None:
        sock.error = error
        waiting = asyncio.ensure_future(greeted(sock.getsockname()[1]))
        while sock.tries < 5:  # noqa: ASYNC110  attempts are what this is about
            await asyncio.sleep(0)
        assert told == ["it fails"]
        sock.error = None
        assert await waiting == b"hello"
        while told[-1]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert await greeted(sock.getsockname()[1]) == b"hello"
        assert told == ["it fails", ""]

    accepting(monkeypatch, work)


def test_without_descriptors_those_who_wait_are_left_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(listening: Listener, sock: Stuck, told: list[str]) -> None:
        monkeypatch.setattr(listener, "scarce", lambda needed: "too many open files")
        waiting = asyncio.ensure_future(greeted(sock.getsockname()[1]))
        while not told:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert sock.tries == 0
        monkeypatch.setattr(listener, "scarce", lambda needed: None)
        assert await waiting == b"hello"

    accepting(monkeypatch, work)
