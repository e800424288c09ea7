"""What an operator may set about TLS."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fastsmtp.options import (
    ADDRESSES,
    CERTIFICATES,
    CHOICE,
    COUNT,
    DURATION,
    TEXT,
    option,
    split_address,
)

MODERN = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePair:
    """A certificate with the chain behind it, and its key; both files are PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """The `[tls]` table."""

    certificates: list[CertificatePair] = option(
        [],
        "pairs of PEM files; a client that names a host (SNI) gets the certificate with"
        " that name, everybody else the first; read again when a file changes; none:"
        " no TLS",
        CERTIFICATES,
    )
    minimum_version: Literal["1.2", "1.3"] = option(
        "1.2", "oldest version of TLS that is spoken", CHOICE
    )
    ciphers: str = option(
        MODERN,
        "cipher suites of TLS 1.2 as OpenSSL lists them (ECDHE with AEAD only); those"
        " of 1.3 are all modern",
        TEXT,
    )
    handshake_timeout: float = option(
        30.0, "from the start of a handshake to its end", DURATION, low=1
    )

    def moved(self, place: Callable[[Path], Path]) -> "TlsOptions":
        """With every path as `place` gives it."""
        pairs = [
            CertificatePair(certificate=place(p.certificate), key=place(p.key))
            for p in self.certificates
        ]
        return replace(self, certificates=pairs)


def _without_names(servers: Sequence[str]) -> str | None:
    """A name server cannot be found by asking one."""
    for server in servers:
        try:
            ipaddress.ip_address(split_address(server)[0])
        except ValueError:
            return f'names "{server}", which is no IP address with a port'
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsOptions:
    """The `[dns]` table: whom the server asks, and how long."""

    servers: list[str] = option(
        [],
        "name servers by IP address; none: those of /etc/resolv.conf. One on this"
        " machine or network, which caches and validates, is best",
        ADDRESSES,
        check=_without_names,
    )
    timeout: float = option(
        5.0, "wait for an answer, all attempts together", DURATION, low=0.1
    )
    cache: int = option(
        20_000, "answers remembered, each at most for its time to live", COUNT, low=100
    )
    outstanding: int = option(
        1000, "questions under way at once; more fail at once", COUNT, low=10
    )
