"""Self-signed certificates for tests, made once per run and name."""

from __future__ import annotations

import functools
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def pair(
    folder: Path, *names: str, days: float = 30.0, stem: str = "tls"
) -> tuple[Path, Path]:
    """Writes `<stem>.crt` and `<stem>.key` for these names; valid for `days` from now
    on (below 0: expired)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    end = datetime.now(UTC) + timedelta(days=days)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / f"{stem}.crt", folder / f"{stem}.key"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    secret.chmod(0o600)
    return certificate, secret


@functools.cache
def server_context() -> ssl.SSLContext:
    """For mx.example.test, with what the ssl module does by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*pair(Path(folder), "mx.example.test"))
    return context


@functools.cache
def client_context(version: str = "TLSv1.3") -> ssl.SSLContext:
    """Trusts everybody and speaks one version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    number = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
    context.minimum_version = context.maximum_version = number[version]
    return context
