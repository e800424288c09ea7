"""What the README shows happens so: its commands, its dialogue, its configuration."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import until

from fastsmtp.cli import main
from fastsmtp_bench.client import pending
from fastsmtp_bench.served import free_port

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
WHEN = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:]{8}Z"  # of mail list
    r"|\w{3}, [ \d]\d \w{3} \d{4} [\d:]{8} \+0000"  # of a Received line
    r"|\b[0-9A-V]{13}\b"  # a queue id
)


def blocks(after: str) -> list[str]:
    """The indented blocks behind a heading of the README, without their indent."""
    text = README.partition(f"\n{after}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\n((?:    .*\n|\n(?=    ))+)", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def plain(text: str) -> str:
    """Without what differs from run to run."""
    return WHEN.sub("(then)", text)


class Demo:
    """What `make run` serves, on ports of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, watched = home, free_port(), free_port()
        self.metrics = f"http://127.0.0.1:{watched}/metrics"
        words = ["--domain", "example.test", "--hostname", "mx.example.test"]
        people = ["--account", "alice", "--account", "bob"]
        assert main(["quickstart", str(home), *words, *people]) == 0
        places = {
            "FASTSMTP_SMTP__LISTEN": f"127.0.0.1:{self.port}",
            "FASTSMTP_SUBMISSION__LISTEN": f"127.0.0.1:{free_port()}",
            "FASTSMTP_POP3__LISTEN": f"127.0.0.1:{free_port()}",
            "FASTSMTP_POP3__LISTEN_TLS": f"127.0.0.1:{free_port()}",
            "FASTSMTP_METRICS__LISTEN": f"127.0.0.1:{watched}",
        }
        program = [sys.executable, "-m", "fastsmtp.cli"]
        with (home / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*program, "serve", "-c", home / "fastsmtp.toml"],
                env={**os.environ, **places},
                stdout=log,
                stderr=log,
            )

    def up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def run(self, command: str) -> str:
        """What a command of the README prints."""
        here = command.replace("2525", str(self.port))
        here = here.replace("var/demo", shlex.quote(str(self.home)))
        here = here.replace(".venv/bin/fastsmtp", f"{sys.executable} -m fastsmtp.cli")
        return subprocess.check_output(here, shell=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("readme") / "demo")
    try:
        until(made.up, "the demo serves")
        yield made
    finally:
        made.process.terminate()
        assert made.process.wait(20) == 0


def sessions() -> list[tuple[str, str]]:
    """The commands of the first mail, each with what it prints."""
    _, shown, _ = blocks("## First mail")
    parts = re.split(r"^\$ (.*)\n", shown, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_the_first_mail(demo: Demo) -> None:
    assert len(sessions()) == 3
    for command, output in sessions():
        assert plain(demo.run(command)) == plain(output)
        until(lambda: pending(demo.metrics) == 0, "what was sent is delivered")


def test_the_dialogue(demo: Demo) -> None:
    dialogue = blocks("## First mail")[2].splitlines()
    with (
        socket.create_connection(("127.0.0.1", demo.port), timeout=10) as client,
        client.makefile("rb") as replies,
    ):
        for line in dialogue:
            if line.startswith("C:"):
                client.sendall(line[3:].encode() + b"\r\n")
            else:
                said = f"S: {replies.readline().decode()}".rstrip()
                assert plain(said) == plain(line)
        assert replies.read() == b""


def test_make_run_prints_the_same_commands() -> None:
    make = (ROOT / "Makefile").read_text().replace("""'"'"'""", "'")
    make = make.replace("$(V)", ".venv/bin").replace("$(DEMO)", "var/demo")
    for command, _ in sessions():
        assert f"    {command}" in make


def test_the_smallest_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (smallest,) = blocks("## The smallest real configuration")
    file = tmp_path / "fastsmtp.toml"
    file.write_text(smallest)
    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"
