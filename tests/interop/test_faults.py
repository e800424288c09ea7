"""Next hops that are real servers and misbehave, behind a real server of ours: how mail
for them stands, what its sender is told, and that mail for others goes meanwhile.
"""

from __future__ import annotations

import json
import mailbox
import os
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from crash.kill_rig import USER, prepared, until
from dsn import read

from fastsmtp_bench import peers, sink
from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
ROW = """\
[relay_domains."{name}"]
next_hop = "smtp://127.0.0.1:{port}"

"""
SETTINGS = """\
[send]
greeting_timeout = 3
command_timeout = 3
end_timeout = 3

"""
MESSAGE = f"From: <{USER}>\r\nSubject: Hello\r\n\r\nHello\r\n"


class Rig:
    """A server of ours, and the next hops of these domains."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        rows = [ROW.format(name=name, port=port) for name, port in ports.items()]
        self._folder = folder
        self.server: Served = prepared(
            folder / "us", mode="split", more=SETTINGS + "".join(rows)
        )

    def send(self, *to: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.port, timeout=30) as client:
            for each in to:  # a message for each: none waits for the others
                client.sendmail(USER, [each], MESSAGE)

    def queue(self) -> dict[str, dict[str, Any]]:
        """Targets by their address."""
        lines = self.server.command("queue", "list", "--json").splitlines()
        found = {}
        for line in lines:
            words = ("queue", "show", json.loads(line)["id"], "--json")
            with suppress(subprocess.CalledProcessError):  # it has just left
                shown = json.loads(self.server.command(*words))
                found |= {one["address"]: one for one in shown["targets"]}
        return found

    def notices(self) -> dict[str, tuple[str, str]]:
        """Action and Status by recipient."""
        target = self._folder / "export.mbox"
        target.unlink(missing_ok=True)
        self.server.command("mail", "export", USER, str(target))
        groups = [
            group
            for mail in mailbox.mbox(target)
            for group in read(mail.as_bytes().replace(b"\n", b"\r\n")).recipients
        ]
        return {
            group["Final-Recipient"].removeprefix("rfc822; "): (
                *(group["Action"], group["Status"]),
            )
            for group in groups
        }  # type: ignore[misc]

    def settled(self, waits: set[str], returns: set[str]) -> bool:
        """Whether all of these were tried, and no other is in the queue."""
        queue = self.queue()
        tried = {name for name, one in queue.items() if one["attempts"]}
        return tried == set(queue) == waits and self.notices().keys() == returns


@contextmanager
def rig(folder: Path, ports: dict[str, int]) -> Iterator[Rig]:
    made = Rig(folder, ports)
    made.server.start()
    try:
        yield made
    finally:
        made.server.stop()


def check(rig: Rig, waits: dict[str, str], returns: dict[str, str]) -> None:
    """`waits`: how the error begins; `returns`: the status of the notice."""
    until(lambda: rig.settled(set(waits), set(returns)), f"{waits} and {returns} only")
    queue = rig.queue()
    for address, error in waits.items():
        assert queue[address]["error"].startswith(error), address
        assert queue[address]["standing"] == "waiting"
    failed = {address: ("failed", status) for address, status in returns.items()}
    assert rig.notices() == failed


@pytest.fixture
def aiosmtpd() -> Iterator[int]:
    try:
        folder = peers.aiosmtpd()
    except peers.Unavailable as why:
        pytest.skip(str(why))
    program = Path(__file__).with_name("misbehaving.py")
    server = subprocess.Popen(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    yield int(server.stdout.readline())
    server.terminate()
    server.wait()
    server.stdout.close()


def test_an_aiosmtpd_that_misbehaves(aiosmtpd: int, tmp_path: Path) -> None:
    waits = {
        "rcpt-421": "421 4.3.2 ",
        "rcpt-450": "450 4.2.1 ",
        "rcpt-hang": "4.4.2 no answer within 3 seconds",
        "data-421": "421 4.3.2 ",
        "data-450": "450 4.2.1 ",
        "data-hang": "4.4.2 no answer within 3 seconds",
        "data-close": "4.4.2 ",
    }
    returns = {"rcpt-550": "5.1.1", "data-554": "5.6.0"}
    record = tmp_path / "taken"
    with ExitStack() as stack:
        words = ("--record", str(record))
        good = stack.enter_context(sink.running({}, *words)).port
        ports = {"bad.test": aiosmtpd, "good.test": good}
        made = stack.enter_context(rig(tmp_path, ports))
        made.send(*(f"{name}@bad.test" for name in (*waits, *returns)))
        made.send(*(f"u{n}@good.test" for n in range(20)))
        until(lambda: record.read_text().count("\n") == 20, "mail for others")
        check(
            made,
            {f"{name}@bad.test": error for name, error in waits.items()},
            {f"{name}@bad.test": status for name, status in returns.items()},
        )
        log = made.server.log.read_text().splitlines()
    places = {
        name: [n for n, line in enumerate(log) if event in line and name in line]
        for name, event in (("@good.test", "delivered"), ("-hang@", "deferred"))
    }
    assert len(places["@good.test"]) == 20
    assert max(places["@good.test"]) < min(places["-hang@"]), "others have waited"


SINKS = {
    "soft-mail": (("-r", "mail"), "waits", "450 "),
    "soft-end": (("-r", "."), "waits", "450 "),
    "hard-rcpt": (("-f", "rcpt"), "returns", "5.3.0"),
    "hard-end": (("-f", "."), "returns", "5.3.0"),
    "quits-data": (("-q", "data"), "waits", "4.4.2 "),
    "quits-end": (("-q", "."), "waits", "4.4.2 "),
    "bye-rcpt": (("-Q", "rcpt"), "waits", "421 "),
    "slow-rcpt": (
        ("-p", "-W", "rcpt:600"),
        "waits",
        "4.4.2 no answer within 3 seconds",
    ),
    "good": ((), "arrives", ""),
}


def test_smtp_sinks_that_misbehave(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = {}
        try:
            for name, (words, _, _) in SINKS.items():
                sinks = peers.smtp_sink(*words)
                ports[f"{name}.test"] = stack.enter_context(sinks)[0]
        except peers.Unavailable as why:
            pytest.skip(f"needs smtp-sink: {why}")
        made = stack.enter_context(rig(tmp_path, ports))
        made.send(*(f"someone@{name}" for name in ports))
        ends: dict[str, dict[str, str]] = {"waits": {}, "returns": {}, "arrives": {}}
        for name, (_, end, said) in SINKS.items():
            ends[end][f"someone@{name}.test"] = said
        check(made, ends["waits"], ends["returns"])
