"""fastsmtp-bench delivered [W1 W2 …]: fastsmtp beside a Postfix that delivers.

Both take mail from the same client in turn, make it durable before the 250 and put it
into mailboxes of their own: Postfix by virtual(8) into a Maildir, with the settings it
comes with. A run ends, and CPU is read, when the last message is in its mailbox.
Postfix gets a tenth of the messages, so that its rounds take as long as ours; its queue
and its Maildir are on the same file system as our store.

Needs root, for Postfix does; it has a folder of its own and touches no other Postfix.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam
from statistics import median

from fastsmtp_bench import arguments, machine, peers
from fastsmtp_bench.accounts import DOMAIN
from fastsmtp_bench.client import TIMEOUT, Client, Run, Target, run
from fastsmtp_bench.postfix import NOBODY, Postfix, until, usable
from fastsmtp_bench.served import free_port
from fastsmtp_bench.side_by_side import fastsmtp
from fastsmtp_bench.workloads import WORKLOADS

SHARE = 0.1  # of the messages of a run, for Postfix
MAIN = """\
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
anvil unix - - n - 1 anvil
virtual unix - n n - - virtual
"""
COLUMNS = [
    *("", "messages/s", "CPU µs", "Postfix messages/s", "Postfix CPU µs"),
    *("rate / Postfix", "CPU / Postfix"),
]


class Maildir:
    """What arrives at a Postfix that delivers to one Maildir."""

    def __init__(self, home: Path) -> None:
        self._queues = [home / "queue" / n for n in ("maildrop", "incoming", "active")]
        self._new = home / "mail" / "inbox" / "new"
        self._expected = 0

    def expect(self, messages: int) -> None:
        self._expected += messages

    def settled(self) -> None:
        """Returns when all that is expected is there. Raises TimeoutError."""
        until(self.is_settled, TIMEOUT, "Postfix delivers")

    def is_settled(self) -> bool:
        """The large folder is read last, and seldom."""
        if any(next(os.scandir(queue), None) for queue in self._queues):
            return False
        return len(os.listdir(self._new)) >= self._expected


@contextmanager
def delivering(home: Path) -> Iterator[tuple[Target, Maildir]]:
    """A Postfix with one Maildir, which everybody's mail goes to."""
    nobody = getpwnam(NOBODY)
    mail = home / "mail"
    mail.mkdir()
    os.chown(mail, nobody.pw_uid, nobody.pw_gid)
    where = {"domain": DOMAIN, "mail": mail}
    ids = {"uid": nobody.pw_uid, "gid": nobody.pw_gid}
    port = free_port()
    server = Postfix(home, MAIN.format(**where, **ids), MASTER.format(port=port))
    try:
        server.start()
        arriving = Maildir(home)
        yield Target(port, server.pid, settled=arriving.settled), arriving
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class Pair:
    """The rounds of one workload."""

    name: str
    ours: list[Run]
    theirs: list[Run]

    def cells(self) -> list[str]:
        pairs = list(zip(self.ours, self.theirs, strict=True))
        rate = median(a.rate / b.rate for a, b in pairs)
        cpu = median(a.server_cpu / b.server_cpu for a, b in pairs)
        return [
            *(self.name, f"{median(r.rate for r in self.ours):,.0f}"),
            f"{median(r.server_cpu for r in self.ours):.1f}",
            f"{median(r.rate for r in self.theirs):,.0f}",
            f"{median(r.server_cpu for r in self.theirs):,.0f}",
            *(f"{rate:.1f}", f"{cpu:.3f}"),
        ]


def compare(
    client: Client, name: str, ours: Target, theirs: tuple[Target, Maildir], rounds: int
) -> Pair:
    """In turn, after a short run of each."""
    target, arriving = theirs
    work = WORKLOADS[name]
    less = work.scaled(SHARE)
    pair = Pair(name, [], [])
    for scale in [0.1] + rounds * [1.0]:
        arriving.expect(less.scaled(scale).messages * work.recipients)
        pair.theirs.append(run(client, less.scaled(scale), target))
        pair.ours.append(run(client, work.scaled(scale), ours))
    return Pair(name, pair.ours[1:], pair.theirs[1:])


def markdown(pairs: list[Pair], facts: str) -> str:
    lines = [facts, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(pair.cells()) + " |" for pair in pairs]
    return "\n".join(lines)


def measure(words: list[str] | None = None) -> str:
    """The table, with the facts above it; `words` as on the command line."""
    parser = arguments.parser("delivered", __doc__)
    add = parser.add_argument
    add(
        "workloads",
        nargs="*",
        type=arguments.workload,
        default=["W1", "W2", "W4", "W6"],
    )
    add("--client", choices=["load", "smtp-source"], default="smtp-source")
    arguments.measured(parser, rounds=3, mode="split")
    options = parser.parse_args(words)
    if why := usable():
        raise peers.Unavailable(why)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        place = Path(folder).resolve()
        place.chmod(0o755)  # the users of Postfix enter it
        (place / "postfix").mkdir()
        with (
            fastsmtp(place / "fastsmtp", options.mode) as server,
            delivering(place / "postfix") as theirs,
        ):
            ours = Target(server.port, server.pid, metrics=server.metrics)
            pairs = [
                compare(options.client, name, ours, theirs, options.rounds)
                for name in options.workloads
            ]
        facts = (
            f"{machine.processor()}; {machine.file_system(place)}; "
            f"{machine.versions()}; postfix {peers.version()}; client "
            f"{options.client}; mode {options.mode}; {options.rounds} rounds, medians."
        )
        return markdown(pairs, facts)


def main(words: list[str] | None = None) -> None:
    print(measure(words))
