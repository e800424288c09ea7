"""Real clients deliver, and what they meant arrives octet by octet."""

import os
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import USER, prepared, until

from bench import peers
from bench.client import pending
from bench.served import Served

pytestmark = pytest.mark.slow
MAILDIR = ("new", "cur")
SENDER = "someone@sender.example"
MESSAGE = (
    b"From: Someone <someone@sender.example>\r\n"
    b"To: user@example.test\r\n"
    b"Subject: dots, length and octets\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"Date: Tue, 24 Nov 2026 05:00:00 +0000\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b".\r\n"
    b"..\r\n"
    b".a line that begins with a dot\r\n"
    b"caf\xc3\xa9, na\xc3\xafve\r\n"
    b"\r\n" + b"x" * 900 + b"\r\n"
    b"From the start of a line\r\n"
    b">From the start of a quoted line\r\n"
    b" and the last line.\r\n"
)


@pytest.fixture(scope="module", params=["one", "split"])
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Served]:
    made = prepared(tmp_path_factory.mktemp("interop"), mode=request.param)
    made.start()
    yield made
    made.stop()


def need(name: str) -> str:
    if found := shutil.which(name):
        return found
    pytest.skip(f"needs {name}: apt-get install {name}")


def kept(server: Served, folder: Path) -> list[bytes]:
    """What is in the mailbox, each without the lines that delivery put in front."""
    until(lambda: pending(server.metrics) == 0, 10, "all mail in its mailbox")
    target = folder / "Maildir"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    server.command("mail", "export", USER, str(target))
    files = sorted(
        p for p in target.rglob("*") if p.is_file() and p.parent.name in MAILDIR
    )
    return [without_trace(p.read_bytes()) for p in files]


def without_trace(text: bytes) -> bytes:
    """The message after Return-Path and our Received line, with CRLF line ends."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    assert lines[0].startswith(b"Return-Path: <")
    assert lines[1].startswith(b"Received: from ")
    rest = next(
        n for n in range(2, len(lines)) if not lines[n].startswith((b"\t", b" "))
    )
    return b"\r\n".join(lines[rest:])


def arrives(server: Served, folder: Path, before: int) -> None:
    """One more message is there, and it is the one that was sent."""
    found = kept(server, folder)
    assert len(found) == before + 1
    assert MESSAGE in found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The message with the line ends of this system, as a person keeps it."""
    kept = tmp_path / "message"
    kept.write_bytes(MESSAGE.replace(b"\r\n", b"\n"))
    return kept


@pytest.fixture
def before(server: Served, tmp_path: Path) -> int:
    return len(kept(server, tmp_path))


def test_smtplib(server: Served, tmp_path: Path, before: int) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
        refused = client.sendmail(
            SENDER, [USER], MESSAGE, mail_options=["BODY=8BITMIME"]
        )
    assert refused == {}
    arrives(server, tmp_path, before)


def test_swaks(server: Served, tmp_path: Path, before: int) -> None:
    address = ["--server", f"127.0.0.1:{server.port}", "--from", SENDER, "--to", USER]
    crlf = tmp_path / "crlf"
    crlf.write_bytes(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".")
    text = ["--data", f"@{crlf}", "--no-data-fixup"]
    subprocess.run([need("swaks"), *address, *text], check=True, capture_output=True)
    arrives(server, tmp_path, before)


def test_curl(server: Served, tmp_path: Path, before: int) -> None:
    crlf = tmp_path / "crlf"
    crlf.write_bytes(MESSAGE)
    address = ["--mail-from", SENDER, "--mail-rcpt", USER, "--upload-file", str(crlf)]
    url = f"smtp://127.0.0.1:{server.port}/client.example"
    subprocess.run([need("curl"), "-sS", *address, url], check=True)
    arrives(server, tmp_path, before)


def test_msmtp(server: Served, tmp_path: Path, file: Path, before: int) -> None:
    where = ["--host=127.0.0.1", f"--port={server.port}", f"--from={SENDER}"]
    plain = ["--auth=off", "--tls=off", "--domain=client.example"]
    empty = tmp_path / "msmtprc"
    empty.touch(mode=0o600)
    command = [need("msmtp"), "-C", str(empty), *where, *plain, USER]
    with file.open("rb") as text:
        subprocess.run(command, stdin=text, check=True, env=dict(os.environ))
    arrives(server, tmp_path, before)


def test_smtp_source(server: Served, tmp_path: Path, before: int) -> None:
    try:
        binary, environment = peers.tool("smtp-source")
    except (peers.Unavailable, OSError) as error:
        pytest.skip(f"needs smtp-source of postfix: {error}")
    words = ["-s", "5", "-m", "50", "-l", "1000", "-f", SENDER, "-t", USER]
    command = [str(binary), *words, f"127.0.0.1:{server.port}"]
    subprocess.run(command, env=environment, check=True)
    found = kept(server, tmp_path)
    assert len(found) == before + 50
    assert {len(text.split(b"\r\n\r\n", 1)[1]) for text in found[-50:]}
