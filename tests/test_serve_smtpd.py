"""The server around the session: limits, deadlines, flow control, the end; and real
clients over loopback. Everything but the last part runs on fake transports."""

import asyncio
import smtplib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeClock, FakeReport, FakeTransport, turns_until

from fastsmtp.cells import fresh
from fastsmtp.errors import StoreUnavailable
from fastsmtp.net.clock import Clock
from fastsmtp.net.listener import bind
from fastsmtp.policy.options import DomainOptions, PolicyOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.queue.message import decode_envelope, parse_queue_id
from fastsmtp.serve import smtpd
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.networks import network_of
from fastsmtp.serve.smtpd import Guest, Smtpd, Terms
from fastsmtp.smtp import counts
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.store.memory import MemorySpool, MemoryStore

DOMAINS = {"example.test": DomainOptions(aliases={"staff": ["bob@example.test"]})}
ACCOUNTS = {"bob@example.test", "alice@example.test"}
POLICY = PolicyOptions()
OPENING = (
    b"EHLO client.test\r\n",
    b"MAIL FROM:<a@client.test>\r\nRCPT TO:<Bob@example.test>\r\nDATA\r\n",
)


class World:
    """A server with a memory store and a clock that is advanced by hand."""

    def __init__(self, policy: PolicyOptions = POLICY, **options: Any) -> None:
        self.time = FakeClock()
        self.clock = Clock(self.time)
        self.store = MemoryStore()
        self.report = FakeReport()
        self.cells = fresh(counts.CELLS)
        self.policy = Recipients(DOMAINS, ACCOUNTS.__contains__, "alice@example.test")
        smtp = SmtpOptions(**options)
        self.behind = 0.0
        self.terms = Terms(
            *("mx.example.test", smtp, self.cells),
            policy=policy,
            behind=lambda: self.behind,
        )
        self.use(Checks())

    def use(self, checks: Checks) -> None:
        """Serve with these checks; clients that are there stay with the old ones."""
        self.server = Smtpd(
            replace(self.terms, checks=checks),
            self.store,
            self.policy.resolve,
            self.report,  # type: ignore[arg-type]
            self.clock,
        )

    def connect(self, address: str = "192.0.2.7") -> tuple[Guest, FakeTransport]:
        guest, transport = self.server.guest(), FakeTransport((address, 4711))
        guest.connection_made(transport)
        return guest, transport

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.time.advance(1)
            self.clock.advance()

    def count(self, family: Any, *labels: str) -> int:
        return self.cells[family.place(*labels)]


def feed(guest: Guest, data: bytes) -> bytes:
    """What is written because of this read."""
    transport = guest.transport
    assert isinstance(transport, FakeTransport)
    transport.take()
    buffer = guest.get_buffer(-1)
    buffer[: len(data)] = data
    guest.buffer_updated(len(data))
    return transport.take()


def in_loop(test: Callable[[World], Awaitable[None]], **options: Any) -> World:
    async def run() -> World:
        world = World(**options)
        await test(world)
        return world

    return asyncio.run(run())


async def turn() -> None:
    """Let what was scheduled with call_soon happen."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_message_is_stored_whole_before_its_250() -> None:
    async def test(world: World) -> None:
        world.store.holding = True
        guest, transport = world.connect()
        assert transport.take() == b"220 mx.example.test ESMTP fastsmtp\r\n"
        for piece in OPENING:
            feed(guest, piece)
        assert feed(guest, b"Subject: x\r\n\r\n..\r\n.\r\n") == b""
        await turn()
        assert transport.written == b""
        world.store.flush()
        await turn()
        said = transport.take().decode()
        assert said.startswith("250 2.0.0 Ok: queued as ")
        id = parse_queue_id(said.split()[-1])
        ((record, body),) = world.store.disk.log
        assert record.id == id
        envelope = decode_envelope(record.envelope)
        assert envelope.reverse_path == "a@client.test"
        assert [r.address for r in envelope.recipients] == ["Bob@example.test"]
        assert (envelope.client, envelope.helo) == ("192.0.2.7", "client.test")
        path, received = body[: envelope.skip], body[envelope.skip :]
        assert path == b"Return-Path: <a@client.test>\r\n"
        assert received.startswith(b"Received: from client.test ([192.0.2.7])\r\n")
        assert f"with ESMTP id {said.split()[-1]}".encode() in received
        assert b"for <Bob@example.test>;" in received
        assert received.endswith(b"Subject: x\r\n\r\n.\r\n")
        accepted = world.report.named("message_accepted")
        assert accepted[0][2:6] == (said.split()[-1], "a@client.test", 1, 17)

    in_loop(test)


def test_rfc_15_received_names_no_recipient_when_there_are_several() -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect("2001:db8::7")
        feed(guest, b"HELO c.test\r\nMAIL FROM:<>\r\n")
        feed(guest, b"RCPT TO:<bob@example.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\n")
        feed(guest, b"Received: from older\r\n\r\nx\r\n.\r\n")
        await turn()
        ((_, body),) = world.store.disk.log
        assert body.startswith(
            b"Return-Path: <>\r\nReceived: from c.test ([IPv6:2001:db8::7])\r\n"
        )
        assert b"with SMTP id" in body
        assert b"for <" not in body
        assert body.endswith(b"Received: from older\r\n\r\nx\r\n")

    in_loop(test)


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("bob@example.test", b"250 2.1.5"),
        ("bob+tag@example.test", b"250 2.1.5"),
        ("staff@example.test", b"250 2.1.5"),
        ("Postmaster", b"250 2.1.5"),
        ("nobody@example.test", b"550 5.1.1"),
        ("bob@far.test", b"550 5.7.1"),
        ("bob%far.test@example.test", b"550 5.1.1"),
        ("far.test!bob@example.test", b"550 5.1.1"),
        ('"bob@far.test"@example.test', b"550 5.1.1"),
        ("@example.test:bob@far.test", b"550 5.7.1"),
        ("bob@[192.0.2.1]", b"550 5.7.1"),
        ("bob@far.test@example.test", b"501 5.1.3"),
    ],
)
def test_rfc_24_no_relaying_for_strangers(address: str, answer: bytes) -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect()
        feed(guest, b"EHLO x\r\n")
        feed(guest, b"MAIL FROM:<a@b.test>\r\n")
        assert feed(guest, f"RCPT TO:<{address}>\r\n".encode()).startswith(answer)
        refused = world.report.named("recipient_refused")
        assert bool(refused) == answer.startswith(b"550")

    in_loop(test)


def test_trouble_of_the_store_is_452_and_passes() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        feed(guest, OPENING[0])
        world.store.trouble = "the disk is full"
        said = feed(guest, b"MAIL FROM:<a@b.test>\r\n")
        assert said.startswith(b"452 4.3.1 ")
        assert b"disk" not in said
        assert world.count(counts.ADMISSION, "disk") == 1
        world.store.trouble = None
        feed(guest, OPENING[1])
        world.store.trouble = "the disk is full"
        assert feed(guest, b"x\r\n.\r\n").startswith(b"452 4.3.1 ")
        world.store.trouble = None
        world.store.fail_next = 1
        feed(guest, OPENING[1])
        feed(guest, b"x\r\n.\r\n")
        await turn()
        assert transport.take().startswith(b"452 4.3.1 ")
        feed(guest, OPENING[1])
        feed(guest, b"x\r\n.\r\n")
        await turn()
        assert transport.take().startswith(b"250 2.0.0 ")
        assert len(world.store.disk.log) == 1
        assert world.count(counts.MESSAGES, "deferred") == 2
        assert len(world.report.named("message_refused")) == 2

    in_loop(test)


def test_a_client_lost_before_its_250_harms_nothing() -> None:
    async def test(world: World) -> None:
        world.store.holding = True
        guest, _ = world.connect()
        for piece in (*OPENING, b"x\r\n.\r\nRSET\r\n"):
            feed(guest, piece)
        guest.connection_lost(ConnectionResetError())
        world.store.flush()
        await turn()
        assert world.server.connections == 0
        assert world.count(counts.MESSAGES, "accepted") == 1
        assert world.count(counts.DISCONNECTS, "reset") == 1
        assert [said[2] for said in world.report.named("session_closed")] == ["reset"]
        assert world.cells[counts.OPEN] == 0
        assert guest.session.peer is None

    in_loop(test)


def test_who_closes_its_side_still_hears_the_250() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        for piece in (*OPENING, b"x\r\n.\r\n"):
            feed(guest, piece)
        assert guest.eof_received() is True
        await turn()
        assert transport.take().startswith(b"250 2.0.0 ")
        assert transport.closed
        other, _ = world.connect()
        assert other.eof_received() is False

    in_loop(test)


@pytest.mark.parametrize(
    ("pieces", "timeout"),
    [
        ((), 300),
        ((b"EHLO x\r\n",), 300),
        ((b"EHL",), 300),
        (OPENING, 180),
    ],
)
def test_a_silent_client_is_sent_away(pieces: tuple[bytes, ...], timeout: int) -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        for piece in pieces:
            feed(guest, piece)
        transport.take()
        world.pass_time(timeout - 1)
        assert not transport.closed
        world.pass_time(3)
        assert transport.take().startswith(b"421 4.4.2 ")
        assert transport.closed
        guest.connection_lost(None)
        assert world.count(counts.DISCONNECTS, "timeout") == 1

    in_loop(test)


def test_octet_by_octet_is_bounded_too() -> None:
    async def test(world: World) -> None:
        slow, transport = world.connect()
        for _ in range(301):
            world.pass_time(1)
            if not transport.closed:
                feed(slow, b"x")
        world.pass_time(2)
        assert transport.closed
        body, transport = world.connect()
        for piece in OPENING:
            feed(body, piece)
        for _ in range(36):
            world.pass_time(100)
            assert not transport.closed
            feed(body, b"x")
        world.pass_time(3)
        assert transport.closed
        assert world.server.crowd.service.kept == 0

    in_loop(test)


def test_no_deadline_runs_while_it_is_our_turn() -> None:
    async def test(world: World) -> None:
        world.store.holding = True
        guest, transport = world.connect()
        for piece in (*OPENING, b"x\r\n.\r\n"):
            feed(guest, piece)
        world.pass_time(4000)
        assert not transport.closed
        world.store.flush()
        await turn()
        assert transport.take().startswith(b"250 ")
        world.pass_time(299)
        assert not transport.closed

    in_loop(test)


def test_a_client_that_never_reads_is_not_read_and_then_dropped() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        feed(guest, OPENING[0])
        guest.pause_writing()
        assert not transport.reading
        assert feed(guest, b"NOOP\r\n" * 3) != b""  # was on its way already
        guest.resume_writing()
        assert transport.reading
        guest.pause_writing()
        world.pass_time(303)
        assert transport.aborted

    in_loop(test)


def test_a_closed_connection_that_lingers_is_aborted() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        feed(guest, b"QUIT\r\n")
        assert transport.closed
        assert feed(guest, b"NOOP\r\n") == b""
        world.pass_time(400)
        assert transport.aborted

    in_loop(test)


def test_commands_are_read_in_small_pieces_and_bodies_in_large() -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect()
        assert len(guest.get_buffer(-1)) == 16 * 1024
        for piece in OPENING:
            feed(guest, piece)
        assert len(guest.get_buffer(-1)) == 256 * 1024
        assert len(world.server.guest().get_buffer(-1)) == 16 * 1024

    in_loop(test)


def test_input_waits_while_a_commit_is_pending() -> None:
    async def test(world: World) -> None:
        world.store.holding = True
        guest, transport = world.connect()
        for piece in OPENING:
            feed(guest, piece)
        feed(guest, b"x\r\n.\r\n")
        assert transport.reading
        feed(guest, b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
        assert not transport.reading
        world.store.flush()
        await turn()
        assert transport.reading
        codes = [line[:3] for line in transport.take().split(b"\r\n")[:-1]]
        assert codes == [b"250", b"250", b"250", b"354"]

    in_loop(test)


def test_a_body_that_the_disk_cannot_follow_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        for piece in OPENING:
            feed(guest, piece)
        feed(guest, b"x" * 16_000)
        feed(guest, b"x" * 16_000)
        backlog = [2 * 1024 * 1024]
        monkeypatch.setattr(MemorySpool, "backlog", lambda self: backlog[0])
        feed(guest, b"x" * 10)
        assert not transport.reading
        world.server._look()
        assert not transport.reading
        backlog[0] = 0
        world.server._look()
        assert transport.reading
        assert feed(guest, b"\r\n.\r\n") == b""
        await turn()
        assert transport.take().startswith(b"250 ")
        assert len(world.store.disk.log[0][1]) > 32_012

    in_loop(test, memory_per_message=16_384)


def test_bodies_wait_when_all_their_memory_is_taken() -> None:
    async def test(world: World) -> None:
        guests = [world.connect(f"192.0.2.{n}") for n in range(160)]
        for guest, _ in guests:
            for piece in OPENING:
                feed(guest, piece)
            feed(guest, b"x" * 15_000)
        service = world.server.crowd.service
        assert 2 * 2**20 < service.kept < 4 * 2**20
        assert service.crowded
        paused = [pair for pair in guests if not pair[1].reading]
        assert 1 <= len(paused) < 40
        idle, transport = world.connect("192.0.2.200")
        feed(idle, OPENING[0])
        assert transport.reading
        for guest, transport in guests:
            if transport.reading:
                feed(guest, b"\r\n.\r\n")
        world.server._look()
        assert all(transport.reading for _, transport in guests)
        for guest, _ in paused:
            feed(guest, b"\r\n.\r\n")
        await turn()
        assert service.kept == 0
        assert len(world.store.disk.log) == 160

    in_loop(test, memory_for_bodies=2**20)


def test_too_many_connections_hear_421() -> None:
    async def test(world: World) -> None:
        first, _ = world.connect("192.0.2.1")
        world.connect("192.0.2.1")
        third, transport = world.connect("192.0.2.1")
        assert transport.take().startswith(b"421 4.7.0 ")
        assert transport.closed
        third.connection_lost(None)
        world.connect("2001:db8:1:2::a")
        world.connect("2001:db8:1:2::b")
        assert world.connect("2001:db8:1:2::c")[1].closed
        assert not world.connect("2001:db8:1:3::a")[1].closed
        assert world.connect("192.0.2.9")[1].closed
        first.connection_lost(None)
        assert not world.connect("192.0.2.1")[1].closed
        assert world.count(counts.CONNECTIONS, "ipv4", "limit") == 2
        assert world.count(counts.CONNECTIONS, "ipv6", "limit") == 1
        assert world.count(counts.REJECTS, "connect", "limit", "4") == 3
        assert world.cells[counts.OPEN] == world.server.connections == 5

    alike = PolicyOptions(fair_share_above=100)
    in_loop(test, policy=alike, max_connections=5, max_connections_per_network=2)


def test_attack_12_the_last_descriptors_are_not_for_clients() -> None:
    async def test(world: World) -> None:
        assert world.connect()[1].take().startswith(b"220 ")
        world.server.crowd.highest = 0
        _, transport = world.connect()
        assert transport.take().startswith(b"421 4.7.0 ")
        assert transport.closed
        assert world.count(counts.CONNECTIONS, "ipv4", "limit") == 1

    in_loop(test)


def test_a_drain_ends_the_idle_and_lets_transactions_finish() -> None:
    async def test(world: World) -> None:
        world.store.holding = True
        idle, idle_transport = world.connect()
        busy, busy_transport = world.connect()
        for piece in OPENING:
            feed(busy, piece)
        drained = asyncio.ensure_future(world.server.drain(30))
        await turn()
        assert idle_transport.written.endswith(b"try again\r\n")
        assert b"\r\n421 4.3.2 " in idle_transport.take()
        idle.connection_lost(None)
        _, late = world.connect()
        assert late.take().startswith(b"421 4.3.2 ")
        assert late.closed
        feed(busy, b"x\r\n.\r\n")
        await turn()
        assert not drained.done()
        world.store.flush()
        await turn()
        said = busy_transport.take()
        assert said.startswith(b"250 2.0.0 ")
        assert said.split(b"\r\n")[1].startswith(b"421 4.3.2 ")
        busy.connection_lost(None)
        await drained
        assert world.count(counts.DISCONNECTS, "shutdown") == 2

    in_loop(test)


def test_who_retires_lets_newcomers_send_one_message() -> None:
    async def test(world: World) -> None:
        world.store.holding = True
        served, served_transport = world.connect()
        for piece in OPENING:
            feed(served, piece)
        feed(served, b"x\r\n.\r\n")
        world.store.flush()
        await turn()
        served_transport.take()
        retired = asyncio.ensure_future(world.server.retire(30))
        await turn()
        assert served_transport.take().startswith(b"421 4.3.2 ")
        assert served_transport.ended  # we listen on, so that nothing is reset
        feed_nobody = served.get_buffer(-1)
        feed_nobody[:6] = b"NOOP\r\n"
        served.buffer_updated(6)
        assert served_transport.take() == b""
        new, new_transport = world.connect()  # it was in the accept queue
        assert new_transport.take().startswith(b"220 ")
        for piece in OPENING:
            feed(new, piece)
        feed(new, b"x\r\n.\r\n")
        world.store.flush()
        await turn()
        said = new_transport.take().split(b"\r\n")
        assert [line[:3] for line in said] == [b"250", b"421", b""]
        new.connection_lost(None)
        world.pass_time(4)  # the other one does not leave by itself
        assert served_transport.aborted
        served.connection_lost(None)
        await retired

    in_loop(test)


def test_who_retires_does_not_wait_for_ever_for_a_first_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtpd, "FIRST_MESSAGE", 0.001)

    async def test(world: World) -> None:
        guest, transport = world.connect()
        transport.take()
        retired = asyncio.ensure_future(world.server.retire(30))
        await turns_until(lambda: transport.ended)
        assert transport.take().startswith(b"421 4.3.2 ")
        guest.connection_lost(None)
        await retired

    in_loop(test)


def test_mail_that_is_held_is_taken_again() -> None:
    async def test(world: World) -> None:
        world.server.hold(True)
        assert world.connect()[1].take().startswith(b"421 4.3.2 ")
        world.server.hold(False)
        assert world.connect()[1].take().startswith(b"220 ")

    in_loop(test)


def test_a_drain_ends_when_its_grace_is_over() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        for piece in OPENING:
            feed(guest, piece)
        await world.server.drain(0.0)
        assert transport.take().startswith(b"421 4.3.2 ")
        assert transport.closed
        assert world.count(counts.MESSAGES, "aborted") == 1

    in_loop(test)


def test_networks() -> None:
    assert network_of("192.0.2.1") == ("ipv4", "192.0.2.1")
    assert network_of("2001:db8::1")[1] == network_of("2001:db8::ffff:1")[1]
    assert network_of("fe80::1%eth0")[0] == "ipv6"
    assert network_of("unix") == ("other", "unix")


# over loopback, with clients that others wrote


async def serving(
    client: Callable[[int], Any], factory: Callable[[], World] = World
) -> tuple[World, Any]:
    world = factory()
    world.server.clock.start(asyncio.get_running_loop())
    (sock,) = bind("127.0.0.1:0")
    with sock:
        await world.server.open([sock])
        loop = asyncio.get_running_loop()
        said = await loop.run_in_executor(None, client, sock.getsockname()[1])
        await world.server.drain(5)
        world.server.close()
        world.server.clock.stop()
        await turn()
    return world, said


def test_smtplib_delivers() -> None:
    def client(port: int) -> Any:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            for n in range(3):
                text = f"Subject: {n}\n\n.dot\nbody"
                smtp.sendmail("a@client.test", ["bob@example.test"], text)
            return smtp.sendmail(
                "a@client.test", ["alice@example.test", "no@example.test"], "x"
            )

    world, refused = asyncio.run(serving(client))
    assert list(refused) == ["no@example.test"]
    assert len(world.store.disk.log) == 4
    assert world.store.disk.log[1][1].endswith(b"Subject: 1\r\n\r\n.dot\r\nbody\r\n")


def test_a_dialogue_piped_into_a_socket_is_answered_to_its_end() -> None:
    lines = (
        b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nx\r\n.\r\n"
    )

    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(lines)
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while piece := sock.recv(65536):
                said += piece
        return said

    world, said = asyncio.run(serving(client))
    assert [line[:3] for line in said.split(b"\r\n")[:-1]] == [
        *(b"220", b"250", b"250", b"250", b"354", b"250")
    ]
    assert len(world.store.disk.log) == 1


def test_a_failed_store_is_no_end_of_the_session() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        world.store.next_id = _broken  # type: ignore[method-assign]
        feed(guest, OPENING[0])
        said = feed(guest, b"MAIL FROM:<>\r\n")
        assert said.startswith(b"452 4.3.1")
        assert not transport.closed

    in_loop(test)


def _broken() -> int:
    raise StoreUnavailable("no ids")


def test_a_client_behind_a_proxy_is_known_by_its_own_address() -> None:
    async def run() -> None:
        world = World(proxy_protocol=["127.0.0.0/8"])
        (sock,) = bind("127.0.0.1:0")
        await world.server.open([sock])
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25\r\nEHLO x\r\n")
        assert (await reader.readline()).startswith(b"220 ")
        (guest,) = world.server.crowd.guests
        assert guest.address == guest.network == "203.0.113.9"
        assert (await reader.readline()).startswith(b"250-")
        writer.close()
        silence, bare = await asyncio.open_connection(*sock.getsockname())
        bare.write(b"EHLO x\r\n")
        assert await silence.read() == b""
        assert world.report.named("not_from_a_proxy")
        world.server.close()
        sock.close()

    asyncio.run(asyncio.wait_for(run(), 10))
