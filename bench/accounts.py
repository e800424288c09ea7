"""The accounts a measurement delivers to."""

from bench.served import Served

PASSWORD = "not secret: loopback only\n"
USERS = ["user", *(f"{n}user" for n in range(2, 11))]  # as smtp-source names them


def create(server: Served, mailboxes: int = 0) -> None:
    """Makes user@ and 2user@ … 10user@, and user0001@ … up to `mailboxes`."""
    names = USERS + [f"user{n:04}" for n in range(1, mailboxes + 1)]
    for name in names:
        address = f"{name}@example.test"
        server.command("user", "add", address, "--password-stdin", given=PASSWORD)
