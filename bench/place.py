"""The server that a run loads: one started here for it, or one that already runs."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from fastsmtp import config
from fastsmtp.config.model import Config
from fastsmtp.net.selfsigned import make as make_certificate
from fastsmtp_bench import accounts
from fastsmtp_bench.profiles import Profile
from fastsmtp_bench.served import Served, free_port

USERS: Final = 50  # that can log in
PASSWORD: Final = "only-for-the-bench"
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
    certificate    (certificate, key) for the null sink, when the profile wants TLS
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
    certificate: tuple[Path, Path] | None = None


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
        server.start()
        port = ports["submission"] if profile.auth else server.port
        try:
            yield Place(
                label=f"fastsmtp, mode {mode}",
                port=ports["lmtp"] if profile.lmtp else port,
                pid=server.pid,
                metrics=server.metrics,
                configuration=server.configuration,
                logins=tuple((who, PASSWORD) for who in logins),
                certificate=pair,
            )
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
            server.start()
            try:
                yield Place(
                    label=f"fastsmtp with {path}",
                    port=ports[wanted(profile)],
                    domain=domain,
                    pid=server.pid,
                    metrics=server.metrics,
                    configuration=server.configuration,
                    logins=tuple((who, PASSWORD) for who in logins),
                    certificate=pair,
                )
            finally:
                server.stop()


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
