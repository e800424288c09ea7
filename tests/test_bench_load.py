"""Our load generator speaks proper SMTP and counts what it was told."""

import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from fastsmtp_bench import peers
from fastsmtp_bench.native import program
from fastsmtp_bench.sink import running
from fastsmtp_bench.workloads import WORKLOADS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


class Door(socketserver.StreamRequestHandler):
    """A server that keeps everything, and refuses whom it is told to."""

    server: "Doors"

    def handle(self) -> None:
        self.wfile.write(b"220 door ESMTP\r\n")
        while line := self.rfile.readline():
            self.server.commands.append(line)
            self.wfile.write(self.answer(line.strip().upper()))
            if line.startswith(b"QUIT"):
                return

    def answer(self, line: bytes) -> bytes:
        if line.startswith(b"EHLO"):
            return b"250-door\r\n250-SIZE\r\n250 PIPELINING\r\n"
        if line.startswith(b"RCPT") and self.server.refuse in line:
            return b"452 4.3.1 Full\r\n"
        if line.startswith(b"BDAT"):
            text = self.rfile.read(int(line.split()[1]))
            self.server.messages.append(text)
            return b"250 2.0.0 Ok\r\n"
        if line != b"DATA":
            return b"250 Ok\r\n"
        self.wfile.write(b"354 Go\r\n")
        text = b""
        while not text.endswith(b"\r\n.\r\n"):
            text += self.rfile.readline()
        self.server.messages.append(text[:-3])
        return b"250 2.0.0 Ok\r\n"


class Doors(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100
    refuse = b"NOBODY@"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.commands: list[bytes] = []
        self.messages: list[bytes] = []


@contextmanager
def door() -> Iterator[Doors]:
    with Doors() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def load(port: int, *words: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [program("load"), "--port", str(port), *words], capture_output=True, timeout=20
    )
    return done.returncode, json.loads(done.stdout)


def test_messages_are_whole_and_acknowledged_once(tmp_path: Path) -> None:
    acked = tmp_path / "acked"
    words = ["--messages", "50", "--sessions", "4", "--size", "4096"]
    with door() as server:
        status, said = load(
            server.server_address[1], *words, "--acked", str(acked), "--tag", "t"
        )
    assert (status, said["acknowledged"], said["refused"]) == (0, 50, 0)
    ids = [str(message_from_bytes(m)["Message-ID"]) for m in server.messages]
    assert sorted(ids) == [f"<t{n:012}@load.invalid>" for n in range(50)]
    assert sorted(acked.read_text().split()) == [f"t{n:012}" for n in range(50)]
    heads, bodies = zip(
        *(m.split(b"\r\n\r\n", 1) for m in server.messages), strict=True
    )
    assert {len(body) for body in bodies} == {4096}
    assert b"\r\n\r\n" not in b"".join(heads)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 77, 78, 79, 156, 512])
def test_every_size_ends_in_a_line_end(size: int) -> None:
    with door() as server:
        status, _ = load(
            server.server_address[1], "--messages", "1", "--size", str(size)
        )
    assert status == 0
    assert b"\r" not in server.messages[0].replace(b"\r\n", b"")


def test_pipelined_commands_to_many_recipients_and_mailboxes() -> None:
    words = ["--pipeline", "--messages", "4", "--sessions", "2", "--recipients", "3"]
    with door() as server:
        status, _ = load(server.server_address[1], *words, "--mailboxes", "6")
    assert status == 0
    asked = sorted(c for c in server.commands if c.startswith(b"RCPT"))
    boxes = [b"RCPT TO:<user%04d@example.test>\r\n" % n for n in range(1, 7)]
    assert asked == sorted(boxes * 2)


@pytest.mark.parametrize("words", [[], ["--pipeline", "--recipients", "3"]])
@pytest.mark.parametrize("size", [0, 1, 77, 5000])
def test_one_chunk_holds_what_data_would(size: int, words: list[str]) -> None:
    told = ["--messages", "2", "--sessions", "2", "--size", str(size), *words]
    with door() as server:
        for way in ([], ["--bdat"]):
            status, said = load(server.server_address[1], *told, *way)
            assert (status, said["acknowledged"]) == (0, 2)
    names = rb"Date: [^\r]*|Message-ID: [^\r]*"
    whole = [re.sub(names, b"X: y", message) for message in server.messages]
    assert len(whole) == 4
    assert len(set(whole)) == 1
    assert {len(m.split(b"\r\n\r\n", 1)[1]) for m in whole} == {max(size, size and 2)}


def test_a_connection_per_message() -> None:
    with door() as server:
        load(server.server_address[1], "--messages", "9", "--per-connection")
    assert len([c for c in server.commands if c.startswith(b"EHLO")]) >= 9
    assert len(server.messages) == 9


def test_a_refusal_stops_a_measurement_and_is_counted_when_tolerant() -> None:
    words = ["--messages", "5", "--sessions", "1", "--to", "nobody@example.test"]
    with door() as server:
        port = server.server_address[1]
        strict, first = load(port, *words)
        tolerant, second = load(port, *words, "--tolerant")
    assert (strict, first["refused"], first["acknowledged"]) == (1, 1, 0)
    assert first["first_error"].startswith("refused: 452 ")
    assert (tolerant, second["refused"], second["acknowledged"]) == (0, 5, 0)


def freeze(process: "subprocess.Popen[bytes]") -> None:
    """Stops it, and returns when it has stopped."""
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def test_an_end_that_comes_with_a_reply_is_seen() -> None:
    """Edge triggered: there is one event for the octets and the end behind them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = str(listener.getsockname()[1])
        words = ["--port", port, "--tolerant", "--sessions", "1", "--seconds", "9"]
        client = subprocess.Popen([program("load"), *words], stdout=subprocess.DEVNULL)
        try:
            first, _ = listener.accept()
            first.sendall(b"220 door\r\n")
            assert first.recv(99).startswith(b"EHLO")
            freeze(client)
            first.sendall(b"250 door\r\n421 4.3.2 Closing\r\n")
            first.shutdown(socket.SHUT_WR)
            client.send_signal(signal.SIGCONT)
            again, _ = listener.accept()
            again.close()
            first.close()
        finally:
            client.kill()
            client.wait()


def test_an_open_loop_counts_from_when_a_message_was_due() -> None:
    """One session, 50 ms a message, 100 due a second: most of the time is waiting."""
    slow = {"rule": [{"when": "body", "delay": 0.05}]}
    with running(slow) as here:
        words = ["--rate", "100", "--seconds", "0.5", "--sessions", "1"]
        status, said = load(here.port, *words)
    assert (status, said["refused"], said["broken"]) == (0, 0, 0)
    waited, whole = said["latency_us"], said["whole_us"]
    assert isinstance(waited, dict)
    assert isinstance(whole, dict)
    assert 50_000 <= waited["p50"] < 200_000
    assert whole["max"] > 700_000


def test_an_open_loop_keeps_its_rate() -> None:
    with running() as here:
        for more in ([], ["--poisson"], ["--per-connection"]):
            _, said = load(here.port, "--rate", "1000", "--seconds", "1", *more)
            assert said["acknowledged"] == said["started"]
            assert 850 <= int(str(said["started"])) <= 1150


def test_logins_are_said_and_senders_are_theirs(tmp_path: Path) -> None:
    logins = tmp_path / "logins"
    logins.write_text("a@example.test pass\nb@example.test word\n")
    words = ["--messages", "8", "--sessions", "4", "--logins", str(logins)]
    with door() as server:
        status, _ = load(server.server_address[1], *words)
    assert status == 0
    plain = {b64encode(b"\0a@example.test\0pass"), b64encode(b"\0b@example.test\0word")}
    assert {c.split()[2] for c in server.commands if c.startswith(b"AUTH")} == plain
    senders = {c for c in server.commands if c.startswith(b"MAIL")}
    assert senders == {b"MAIL FROM:<%b@example.test>\r\n" % n for n in (b"a", b"b")}


@pytest.mark.parametrize("way", [[], ["--bdat"]])
def test_real_messages_go_as_they_are(tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "1.eml").write_bytes(b"Subject: one\n\n.dot\nend")
    (tmp_path / "2.eml").write_bytes(b"Subject: two\r\n\r\n..\r\n\r\n")
    (tmp_path / ".hidden").write_bytes(b"Subject: none\n\n")
    words = ["--messages", "20", "--folder", str(tmp_path), "--tag", "t", *way]
    with door() as server:
        status, _ = load(server.server_address[1], *words)
    assert status == 0
    dot = b"" if way else b"."  # RFC 5321, 4.5.2
    ids, texts = zip(*(m.split(b"\r\n", 1) for m in server.messages), strict=True)
    assert set(texts) == {
        b"Subject: one\r\n\r\n" + dot + b".dot\r\nend\r\n",
        b"Subject: two\r\n\r\n" + dot + b"..\r\n\r\n",
    }
    assert sorted(ids) == [b"X-Load-ID: <t%012d@load.invalid>" % n for n in range(20)]


@pytest.mark.parametrize("sizes", ["", "10:", "10:0", "x", "10;20"])
def test_sizes_that_say_nothing_are_refused(sizes: str) -> None:
    words = ["--port", "25", "--messages", "1", "--size", sizes]
    done = subprocess.run([program("load"), *words], capture_output=True)
    assert done.returncode == 2
    assert b"--size" in done.stderr


def test_only_loopback_is_spoken_to() -> None:
    words = ["--port", "25", "--messages", "1", "--host", "192.0.2.1"]
    done = subprocess.run([program("load"), *words], capture_output=True)
    assert done.returncode == 2
    assert b"not a loopback address" in done.stderr


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_every_workload_runs_against_the_null_sink(name: str) -> None:
    work = WORKLOADS[name].scaled(0.01)
    with peers.null_sink() as (port, _):
        status, said = load(port, *work.load_arguments())
    assert (status, said["acknowledged"]) == (0, work.messages)
