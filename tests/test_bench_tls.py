"""Our load generator talks TLS 1.3, and what is measured with it."""

from __future__ import annotations

import asyncio
import ctypes.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import uvloop
from test_serve_tls import Sealed, run, serving

from fastsmtp_bench.native import program
from fastsmtp_bench.tls import table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
    pytest.mark.skipif(not ctypes.util.find_library("ssl"), reason="needs libssl"),
]


def load(port: int, *words: str) -> dict[str, Any]:
    command = [str(program("load")), "--port", str(port), "--to", "bob@example.test"]
    done = subprocess.run([*command, *words], capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr + done.stdout
    return dict(json.loads(done.stdout))


def loaded(folder: Path, listener: str, *words: str) -> tuple[Sealed, dict[str, Any]]:
    said: dict[str, Any] = {}
    worlds = []

    async def test() -> None:
        worlds.append(world := Sealed(folder, listener))
        async with serving(world) as port:
            said.update(await asyncio.to_thread(load, port, *words))

    run(uvloop.new_event_loop, test)
    return worlds[0], said


@pytest.mark.parametrize("size", [0, 4096, 100_000])
@pytest.mark.parametrize(
    ("listener", "word"), [("smtp", "--starttls"), ("submissions", "--tls")]
)
def test_messages_arrive_whole(
    tmp_path: Path, listener: str, word: str, size: int
) -> None:
    words = [word, "--messages", "20", "--sessions", "4", "--size", str(size)]
    world, said = loaded(tmp_path, listener, *words)
    assert (said["acknowledged"], said["handshakes"], said["resumed"]) == (20, 4, 0)
    assert len(world.store.disk.log) == 20
    for _, body in world.store.disk.log:
        assert b" with ESMTPS id " in body
        assert len(bytes(body).partition(b"\r\n\r\n")[2]) == size


def test_a_connection_per_message_resumes(tmp_path: Path) -> None:
    words = ["--starttls", "--resume", "--per-connection", "--messages", "30"]
    world, said = loaded(tmp_path, "smtp", *words, "--sessions", "3")
    assert said["acknowledged"] == 30
    assert said["handshakes"] >= 30
    assert said["resumed"] == said["handshakes"] - 3
    assert world.shaken("TLSv1.3", "resumed") == said["resumed"]


@pytest.mark.parametrize(
    ("listener", "word"), [("smtp", "--starttls"), ("submissions", "--tls")]
)
def test_handshakes_alone_are_counted(tmp_path: Path, listener: str, word: str) -> None:
    words = [word, "--handshakes", "--messages", "30", "--sessions", "3"]
    world, said = loaded(tmp_path, listener, *words)
    assert said["acknowledged"] == said["handshakes"] >= 30
    assert world.shaken("TLSv1.3", "full") == said["handshakes"]
    assert not world.store.disk.log


def test_a_table_is_markdown() -> None:
    assert table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | --- |\n| x | 1 |"
