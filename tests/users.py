"""A real server with users and submission, for tests with real clients."""

from __future__ import annotations

import json
from pathlib import Path

from certificate import pair
from crash.kill_rig import until

from fastsmtp_bench.client import pending
from fastsmtp_bench.served import Served, free_port

ALICE, BOB = "alice@example.test", "bob@example.test"
PASSWORD = "only for tests"


class Users(Served):
    """With submission, and accounts that may use it."""

    def __init__(self, home: Path, mode: str, more: str = "") -> None:
        self.clear, self.sealed = free_port(), free_port()
        home.mkdir(parents=True, exist_ok=True)
        certificate, key = pair(home, "mx.example.test")
        certified = f'{{ certificate = "{certificate}", key = "{key}" }}'
        more += (
            f"[tls]\ncertificates = [{certified}]\n"
            f'[submission]\nlisten = ["127.0.0.1:{self.clear}"]\n'
            f'listen_tls = ["127.0.0.1:{self.sealed}"]\n'
            # Nobody listens there: what is for it stays in the queue, to be looked at.
            '[[relay]]\nto = ["elsewhere.test"]\nvia = "smtp://127.0.0.1:1"\n'
        )
        super().__init__(home, mode, more=more)  # type: ignore[arg-type]
        self.configure()
        for name in (ALICE, BOB):
            words = ("user", "add", name, "--password-stdin")
            self.command(*words, given=f"{PASSWORD}\n")

    def inbox(self, name: str) -> str:
        """The newest message, as it is kept."""
        until(lambda: pending(self.metrics) == 0, "all mail in its mailbox")
        listed = self.command("mail", "list", name, "--json").splitlines()
        uid = str(json.loads(listed[-1])["uid"])
        return self.command("mail", "show", name, uid)
