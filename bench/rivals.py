"""Other servers, each in a private configuration, ready to be loaded: what they are,
whether what they acknowledge is durable, how they are started and when they are done.

Found where they are installed; Postfix, Exim and OpenSMTPD are unpacked from their
packages else, Haraka and aiosmtpd are fetched with npm and pip into a cache folder.
What a server may wait for has a limit everywhere: none of them can stop the others.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pwd import getpwnam
from typing import Final, Literal

from fastsmtp_bench import opensmtpd, peers
from fastsmtp_bench.accounts import serving
from fastsmtp_bench.client import Unfinished, pending
from fastsmtp_bench.native import preloaded
from fastsmtp_bench.peers import Unavailable
from fastsmtp_bench.postfix import NOBODY, Postfix, usable
from fastsmtp_bench.process import stop
from fastsmtp_bench.scraped import Page
from fastsmtp_bench.served import Served, free_port

Kind = Literal["receive", "lmtp", "relay"]
START_SECONDS: Final = 20.0
PATIENCE: Final = 20.0  # seconds until what was taken is where it belongs


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes mail.

    pid      of its process tree
    busy     whether something that it took is not where it belongs yet
    arrived  how many messages are where they belong; None: it keeps none
    """

    port: int
    pid: int
    busy: Callable[[], bool] = lambda: False
    arrived: Callable[[], int] | None = None

    def settle(self, seconds: float = PATIENCE) -> None:
        """Returns when all is where it belongs. Raises Unfinished."""
        end = time.monotonic() + seconds
        while self.busy():
            if time.monotonic() > end:
                raise Unfinished(f"not all was delivered within {seconds:g} s")
            time.sleep(0.02)


def files(folder: Path, suffix: str = "") -> Callable[[], int]:
    """Counts the files there, and below."""

    def count() -> int:
        return sum(
            sum(name.endswith(suffix) for name in names)
            for _, _, names in os.walk(folder)
        )

    return count


def recorded(record: Path) -> Callable[[], int]:
    """Counts what our sink has written down."""
    return lambda: record.read_bytes().count(b"\n")


@dataclass(frozen=True, slots=True)
class Rival:
    """durable  whether a message survives a crash behind its 250, in a word or two
    to       whom it takes mail for"""

    name: str
    kind: Kind
    durable: str
    start: Callable[[Path], AbstractContextManager[Running]]
    to: str = "user@example.test"


def cached(name: str) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "fastsmtp-bench" / name


@contextmanager
def process(
    words: list[str], port: int, home: Path, env: dict[str, str] | None = None
) -> Iterator[int]:
    """One that stays in the foreground and greets on that port. Raises Unavailable."""
    with (home / "said").open("wb") as said:
        started = subprocess.Popen(
            words, stdout=said, stderr=said, env=env, cwd=home, start_new_session=True
        )
    try:
        try:
            peers.answers(port, START_SECONDS)
        except OSError:
            text = (home / "said").read_text(errors="replace")[-400:]
            raise Unavailable(f"{words[0]} does not serve: {text}") from None
        yield started.pid
    finally:
        stop(started, group=True)


# -- the servers ---------------------------------------------------------------------


@contextmanager
def fastsmtp(home: Path) -> Iterator[Running]:
    port = free_port()
    more = f'[lmtp]\nlisten = ["127.0.0.1:{port}"]\n'
    with serving(Served(home, mode="split", more=more)) as server:

        def delivered() -> int:
            labels = {"transport": "local", "result": "delivered"}
            page = Page.fetch(server.metrics)
            return int(page.total("fastsmtp_delivery_attempts_total", **labels))

        yield Running(
            server.port, server.pid, lambda: pending(server.metrics) > 0, delivered
        )


@contextmanager
def fastsmtp_lmtp(home: Path) -> Iterator[Running]:
    with fastsmtp(home) as running:
        text = (home / "fastsmtp.toml").read_text()
        port = int(text.split("[lmtp]")[1].split(":")[1].split('"')[0])
        yield replace(running, port=port)


RELAY: Final = """\
[relay_domains."far.test"]
next_hop = "smtp://127.0.0.1:{target}"

[destinations."127.0.0.1"]
connections = 50
"""


@contextmanager
def fastsmtp_relay(home: Path) -> Iterator[Running]:
    """Done when the null sink has taken all."""
    record = home.parent / f"{home.name}.taken"
    with peers.null_sink("--record", str(record)) as (target, _):
        more = RELAY.format(target=target)
        with serving(Served(home, mode="split", more=more)) as server:

            def busy() -> bool:
                page = Page.fetch(server.metrics)
                left = page.total("fastsmtp_log_unapplied_messages")
                return left + page.total("fastsmtp_queue_messages") > 0

            yield Running(server.port, server.pid, busy, recorded(record))


@contextmanager
def smtp_sink(home: Path) -> Iterator[Running]:
    with peers.smtp_sink() as (port, pid):
        yield Running(port, pid)


POSTFIX: Final = """\
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtp_tls_security_level = none
default_process_limit = 250
{way}
"""
WAYS: Final = {
    "hold": "smtpd_client_restrictions = check_client_access static:HOLD",
    "maildir": """\
virtual_mailbox_domains = example.test
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1""",
    "relay": "default_transport = smtp:[127.0.0.1]:{target}",
}
"""Keeps what it takes in its queue, delivers it, or sends it on to the null sink."""
DAEMONS: Final = """\
127.0.0.1:{port} inet n - n - 250 smtpd
anvil unix - - n - 1 anvil
virtual unix - n n - 20 virtual
"""


def postfix(way: str) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(home: Path) -> Iterator[Running]:
        if why := usable():
            raise Unavailable(why)
        home.chmod(0o755)
        user, port = getpwnam(NOBODY), free_port()
        (home / "mail").mkdir()
        shutil.chown(home / "mail", NOBODY)
        record = home / "taken"
        with peers.null_sink("--record", str(record)) as (target, _):
            told = {"home": home, "uid": user.pw_uid, "gid": user.pw_gid}
            text = WAYS[way].format(target=target, **told)
            main, master = POSTFIX.format(way=text), DAEMONS.format(port=port)
            arrived = {
                "hold": files(home / "queue/hold"),
                "maildir": files(home / "mail/box/new"),
                "relay": recorded(record),
            }
            server = Postfix(home, main, master)
            try:
                server.start()
                peers.answers(port, START_SECONDS)
                yield Running(
                    port, server.pid, lambda: _waits(home / "queue"), arrived[way]
                )
            finally:
                server.stop()

    return start


def _waits(queue: Path) -> bool:
    """Whether something waits to be delivered; what is held does not."""
    places = [queue / name for name in ("incoming", "active")]
    return any(next(os.scandir(place), None) for place in places)


EXIM: Final = """\
exim_path = {binary}
exim_user = mail
exim_group = mail
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD
spool_directory = {home}/spool
log_file_path = {home}/%slog
primary_hostname = mx.example.test
never_users =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
queue_only = true
smtp_accept_max = 400
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
acl_smtp_rcpt = taken
begin acl
taken:
  accept
"""


@contextmanager
def exim(home: Path) -> Iterator[Running]:
    original, environment = peers.exim()
    binary, port = home / "exim", free_port()
    shutil.copyfile(original, binary)
    binary.chmod(0o755)
    environment["LD_PRELOAD"] = str(preloaded("names"))
    text = EXIM.format(binary=binary, home=home, port=port)
    (home / "exim.conf").write_text(text)
    for folder in (home, home / "spool"):
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, "mail", "mail")
    words = [str(binary), "-C", str(home / "exim.conf"), "-bdf"]
    with process(words, port, home, environment) as pid:
        yield Running(port, pid, arrived=files(home / "spool/input", "-D"))


@contextmanager
def opensmtpd_maildir(home: Path) -> Iterator[Running]:
    home.chmod(0o755)
    port = free_port()
    words, environment = opensmtpd.prepare(home, port)
    with process(words, port, home, environment) as pid:
        arrived = files(home / "mail/box/new")
        yield Running(port, pid, lambda: opensmtpd.queued(home), arrived)


DOVECOT: Final = """\
base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols = lmtp
ssl = no
mail_location = maildir:{home}/mail/%u
first_valid_uid = 1
default_client_limit = 1000
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={home}/mail/%u allow_all_users=yes
}}
service lmtp {{
  process_limit = 250
  process_min_avail = 20
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


@contextmanager
def dovecot(home: Path) -> Iterator[Running]:
    binary = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not binary or os.geteuid():
        raise Unavailable("as root: apt-get install dovecot-lmtpd")
    home.chmod(0o755)
    (home / "mail").mkdir()
    shutil.chown(home / "mail", "nobody")
    port = free_port()
    (home / "dovecot.conf").write_text(DOVECOT.format(home=home, port=port))
    words = [binary, "-F", "-c", str(home / "dovecot.conf")]
    with process(words, port, home) as pid:
        yield Running(port, pid, arrived=files(home / "mail/user@example.test/new"))


AIOSMTPD: Final = """\
import asyncio, sys, uvloop
from aiosmtpd.handlers import Mailbox, Sink
from aiosmtpd.smtp import SMTP
port, way, place = int(sys.argv[1]), sys.argv[2], sys.argv[3]
handler = Mailbox(place) if way == "maildir" else Sink()
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, enable_SMTPUTF8=True), "127.0.0.1", port, backlog=1000)
    await server.serve_forever()
uvloop.run(main())
"""


def aiosmtpd(way: str) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(home: Path) -> Iterator[Running]:
        python = cached("aiosmtpd") / "bin/python"
        if not python.exists():
            fetch([sys.executable, "-m", "venv", str(cached("aiosmtpd"))])
        if not list(python.parents[1].glob("lib/python*/site-packages/aiosmtpd")):
            fetch([str(python), "-m", "pip", "install", "-q", "aiosmtpd", "uvloop"])
        port = free_port()
        (home / "serve.py").write_text(AIOSMTPD)
        words = [str(python), str(home / "serve.py"), str(port), way]
        with process([*words, str(home / "box")], port, home) as pid:
            kept = files(home / "box/new") if way == "maildir" else None
            yield Running(port, pid, arrived=kept)

    return start


HARAKA: Final = {
    "config/smtp.ini": "listen=127.0.0.1:{port}\n[main]\nnodes=0\n",
    "config/plugins": "take\n",
    "config/me": "mx.example.test\n",
    "config/log.ini": "[main]\nlevel=ERROR\n",
    "plugins/take.js": "exports.hook_rcpt = (next) => next(OK);\n"
    "exports.hook_queue = (next) => next(OK);\n",
}


@contextmanager
def haraka(home: Path) -> Iterator[Running]:
    folder = cached("haraka")
    program = folder / "node_modules/Haraka/bin/haraka"
    if not program.exists():
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
        fetch([*words, "--omit=optional", "--prefix", str(folder), "Haraka"])
    port = free_port()
    shutil.copytree(program.parents[1] / "config", home / "config")
    for name, text in HARAKA.items():
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{port}", str(port)))
    words = ["node", str(program), "-c", str(home)]
    with process(words, port, home) as pid:
        yield Running(port, pid)


def fetch(words: list[str]) -> None:
    """Raises Unavailable."""
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as why:
        raise Unavailable(f"{words[0]} could not fetch it: {why}") from None


RIVALS: Final = (
    Rival("fastsmtp", "receive", "yes, delivered", fastsmtp),
    Rival("smtp-sink", "receive", "no, discards", smtp_sink),
    Rival("Postfix, queue only", "receive", "yes", postfix("hold")),
    Rival("Postfix, to Maildir", "receive", "yes, delivered", postfix("maildir")),
    Rival("Exim, queue only", "receive", "yes", exim),
    Rival(
        "OpenSMTPD, to Maildir",
        "receive",
        "no, synced later",
        opensmtpd_maildir,
    ),
    Rival("Haraka, discard", "receive", "no, discards", haraka),
    Rival("aiosmtpd, sink", "receive", "no, discards", aiosmtpd("sink")),
    Rival("aiosmtpd, Maildir", "receive", "no, only the file", aiosmtpd("maildir")),
    Rival("fastsmtp, relayed", "relay", "yes", fastsmtp_relay, "user@far.test"),
    Rival("Postfix, relayed", "relay", "yes", postfix("relay"), "user@far.test"),
    Rival("fastsmtp LMTP", "lmtp", "yes, delivered", fastsmtp_lmtp),
    Rival("Dovecot LMTP", "lmtp", "yes, delivered", dovecot),
)
