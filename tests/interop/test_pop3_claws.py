"""Claws Mail fetches mail by POP3 over TLS, at a screen of its own (Xvfb): somebody
types the password, accepts the certificate and opens a letter.

The screen of the last step stays in the test's folder, `screen.xwd`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from collectors import ALICE, PASSWORD, Letters
from crash.kill_rig import until

# Whether a window has the keyboard when its title can be seen is up to GTK and the
# machine's load: a session of somebody who looks, not of every change.
pytestmark = [pytest.mark.slow, pytest.mark.long]
COUNT = 20
TOOLS = ("claws-mail", "Xvfb", "xdotool", "xwd")
ACCOUNT = """\
[Account: 1]
account_name=alice
is_default=1
name=Alice
address={user}
protocol=0
receive_server=localhost
smtp_server=localhost
user_id={user}
ssl_pop={tls}
set_popport=1
pop_port={port}
inbox=#mh/Mailbox/inbox
remove_mail=1
message_leave_time=0
receive_at_get_all=1
"""
FOLDERS = """\
<?xml version="1.0" encoding="UTF-8"?>
<folderlist>
  <folder type="mh" name="Mailbox" path="Mail">
    <folderitem type="inbox" name="inbox" path="inbox"/>
    <folderitem type="outbox" name="sent" path="sent"/>
    <folderitem type="draft" name="draft" path="draft"/>
    <folderitem type="queue" name="queue" path="queue"/>
    <folderitem type="trash" name="trash" path="trash"/>
  </folder>
</folderlist>
"""
TLS = {"implicit": 1, "stls": 2}


class Screen:
    def __init__(self, number: str, home: Path) -> None:
        self.environment = dict(
            os.environ,
            DISPLAY=f":{number}",
            HOME=str(home),
            GDK_BACKEND="x11",
            NO_AT_BRIDGE="1",
        )

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
        )
        return done.stdout

    def wait_for(self, title: str) -> None:
        """A window of this title."""
        words = ("xdotool", "search", "--onlyvisible", "--name", title)
        until(lambda: bool(self.run(*words)), f"a window {title!r}")

    def press(self, *keys: str) -> None:
        self.run("xdotool", "key", *keys)


@contextmanager
def screen(home: Path) -> Iterator[Screen]:
    end, given = os.pipe()
    words = ["Xvfb", "-displayfd", str(given), "-screen", "0", "1000x700x24"]
    server = subprocess.Popen(
        [*words, "-nolisten", "tcp"], pass_fds=(given,), stderr=subprocess.DEVNULL
    )
    os.close(given)
    try:
        yield Screen(os.read(end, 20).decode().strip(), home)
    finally:
        os.close(end)
        server.terminate()
        server.wait()


def settle(home: Path, tls: str, port: int) -> None:
    """What its assistant would have asked for."""
    (home / ".claws-mail").mkdir(parents=True)
    for name in ("inbox", "sent", "draft", "queue", "trash"):
        (home / "Mail" / name).mkdir(parents=True)
    account = ACCOUNT.format(user=ALICE, tls=TLS[tls], port=port)
    (home / ".claws-mail" / "accountrc").write_text(account)
    (home / ".claws-mail" / "folderlist.xml").write_text(FOLDERS)


@pytest.mark.parametrize("tls", TLS)
def test_claws_mail(tmp_path: Path, tls: str) -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(
            f"needs {', '.join(missing)}: "
            "apt-get install claws-mail xvfb xdotool x11-apps"
        )
    server, home = Letters(tmp_path / "server", "split", COUNT), tmp_path / "home"
    settle(home, tls, server.sealed if tls == "implicit" else server.clear)
    inbox = home / "Mail" / "inbox"
    with ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        seen = stack.enter_context(screen(home))
        said = tmp_path / "claws.log"
        log = stack.enter_context(said.open("wb"))
        claws = subprocess.Popen(
            ["claws-mail", "--receive-all"],
            env=seen.environment,
            stdout=log,
            stderr=log,
        )
        stack.callback(claws.wait)
        stack.callback(claws.kill)
        seen.wait_for("Input password")
        seen.run("xdotool", "type", PASSWORD)
        seen.press("Return")
        seen.wait_for("TLS certificate is unknown")
        seen.press("Tab", "Return")
        until(lambda: len(list(inbox.glob("[0-9]*"))) == COUNT, "all mail")
        until(lambda: server.there() == [], "QUIT")
        seen.run("claws-mail", "--select", "#mh/Mailbox/inbox/7")
        until(lambda: b"selecting message 7" in said.read_bytes(), "a letter")
        (tmp_path / "screen.xwd").write_bytes(
            subprocess.check_output(["xwd", "-root", "-silent"], env=seen.environment)
        )
    subjects = {
        line
        for path in inbox.glob("[0-9]*")
        for line in path.read_text().split("\n")
        if line.startswith("Subject: ")
    }
    assert subjects == {f"Subject: letter {n}" for n in range(1, COUNT + 1)}
