"""fastsmtp-bench pop3: fetching mail, fastsmtp beside Dovecot.

The same 10,000 messages of 4 KiB in fastsmtp and in Dovecot 2.3 (Debian, mdbox and
Maildir, a configuration of its own), in clear over loopback, in turn. The client is a
plain socket that reads a megabyte at a time: the servers are what is measured. Then how
much memory an idle session takes, and what ten sessions that fetch everything leave of
W1.
"""

import argparse
import email.utils
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any, Literal

from fastsmtp.net.selfsigned import make
from fastsmtp_bench import accounts, arguments, machine
from fastsmtp_bench.client import Target, run
from fastsmtp_bench.dovecot import dovecot
from fastsmtp_bench.process import anonymous_bytes
from fastsmtp_bench.served import Served, free_port
from fastsmtp_bench.workloads import WORKLOADS

MESSAGES = 10_000
OCTETS = 4096
DELETED = 1000
IDLE = 1000
PASSWORD = "bench"
OURS = "user@example.test"
MORE = """
[pop3]
listen = ["127.0.0.1:{port}"]
listen_tls = ["127.0.0.1:{sealed}"]
max_connections_per_network = 5000

[tls]
certificates = [{{ certificate = "{home}/tls.crt", key = "{home}/tls.key" }}]

[auth]
without_tls_on_loopback = true
"""
ENDED = b"\r\n.\r\n"


def write_maildir(folder: Path, messages: int) -> None:
    """Messages of a size, with headers that mail has."""
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    date = email.utils.formatdate(1_700_000_000)
    line = b"Mail is taken in, kept and given out again; this line is one of many.\n"
    for n in range(messages):
        head = (
            f"From: Sender <s{n}@far.test>\nTo: user@example.test\nDate: {date}\n"
            f"Subject: message {n}\nMessage-ID: <{n}@far.test>\n\n"
        ).encode()
        lines = head.count(b"\n")
        body = line * (OCTETS // len(line))
        body = body[: OCTETS - len(head) - lines - 60 - body.count(b"\n")] + b"\n"
        (folder / "cur" / f"{1_700_000_000 + n}.{n}.bench:2,").write_bytes(head + body)


class Fetcher:
    """One session, logged in."""

    def __init__(self, port: int, user: str, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.buffer = bytearray(1 << 20)
        self.view = memoryview(self.buffer)
        self.line()
        self.ask(f"USER {user}")
        said = self.ask(f"PASS {PASSWORD}")
        assert said.startswith(b"+OK"), said

    def line(self) -> bytes:
        data = b""
        while not data.endswith(b"\r\n"):
            data += self.socket.recv(65536)
        return data

    def ask(self, command: str) -> bytes:
        self.socket.sendall(command.encode() + b"\r\n")
        return self.line()

    def many(self, command: bytes) -> bytes:
        """A reply of many lines."""
        self.socket.sendall(command + b"\r\n")
        parts = [b""]
        while not (parts[-1] if len(parts[-1]) > 4 else b"".join(parts[-2:])).endswith(
            ENDED
        ):
            size = self.socket.recv_into(self.view)
            assert size, "the server hung up"
            parts.append(bytes(self.view[:size]))
        return b"".join(parts)

    def pipeline(self, commands: bytes, octets: int) -> None:
        """Everything at once; reads so many octets of replies."""
        sender = Thread(target=self.socket.sendall, args=(commands,))
        sender.start()
        while octets > 0:
            size = self.socket.recv_into(self.view)
            assert size, "the server hung up"
            octets -= size
        sender.join()
        assert octets == 0

    def close(self) -> None:
        self.socket.close()


def milliseconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


def retrievals(messages: int) -> bytes:
    return b"".join(b"RETR %d\r\n" % n for n in range(1, messages + 1))


def measured(port: int, user: str, messages: int) -> dict[str, float]:
    """One round; nothing of the mailbox changes."""
    found: dict[str, float] = {}
    begun = time.perf_counter()
    client = Fetcher(port, user)
    found["login ms"] = (time.perf_counter() - begun) * 1000
    found["LIST ms"] = milliseconds(lambda: client.many(b"LIST"))
    found["UIDL ms"] = milliseconds(lambda: client.many(b"UIDL"))
    sizes = [int(line.split()[1]) for line in client.many(b"LIST").split(b"\r\n")[1:-2]]
    assert len(sizes) == messages
    first = len(client.many(b"RETR 1")) - sizes[0]
    octets = sum(first - len(str(sizes[0])) + len(str(s)) + s for s in sizes)
    found["RETR all, pipelined, ms"] = milliseconds(
        lambda: client.pipeline(retrievals(messages), octets)
    )
    some = min(messages, 2000)
    took = milliseconds(
        lambda: [client.many(b"RETR %d" % n) for n in range(1, some + 1)]
    )
    found["RETR one by one, /s"] = some / took * 1000
    client.ask("QUIT")
    client.close()
    return found


def deleting(port: int, user: str) -> float:
    client = Fetcher(port, user)
    marks = b"".join(b"DELE %d\r\n" % n for n in range(1, DELETED + 1)) + b"QUIT\r\n"

    def act() -> None:
        client.socket.sendall(marks)
        while client.socket.recv_into(client.view):
            pass

    took = milliseconds(act)
    client.close()
    return took


@contextmanager
def ours(
    home: Path, mail: Path, mode: Literal["one", "split"]
) -> Iterator[tuple[Served, int, int]]:
    """The server, and its ports without and with TLS."""
    port, sealed = free_port(), free_port()
    home.mkdir(parents=True)
    make(home / "tls.crt", home / "tls.key", ["mx.example.test"])
    more = MORE.format(port=port, sealed=sealed, home=home.resolve())
    server = Served(home, mode=mode, more=more)
    server.configure()
    accounts.make(server.configuration, [], [OURS, "w1@example.test"], PASSWORD)
    server.command("mail", "import", OURS, str(mail))
    server.start()
    try:
        yield server, port, sealed
    finally:
        server.stop()


def idle_bytes(server: Served, port: int, tls: ssl.SSLContext | None = None) -> float:
    """Of one session that is logged in, has fetched a message and says nothing."""
    warm = [Fetcher(port, OURS, tls) for _ in range(50)]
    for client in warm:
        client.close()
    time.sleep(0.5)
    before = anonymous_bytes(server.pid)
    held = [Fetcher(port, OURS, tls) for _ in range(IDLE)]
    for client in held:
        client.many(b"RETR 1")
        client.many(b"RETR 2")
    each = (anonymous_bytes(server.pid) - before) / IDLE
    for client in held:
        client.close()
    return each


def unchecked() -> ssl.SSLContext:
    """TLS with whoever is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fetch_for_ever(port: int, messages: int) -> None:
    """What `--fetch PORT MESSAGES` does, as a process of its own."""
    client = Fetcher(port, OURS)
    sizes = [int(line.split()[1]) for line in client.many(b"LIST").split(b"\r\n")[1:-2]]
    first = len(client.many(b"RETR 1")) - sizes[0]
    octets = sum(first - len(str(sizes[0])) + len(str(s)) + s for s in sizes)
    commands = retrievals(messages)
    while True:
        client.pipeline(commands, octets)
        print("all", flush=True)


def beside_w1(server: Served, port: int, messages: int) -> tuple[float, float, float]:
    """W1 alone, and while ten sessions fetch everything, again and again; how many
    messages/s those got."""
    target = Target(
        server.port, server.pid, to="w1@example.test", metrics=server.metrics
    )
    work = WORKLOADS["W1"]
    run("load", work.scaled(0.1), target)
    alone = run("load", work, target).rate
    words = [sys.executable, "-m", "fastsmtp_bench", "pop3", "--fetch", str(port)]
    clients = [
        subprocess.Popen([*words, str(messages)], stdout=subprocess.PIPE)
        for _ in range(10)
    ]
    try:
        for client in clients:
            assert client.stdout
            client.stdout.readline()
        before, begun = retrieved(server), time.perf_counter()
        with_others = run("load", work, target).rate
        took = time.perf_counter() - begun
        fetched = (retrieved(server) - before) / took
    finally:
        for client in clients:
            client.terminate()
            client.communicate()
    return alone, with_others, fetched


def retrieved(server: Served) -> float:
    """Messages that were fetched since the server began, by its own metrics."""
    found = re.findall(
        r'^fastsmtp_pop3_messages_total\{[^}]*event="retrieved"[^}]*\} (\S+)$',
        server.read_metrics(),
        re.MULTILINE,
    )
    return sum(map(float, found))


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measure(directory: Path, mode: Any, rounds: int, messages: int) -> str:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        home = Path(name)
        mail = home / "source"
        write_maildir(mail, messages)
        for root, folders, files in os.walk(home):
            for each in (*folders, *files):
                os.chmod(os.path.join(root, each), 0o755)
        found: dict[str, list[dict[str, float]]] = {}
        with (
            ours(home / "ours", mail, mode) as (server, port, sealed),
            dovecot(home / "mdbox", "mdbox", mail, PASSWORD) as mdbox,
            dovecot(home / "maildir", "maildir", mail, PASSWORD) as maildir,
        ):
            places = {
                "fastsmtp": (port, OURS),
                "Dovecot, mdbox": (mdbox.port, "user"),
                "Dovecot, Maildir": (maildir.port, "user"),
            }
            for where in places.values():
                measured(*where, messages)
            for who, where in rounds * list(places.items()):
                found.setdefault(who, []).append(measured(*where, messages))
            for number, (who, where) in enumerate(rounds * list(places.items())):
                row = found[who][number // len(places)]
                row[f"DELE {DELETED:,} and QUIT, ms"] = deleting(*where)
            each = idle_bytes(server, port)
            each_sealed = idle_bytes(server, sealed, unchecked())
            w1 = beside_w1(server, port, messages - rounds * DELETED)
    rows = [
        [what, *(f"{median(r[what] for r in got):,.1f}" for got in found.values())]
        for what in found["fastsmtp"][0]
    ]
    more = [
        [f"idle session ({IDLE:,} held)", f"{each / 1024:.1f} KiB"],
        ["the same with TLS", f"{each_sealed / 1024:.1f} KiB"],
        ["W1 alone", f"{w1[0]:,.0f} messages/s"],
        ["W1 while ten sessions fetch all", f"{w1[1]:,.0f} ({w1[1] / w1[0]:.0%})"],
        ["what those ten fetched meanwhile", f"{w1[2]:,.0f} messages/s"],
    ]
    facts = (
        f"{machine.processor()}; {machine.file_system(directory)}; "
        f"{machine.versions()}; Dovecot 2.3.19 of Debian; mode {mode}; "
        f"{messages:,} messages of {OCTETS} octets; {rounds} rounds, medians."
    )
    parts = [facts, table(["", *found], rows), table(["fastsmtp", "figure"], more)]
    return "\n\n".join(parts)


def main(words: list[str] | None = None) -> None:
    parser = arguments.parser("pop3", __doc__)
    add = parser.add_argument
    add("--messages", type=arguments.count, default=MESSAGES)
    add("--fetch", type=arguments.count, nargs=2, help=argparse.SUPPRESS)
    arguments.measured(parser, rounds=3, mode="split")
    options = parser.parse_args(words)
    if options.messages <= options.rounds * DELETED:
        parser.error(f"each round deletes {DELETED:,} messages: --messages is too few")
    if options.fetch:
        fetch_for_ever(*options.fetch)
        return
    print(measure(options.directory, options.mode, options.rounds, options.messages))
