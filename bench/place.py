"""The server that a run loads: one started here for it, or one that already runs."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from socket import create_connection
from typing import Any, Final

from fastsmtp import config
from fastsmtp.config.model import Config
from fastsmtp.net.selfsigned import make as make_certificate
from fastsmtp_bench import accounts
from fastsmtp_bench.generator import Failed
from fastsmtp_bench.profiles import Profile
from fastsmtp_bench.scraped import Page
from fastsmtp_bench.served import Served, free_port

USERS: Final = 50  # that can log in
PASSWORD: Final = "only-for-the-bench"
GREETING_SECONDS: Final = 10.0
RAISED: Final = {
    "SMTP__MAX_CONNECTIONS": "60000",
    "SMTP__MAX_CONNECTIONS_PER_NETWORK": "50000",  # every client is one network here
    "SMTP__MAX_IDLE_COMMANDS": "1000000",
}
"""The bench profile of the server: what one client network would run into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a load goes.

    pid, metrics   of the server, when they are known
    configuration  of the server, when its mailboxes can be read here
    logins         (address, password) of its users
    mark           what the ids of this run's messages begin with
    """

    label: str
    port: int
    host: str = "127.0.0.1"
    remote: bool = False
    domain: str = accounts.DOMAIN
    pid: int | None = None
    metrics: str | None = None
    configuration: Path | None = None
    logins: tuple[tuple[str, str], ...] = ()
    mark: str = field(default_factory=lambda: f"{token_hex(4)}-")


def names(profile: Profile) -> list[str]:
    """Local parts of the recipients that load.c makes up for a profile."""
    if profile.mailboxes:
        return [f"user{n:04}" for n in range(1, profile.mailboxes + 1)]
    return ["user", *(f"{n}user" for n in range(2, profile.recipients + 1))]


def _populate(configuration: Path, domain: str, profile: Profile) -> list[str]:
    """Makes the accounts; who can log in."""
    logins = [f"sender{n:03}@{domain}" for n in range(USERS)] if profile.auth else []
    addresses = [f"{name}@{domain}" for name in names(profile)]
    accounts.make(configuration, addresses, logins, PASSWORD)
    return logins


@contextmanager
def private(profile: Profile, directory: Path, mode: Any) -> Iterator[Place]:
    """fastsmtp with a configuration of ours, in a folder that goes away again."""
    ports = {name: free_port() for name in ("submission", "lmtp")}
    with tempfile.TemporaryDirectory(dir=directory, prefix="bench-") as name:
        home = Path(name)
        server = Served(home, mode=mode, more=_tables(profile, ports))
        pair = home / "tls.crt", home / "tls.key"
        make_certificate(*pair, ["mx.example.test"])
        server.configure()
        logins = _populate(server.configuration, accounts.DOMAIN, profile)
        port = ports["submission"] if profile.auth else server.port
        with blamed(server):
            server.start()
            yield Place(
                label=f"fastsmtp, mode {mode}",
                port=ports["lmtp"] if profile.lmtp else port,
                pid=server.pid,
                metrics=server.metrics,
                configuration=server.configuration,
                logins=tuple((who, PASSWORD) for who in logins),
            )


@contextmanager
def blamed(server: Served) -> Iterator[None]:
    """Stops it at the end. Where a load has Failed since it was gone, its log says why;
    the folder with it goes away."""
    try:
        yield
    except (Failed, OSError) as why:
        if (code := server.process and server.process.poll()) is None:
            raise
        tail = server.log.read_text(errors="replace")[-1000:].strip()
        said = f"{why}; the server ended with {code}"
        raise Failed(f"{said}:\n{tail}" if tail else said) from None
    finally:
        server.stop()


def _tables(profile: Profile, ports: dict[str, int]) -> str:
    """For what the profile speaks besides SMTP in clear."""
    text = ""
    if profile.tls or profile.auth:
        text += '[tls]\ncertificates = [{ certificate = "tls.crt", key = "tls.key" }]\n'
    if profile.auth:
        text += f'[submission]\nlisten = ["127.0.0.1:{ports["submission"]}"]\n'
    if profile.lmtp:
        text += f'[lmtp]\nlisten = ["127.0.0.1:{ports["lmtp"]}"]\n'
    return text


# -- a server that runs --------------------------------------------------------------


def running(profile: Profile, target: Place, logins: Path | None) -> Place:
    """The same with its users, when it greets and can be loaded. Raises Failed."""
    address = ip_address(target.host)
    if not (address.is_loopback or (target.remote and address.is_private)):
        kind = "private" if target.remote else "of this machine"
        raise Failed(f"{target.label} is not {kind}: load only servers of your own")
    greeting = greeted(target)
    if not greeting.startswith("220"):
        raise Failed(f"{target.label} greets with {greeting!r}, not with 220")
    if target.metrics:
        try:
            Page.fetch(target.metrics)
        except (OSError, ValueError) as why:
            raise Failed(f"--metrics {target.metrics}: {why}") from None
    if profile.auth and not logins:
        raise Failed(
            f"profile {profile.name} logs in: --logins FILE, lines ADDRESS PASSWORD"
        )
    return replace(target, logins=users(logins) if logins and profile.auth else ())


def greeted(target: Place) -> str:
    """The first line that it says. Raises Failed."""
    whom = target.host, target.port
    try:
        with create_connection(whom, timeout=GREETING_SECONDS) as client:
            said = client.recv(512)
    except TimeoutError:
        why = f"{target.label} says nothing within {GREETING_SECONDS:g} s"
        raise Failed(why) from None
    except OSError as error:
        why = f"nobody answers at {target.label}: {error.strerror or error}"
        raise Failed(why) from None
    return said.decode(errors="replace").partition("\r\n")[0]


def users(path: Path) -> tuple[tuple[str, str], ...]:
    """Raises Failed."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as why:
        raise Failed(f"--logins {path}: {why}") from None
    found = [tuple(line.split()) for line in lines if line.strip()]
    if not found or any(len(pair) != 2 for pair in found):
        raise Failed(f"--logins {path}: not lines ADDRESS PASSWORD")
    return tuple((who, word) for who, word in found)


# -- the server of a configuration of somebody's own ---------------------------------


class Borrowed(Served):
    """`fastsmtp serve` with a configuration that is only read; what must differ, such
    as the folder of its data, comes from the environment of this process."""

    origin: Path = Path()

    @property
    def configuration(self) -> Path:
        return self.origin


def overrides(loaded: Config, home: Path, ports: dict[str, int]) -> dict[str, str]:
    """FASTSMTP_* variables: data in `home`, other ports, nothing else listens."""
    found = {f"FASTSMTP_{name}": value for name, value in RAISED.items()}
    found |= {"FASTSMTP_DATA": str(home / "data"), "FASTSMTP_RUN": str(home / "run")}
    if loaded.user:
        found["FASTSMTP_USER"] = ""
    for table in fields(loaded):
        value = getattr(loaded, table.name)
        if not is_dataclass(value):
            continue
        for one in fields(value):
            if one.name in ("listen", "listen_tls"):
                name = f"FASTSMTP_{table.name}__{one.name}".upper()
                port = ports.get(f"{table.name}.{one.name}")
                found[name] = f"127.0.0.1:{port}" if port else ""
    return found


def wanted(profile: Profile) -> str:
    """The setting whose listener a profile talks to."""
    if profile.lmtp:
        return "lmtp.listen"
    return "submission.listen" if profile.auth else "smtp.listen"


@contextmanager
def borrowed(path: Path, profile: Profile, directory: Path | None) -> Iterator[Place]:
    """The server of this configuration, with its own data beside the real one's and
    ports on loopback. Raises `config.ConfigErrors`."""
    loaded = config.load(path)
    domain = next(iter(loaded.domains), accounts.DOMAIN)
    ports = {name: free_port() for name in {"metrics.listen", "smtp.listen"}}
    ports |= {wanted(profile): free_port()} if wanted(profile) != "smtp.listen" else {}
    above = directory or next(p for p in loaded.data.parents if p.is_dir())
    with tempfile.TemporaryDirectory(dir=above, prefix="bench-") as name:
        home = Path(name)
        for folder in ("data", "run"):
            (home / folder).mkdir(mode=0o700)
        pair = home / "tls.crt", home / "tls.key"
        make_certificate(*pair, [loaded.hostname])
        server = Borrowed(
            home, port=ports["smtp.listen"], metrics_port=ports["metrics.listen"]
        )
        server.origin = path.resolve()
        with _environment(overrides(loaded, home, ports)):
            logins = _populate(server.configuration, domain, profile)
            with blamed(server):
                server.start()
                yield Place(
                    label=f"fastsmtp with {path}",
                    port=ports[wanted(profile)],
                    domain=domain,
                    pid=server.pid,
                    metrics=server.metrics,
                    configuration=server.configuration,
                    logins=tuple((who, PASSWORD) for who in logins),
                )


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
