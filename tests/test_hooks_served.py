"""Hooks in a real server: a module from a folder, the example of the documentation, and
one that hangs while others are served."""

import asyncio
import json
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.kill_rig import USER, prepared, until

from fastsmtp_bench.served import MANY, Served

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs/examples/house_rules.py"
MODULE = """\
import asyncio
import threading

async def helo(facts):
    if facts.helo == "raises.test":
        raise RuntimeError("broken")

async def mail(facts):
    if facts.reverse_path == "hangs@client.test":
        await asyncio.get_running_loop().create_future()

def rcpt(facts, address):
    if facts.reverse_path == "blocks@client.test":
        threading.Event().wait()
"""


def served(home: Path, module: str, lines: str = "", **settings: Any) -> Served:
    home.joinpath("mine.py").write_text(module)
    more = f'[hooks.mine]\nmodule = "mine.py"\n{lines}\n'
    server = prepared(home, more=more, **settings)
    server.start()
    until(server.ready, "ready")
    return server


def gone(server: Served) -> None:
    if server.process is not None and server.process.poll() is None:
        server.kill()


def client(server: Served, name: str = "client.test") -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", server.port, local_hostname=name, timeout=20)


def value(server: Served, line: str) -> float:
    found = [m for m in server.read_metrics().split("\n") if m.startswith(f"{line} ")]
    return float(found[0].split()[-1])


def results(server: Served, result: str, name: str = "mine") -> float:
    labels = f'check="hook:{name}",result="{result}"'
    return value(server, f"fastsmtp_check_results_total{{{labels}}}")


@pytest.fixture(params=["one", "split"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    options = f'options = {{ retired = ["OLD@example.test", "{USER}"] }}'
    server = served(tmp_path, EXAMPLE.read_text(), options, mode=request.param)
    yield server
    gone(server)


PLAIN = "Subject: x\r\n\r\nhello\r\n"
PROGRAM = (
    "Subject: x\r\nContent-Type: application/octet-stream\r\n"
    'Content-Disposition: attachment; filename="a.EXE"\r\n\r\nMZ\r\n'
)


def test_the_example_and_a_reload(house: Served) -> None:
    with client(house) as smtp:
        smtp.ehlo()
        smtp.mail("a@client.test")
        code, text = smtp.rcpt(USER)
        assert (code, text.decode()) == (550, f"5.1.1 {USER} is not read any more")
    toml = house.configuration
    toml.write_text(toml.read_text().replace(f', "{USER}"', ""))
    (house.home / "mine.py").write_text(
        EXAMPLE.read_text().replace("are not taken", "are never taken")
    )
    house.command("reload")
    with client(house) as smtp:
        assert smtp.sendmail("a@client.test", USER, PLAIN) == {}
        with pytest.raises(smtplib.SMTPDataError, match="Programs are never taken"):
            smtp.sendmail("a@client.test", USER, PROGRAM)
        large = PLAIN + ("x" * 70 + "\r\n") * 10_000
        assert smtp.sendmail("a@client.test", USER, large) == {}
        with pytest.raises(smtplib.SMTPDataError, match="never taken"):
            smtp.sendmail("a@client.test", USER, PROGRAM + large[16:])
    until(lambda: results(house, "reject") == 3, "counted")
    house.stop()
    listed = house.command("mail", "list", USER, "--json").split("\n")
    assert len([line for line in listed if line]) == 2


def test_a_reload_with_a_broken_module_changes_nothing(house: Served) -> None:
    (house.home / "mine.py").write_text("def rcpt(facts): ...\n")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        house.command("reload")
    assert "mine.py:1:1: error: hooks.mine.module: rcpt is called" in str(
        getattr(caught.value, "stderr", "")
    )
    with client(house) as smtp:
        smtp.ehlo()
        smtp.mail("a@client.test")
        assert smtp.rcpt(USER)[0] == 550


async def dialogue(port: int, sender: str) -> tuple[bytes, float]:
    """The last answer to a transaction of this sender, and how long it took."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = loop.time()
    said = await reader.readline()
    for line in ("HELO c.test", f"MAIL FROM:<{sender}>", f"RCPT TO:<{USER}>", "QUIT"):
        writer.write(f"{line}\r\n".encode())
        answer = await reader.readline()
        said = said if line == "QUIT" else answer
        if answer[:1] not in b"2":
            break
    writer.close()
    return said, loop.time() - began


@pytest.mark.parametrize("bad", ["hangs", "blocks"])
def test_while_a_hook_hangs_others_are_served(tmp_path: Path, bad: str) -> None:
    lines = 'deadline = "60 s"\nthreads = 150\nat_most = 1000'
    server = served(tmp_path, MODULE, lines, smtp=MANY)
    try:

        async def crowd() -> None:
            stuck = [
                asyncio.ensure_future(dialogue(server.port, f"{bad}@client.test"))
                for _ in range(50)
            ]
            await asyncio.sleep(0)
            async with asyncio.timeout(30):  # stuck ones would take 60 s
                good = await asyncio.gather(
                    *(dialogue(server.port, "good@client.test") for _ in range(100))
                )
            assert {said[:3] for said, _ in good} == {b"250"}
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

        asyncio.run(crowd())
        with client(server) as smtp:
            assert smtp.sendmail("a@client.test", USER, PLAIN) == {}
    finally:
        gone(server)


def test_failures_are_told_with_their_place(tmp_path: Path) -> None:
    server = served(tmp_path, MODULE, 'deadline = "100 ms"', smtp=MANY)
    try:
        with client(server, "raises.test") as smtp:
            assert smtp.helo() == (451, b"4.3.0 Cannot be checked now, try again later")
            assert smtp.helo("fine.test")[0] == 250
            assert smtp.mail("hangs@client.test")[0] == 451
            assert smtp.mail("blocks@client.test")[0] == 250
            assert smtp.rcpt(USER)[0] == 451
        assert results(server, "error") == 1
        late = 'fastsmtp_hook_timeouts_total{hook="mine",kind="deadline"}'
        assert value(server, late) == 2
        server.stop()  # the thread that hangs does not hold it up
        lines = server.log.read_text().splitlines()
        faults = [json.loads(line) for line in lines if line.startswith("{")]
        faults = [fault for fault in faults if fault["event"] == "fault"]
        assert [f["what"] for f in faults] == ["hook mine"] * 2
        assert faults[0]["about"] == "RuntimeError: broken"
        assert faults[0]["trace"][-1].endswith("mine.py:6 helo")
        assert "mail gave no answer within 0.1 s" in faults[1]["about"]
    finally:
        gone(server)


def test_the_example_is_what_the_documentation_says(tmp_path: Path) -> None:
    """Its table, pasted, is a configuration."""
    shutil.copy(EXAMPLE, tmp_path)
    text = (ROOT / "docs/hooks.md").read_text()
    table = text[text.rindex("```toml") + 8 :].partition("```")[0]
    server = Served(tmp_path, more=table)
    server.configure()
    assert server.command("check").endswith(": ok\n") or "warning" in server.command(
        "check"
    )
