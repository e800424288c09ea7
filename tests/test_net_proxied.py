"""Connections behind a proxy: who is asked, what is passed on, who is dropped."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from fakes import FakeClock, FakeTransport

from fastsmtp.net.clock import Clock
from fastsmtp.net.listener import Listener, bind
from fastsmtp.net.networks import Networks
from fastsmtp.net.proxied import PATIENCE, Entrance

LINE = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25\r\n"


class Inner(asyncio.BufferedProtocol):
    """What stands behind the entrance."""

    def __init__(self, size: int = 5) -> None:
        self.transport: Any = None
        self.heard = b""
        self.buffer = bytearray(size)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.buffer[:nbytes]


class World:
    def __init__(self) -> None:
        self.time = FakeClock()
        self.clock = Clock(self.time)
        self.made: list[Inner] = []
        self.dropped: list[tuple[str, str]] = []
        networks = ["192.0.2.0/24", "2001:db8::/32"]
        self.entrance = Entrance(
            networks, self.make, self.clock, lambda *told: self.dropped.append(told)
        )

    def make(self) -> Inner:
        self.made.append(Inner())
        return self.made[-1]

    def connect(self, address: str = "192.0.2.7") -> tuple[Any, FakeTransport]:
        reader, transport = self.entrance(), Handing((address, 4711))
        reader.connection_made(transport)
        return reader, transport


class Handing(FakeTransport):
    """Knows the protocol it was given."""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


def feed(reader: Any, data: bytes) -> None:
    while data:
        buffer = reader.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        reader.buffer_updated(size)
        data = data[size:]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_header_is_taken_and_the_rest_is_passed_on(step: int) -> None:
    world = World()
    reader, transport = world.connect()
    for at in range(0, len(LINE), step):
        feed(reader, LINE[at : at + step])
    (inner,) = world.made
    assert transport.protocol is inner
    assert inner.transport.get_extra_info("peername") == ("203.0.113.9", 4711)
    inner.transport.write(b"220")
    assert transport.take() == b"220"
    assert world.entrance.waiting == set()
    world.time.advance(100)
    world.clock.advance()
    assert not transport.closed


def test_what_came_behind_the_header_is_heard_whole() -> None:
    world = World()
    reader, _ = world.connect("2001:db8::1")
    feed(reader, LINE + b"EHLO somebody\r\n")
    assert world.made[0].heard == b"EHLO somebody\r\n"


def test_a_check_of_the_proxys_own_keeps_its_address() -> None:
    world = World()
    reader, _ = world.connect()
    feed(reader, b"PROXY UNKNOWN\r\n")
    assert world.made[0].transport.get_extra_info("peername") == ("192.0.2.7", 4711)


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db9::1", "unix"])
def test_a_stranger_is_not_asked_and_not_believed(address: str) -> None:
    world = World()
    _, transport = world.connect(address)
    (inner,) = world.made
    assert transport.protocol is inner
    assert inner.transport is transport


@pytest.mark.parametrize("said", [b"EHLO x\r\n", b"\r\n\r\n\0\r\nQUIX", b"P" * 300])
def test_who_does_not_begin_with_it_is_dropped_without_a_word(said: bytes) -> None:
    world = World()
    reader, transport = world.connect()
    reader.get_buffer(-1)[: len(said[:256])] = said[:256]
    reader.buffer_updated(len(said[:256]))
    assert transport.aborted
    assert transport.written == b""
    assert world.made == []
    assert [address for address, _ in world.dropped] == ["192.0.2.7"]


def test_it_must_come_in_time() -> None:
    world = World()
    reader, transport = world.connect()
    feed(reader, LINE[:20])
    for _ in range(int(PATIENCE) + 2):
        world.time.advance(1)
        world.clock.advance()
    assert transport.aborted
    assert world.dropped == [("192.0.2.7", "no PROXY header came in time")]
    reader.connection_lost(None)


def test_an_early_end_and_the_end_of_the_listener() -> None:
    world = World()
    reader, transport = world.connect()
    assert reader.eof_received() is False
    assert transport.aborted
    _, second = world.connect()
    world.entrance.close()
    assert second.aborted
    assert len(world.dropped) == 1
    assert world.entrance.waiting == set()


def on_a_loop(work: Callable[[World, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World()
        world.entrance.networks = Networks(["127.0.0.0/8"])
        (sock,) = bind("127.0.0.1:0")
        listener = Listener([sock], world.entrance)
        await listener.open()
        await asyncio.wait_for(work(world, sock), 10)
        listener.close()
        sock.close()

    uvloop.run(run())


def test_on_a_real_loop_the_next_octets_go_to_the_next_protocol() -> None:
    async def work(world: World, sock: socket.socket) -> None:
        _, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(LINE + b"EH")
        while not world.made:  # noqa: ASYNC110  another connection's turn
            await asyncio.sleep(0)
        writer.write(b"LO x\r\n")
        while world.made[0].heard != b"EHLO x\r\n":  # noqa: ASYNC110
            await asyncio.sleep(0)
        writer.close()

    on_a_loop(work)
