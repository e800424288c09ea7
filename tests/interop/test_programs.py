"""`fastsmtp sendmail` under the programs that call it: mail of theirs in a mailbox."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from crash.kill_rig import USER, prepared, until

from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
CRON = """\
From: root (Cron Daemon)
To: root
Subject: Cron <root@mx> date
Content-Type: text/plain; charset=UTF-8
X-Cron-Env: <SHELL=/bin/sh>

.
gr\u00fc\u00df dich
"""
PHP = """mail("root", "Gr\u00fc\u00dfe", "one\\n.\\nthree\\n",
    "From: Shop <shop@mx.example.test>\\r\\nCc: root@mx.example.test",
    "-fshop@mx.example.test") or exit(1);"""


class Machine:
    """A server for the programs of this machine; `call` runs one of them."""

    def __init__(self, home: Path) -> None:
        home.chmod(0o755)
        self.home = home
        self.path = home / "sendmail.sock"
        settings = (
            f'[sendmail]\nlisten = ["unix:{self.path}"]\ntrusted = ["root"]\n'
            f'[domains."mx.example.test"]\naliases = {{ root = ["{USER}"] }}\n'
        )
        self.server: Served = prepared(home, mode="split", more=settings)
        self.sendmail = home / "sendmail"
        self.sendmail.symlink_to(Path(sys.executable).parent / "fastsmtp")

    def call(
        self, *words: str, given: str = "", user: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Raises nothing: a program may be meant to fail."""
        environment = os.environ | {
            "FASTSMTP_SENDMAIL": str(self.path),
            "MAILRC": str(self.home / "mailrc"),
            "HOME": str(self.home),
        }
        return subprocess.run(
            words,
            input=given,
            text=True,
            capture_output=True,
            timeout=60,
            env=environment,
            user=user,
            cwd="/",
        )

    def mail(self, count: int = 1) -> str:
        """The newest message of the mailbox when there are so many."""
        listed = ("mail", "list", USER, "--json")
        until(lambda: self.server.command(*listed).count("\n") >= count, "it is there")
        return self.server.command("mail", "show", USER, str(count))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with TemporaryDirectory(prefix="programs-") as home:  # pytest's are the owner's
        made = Machine(Path(home))
        made.server.start()
        try:
            yield made
        finally:
            made.server.stop()


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}")
    return found


def test_as_cron_calls_it(machine: Machine) -> None:
    words = ["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"]
    done = machine.call(str(machine.sendmail), *words, given=CRON)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    kept = machine.mail()
    assert kept.replace("\r\n", "\n").endswith(CRON)
    assert "\nMessage-ID: <" in kept


def test_as_php_calls_it(machine: Machine) -> None:
    php = [need("php"), "-d", f"sendmail_path={machine.sendmail} -t -i", "-r"]
    done = machine.call(*php, PHP)
    assert done.returncode == 0, done.stderr
    kept = machine.mail()
    assert kept.startswith("Return-Path: <shop@mx.example.test>")
    assert kept.replace("\r\n", "\n").endswith("\n\none\n.\nthree\n\n")
    refused = machine.call(*php, 'mail("nobody@mx.example.test", "x", "y") or exit(1);')
    assert refused.returncode == 1
    assert "No such user here; nothing was sent" in refused.stderr


@pytest.mark.parametrize("program", ["bsd-mailx", "s-nail", "mutt"])
def test_as_mail_programs_call_it(machine: Machine, program: str) -> None:
    path = need(program)
    line = f"set sendmail={machine.sendmail}\n"
    (machine.home / "mailrc").write_text(line)
    words = ["-F", str(machine.home / "mailrc")] if program == "mutt" else []
    done = machine.call(path, *words, "-s", "a subject", "root", given="hello\n.\n")
    assert done.returncode == 0, done.stderr
    kept = machine.mail()
    assert "\nSubject: a subject" in kept
    assert "hello" in kept


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_another_user_is_not_root(machine: Machine) -> None:
    message = "Subject: x\n\nhello\n"
    as_nobody = {"given": message, "user": "nobody"}
    done = machine.call(str(machine.sendmail), "root", **as_nobody)
    if "Permission denied" in done.stderr or "Could not" in done.stderr:
        pytest.skip("this installation is not for everybody to read")
    assert done.returncode == 0, done.stderr
    assert machine.mail().startswith("Return-Path: <nobody@mx.example.test>")
    forged = machine.call(str(machine.sendmail), "-f", "root", "root", **as_nobody)
    assert forged.returncode == 77
    assert "You may not send from this address" in forged.stderr
    trusted = machine.call(str(machine.sendmail), "-f", "bob@x.test", "root", given="x")
    assert trusted.returncode == 0
    assert machine.mail(2).startswith("Return-Path: <bob@x.test>")


def test_while_the_server_is_down_it_is_said(machine: Machine) -> None:
    machine.server.stop()
    done = machine.call(str(machine.sendmail), "root", given="x\n")
    assert done.returncode == 75
    assert "nothing was sent, try again later" in done.stderr
    machine.server.start()
    assert machine.call(str(machine.sendmail), "root", given="x\n").returncode == 0
    machine.mail()
