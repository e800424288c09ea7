"""Certificates: read from files, chosen by the name a client asks for, read again when
a file changes.

    certificates = Certificates(options, report)
    tls = certificates.serve(clock, told)   # gets every later context
    await certificates.watch()              # for good

Laws
- A context is never changed once connections use it: what is read anew makes new ones,
  and open sessions keep theirs.
- All pairs are good or none is taken: a pair that cannot be used keeps the old ones,
  says so once, and is tried again when a file changes (a renewal replaces two files,
  one after the other).
- The first pair is the default. Names match without regard to case; `*.` stands for
  one label; an exact name goes before a wildcard, an earlier pair before a later one.
- Tickets of resumption are sealed with a key of the default context: they are good
  until the certificates are read anew, and only in the process that gave them (the ssl
  module cannot share that key); elsewhere a client makes a full handshake.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from fastsmtp.net.clock import Clock
from fastsmtp.net.options import CertificatePair, TlsOptions
from fastsmtp.net.tls import Tls, TlsTransport

LOOK: Final = 5.0  # seconds between looks at the files
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MISMATCH: Final = frozenset(
    {
        "KEY_VALUES_MISMATCH",
        "KEY_TYPE_MISMATCH",
        "NO_CERTIFICATE_ASSIGNED",  # none of this kind of key: RSA beside ECDSA
    }
)


class BadPair(OSError):
    """A pair that cannot be used: which of its files is at fault, and why."""

    def __init__(
        self, pair: CertificatePair, which: Literal["certificate", "key"], why: str
    ) -> None:
        self.path: Path = getattr(pair, which)
        super().__init__(f"{self.path}: {why}")
        self.which, self.why = which, why


class Facts(NamedTuple):
    """What a certificate says: names in lower case, the first is what it is called;
    not_after in seconds of the wall clock."""

    names: tuple[str, ...]
    not_after: float

    def covers(self, name: str) -> bool:
        name = name.lower()
        return name in self.names or _wildcard(name) in self.names


class Told(Protocol):
    """What the log is told; see `fastsmtp.report`."""

    def certificates_loaded(self, names: Sequence[str]) -> None: ...
    def certificates_refused(self, why: str) -> None: ...


def facts(pair: CertificatePair) -> Facts:
    """Reads the certificate only. Raises `BadPair`."""
    from cryptography import x509  # 4 MiB that only who has certificates needs

    octets = _read(pair, "certificate")
    try:
        certificate = x509.load_pem_x509_certificates(octets)[0]
        names = _names(certificate)
    except ValueError:
        raise BadPair(pair, "certificate", "holds no PEM certificate") from None
    return Facts(tuple(names), certificate.not_valid_after_utc.timestamp())


def _names(certificate: Any) -> list[str]:
    """Of the alternative names; the common name only where there are none."""
    from cryptography import x509

    try:
        kind = x509.SubjectAlternativeName
        alternative = certificate.extensions.get_extension_for_class(kind).value
        found = alternative.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        found = [str(name.value) for name in common]
    return [name.lower() for name in found] or ["unnamed"]


def _read(pair: CertificatePair, which: Literal["certificate", "key"]) -> bytes:
    path: Path = getattr(pair, which)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPair(pair, which, f"cannot be read: {error.strerror}") from None


def context_for(pair: CertificatePair, options: TlsOptions) -> ssl.SSLContext:
    """A server's context with this certificate. Raises `BadPair`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.minimum_version]
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.num_tickets = 1
    context.set_ciphers(options.ciphers)
    key = _read(pair, "key")
    _read(pair, "certificate")
    try:
        # OpenSSL would ask for a passphrase at the terminal
        context.load_cert_chain(pair.certificate, pair.key, password="")
    except ssl.SSLError as error:
        raise _bad(pair, error, key) from None
    except OSError as error:  # it changed meanwhile
        raise BadPair(pair, "key", f"cannot be read: {error.strerror}") from None
    return context


def _bad(pair: CertificatePair, error: ssl.SSLError, key: bytes) -> BadPair:
    if error.reason in _MISMATCH:
        return BadPair(pair, "key", f"is not the key of {pair.certificate}")
    if b"ENCRYPTED" in key:
        return BadPair(pair, "key", "is locked with a passphrase")
    if b"PRIVATE KEY-----" not in key:
        return BadPair(pair, "key", "holds no PEM private key")
    reason = (error.reason or "unusable").lower().replace("_", " ")
    return BadPair(pair, "certificate", f"OpenSSL refuses it: {reason}")


def ciphers_fault(ciphers: str) -> str | None:
    """Why this is no list of modern ciphers, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        return "names no cipher suite that OpenSSL knows"
    weak = [
        found["name"]
        for found in context.get_ciphers()
        if found["protocol"] != "TLSv1.3"
        and not (found["aead"] and found["name"].startswith("ECDHE-"))
    ]
    return f"has {weak[0]}, which is not ECDHE with AEAD" if weak else None


def _wildcard(name: str) -> str:
    return "*." + name.partition(".")[2]


class Certificates:
    """The contexts of one process; see the head of the file.

    context  for connections to come

    Raises `BadPair` when there is none to begin with.
    """

    context: ssl.SSLContext

    def __init__(self, options: TlsOptions, told: Told) -> None:
        self._options = options
        self._told = told
        self._marks = self._stat()
        self._users: list[Tls] = []
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._take(self._load())

    def serve(
        self, clock: Clock, told: Callable[[TlsTransport, str, str], None]
    ) -> Tls:
        """The TLS of a listener; its context follows until `leave`."""
        tls = Tls(self.context, clock, self._options.handshake_timeout, told)
        self._users.append(tls)
        return tls

    def leave(self, tls: Tls) -> None:
        self._users.remove(tls)

    def look(self) -> None:
        """Read the files again if one has changed since they were read last."""
        marks = self._stat()
        if marks != self._marks:
            self._marks = marks
            self.reload(self._options)

    def reload(self, options: TlsOptions) -> bool:
        """Read them again, from other places perhaps; whether they are good."""
        try:
            loaded = self._load(options)
        except BadPair as bad:
            self._told.certificates_refused(str(bad))
            return False
        self._options = options
        self._marks = self._stat()
        self._take(loaded)
        return True

    async def watch(self) -> None:
        """Look at the files every few seconds, for good."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def _load(
        self, options: TlsOptions | None = None
    ) -> list[tuple[Facts, ssl.SSLContext]]:
        options = options or self._options
        return [(facts(p), context_for(p, options)) for p in options.certificates]

    def _take(self, loaded: list[tuple[Facts, ssl.SSLContext]]) -> None:
        by_name: dict[str, ssl.SSLContext] = {}
        for found, context in loaded:
            for name in found.names:
                by_name.setdefault(name, context)
        self._by_name = by_name
        self.context = default = loaded[0][1]
        if len(loaded) > 1:
            default.sni_callback = chooser(by_name)
        for user in self._users:
            user.context = default
            user.patience = self._options.handshake_timeout
        self._told.certificates_loaded([found.names[0] for found, _ in loaded])

    def _stat(self) -> tuple[object, ...]:
        paths = [p for c in self._options.certificates for p in (c.certificate, c.key)]
        return tuple(_mark(path) for path in paths)


def chooser(
    by_name: dict[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """A callback that gives a handshake the certificate of the name it asks for."""

    def choose(
        handshake: ssl.SSLObject, name: str | None, default: ssl.SSLContext
    ) -> None:
        if name:
            name = name.lower()
            found = by_name.get(name) or by_name.get(_wildcard(name))
            if found is not None and found is not default:
                handshake.context = found

    return choose


def _mark(path: Path) -> object:
    """Another one when the file is another, or was written to."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_mtime_ns, found.st_size


class Expiries:
    """When the certificates end, by name, for who does not serve with them."""

    def __init__(self, pairs: Sequence[CertificatePair]) -> None:
        self._pairs = pairs
        self._known: dict[Path, tuple[object, Facts]] = {}

    def read(self) -> dict[str, float]:
        """A file that cannot be read now leaves what it said before."""
        found: dict[str, float] = {}
        for pair in self._pairs:
            told = self._facts(pair)
            if told is not None:
                name = told.names[0]
                found[name] = min(told.not_after, found.get(name, told.not_after))
        return found

    def _facts(self, pair: CertificatePair) -> Facts | None:
        mark = _mark(pair.certificate)
        before = self._known.get(pair.certificate)
        if before is not None and before[0] == mark:
            return before[1]
        try:
            told = facts(pair)
        except BadPair:
            return None if before is None else before[1]
        self._known[pair.certificate] = (mark, told)
        return told
