"""TLS by hand: the test is the wire, one side is ours, the other is Python's ssl."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import pytest
from certificate import client_context, server_context
from fakes import FakeClock, FakeTransport

from fastsmtp.net.clock import Clock
from fastsmtp.net.connection import Connection, shared_buffer
from fastsmtp.net.tls import Tls, TlsTransport

VERSIONS = ("TLSv1.2", "TLSv1.3")


class Raw(FakeTransport):
    """The socket's transport: knows its protocol, as the loop does."""

    protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def deliver(self, octets: bytes) -> None:
        """As the loop does: as much as the protocol has room for, while it reads."""
        while octets and self.reading and not self.closed:
            place = self.protocol.get_buffer(-1)
            size = min(len(place), len(octets))
            memoryview(place)[:size] = octets[:size]
            self.protocol.buffer_updated(size)
            octets = octets[size:]
        self.unread = octets

    def get_write_buffer_size(self) -> int:
        return len(self.written)


class Echo(Connection):
    """Remembers what it is given; may answer through `on`."""

    def __init__(self, shared: bytearray, on: Callable[[Echo, bytes], None]) -> None:
        super().__init__(shared)
        self.on = on
        self.got: list[bytes] = []
        self.seen: list[str] = []
        self.stays = False

    def opened(self) -> None:
        assert self.transport is not None
        self.seen.append("opened")
        self.transport.write(b"220 hello\r\n")

    def buffer_updated(self, nbytes: int) -> None:
        assert nbytes > 0
        self.got.append(bytes(self.shared[:nbytes]))
        self.on(self, self.got[-1])

    def eof_received(self) -> bool:
        self.seen.append("eof")
        return self.stays

    def steer(self) -> None:
        self.seen.append(f"full {self.full}")

    def ended(self) -> None:
        self.seen.append("ended")

    @property
    def text(self) -> bytes:
        return b"".join(self.got)


class Client:
    """The peer, with its own TLS."""

    def __init__(self, version: str = "TLSv1.3", session: Any = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(version).wrap_bio(
            self.incoming, self.outgoing, session=session
        )
        self.done = False
        self.heard = b""
        self.ended = False

    def step(self, octets: bytes) -> bytes:
        """Takes what the server wrote; what is to be sent to it."""
        self.incoming.write(octets)
        try:
            if not self.done:
                self.tls.do_handshake()
                self.done = True
            while not self.ended:
                got = self.tls.read(65536)
                self.ended = not got
                self.heard += got
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def say(self, text: bytes) -> bytes:
        """The records of this text."""
        self.tls.write(text)
        return self.outgoing.read()


class Rig:
    """One `Tls`, and any number of connections with their clients."""

    def __init__(self) -> None:
        self.time = FakeClock()
        self.clock = Clock(self.time)
        self.told: list[tuple[str, str]] = []
        self.tls = Tls(server_context(), self.clock, 30.0, self.note)
        self.shared = shared_buffer()
        self.on: Callable[[Echo, bytes], None] = lambda echo, text: None

    def note(self, transport: TlsTransport, result: str, cause: str) -> None:
        self.told.append((result, transport.version))

    def connect(self, version: str = "TLSv1.3", session: Any = None) -> Line:
        echo, raw = Echo(self.shared, lambda e, t: self.on(e, t)), Raw()
        protocol = self.tls.accept(lambda: echo)()
        raw.set_protocol(protocol)
        protocol.connection_made(raw)
        return Line(echo, raw, Client(version, session))

    def secured(self, version: str = "TLSv1.3", session: Any = None) -> Line:
        line = self.connect(version, session)
        line.shake()
        return line


class Line:
    """A connection, its socket and its client."""

    def __init__(self, echo: Echo, raw: Raw, client: Client) -> None:
        self.echo, self.raw, self.client = echo, raw, client

    @property
    def transport(self) -> Any:
        return self.raw.protocol

    def shake(self) -> None:
        while not (self.client.done and self.transport.secured):
            self.turn()
        self.turn()

    def turn(self) -> None:
        self.raw.deliver(self.client.step(self.raw.take()))

    def say(self, text: bytes) -> None:
        self.raw.deliver(self.client.say(text))

    def hear(self) -> bytes:
        self.client.step(self.raw.take())
        heard, self.client.heard = self.client.heard, b""
        return heard


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_before_the_handshake_is_done_waits_for_it(
    version: str,
) -> None:
    rig = Rig()
    line = rig.connect(version)
    assert line.echo.seen == ["opened"]
    assert line.raw.written == b""
    line.shake()
    assert line.client.heard == b"220 hello\r\n"
    assert rig.told == [("full", version)]
    assert line.transport.cipher == line.client.tls.cipher()[0]
    assert line.transport.get_extra_info("peername") == ("192.0.2.7", 4711)


@pytest.mark.parametrize("version", VERSIONS)
def test_octets_go_both_ways_in_any_split(version: str) -> None:
    rig = Rig()
    line = rig.secured(version)
    line.hear()
    text = bytes(range(256)) * 160
    for octet in line.client.say(text):
        line.raw.deliver(bytes((octet,)))
    assert line.echo.text == text
    line.transport.write(text)
    line.transport.writelines([b"a", b"b"])
    line.transport.write(b"")
    assert line.hear() == text + b"ab"


def test_records_that_came_together_are_handed_on_as_one_piece() -> None:
    line = Rig().secured()
    line.raw.deliver(b"".join(line.client.say(b"NOOP\r\n") for _ in range(50)))
    assert line.echo.got == [b"NOOP\r\n" * 50]


def test_what_follows_the_handshake_in_the_same_piece_is_heard() -> None:
    """The last flight of TLS 1.3 and the first command come together."""
    line = Rig().connect()
    line.turn()
    last = line.client.step(line.raw.take())
    line.raw.deliver(last + line.client.say(b"EHLO x\r\n"))
    assert line.echo.text == b"EHLO x\r\n"


def test_many_connections_share_two_bios_whatever_their_turns() -> None:
    """Handshakes and records interleaved octet by octet."""
    rig = Rig()
    lines = [rig.connect(VERSIONS[n % 2]) for n in range(4)]
    while not all(ln.client.done and ln.transport.secured for ln in lines):
        flights = [ln.client.step(ln.raw.take()) for ln in lines]
        for octets in zip_longest(*flights):
            for line, octet in zip(lines, octets, strict=True):
                line.raw.deliver(b"" if octet is None else bytes((octet,)))
    for number, line in enumerate(lines):
        assert line.hear() == b"220 hello\r\n"
        line.transport.write(b"you are %d" % number)
    said = [ln.client.say(b"%d" % n * 1000) for n, ln in enumerate(lines)]
    for octets in zip_longest(*said):
        for line, octet in zip(lines, octets, strict=True):
            line.raw.deliver(b"" if octet is None else bytes((octet,)))
    for number, line in enumerate(lines):
        assert line.echo.text == b"%d" % number * 1000
        assert line.hear() == b"you are %d" % number


def test_closing_another_connection_from_inside_harms_nobody() -> None:
    """What closes a connection reads from the BIO: it must be empty by then."""
    rig = Rig()
    line, other = rig.secured(), rig.secured()
    line.hear()
    rig.on = lambda echo, text: other.transport.close()
    size = 8 * len(rig.shared) // 10
    first, second = line.client.say(b"a" * size), line.client.say(b"b" * size)
    line.raw.deliver(first + second)
    assert line.echo.text == b"a" * size + b"b" * size
    assert other.raw.closed


def test_nothing_is_decrypted_while_reading_is_paused() -> None:
    rig = Rig()
    line = rig.secured()
    rig.on = lambda echo, text: echo.read(False)
    small = memoryview(rig.shared)[:100]
    line.echo.get_buffer = lambda hint: small  # type: ignore[method-assign]

    async def held() -> None:
        line.raw.deliver(line.client.say(b"x" * 250))
        line.raw.deliver(line.raw.unread)
        while len(line.echo.text) < 250:
            seen = len(line.echo.text)
            assert not line.raw.reading
            assert not line.transport.is_reading()
            line.echo.read(True)
            line.raw.deliver(line.raw.unread)
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(line.echo.text) > seen

    asyncio.run(held())
    assert line.echo.text == b"x" * 250
    assert max(map(len, line.echo.got)) <= 100


def test_what_came_after_held_octets_stays_behind_them() -> None:
    rig = Rig()
    line = rig.secured()
    rig.on = lambda echo, text: echo.read(False)

    async def order() -> None:
        # three records of which the buffer takes one at a time
        small = memoryview(rig.shared)[:1000]
        line.echo.get_buffer = lambda hint: small  # type: ignore[method-assign]
        line.raw.deliver(b"".join(line.client.say(c * 400) for c in (b"1", b"2")))
        line.raw.deliver(line.raw.unread)
        line.echo.read(True)  # go_on is on its way, and the socket is faster
        line.raw.deliver(line.raw.unread + line.client.say(b"3" * 400))
        line.echo.read(True)
        line.raw.deliver(line.raw.unread)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(order())
    assert line.echo.text == b"1" * 400 + b"2" * 400 + b"3" * 400


def test_a_connection_may_pause_before_the_handshake_is_done() -> None:
    rig = Rig()
    line = rig.connect()
    line.echo.read(False)
    line.turn()
    last = line.client.step(line.raw.take())
    line.raw.deliver(last + line.client.say(b"EHLO x\r\n"))
    assert line.transport.secured
    assert not line.raw.reading
    assert line.echo.got == []

    async def go_on() -> None:
        line.echo.read(True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(go_on())
    assert line.echo.got == [b"EHLO x\r\n"]


@pytest.mark.parametrize("version", VERSIONS)
def test_closing_says_close_notify_behind_the_last_word(version: str) -> None:
    line = Rig().secured(version)
    line.hear()
    line.transport.write(b"221 bye\r\n")
    line.transport.close()
    line.transport.close()
    line.transport.write(b"nothing more")
    assert line.raw.closed
    assert not line.raw.aborted
    assert line.transport.is_closing()
    assert line.hear() == b"221 bye\r\n"
    assert line.client.ended
    line.raw.protocol.connection_lost(None)
    assert line.echo.seen == ["opened", "ended"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_says_close_notify_has_ended(version: str) -> None:
    rig = Rig()
    line = rig.secured(version)
    records = line.client.say(b"QUIT\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        line.client.tls.unwrap()
    line.raw.deliver(records + line.client.outgoing.read() + b"garbage")
    assert line.echo.text == b"QUIT\r\n"
    assert line.echo.seen == ["opened", "eof"]
    assert line.raw.closed


def test_who_has_ended_may_still_be_told_something() -> None:
    line = Rig().secured()
    line.echo.stays = True
    with pytest.raises(ssl.SSLWantReadError):
        line.client.tls.unwrap()
    line.raw.deliver(line.client.outgoing.read())
    assert line.raw.protocol.eof_received()
    assert line.echo.seen == ["opened", "eof"]
    line.transport.write(b"250 durable\r\n")
    line.client.ended = False
    assert b"".join(records(line.raw.take()))
    line.transport.close()
    assert line.raw.closed


def records(octets: bytes) -> list[bytes]:
    """The records of TLS in a stream."""
    found = []
    while octets:
        size = 5 + int.from_bytes(octets[3:5])
        found.append(octets[:size])
        octets = octets[size:]
    return found


def test_an_end_without_close_notify_is_an_end() -> None:
    line = Rig().secured()
    assert not line.raw.protocol.eof_received()
    assert line.echo.seen == ["opened", "eof"]
    assert line.raw.closed


@pytest.mark.parametrize(
    "garbage",
    [b"EHLO x\r\n" * 10, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" * 99],
)
def test_garbage_instead_of_a_hello_ends_the_connection(garbage: bytes) -> None:
    rig = Rig()
    line = rig.connect()
    line.raw.deliver(garbage)
    assert rig.told == [("failed", "TLSv1.3")] or rig.told[0][0] == "failed"
    assert line.raw.closed
    assert line.echo.got == []
    assert b"220" not in line.raw.written
    line.raw.protocol.connection_lost(None)
    assert line.echo.seen == ["opened", "ended"]
    assert rig.secured().client.heard == b"220 hello\r\n", "the others go on"


def test_garbage_in_the_middle_ends_it_and_nothing_of_it_is_heard() -> None:
    rig = Rig()
    line = rig.secured()
    good, bad = line.client.say(b"NOOP\r\n"), bytearray(line.client.say(b"RSET\r\n"))
    bad[-1] ^= 1
    line.raw.deliver(good + bad + line.client.say(b"QUIT\r\n"))
    assert line.echo.text == b"NOOP\r\n"
    assert line.raw.closed
    assert rig.secured().client.heard == b"220 hello\r\n", "the BIO is empty again"


@pytest.mark.parametrize("said", [0, 1, 100])
def test_attack_12_a_half_open_handshake_times_out(said: int) -> None:
    rig = Rig()
    line = rig.connect()
    line.raw.deliver(line.client.step(b"")[:said])
    rig.time.advance(29)
    rig.clock.advance()
    assert not line.raw.closed
    rig.time.advance(2)
    rig.clock.advance()
    assert line.raw.aborted
    assert rig.told == [("timeout", "")] or rig.told[0][0] == "timeout"
    line.raw.protocol.connection_lost(None)
    assert line.echo.seen == ["opened", "ended"]
    assert len(rig.told) == 1


def test_a_finished_handshake_leaves_no_timer() -> None:
    rig = Rig()
    line = rig.secured()
    rig.time.advance(1000)
    rig.clock.advance()
    assert not line.raw.closed


def test_a_connection_lost_in_the_handshake_is_told_once() -> None:
    rig = Rig()
    line = rig.connect()
    line.raw.deliver(line.client.step(b"")[:50])
    assert not line.raw.protocol.eof_received()
    line.raw.protocol.connection_lost(None)
    assert [result for result, _ in rig.told] == ["lost"]
    assert line.echo.seen == ["opened", "ended"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_before_the_handshake_is_done_says_nothing(how: str) -> None:
    rig = Rig()
    line = rig.connect()
    line.turn()
    line.raw.take()
    getattr(line.transport, how)()
    line.transport.write(b"421 later")
    assert line.raw.closed
    assert line.raw.written == b""
    assert [result for result, _ in rig.told] == ["lost"]


def test_a_peer_that_does_not_read_is_noticed() -> None:
    line = Rig().secured()
    line.raw.protocol.pause_writing()
    line.raw.protocol.resume_writing()
    assert line.echo.seen == ["opened", "full True", "full False"]
    line.transport.set_write_buffer_limits(1, 0)
    line.transport.write(b"x" * 100)
    assert line.transport.get_write_buffer_size() > 100


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(version: str) -> None:
    rig = Rig()
    first = rig.secured(version)
    first.hear()
    rig.secured(version, first.client.tls.session)
    assert [result for result, _ in rig.told] == ["full", "resumed"]


def test_the_context_may_be_replaced_while_connections_are_open() -> None:
    rig = Rig()
    line = rig.secured()
    line.hear()
    rig.tls.context = server_context.__wrapped__()
    line.say(b"NOOP\r\n")
    line.transport.write(b"250\r\n")
    assert line.echo.text == b"NOOP\r\n"
    assert line.hear() == b"250\r\n"
    one = line.client.tls.getpeercert(True)
    assert rig.secured().client.tls.getpeercert(True) != one


def started() -> tuple[Rig, Line]:
    """In clear, up to the reply to STARTTLS."""
    rig = Rig()
    echo, raw = Echo(rig.shared, lambda e, t: None), Raw()
    raw.set_protocol(echo)
    echo.connection_made(raw)
    raw.deliver(b"STARTTLS\r\n")
    assert raw.take() == b"220 hello\r\n"
    raw.write(b"220 go ahead\r\n")
    rig.tls.upgrade(echo)
    assert raw.take() == b"220 go ahead\r\n"
    return rig, Line(echo, raw, Client())


def test_starttls_upgrades_an_open_connection() -> None:
    rig, line = started()
    line.echo.got.clear()
    line.shake()
    line.say(b"EHLO x\r\n")
    assert line.echo.got == [b"EHLO x\r\n"]
    line.echo.transport.write(b"250 mx\r\n")  # type: ignore[union-attr]
    assert line.hear() == b"250 mx\r\n"
    assert line.echo.seen == ["opened"]
    assert rig.told == [("full", "TLSv1.3")]


def test_attack_2_clear_text_behind_starttls_is_never_heard() -> None:
    """What comes in a later segment reaches only OpenSSL, which takes it for no TLS."""
    rig, line = started()
    line.echo.got.clear()
    line.raw.deliver(b"EHLO injected\r\nMAIL FROM:<x@y.example>\r\n")
    assert line.echo.got == []
    assert line.raw.closed
    assert rig.told[0][0] == "failed"
