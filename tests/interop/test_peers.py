"""Other mail servers deliver to us over TLS: each message once, octet by octet."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificate import pair
from crash.kill_rig import USER, prepared, until
from interop.exim import Exim

from fastsmtp_bench import peers
from fastsmtp_bench.client import pending
from fastsmtp_bench.postfix import Postfix, usable
from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
COUNT = 30
SENDER, TO_LMTP = "someone@sender.example", "lmtp@sender.example"
MORE = """\
[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]
[lmtp]
listen = ["unix:{lmtp}"]
"""
# Everything to our port, but what comes from one sender: that to our socket.
SENDING = """\
smtp_tls_security_level = encrypt
smtp_tls_loglevel = 1
lmtp_tls_security_level = none
default_transport = smtp:[127.0.0.1]:{port}
sender_dependent_default_transport_maps = inline:{{
  {{ {to_lmtp} = lmtp:unix:{lmtp} }} }}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the users of the other servers may enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=["one", "split"])
def server(
    tmp_path: Path, folder: Path, request: pytest.FixtureRequest
) -> Iterator[Served]:
    certificate, key = pair(tmp_path, "mx.example.test")
    more = MORE.format(certificate=certificate, key=key, lmtp=folder / "lmtp")
    made = prepared(tmp_path, mode=request.param, more=more)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def postfix(server: Served, folder: Path) -> Iterator[Postfix]:
    if why := usable():
        pytest.skip(why)
    home = folder / "postfix"
    home.mkdir()
    try:
        where = {"port": server.port, "lmtp": folder / "lmtp", "to_lmtp": TO_LMTP}
        made = Postfix(home, SENDING.format(**where))
    except (peers.Unavailable, OSError) as error:
        pytest.skip(f"needs postfix: {error}")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def exim(server: Served, folder: Path) -> Exim:
    if os.getuid():
        pytest.skip("Exim is started by root")
    home = folder / "exim"
    home.mkdir()
    try:
        return Exim(home, server.port)
    except (peers.Unavailable, OSError) as error:
        pytest.skip(f"needs exim4: {error}")


def letter(number: int) -> bytes:
    """With line ends of this system; every sixth is long."""
    filler = b"".join(b"%06d %s\n" % (line, b"y" * (line % 70)) for line in range(4000))
    return (
        b"From: Someone <someone@sender.example>\n"
        b"To: user@example.test\n"
        b"Subject: number %d\n"
        b"Message-ID: <%d@sender.example>\n"
        b"Date: Tue, 24 Nov 2026 05:00:00 +0000\n"
        b"MIME-Version: 1.0\n"
        b"Content-Type: text/plain; charset=utf-8\n"
        b"Content-Transfer-Encoding: 8bit\n"
        b"\n"
        b".\n"
        b"..\n"
        b".a line that begins with a dot\n"
        b"caf\xc3\xa9, na\xc3\xafve\n"
        b"\n" + b"x" * 900 + b"\nFrom the start of a line\n%s and the last line.\n"
    ) % (number, number, filler if number % 6 == 5 else b"")


def stored(server: Served) -> tuple[list[bytes], list[bytes]]:
    """The trace fields of each message in the mailbox, and what is behind them."""
    target = server.home / "Maildir"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    server.command("mail", "export", USER, str(target))
    traces, rests = [], []
    for file in target.rglob("*"):
        if file.is_file() and file.parent.name in ("new", "cur"):
            text = file.read_bytes().replace(b"\r\n", b"\n")
            found = re.match(rb"Return-Path: .*\n(Received: .*\n([ \t].*\n)*)+", text)
            assert found, text[:500]
            traces.append(found[0])
            rests.append(text[found.end() :])
    return traces, rests


def arrived(server: Served, log: Callable[[], str]) -> list[bytes]:
    """All that `letter` wrote is there once and unchanged; the trace fields."""
    until(lambda: delivered(server) >= COUNT, f"all mail arrives: {log()[-3000:]}")
    until(lambda: pending(server.metrics) == 0, "all mail in its mailbox")
    traces, rests = stored(server)
    assert sorted(rests) == sorted(letter(n) for n in range(COUNT))
    return traces


def delivered(server: Served) -> float:
    found = re.findall(
        r'^fastsmtp_smtp_messages_total\{.*result="accepted".*\} (\S+)$',
        server.read_metrics(),
        re.MULTILINE,
    )
    return sum(map(float, found))


def test_postfix(server: Served, postfix: Postfix) -> None:
    for number in range(COUNT):
        postfix.submit(SENDER, USER, letter(number))
    for trace in arrived(server, postfix.log):
        assert b"from postfix.example " in trace
        assert b" with ESMTPS id " in trace
    assert "Untrusted TLS connection established to 127.0.0.1" in postfix.log()
    assert "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384" in postfix.log()
    assert postfix.log().count("status=sent (250 2.0.0 ") == COUNT


def test_postfix_over_lmtp(server: Served, postfix: Postfix) -> None:
    for number in range(COUNT):
        postfix.submit(TO_LMTP, USER, letter(number))
    for trace in arrived(server, postfix.log):
        assert b" with LMTP id " in trace
    assert postfix.log().count("postfix/lmtp") >= COUNT


def test_exim(server: Served, exim: Exim) -> None:
    """In chunks, as Exim does when it may, many to a connection."""
    for number in range(COUNT):
        exim.submit(SENDER, USER, letter(number))
    exim.send()
    assert exim.left() == 0, exim.log()
    for trace in arrived(server, exim.log):
        assert b"from exim.example " in trace
        assert b" with ESMTPS id " in trace
    sent = [line for line in exim.log().splitlines() if " => " in line]
    assert len(sent) == COUNT
    assert all(" X=TLS1.3:" in line and " K C=" in line for line in sent), sent[:3]
    assert any("]* X=" in line for line in sent), "no connection was used again"
