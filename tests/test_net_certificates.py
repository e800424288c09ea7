"""Certificates: read, chosen by name, read again; a bad one changes nothing."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from certificate import client_context, pair
from fakes import FakeReport, turns_until

from fastsmtp.net import certificates as module
from fastsmtp.net.certificates import (
    BadPair,
    Certificates,
    Expiries,
    ciphers_fault,
    context_for,
    facts,
)
from fastsmtp.net.clock import Clock
from fastsmtp.net.options import MODERN, CertificatePair, TlsOptions
from fastsmtp.net.selfsigned import make


def made(folder: Path, *names: str, stem: str = "tls", days: float = 30.0) -> Any:
    certificate, key = pair(folder, *names, stem=stem, days=days)
    return CertificatePair(certificate=certificate, key=key)


def options(*pairs: CertificatePair, **more: Any) -> TlsOptions:
    return TlsOptions(certificates=list(pairs), **more)


def shaken(
    server: ssl.SSLContext, name: str | None = None, client: Any = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """(client, server) after a handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client or client_context()
    one = client.wrap_bio(down, up, server_hostname=name)
    other = server.wrap_bio(up, down, server_side=True)
    for side in (one, other, one, other):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return one, other


def shown(server: ssl.SSLContext, name: str | None) -> str:
    """The first name of the certificate that a client who asks for `name` gets."""
    from cryptography import x509

    der = shaken(server, name)[0].getpeercert(True)
    assert der
    certificate = x509.load_der_x509_certificate(der)
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value)


def test_what_a_certificate_says(tmp_path: Path) -> None:
    found = facts(made(tmp_path, "MX.example.test", "*.example.org", days=2))
    assert found.names == ("mx.example.test", "*.example.org")
    assert abs(found.not_after - time.time() - 2 * 86400) < 60
    assert found.covers("mx.EXAMPLE.test")
    assert found.covers("any.example.org")
    assert not found.covers("two.labels.example.org")
    assert not found.covers("example.org")


def test_the_name_chooses_the_certificate_and_the_first_is_the_default(
    tmp_path: Path,
) -> None:
    first = made(tmp_path, "mx.example.test", stem="a")
    wild = made(tmp_path, "*.example.org", stem="b")
    exact = made(tmp_path, "mail.example.org", "mx.example.test", stem="c")
    context = Certificates(options(first, wild, exact), FakeReport()).context
    assert shown(context, None) == "mx.example.test"
    assert shown(context, "other.example") == "mx.example.test"
    assert shown(context, "MX.example.test") == "mx.example.test"
    assert shown(context, "a.example.org") == "*.example.org"
    assert shown(context, "a.b.example.org") == "mx.example.test"
    assert shown(context, "Mail.Example.ORG") == "mail.example.org"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_session_is_resumed_whatever_the_name(tmp_path: Path, version: str) -> None:
    pairs = [made(tmp_path, f"{n}.test", stem=n) for n in ("a", "b")]
    context = Certificates(options(*pairs), FakeReport()).context
    client = client_context(version)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one, other = shaken(context, "b.test", client)
    other.write(b"the ticket of TLS 1.3 comes before this")
    one.read(100)
    again = client.wrap_bio(down, up, server_hostname="b.test", session=one.session)
    server = context.wrap_bio(up, down, server_side=True)
    for side in (again, server, again, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert server.session_reused


def test_only_modern_tls_is_spoken(tmp_path: Path) -> None:
    context = context_for(made(tmp_path, "a.test"), options())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    offered = [c for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert offered
    assert all(c["aead"] and c["name"].startswith("ECDHE-") for c in offered)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    strict = context_for(made(tmp_path, "a.test"), options(minimum_version="1.3"))
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shaken(strict, None, client_context("TLSv1.2"))


@pytest.mark.parametrize(
    ("ciphers", "sentence"),
    [
        (MODERN, None),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", None),
        ("nonsense", "names no cipher suite that OpenSSL knows"),
        ("AES128-SHA", "has AES128-SHA, which is not ECDHE with AEAD"),
        ("ECDHE+AES", "which is not ECDHE with AEAD"),
    ],
)
def test_ciphers_are_ecdhe_with_aead(ciphers: str, sentence: str | None) -> None:
    fault = ciphers_fault(ciphers)
    assert fault == sentence or (sentence and fault and fault.endswith(sentence))


def spoil(which: str, good: CertificatePair, folder: Path) -> str:
    """Break one thing about a pair; the sentence that must say so."""
    if which == "missing":
        good.key.unlink()
        return "tls.key: cannot be read: No such file or directory"
    if which == "another key":
        pair(folder, "x.test", stem="x")
        good.key.write_bytes((folder / "x.key").read_bytes())
        return f"tls.key: is not the key of {good.certificate}"
    if which == "a key of another kind":
        good.key.write_bytes(ed25519())
        return f"tls.key: is not the key of {good.certificate}"
    if which == "no certificate":
        good.certificate.write_text("hello")
        return "tls.crt: holds no PEM certificate"
    if which == "no key":
        good.key.write_text("hello")
        return "tls.key: holds no PEM private key"
    good.key.write_bytes(locked(good.key.read_bytes()))
    return "tls.key: is locked with a passphrase"


def ed25519() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def locked(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


BAD = [
    "missing",
    "another key",
    "a key of another kind",
    "no certificate",
    "no key",
    "locked",
]


@pytest.mark.parametrize("which", BAD)
def test_a_pair_that_cannot_be_used_is_named(tmp_path: Path, which: str) -> None:
    good = made(tmp_path, "mx.example.test")
    sentence = spoil(which, good, tmp_path)
    with pytest.raises(BadPair) as caught:
        Certificates(options(good), FakeReport())
    assert str(caught.value).endswith(sentence)


@pytest.mark.parametrize("which", BAD)
def test_a_bad_new_pair_keeps_the_old_one_and_says_so_once(
    tmp_path: Path, which: str
) -> None:
    report = FakeReport()
    good = made(tmp_path, "old.test")
    certificates = Certificates(options(good), report)
    before = certificates.context
    user = certificates.serve(Clock(), lambda *told: None)
    sentence = spoil(which, good, tmp_path)
    certificates.look()
    certificates.look()
    assert certificates.context is before
    assert user.context is before
    (refusal,) = report.named("certificates_refused")
    assert refusal[1].endswith(sentence)
    made(tmp_path, "new.test")
    certificates.look()
    assert shown(certificates.context, None) == "new.test"
    assert user.context is certificates.context
    certificates.leave(user)
    assert report.named("certificates_loaded") == [
        ("certificates_loaded", ["old.test"]),
        ("certificates_loaded", ["new.test"]),
    ]


def test_nothing_is_read_again_while_no_file_changes(tmp_path: Path) -> None:
    certificates = Certificates(options(made(tmp_path, "a.test")), FakeReport())
    before = certificates.context
    certificates.look()
    assert certificates.context is before


def test_a_file_put_in_place_by_rename_is_noticed(tmp_path: Path) -> None:
    """As certbot's links and orchestrators' secrets are."""
    live = tmp_path / "live"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, f"{name}.test")
    live.symlink_to("one")
    linked = CertificatePair(certificate=live / "tls.crt", key=live / "tls.key")
    certificates = Certificates(options(linked), FakeReport())
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", live)
    certificates.look()
    assert shown(certificates.context, None) == "two.test"


def test_other_options_are_taken_at_a_reload_when_they_are_good(tmp_path: Path) -> None:
    report = FakeReport()
    one, two = (made(tmp_path, f"{n}.test", stem=n) for n in ("one", "two"))
    certificates = Certificates(options(one), report)
    assert certificates.reload(options(two))
    assert shown(certificates.context, None) == "two.test"
    one.key.unlink()
    assert not certificates.reload(options(one))
    assert shown(certificates.context, None) == "two.test"
    made(tmp_path, "three.test", stem="two")
    certificates.look()
    assert shown(certificates.context, None) == "three.test", "these are watched"


def test_the_files_are_looked_at_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.0)
    certificates = Certificates(options(made(tmp_path, "old.test")), FakeReport())

    async def until_new() -> None:
        watching = asyncio.ensure_future(certificates.watch())
        before = certificates.context
        made(tmp_path, "new.test")
        async with asyncio.timeout(10):
            await turns_until(lambda: certificates.context is not before)
        watching.cancel()

    asyncio.run(until_new())
    assert shown(certificates.context, None) == "new.test"


def test_expiries_are_read_when_asked_and_survive_a_bad_file(tmp_path: Path) -> None:
    one = made(tmp_path, "one.test", days=5)
    expiries = Expiries([one])
    ends = expiries.read()["one.test"]
    assert abs(ends - time.time() - 5 * 86400) < 60
    one.certificate.write_text("hello")
    assert expiries.read() == {"one.test": ends}
    made(tmp_path, "one.test", days=9)
    assert expiries.read()["one.test"] > ends
    assert Expiries([CertificatePair(certificate=Path("a"), key=Path("b"))]).read() == (
        {}
    )


def test_a_self_signed_pair_can_be_used_and_replaces_nothing(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    make(certificate, key, ["mx.example.test"])
    assert key.stat().st_mode & 0o777 == 0o600
    one = CertificatePair(certificate=certificate, key=key)
    assert facts(one).covers("mx.example.test")
    assert shown(context_for(one, options()), None) == "mx.example.test"
    with pytest.raises(FileExistsError):
        make(certificate, key, ["mx.example.test"])


def test_one_certificate_needs_no_callback(tmp_path: Path) -> None:
    context = Certificates(options(made(tmp_path, "a.test")), FakeReport()).context
    assert context.sni_callback is None
