"""The whole configuration as one frozen value, and its way to another process."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from fastsmtp.auth.options import AuthOptions
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.hooks.options import HookOptions
from fastsmtp.net.options import DnsOptions, TlsOptions
from fastsmtp.options import (
    ADDRESS,
    CHOICE,
    COUNT,
    FILE,
    HOSTNAME,
    PATH,
    REQUIRED,
    TEXT,
    option,
)
from fastsmtp.policy.options import (
    CallAheadOptions,
    DestinationOptions,
    DomainOptions,
    ListOptions,
    PolicyOptions,
    RelayDomainOptions,
    RelayOptions,
    SendmailOptions,
    SubmissionOptions,
)
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.smtp.options import LmtpOptions, SendOptions, SmtpOptions
from fastsmtp.store.options import StoreOptions
from fastsmtp.trace.options import WhyOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions:
    """The `[metrics]` table: /metrics, /healthz, /readyz and /status."""

    listen: str = option(
        "127.0.0.1:9925",
        "address of the HTTP endpoint of Prometheus; empty: none",
        ADDRESS,
    )
    token_file: str = option(
        "",
        "file with a token: who gives it as the password may see /status from another"
        " machine; unset: only this machine may",
        FILE,
    )

    def moved(self, place: Callable[[str], Path]) -> "MetricsOptions":
        """With every path as `place` gives it."""
        if not self.token_file:
            return self
        return replace(self, token_file=str(place(self.token_file)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The `[log]` table. Logs go to standard output, one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"] = option(
        "info", "the least that is worth a line", CHOICE
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """The `[processes]` table."""

    mode: Literal["one", "split"] = option(
        "split",
        "split: receivers, a keeper, senders and a supervisor; one: one process does"
        " all",
        CHOICE,
    )
    receivers: int = option(
        1, "processes that take in mail; counts when mode is split", COUNT, low=1
    )
    senders: int = option(
        1,
        "processes that send to other servers; counts when mode is split. All mail for"
        " one next hop goes through one of them",
        COUNT,
        low=1,
        high=16,
    )
    readers: int = option(
        1,
        "processes that let people read (POP3), where that is on; as receivers",
        COUNT,
        low=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the file and the environment say, checked. `data` and `run` are absolute.

    A package is handed its own table; nobody below the composition root sees this."""

    hostname: str = option(
        REQUIRED, "this machine's name in greetings and Received lines", HOSTNAME
    )
    data: Path = option(REQUIRED, "folder of mail, queue and accounts", PATH)
    run: Path = option(
        Path(), "folder of sockets and counters; unset: run in data", PATH
    )
    user: str = option(
        "", "user to become when started as root; unset: the owner of data", TEXT
    )
    smtp: SmtpOptions = field(default_factory=SmtpOptions)
    submission: SubmissionOptions = field(default_factory=SubmissionOptions)
    sendmail: SendmailOptions = field(default_factory=SendmailOptions)
    auth: AuthOptions = field(default_factory=AuthOptions)
    lmtp: LmtpOptions = field(default_factory=LmtpOptions)
    send: SendOptions = field(default_factory=SendOptions)
    pop3: Pop3Options = field(default_factory=Pop3Options)
    store: StoreOptions = field(default_factory=StoreOptions)
    delivery: DeliveryOptions = field(default_factory=DeliveryOptions)
    tls: TlsOptions = field(default_factory=TlsOptions)
    dns: DnsOptions = field(default_factory=DnsOptions)
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    domains: dict[str, DomainOptions]
    relay_domains: dict[str, RelayDomainOptions] = field(default_factory=dict)
    call_ahead: CallAheadOptions = field(default_factory=CallAheadOptions)
    relay: list[RelayOptions] = field(default_factory=list)
    destinations: dict[str, DestinationOptions] = field(default_factory=dict)
    dnsbl: dict[str, ListOptions] = field(default_factory=dict)
    hooks: dict[str, HookOptions] = field(default_factory=dict)
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    log: LogOptions = field(default_factory=LogOptions)
    why: WhyOptions = field(default_factory=WhyOptions)
    processes: ProcessOptions = field(default_factory=ProcessOptions)

    def __post_init__(self) -> None:
        if self.run == Path():
            object.__setattr__(self, "run", self.data / "run")

    @property
    def listeners(self) -> dict[str, list[str]]:
        """Addresses to listen on, by kind of listener (LISTENERS of `smtp.counts` and
        `pop3.counts`)."""
        return {
            "smtp": self.smtp.listen,
            "submission": self.submission.listen,
            "submissions": self.submission.listen_tls,
            "lmtp": self.lmtp.listen,
            "pop3": self.pop3.listen,
            "pop3s": self.pop3.listen_tls,
            "sendmail": self.sendmail.listen,
        }

    @property
    def readers(self) -> int:
        """Processes that let people read; none where nothing is listened on."""
        wanted = self.pop3.listen or self.pop3.listen_tls
        return self.processes.readers if wanted else 0

    def to_json(self) -> bytes:
        """One line that `from_json` turns into an equal value."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, data: bytes) -> "Config":
        """Raises `msgspec.DecodeError` or `msgspec.ValidationError` on other bytes."""
        return msgspec.json.decode(data, type=cls, dec_hook=_decode_path)


def _decode_path(kind: type, value: Any) -> Any:
    return kind(value)
