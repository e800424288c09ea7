"""A listener that talks TLS, and clients of Python and OpenSSL over loopback."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificate import client_context, pair
from fakes import FakeReport
from test_serve_smtpd import World

from fastsmtp.cells import fresh
from fastsmtp.net import counts
from fastsmtp.net.certificates import Certificates
from fastsmtp.net.listener import bind
from fastsmtp.net.options import CertificatePair, TlsOptions
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
