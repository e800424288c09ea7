import asyncio
import socket

import pytest

from fastsmtp.net.listener import Listener, bind, split_address


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:25", ("127.0.0.1", 25)),
        ("[::1]:2525", ("::1", 2525)),
        ("mx.example.test:0", ("mx.example.test", 0)),
        (":25", ("", 25)),
    ],
)
def test_an_address_is_split(text: str, place: tuple[str, int]) -> None:
    assert split_address(text) == place


@pytest.mark.parametrize("text", ["", "25", "a:", "a:b", "a:65536", "::1:25", "a:-1"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        split_address(text)


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
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
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
