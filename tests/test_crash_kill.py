"""kill -9 at any moment: what was acknowledged is there once, and is served again."""

import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from crash.kill_rig import (
    Load,
    check_ledger,
    prepared,
    stored_ids,
    until,
    workers,
)

from fastsmtp_bench.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
KILLS = 50
CLIENTS = 8
BACK_SECONDS = 1.0  # from the kill until a client is greeted again
MODES = ["one", "split"]


def finish(server: Served, load: Load, folder: Path) -> int:
    """Stops everything and checks the ledger and the store; acknowledged messages."""
    report = load.stop()
    until(lambda: "\nfastsmtp_log_unapplied_messages 0" in server.read_metrics(), "")
    stored = stored_ids(server, folder)
    server.stop()
    server.command("verify")
    acked = load.acked()
    check_ledger(stored, acked, report["started"], load.tag)
    return len(acked)


@pytest.mark.parametrize("mode", MODES)
def test_the_whole_group_killed_at_random_moments(tmp_path: Path, mode: str) -> None:
    chance = random.Random(f"kill {mode}")
    server = prepared(tmp_path, mode=mode)
    server.start()
    load = Load(server.port, tmp_path / "acked", sessions=CLIENTS).start()
    back = []
    try:
        for number in range(KILLS):
            load.more(chance.randrange(1, 1500))
            server.kill()
            if number % 10 == 9:
                server.command("verify")
            killed = time.monotonic()
            server.start()
            back.append(time.monotonic() - killed)
        load.more(CLIENTS)
        assert finish(server, load, tmp_path) > KILLS
    finally:
        server.stop()
    back.sort()
    print(f"{mode}: back after {back[KILLS // 2]:.2f} s, worst {back[-1]:.2f}")
    # A busy machine makes some of them late; what the server causes comes every time.
    assert back[KILLS // 10] < BACK_SECONDS


def replaced(server: Served, role: str, dead: int) -> bool:
    return workers(server).get(role, dead) != dead


@pytest.mark.parametrize("role", ["keep", "receive"])
def test_one_process_killed_while_the_others_go_on(tmp_path: Path, role: str) -> None:
    chance = random.Random(f"kill {role}")
    server = prepared(tmp_path, mode="split")
    server.start()
    load = Load(server.port, tmp_path / "acked", sessions=CLIENTS).start()
    try:
        for _ in range(6):  # each death in a row doubles the pause before the next life
            load.more(chance.randrange(1, 1500))
            victim = workers(server)[role]
            os.kill(victim, signal.SIGKILL)
            until(partial(replaced, server, role, victim), f"a new {role}")
        load.more(CLIENTS)
        assert finish(server, load, tmp_path) > 6
    finally:
        server.stop()


@pytest.mark.parametrize("mode", MODES)
def test_a_clean_end_loses_nothing_either(tmp_path: Path, mode: str) -> None:
    server = prepared(tmp_path, mode=mode)
    server.start()
    load = Load(server.port, tmp_path / "acked", sessions=CLIENTS).start()
    try:
        for _ in range(3):
            load.more(300)
            server.stop()
            assert server.process
            assert server.process.returncode == 0
            server.start()
        load.more(CLIENTS)
        assert finish(server, load, tmp_path) > 900
    finally:
        server.stop()
