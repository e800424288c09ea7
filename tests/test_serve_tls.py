"""A listener that talks TLS, and clients of Python and OpenSSL over loopback."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificate import client_context, pair
from fakes import FakeReport, turns_until
from test_serve_smtpd import World

from fastsmtp.cells import fresh
from fastsmtp.net import counts
from fastsmtp.net.certificates import Certificates
from fastsmtp.net.listener import bind
from fastsmtp.net.options import CertificatePair, TlsOptions
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.smtpd import Smtpd

LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop]
)
PATIENCE = 20.0


class Sealed(World):
    """A server with a certificate of its own."""

    def __init__(self, folder: Path, listener: str, **tls: Any) -> None:
        super().__init__()
        certificate, key = pair(folder, "mx.example.test")
        made = CertificatePair(certificate=certificate, key=key)
        self.handshakes = fresh(counts.CELLS)
        self.certificates = Certificates(
            TlsOptions(certificates=[made], **tls), FakeReport()
        )
        self.terms = replace(
            self.terms,
            listener=listener,
            certificates=self.certificates,
            handshakes=self.handshakes,
        )
        self.server = Smtpd(
            self.terms,
            self.store,
            self.policy.resolve,
            self.report,  # type: ignore[arg-type]
        )

    def use_clock(self) -> None:
        """Serve by the clock that is advanced by hand."""
        self.use(Checks())

    def shaken(self, version: str, result: str) -> int:
        return self.handshakes[counts.HANDSHAKES.place(version, result)]


@asynccontextmanager
async def serving(world: Sealed) -> AsyncIterator[int]:
    """The port it listens on."""
    (sock,) = bind("127.0.0.1:0")
    await world.server.open([sock])
    try:
        yield int(sock.getsockname()[1])
    finally:
        world.server.close()
        sock.close()
        await asyncio.sleep(0)


def run(new_loop: Any, test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(test(), PATIENCE))


def stored(world: World) -> bytes:
    ((_, body),) = world.store.disk.log
    return bytes(body)


@LOOPS
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_rfc_30_implicit_tls_takes_mail(
    tmp_path: Path, new_loop: Any, version: str
) -> None:
    def send(port: int) -> None:
        context = client_context(version)
        with smtplib.SMTP_SSL("127.0.0.1", port, "c.test", context=context) as client:
            client.sendmail(
                "a@c.test", "bob@example.test", "Subject: x\n\n" + "y\n" * 9000
            )

    async def test() -> None:
        world = Sealed(tmp_path, "submissions")
        async with serving(world) as port:
            await asyncio.to_thread(send, port)
        text = stored(world)
        assert text.count(b"y\r\n") == 9000
        _, first, second, third, *_ = text.split(b"\r\n")
        assert first == b"Received: from c.test ([127.0.0.1])"
        assert second.startswith(b"\t(using %s with cipher " % version.encode())
        assert b" with ESMTPS id " in third
        assert world.shaken(version, "full") == 1
        accepted = world.report.named("message_accepted")
        assert accepted[0][1].tls == version

    run(new_loop, test)


@LOOPS
def test_who_says_no_tls_at_all_is_counted_and_told(
    tmp_path: Path, new_loop: Any
) -> None:
    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b"EHLO clear.test\r\n")
            return client.recv(100)

    async def test() -> None:
        world = Sealed(tmp_path, "submissions")
        async with serving(world) as port:
            said = await asyncio.to_thread(talk, port)
        assert not said.startswith(b"220")
        assert world.shaken("none", "failed") == 1
        ((_, client, listener, result, cause),) = world.report.named("handshake_failed")
        assert (client, listener, result) == ("127.0.0.1", "submissions", "failed")
        assert cause

    run(new_loop, test)


@LOOPS
def test_open_sessions_outlive_a_new_certificate(tmp_path: Path, new_loop: Any) -> None:
    def connect(port: int) -> smtplib.SMTP_SSL:
        return smtplib.SMTP_SSL("127.0.0.1", port, "c.test", context=client_context())

    def shown(client: smtplib.SMTP_SSL) -> bytes:
        assert isinstance(client.sock, ssl.SSLSocket)
        found = client.sock.getpeercert(True)
        assert found
        return found

    async def test() -> None:
        world = Sealed(tmp_path, "submissions")
        async with serving(world) as port:
            old = await asyncio.to_thread(connect, port)
            pair(tmp_path, "mx.example.test")
            world.certificates.look()
            new = await asyncio.to_thread(connect, port)
            assert shown(old) != shown(new)
            for client in (old, new):
                assert (await asyncio.to_thread(client.noop))[0] == 250
                await asyncio.to_thread(client.quit)

    run(new_loop, test)


@LOOPS
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_rfc_40_starttls_takes_mail(
    tmp_path: Path, new_loop: Any, version: str
) -> None:
    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, "c.test") as client:
            client.ehlo()
            assert client.has_extn("starttls")
            client.starttls(context=client_context(version))
            client.ehlo()
            assert not client.has_extn("starttls")
            client.sendmail("a@c.test", "bob@example.test", "Subject: x\n\ny")

    async def test() -> None:
        world = Sealed(tmp_path, "smtp")
        async with serving(world) as port:
            await asyncio.to_thread(send, port)
        _, _, second, third, *_ = stored(world).split(b"\r\n")
        assert second.startswith(b"\t(using %s with cipher " % version.encode())
        assert b" with ESMTPS id " in third
        assert world.shaken(version, "full") == 1

    run(new_loop, test)


@LOOPS
def test_attack_2_clear_text_behind_starttls_is_dropped_on_the_wire(
    tmp_path: Path, new_loop: Any
) -> None:
    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.recv(100)
            client.sendall(b"EHLO x.test\r\n")
            client.recv(1000)
            client.sendall(b"STARTTLS\r\nRSET\r\nEHLO injected.test\r\n")
            assert client.recv(1000) == b"220 2.0.0 Begin the TLS handshake\r\n"
            with client_context().wrap_socket(client) as sealed:
                sealed.sendall(b"MAIL FROM:<a@x.test>\r\nQUIT\r\n")
                heard = b""
                while piece := sealed.recv(1000):
                    heard += piece
                return heard

    async def test() -> None:
        world = Sealed(tmp_path, "smtp")
        async with serving(world) as port:
            heard = await asyncio.to_thread(talk, port)
        assert heard.startswith(b"503 5.5.1 Say HELO or EHLO first\r\n221 ")

    run(new_loop, test)


@LOOPS
def test_attack_12_a_half_open_handshake_ends_by_the_clock(
    tmp_path: Path, new_loop: Any
) -> None:
    def begin(port: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)
        client.recv(100)
        client.sendall(b"EHLO x.test\r\n")
        client.recv(1000)
        client.sendall(b"STARTTLS\r\n")
        client.recv(1000)
        client.sendall(b"\x16\x03\x01")
        return client

    async def test() -> None:
        world = Sealed(tmp_path, "smtp", handshake_timeout=10.0)
        world.use_clock()
        async with serving(world) as port:
            client = await asyncio.to_thread(begin, port)
            await turns_until(lambda: world.server.connections == 1)
            world.pass_time(12)
            with suppress(ConnectionResetError):
                assert await asyncio.to_thread(client.recv, 100) == b""
            await turns_until(lambda: world.server.connections == 0)
            client.close()
        assert world.shaken("none", "timeout") == 1

    run(new_loop, test)


@LOOPS
def test_a_server_that_drains_ends_handshakes_too(
    tmp_path: Path, new_loop: Any
) -> None:
    async def test() -> None:
        world = Sealed(tmp_path, "submissions")
        async with serving(world) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await turns_until(lambda: world.server.connections == 1)
            await world.server.drain(5.0)
            assert world.server.connections == 0
            assert await reader.read() == b""
            writer.close()
        assert world.shaken("none", "lost") == 1
        assert world.report.named("handshake_failed") == []

    run(new_loop, test)


def client_of_openssl(port: int, *words: str, given: bytes = b"") -> str:
    """What `openssl s_client` prints."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words]
    done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE)
    return (done.stdout + done.stderr).decode(errors="replace")


OPENSSL = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


@pytest.mark.slow
@OPENSSL
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-tls1_3"], "TLSv1.3, Cipher is TLS_"),
        (["-tls1_2"], "TLSv1.2, Cipher is ECDHE-ECDSA-"),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "alert protocol version"),
        (["-tls1_2", "-cipher", "AES128-SHA"], "alert handshake failure"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "alert handshake failure"),
    ],
)
def test_what_openssl_is_offered(
    tmp_path: Path, words: list[str], expected: str
) -> None:
    async def test() -> None:
        world = Sealed(tmp_path, "smtp")
        async with serving(world) as port:
            said = await asyncio.to_thread(
                client_of_openssl, port, "-starttls", "smtp", *words, given=b"QUIT\n"
            )
        assert expected in said

    run(uvloop.new_event_loop, test)


@pytest.mark.slow
@OPENSSL
def test_renegotiation_is_refused(tmp_path: Path) -> None:
    """A line that begins with R asks for it, in TLS 1.2."""

    async def test() -> None:
        world = Sealed(tmp_path, "submissions")
        async with serving(world) as port:
            said = await asyncio.to_thread(
                client_of_openssl, port, "-tls1_2", given=b"R\nQUIT\n"
            )
        assert "RENEGOTIATING" in said
        assert "no renegotiation" in said
        assert world.shaken("TLSv1.2", "full") == 1

    run(uvloop.new_event_loop, test)


@pytest.mark.slow
@OPENSSL
def test_a_change_of_keys_is_answered(tmp_path: Path) -> None:
    """A line that begins with K asks for it, in TLS 1.3."""

    async def test() -> None:
        world = Sealed(tmp_path, "submissions")
        async with serving(world) as port:
            client = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", f"127.0.0.1:{port}"),
                *("-tls1_3", "-crlf", "-quiet", "-no_ign_eof"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert client.stdin
            assert client.stdout
            await client.stdout.readuntil(b"220 ")
            for _ in range(3):
                client.stdin.write(b"K\n")
                await client.stdout.readuntil(b"KEYUPDATE")
                client.stdin.write(b"NOOP\n")
                await client.stdout.readuntil(b"250 2.0.0 Ok")
            client.stdin.write_eof()
            await client.wait()

    run(uvloop.new_event_loop, test)
