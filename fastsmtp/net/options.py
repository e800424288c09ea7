"""What an operator may set about TLS."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fastsmtp.options import CERTIFICATES, CHOICE, DURATION, TEXT, option

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
