"""Real clients deliver, and what they meant arrives octet by octet."""

import os
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import USER, prepared, until

from fastsmtp_bench import peers
from fastsmtp_bench.client import pending
from fastsmtp_bench.served import MANY, Served

pytestmark = pytest.mark.slow
MAILDIR = ("new", "cur")
PROXIES = 'xclient = ["127.0.0.3"]\nproxy_protocol = ["127.0.0.2"]\n'
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
    folder = tmp_path_factory.mktemp("interop")
    more = f'[lmtp]\nlisten = ["unix:{folder}/lmtp"]'
    made = prepared(folder, mode=request.param, smtp=f"{MANY}{PROXIES}", more=more)
    made.start()
    yield made
    made.stop()


def need(name: str) -> str:
    if found := shutil.which(name):
        return found
    pytest.skip(f"needs {name}: apt-get install {name}")


def kept(server: Served, folder: Path) -> list[bytes]:
    """What is in the mailbox, each without the lines that delivery put in front."""
    until(lambda: pending(server.metrics) == 0, "all mail in its mailbox")
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


def newest(server: Served, folder: Path, before: int) -> str:
    """The one message more that there is, with the lines that delivery put in front."""
    assert len(kept(server, folder)) == before + 1
    return server.command("mail", "show", USER, str(before + 1))


def swaks(server: Served, file: Path, *words: str) -> None:
    crlf = file.with_name("crlf")
    crlf.write_bytes(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".")
    words = ("--data", f"@{crlf}", "--no-data-fixup", "--from", SENDER, *words)
    command = [need("swaks"), *words, "--to", USER, "--ehlo", "client.example"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("source", ["192.0.2.77", "2001:db8::77"])
def test_swaks_behind_a_proxy_protocol(
    server: Served, tmp_path: Path, file: Path, before: int, version: str, source: str
) -> None:
    family = "TCP6" if ":" in source else "TCP4"
    if version == "2":
        family = "AF_INET6" if ":" in source else "AF_INET"
    other = "2001:db8::1" if ":" in source else "192.0.2.1"
    words = ["--proxy-version", version, "--proxy-family", family]
    words += ["--proxy-source", source, "--proxy-source-port", "4711"]
    words += ["--proxy-dest", other, "--proxy-dest-port", "25"]
    if version == "2":
        words += ["--proxy-command", "PROXY", "--proxy-protocol", "STREAM"]
    where = ["--server", f"127.0.0.1:{server.port}", "--local-interface", "127.0.0.2"]
    swaks(server, file, *where, *words)
    literal = f"[IPv6:{source}]" if ":" in source else f"[{source}]"
    assert f"from client.example ({literal})" in newest(server, tmp_path, before)


def test_swaks_with_xclient(
    server: Served, tmp_path: Path, file: Path, before: int
) -> None:
    where = ["--server", f"127.0.0.1:{server.port}", "--local-interface", "127.0.0.3"]
    told = ["--xclient-addr", "192.0.2.78", "--xclient-name", "far.example"]
    swaks(server, file, *where, *told)
    found = newest(server, tmp_path, before)
    assert "from client.example (far.example [192.0.2.78])" in found


def test_swaks_with_xclient_from_elsewhere(server: Served, file: Path) -> None:
    where = ["--server", f"127.0.0.1:{server.port}", "--to", USER]
    command = [need("swaks"), *where, "--xclient-addr", "192.0.2.79"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "250-XCLIENT" not in done.stdout
    with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
        client.ehlo()
        assert client.docmd("XCLIENT", "ADDR=192.0.2.79")[0] == 550


def test_swaks_over_lmtp(
    server: Served, tmp_path: Path, file: Path, before: int
) -> None:
    swaks(server, file, "--protocol", "LMTP", "--socket", f"{server.home}/lmtp")
    found = newest(server, tmp_path, before)
    assert "with LMTP id " in found
    assert "from client.example (Unix socket)" in found


def test_curl_in_utf_8(server: Served, tmp_path: Path, before: int) -> None:
    """SMTPUTF8, which curl asks for when an address wants it."""
    crlf = tmp_path / "crlf"
    crlf.write_bytes(MESSAGE)
    address = ["--mail-from", "jos\u00e9@sender.example", "--mail-rcpt", USER]
    url = f"smtp://127.0.0.1:{server.port}/client.example"
    command = [need("curl"), "-sS", *address, "--upload-file", str(crlf), url]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    found = newest(server, tmp_path, before)
    assert found.startswith("Return-Path: <jos\u00e9@sender.example>")
    assert "with UTF8SMTP id " in found
