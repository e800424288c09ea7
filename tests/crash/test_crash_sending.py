"""kill -9 while mail is sent on, fifty times: the whole group, and single processes.

The client writes down what was acknowledged, the next hop what it has taken; both know
each message by an id of its own. What was acknowledged is at the next hop; nothing came
back to its sender; and what is there twice is at most what was inside connections when
somebody died.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from crash.kill_rig import (
    USER,
    Load,
    prepared,
    stored_ids,
    until,
    workers,
)
from fastsmtp_bench import sink
from fastsmtp_bench.process import PROC, tree
from fastsmtp_bench.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
CONNECTIONS = 8  # to the next hop
RATE = 60  # messages a second, fewer than the next hop takes
SLOWLY = {"rule": [{"when": "body", "delay": 0.01}]}  # so that some are always inside
RELAY = f"""\
[relay_domains."far.test"]
next_hop = "smtp://127.0.0.1:{{port}}"

[destinations."127.0.0.1"]
connections = {CONNECTIONS}
"""
VICTIMS = ("group", "group", "send", "send", "keep", "receive")
KILLS = {"split": 50, "one": 10}


class NextHop:
    """A sink that writes down whose message it has taken."""

    def __init__(self, port: int, record: Path) -> None:
        self.port = port
        self._record = record

    def taken(self) -> Counter[str]:
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        return Counter(line.split()[0] for line in lines)

    def size(self) -> int:
        """Of its record, which grows with each message."""
        return self._record.stat().st_size if self._record.exists() else 0

    def grows(self, was: int) -> bool:
        return self.size() > was

    def sessions(self) -> int:
        """Connections to it that are open now."""
        table = (PROC / "net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in table]
        there = f":{self.port:04X}"
        return sum(row[2].endswith(there) and row[3] == "01" for row in rows)


@pytest.fixture
def next_hop(tmp_path: Path) -> Iterator[NextHop]:
    record = tmp_path / "taken"
    with sink.running(SLOWLY, "--record", str(record)) as running:
        yield NextHop(running.port, record)


def stopped(pid: int) -> bool:
    state = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


def sessions_at_death(server: Served, next_hop: NextHop, victim: str) -> int:
    """Kill the victim; how many connections to the next hop there were. They are
    counted while nobody can open another."""
    group = victim == "group"
    dies = tree(server.pid) if group else [workers(server)[victim]]
    sends = [*dies, *([] if group else [workers(server)["send"]])]
    for pid in dict.fromkeys(sends):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(map(stopped, sends)), "all stand still")
    there = next_hop.sessions()
    if group:
        server.kill()
        return there
    os.kill(dies[0], signal.SIGKILL)
    for pid in sends[1:]:
        if pid != dies[0]:
            os.kill(pid, signal.SIGCONT)
    return there


def replaced(server: Served, role: str, dead: int) -> bool:
    return workers(server).get(role, dead) != dead


def die_and_come_back(
    server: Served, next_hop: NextHop, victim: str, verify: bool
) -> int:
    """Returns when all is there again: `sessions_at_death`."""
    if victim == "group":
        there = sessions_at_death(server, next_hop, victim)
        if verify:
            server.command("verify")
        server.start()
        return there
    pid = workers(server)[victim]
    there = sessions_at_death(server, next_hop, victim)
    until(partial(replaced, server, victim, pid), f"a new {victim}")
    return there


def is_empty(server: Served) -> bool:
    return server.command("queue", "list") == "nothing waits\n"


def arrive(server: Served, next_hop: NextHop, acked: list[str]) -> None:
    """Returns when all of it is at the next hop and nothing is in the queue."""
    try:
        while not next_hop.taken().keys() >= set(acked):
            until(partial(next_hop.grows, next_hop.size()), "mail goes on")
        until(partial(is_empty, server), "an empty queue")
    except AssertionError as late:
        missing = len(set(acked) - next_hop.taken().keys())
        queue = server.command("queue", "list", "--limit", "3")
        raise AssertionError(f"{late}: {missing} are missing; {queue}") from None


@pytest.mark.parametrize("mode", KILLS)
@pytest.mark.parametrize("when", ["connect", "body"])
def test_an_end_does_not_wait_for_a_next_hop_that_hangs(
    tmp_path: Path, mode: str, when: str
) -> None:
    """All goes at once when the server is back, nothing is lost, and nothing bounces;
    what the next hop had whole, and did not answer, it gets again."""
    record = tmp_path / "taken"
    rules = {"rule": [{"when": when, "do": "hang"}]}
    with sink.running(rules) as silent:
        port = silent.port
        server = prepared(tmp_path, mode=mode, more=RELAY.format(port=port))
        server.start()
        try:
            load = Load(server.port, tmp_path / "acked", to="a@far.test", sender=USER)
            load.start().more(100)
            load.stop()
            there = NextHop(port, record)
            until(lambda: there.sessions() > 0, "it tries the next hop")
            began = time.monotonic()
            server.stop()
            took = time.monotonic() - began
        finally:
            server.stop()
    assert took < 10
    waiting = server.command("queue", "list", "--json", "--attempts", "1")
    assert waiting == ""
    with sink.running({}, "--record", str(record), port=port):
        server.start()
        try:
            arrive(server, NextHop(port, record), load.acked())
            assert not stored_ids(server, tmp_path)
        finally:
            server.stop()
    assert set(NextHop(port, record).taken().values()) == {1}


@pytest.mark.parametrize("mode", KILLS)
def test_killed_while_mail_is_sent_on(
    tmp_path: Path, next_hop: NextHop, mode: str
) -> None:
    chance = random.Random(f"sending {mode}")
    server = prepared(tmp_path, mode=mode, more=RELAY.format(port=next_hop.port))
    server.start()
    load = Load(
        *(server.port, tmp_path / "acked", "m"),
        to="someone@far.test",
        sender=USER,
        rate=RATE,
    ).start()
    inside: Counter[str] = Counter()
    try:
        for number in range(KILLS[mode]):
            load.more(chance.randrange(1, RATE // 2))
            victim = chance.choice(VICTIMS) if mode == "split" else "group"
            verify = number % 5 == 0
            inside[victim] += die_and_come_back(server, next_hop, victim, verify)
            until(partial(next_hop.grows, next_hop.size()), "mail goes on")
        report = load.stop()
        acked = load.acked()
        arrive(server, next_hop, acked)
        came_back = stored_ids(server, tmp_path)
    finally:
        load.end()
        server.stop()
    server.command("verify")
    taken = next_hop.taken()
    assert not came_back
    assert max(map(int, (one[-12:] for one in taken))) < report["started"]
    doubled = taken.total() - len(taken)
    print(
        f"{mode}: {len(acked)} acknowledged, {doubled} of them twice at the next hop; "
        f"inside connections at a death: {dict(inside)}"
    )
    # A keeper that dies takes nothing with it: who sends keeps what came of it.
    assert doubled <= inside["group"] + inside["send"]


NOBODY = {"rule": [{"when": "rcpt", "reply": "550 5.1.1 Nobody of that name"}]}


@pytest.mark.parametrize("mode", KILLS)
def test_killed_while_mail_comes_back(tmp_path: Path, mode: str) -> None:
    """All of it is refused: its sender is told of each once, not twice, nor never."""
    chance = random.Random(f"coming back {mode}")
    with sink.running(NOBODY) as hop:
        server = prepared(tmp_path, mode=mode, more=RELAY.format(port=hop.port))
        server.start()
        places = (server.port, tmp_path / "acked", "m")
        load = Load(*places, to="someone@far.test", sender=USER, rate=RATE).start()
        try:
            for _ in range(10):
                load.more(chance.randrange(1, RATE))
                server.kill()
                server.start()
            report = load.stop()
            acked = load.acked()
            until(partial(is_empty, server), "an empty queue")
            told = stored_ids(server, tmp_path)
        finally:
            load.end()
            server.stop()
    server.command("verify")
    assert set(told) >= set(acked)
    assert set(told.values()) == {1}
    assert len(told) <= report["started"]
