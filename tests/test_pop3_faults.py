"""kill -9 around QUIT: all that was marked is removed or nothing, and nothing else.

The reader, the keeper or the whole server dies between DELE and QUIT, in QUIT, or after
its answer; so does the client."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from collectors import ALICE, PASSWORD, Letters, logged_in
from crash.kill_rig import until

from fastsmtp_bench.process import tree

pytestmark = pytest.mark.slow
COUNT = 300
ROUNDS = 4  # a process that dies often is replaced ever later


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Letters]:
    made = Letters(tmp_path / "letters", "split", COUNT)
    made.start()
    yield made
    made.stop()


def role(server: Letters, name: str) -> int:
    for pid in tree(server.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if name.encode() in words:
            return pid
    return 0  # it is being replaced


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
        return client.recv(100).startswith(b"+OK")
    return False


def dialogue(server: Letters, commands: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.clear), 20)
    client.sendall(f"USER {ALICE}\r\nPASS {PASSWORD}\r\n".encode())
    said = b""
    while b" messages (" not in said:
        said += client.recv(4096)
    client.sendall(commands)
    return client


def marks(rng: random.Random, count: int) -> tuple[list[int], bytes]:
    chosen = sorted(rng.sample(range(count), 5))
    return chosen, b"".join(b"DELE %d\r\n" % (n + 1) for n in chosen)


def kill(server: Letters, victim: str) -> None:
    """A process that has this role, or the whole server, which is started again."""
    if victim == "all":
        os.killpg(server.pid, signal.SIGKILL)
        assert server.process
        server.process.wait()
        server.start()
    else:
        until(lambda: role(server, victim) > 0, f"a process that is {victim}")
        os.kill(role(server, victim), signal.SIGKILL)


@pytest.mark.parametrize("victim", ["read", "keep", "all"])
def test_rfc_76_kill_9_in_quit_removes_all_or_nothing(
    server: Letters, victim: str
) -> None:
    rng = random.Random(victim)
    outcomes = set()
    for turn in range(ROUNDS):
        before = server.there()
        chosen, commands = marks(rng, len(before))
        client = dialogue(server, commands + b"QUIT\r\n")
        client.settimeout(rng.random() * 0.02)
        with suppress(OSError):
            if turn % 4:
                client.recv(10_000)
        kill(server, victim)
        client.close()
        until(lambda: listens(server.clear), "a reader")
        kept = [each for n, each in enumerate(before) if n not in chosen]
        after = server.there()
        outcomes.add(after == kept)
        assert after in (before, kept)
    assert outcomes


@pytest.mark.parametrize("victim", ["read", "keep", "all"])
def test_rfc_76_kill_9_between_dele_and_quit_removes_nothing(
    server: Letters, victim: str
) -> None:
    before = server.there()
    client = dialogue(server, b"DELE 1\r\nDELE 2\r\n")
    said = b""
    while said.count(b"\r\n") < 2:
        said += client.recv(4096)
    kill(server, victim)
    client.close()
    until(lambda: listens(server.clear), "a reader")
    assert server.there() == before


def test_rfc_76_quit_waits_for_a_keeper_that_was_killed(server: Letters) -> None:
    """It was dead already when QUIT came; another one takes its place."""
    before = server.there()
    client = dialogue(server, b"DELE 1\r\nDELE 2\r\n")
    kill(server, "keep")
    client.sendall(b"QUIT\r\n")
    said = b""
    while more := client.recv(4096):
        said += more
    after = server.there()
    if said.endswith(b"+OK Bye, 2 removed\r\n"):
        assert after == before[2:]
    else:
        assert b"-ERR [SYS/TEMP] " in said
        assert after in (before, before[2:])


def test_what_quit_has_answered_stays_removed(server: Letters) -> None:
    before = server.there()
    client = dialogue(server, b"DELE 1\r\nQUIT\r\n")
    said = b""
    while b"removed" not in said:
        said += client.recv(4096)
    os.killpg(server.pid, signal.SIGKILL)
    client.close()
    assert server.process
    server.process.wait()
    server.start()
    until(lambda: listens(server.clear), "a reader")
    assert server.there() == before[1:]


def test_clients_that_vanish_in_retr_leave_nothing_behind(server: Letters) -> None:
    count = len(server.there())
    for _ in range(20):
        every = b"".join(b"RETR %d\r\n" % n for n in range(1, count + 1)) * 5
        client = dialogue(server, every)
        client.recv(1000)
        linger = b"\x01\0\0\0\0\0\0\0"  # on, 0 s: the end is a reset
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.close()
    assert len(server.there()) == count
    opened = 'fastsmtp_pop3_connections{listener="pop3"} 0'
    until(lambda: opened in server.read_metrics(), "all are gone")


def test_a_line_of_a_megabyte_and_ten_thousand_commands(server: Letters) -> None:
    client = dialogue(server, b"NOOP " + b"x" * 1_000_000 + b"\r\n")
    assert client.recv(100) == b"-ERR Line too long\r\n"
    client.sendall(b"STAT\r\n" * 10_000)
    said = b""
    while said.count(b"\n") < 10_000:
        said += client.recv(1 << 20)
    assert said.count(b"+OK ") == 10_000
    client.close()


def test_readers_give_way_to_those_who_take_mail_in(server: Letters) -> None:
    until(lambda: role(server, "read") > 0, "a reader")
    niceness = [
        os.getpriority(os.PRIO_PROCESS, role(server, name))
        for name in ("receive", "read")
    ]
    assert niceness[1] == min(niceness[0] + 10, 19)


def test_rfc_77_unique_ids_outlive_the_server(server: Letters) -> None:
    before = server.there()
    server.stop()
    server.start()
    assert server.there() == before
    assert logged_in(server).stat()[0] == len(before)
