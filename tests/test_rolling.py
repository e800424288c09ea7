"""Receivers are replaced under load: nobody is refused, reset or lost.

Two kinds of clients. One sends a message per connection and takes nothing but success
(bench/load.c without --tolerant ends at the first refusal or broken connection). The
other keeps its session and comes back when it hears 421, in between or in answer to a
command; anything else, and an end of the connection without a 421, is a failure.
"""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import USER, check_ledger, prepared, stored_ids, until
from fakes import turns_until

from fastsmtp_bench.native import program
from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
TURNS = 4
SESSIONS = 8


@pytest.fixture(params=["one", "split"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    fresh = prepared(tmp_path, mode=request.param)
    if request.param == "split":
        text = fresh.configuration.read_text()
        with_two = 'mode = "split"\nreceivers = 2'
        fresh.configuration.write_text(text.replace('mode = "split"', with_two))
    fresh.start()
    until(fresh.ready, "ready")
    yield fresh
    if fresh.process is not None and fresh.process.poll() is None:
        fresh.kill()


def test_a_message_per_connection_meets_no_closed_door(
    served: Served, tmp_path: Path
) -> None:
    acked = tmp_path / "acked"
    words = [
        *(str(program("load")), "--port", str(served.port), "--per-connection"),
        *("--acked", str(acked), "--tag", "m", "--to", USER, "--seconds", "600"),
        *("--sessions", str(SESSIONS)),
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as load:
        for _ in range(TURNS):
            size = acked.stat().st_size if acked.exists() else 0
            until(lambda size=size: grown(acked, size), "mail comes in")
            served.command("reload")
        load.terminate()
        said, complaints = load.communicate(timeout=60)
    report = json.loads(said)
    assert load.returncode == 0, (report, complaints)
    assert (report["refused"], report["broken"]) == (0, 0), complaints
    ids = acked.read_text().split()
    assert len(ids) > TURNS * 100
    settled(served, len(ids))
    check_ledger(stored_ids(served, tmp_path), ids, 1 << 40, "m")


def grown(file: Path, size: int) -> bool:
    return file.exists() and file.stat().st_size > size + 100 * 14


def settled(served: Served, count: int) -> None:
    """Until the keeper has all of it."""

    def all_there() -> bool:
        listed = served.command("mail", "list", USER, "--json", "--limit", "1000000")
        return len(listed.splitlines()) >= count

    until(all_there, "everything is filed")


class Sender:
    """A session that stays, and comes back after 421; see the head of the file."""

    def __init__(self, port: int, name: str) -> None:
        self.port = port
        self.name = name
        self.acked: list[str] = []
        self.sent = 0
        self.returns = 0
        self.enough = False

    async def run(self) -> None:
        while not self.enough:
            streams = await asyncio.open_connection("127.0.0.1", self.port)
            self.reader, self.writer = streams
            with contextlib.suppress(Leave):
                await self.expect("220")
                await self.say("EHLO c", "250")
                while not self.enough:
                    await self.message()
                await self.say("QUIT", "221")
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()

    async def message(self) -> None:
        self.sent += 1
        name = f"{self.name}{self.sent:012d}"
        await self.say("MAIL FROM:<a@client.test>", "250")
        await self.say(f"RCPT TO:<{USER}>", "250")
        await self.say("DATA", "354")
        await self.say(f"Message-ID: <{name}@load.invalid>\r\n\r\nx\r\n.", "250")
        self.acked.append(name)

    async def say(self, text: str, code: str) -> None:
        self.writer.write(f"{text}\r\n".encode())
        await self.expect(code)

    async def expect(self, code: str) -> None:
        line = (await self.reader.readline()).decode()
        while line[3:4] == "-":
            line = (await self.reader.readline()).decode()
        if line.startswith("421") and code != "220":
            self.returns += 1
            raise Leave
        assert line.startswith(code), f"{line!r} where {code} was due"


def total(senders: list[Sender]) -> int:
    return sum(len(sender.acked) for sender in senders)


class Leave(Exception):
    """The server asked us to come back later."""


def test_sessions_that_return_after_421_lose_nothing(
    served: Served, tmp_path: Path
) -> None:
    async def work() -> list[Sender]:
        senders = [Sender(served.port, f"w{n}") for n in range(SESSIONS)]
        tasks = [asyncio.create_task(sender.run()) for sender in senders]
        for _ in range(TURNS):
            before = total(senders)
            await turns_until(lambda more=before + 100: total(senders) >= more)
            await asyncio.to_thread(served.command, "reload")
        for sender in senders:
            sender.enough = True
        await asyncio.gather(*tasks)
        return senders

    senders = asyncio.run(asyncio.wait_for(work(), 60))
    assert all(sender.returns >= TURNS - 1 for sender in senders)
    ids = [name for sender in senders for name in sender.acked]
    settled(served, len(ids))
    stored = stored_ids(served, tmp_path)
    assert set(ids) <= set(stored)
    assert max(stored.values()) == 1
