"""A real server whose users fetch their mail by POP3, for tests with real clients."""

from __future__ import annotations

import poplib
from pathlib import Path

from certificate import pair

from fastsmtp_bench.served import Served, free_port

ALICE = "alice@example.test"
PASSWORD = "only for tests"


class Letters(Served):
    """alice has so many messages, the last with dots at the beginning of lines."""

    def __init__(self, home: Path, mode: str, count: int = 20, more: str = "") -> None:
        self.clear, self.sealed = free_port(), free_port()
        home.mkdir(parents=True, exist_ok=True)
        self.certificate, key = pair(home, "mx.example.test", "localhost")
        certified = f'{{ certificate = "{self.certificate}", key = "{key}" }}'
        tables = (
            f"[tls]\ncertificates = [{certified}]\n"
            f'[pop3]\nlisten = ["127.0.0.1:{self.clear}"]\n'
            f'listen_tls = ["127.0.0.1:{self.sealed}"]\n{more}'
            "[auth]\nwithout_tls_on_loopback = true\n"
        )
        super().__init__(home, mode, more=tables)  # type: ignore[arg-type]
        self.configure()
        words = ("user", "add", ALICE, "--password-stdin")
        self.command(*words, given=f"{PASSWORD}\n")
        folder = home / "source"
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(parents=True)
        for n in range(1, count + 1):
            (folder / "cur" / f"{n:05}.x.test:2,").write_bytes(letter(n))
        self.command("mail", "import", ALICE, str(folder))

    def there(self) -> list[str]:
        """The unique ids of what alice has."""
        client = logged_in(self)
        ids = [line.split()[1].decode() for line in client.uidl()[1]]
        client.quit()
        return ids


def letter(n: int) -> bytes:
    return (
        f"From: Bob <bob@far.test>\nTo: {ALICE}\nSubject: letter {n}\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\n"
        f"Message-ID: <{n}@far.test>\n\nHello {n}\n.\n..two\n.end\n"
    ).encode()


def logged_in(server: Letters) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", server.clear, timeout=20)
    client.user(ALICE)
    client.pass_(PASSWORD)
    return client
