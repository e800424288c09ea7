"""TLS of a whole server: renewed certificates, reloads, what the metrics say."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificate import client_context, pair
from crash.kill_rig import until

from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
MORE = """
[tls]
certificates = [{ certificate = "tls.crt", key = "tls.key" }]
"""


@pytest.fixture(params=["one", "split"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    made = Served(tmp_path, mode=request.param, more=MORE)
    made.configure()
    pair(tmp_path, "mx.example.test")
    made.start()
    yield made
    made.stop()


def connected(server: Served) -> smtplib.SMTP:
    client = smtplib.SMTP("127.0.0.1", server.port, "c.test", timeout=20)
    client.starttls(context=client_context())
    return client


def shown(client: smtplib.SMTP) -> bytes:
    assert isinstance(client.sock, ssl.SSLSocket)
    found = client.sock.getpeercert(True)
    assert found
    return found


def fresh(server: Served) -> bytes:
    """The certificate that a new connection is shown."""
    client = connected(server)
    try:
        return shown(client)
    finally:
        client.quit()


def metric(server: Served, name: str, /, **labels: Any) -> float:
    for line in server.read_metrics().splitlines():
        wanted = all(f'{key}="{value}"' in line for key, value in labels.items())
        if line.startswith(name) and wanted:
            return float(line.split()[-1])
    raise AssertionError(f"no {name} {labels}")


NOT_AFTER = "fastsmtp_tls_certificate_not_after_timestamp_seconds"


def test_a_renewed_certificate_serves_and_open_sessions_go_on(server: Served) -> None:
    old = connected(server)
    before = metric(server, NOT_AFTER, name="mx.example.test")
    pair(server.home, "mx.example.test", days=60)
    until(lambda: fresh(server) != shown(old), "the new certificate")
    assert old.noop()[0] == 250
    old.quit()
    assert metric(server, NOT_AFTER, name="mx.example.test") > before
    labels = {"listener": "smtp", "version": "TLSv1.3", "result": "full"}
    assert metric(server, "fastsmtp_tls_handshakes_total", **labels) >= 2


def test_a_bad_renewal_keeps_the_old_certificate_and_says_so(server: Served) -> None:
    before = fresh(server)
    (server.home / "tls.crt").write_text("half a certif")
    said = "certificates refused, old ones stay"
    until(lambda: said in server.log.read_text(), "a line in the log")
    assert fresh(server) == before
    with pytest.raises(Exception, match="returned non-zero"):
        server.command("reload")
    assert fresh(server) == before


def test_a_reload_takes_other_certificates(server: Served) -> None:
    before = fresh(server)
    pair(server.home, "mx.example.test", "new.example.test", stem="new")
    text = server.configuration.read_text().replace('"tls.', '"new.')
    server.configuration.write_text(text)
    server.command("reload")
    until(lambda: fresh(server) != before, "the new certificate")
