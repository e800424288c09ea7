"""Real mail clients log in over TLS and submit, as people have them set up."""

from __future__ import annotations

import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificate import client_context
from users import ALICE, BOB, PASSWORD, Users

pytestmark = pytest.mark.slow
FAR = "someone@elsewhere.test"
MESSAGE = (
    "From: Alice <alice@example.test>\nTo: bob@example.test\n"
    "Bcc: someone@elsewhere.test\nSubject: from a real client\n\nHello\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    made = Users(tmp_path_factory.mktemp("users"), "split")
    made.start()
    yield made
    made.stop()


def need(name: str) -> str:
    if found := shutil.which(name):
        return found
    pytest.skip(f"needs {name}: apt-get install {name}")


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, input=given, text=True, capture_output=True, timeout=60
    )


def arrived(server: Users) -> str:
    kept = server.inbox(BOB)
    assert " with ESMTPSA id " in kept
    assert "Bcc" not in kept
    assert "\nDate: " in kept
    assert "\nMessage-I" in kept
    assert FAR in server.command("queue", "show", "--json", queue_id(kept))
    return kept


def queue_id(kept: str) -> str:
    return kept.partition(" id ")[2].partition(";")[0]


def port(server: Users, tls: str) -> str:
    return str(server.sealed if tls == "implicit" else server.clear)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(server: Users, mechanism: str, tls: str) -> None:
    swaks = need("swaks")
    if "TLS supported" not in run(swaks, "--support").stdout:
        pytest.skip("swaks needs apt-get install libnet-ssleay-perl")
    where = ["--server", f"127.0.0.1:{port(server, tls)}"]
    where.append("--tls-on-connect" if tls == "implicit" else "--tls")
    who = ["--auth", mechanism, "--auth-user", ALICE, "--auth-password", PASSWORD]
    what = ["--from", ALICE, "--to", f"{BOB},{FAR}", "--header", f"Bcc: {FAR}"]
    done = run(swaks, *where, *who, *what)
    assert done.returncode == 0, done.stdout
    assert "235 2.7.0" in done.stdout
    arrived(server)


def test_swaks_hears_why_not(server: Users) -> None:
    where = ["--server", f"127.0.0.1:{server.clear}", "--from", ALICE, "--to", BOB]
    done = run(need("swaks"), *where)
    assert "530 5.7.0 Must issue STARTTLS first" in done.stdout


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp(server: Users, tmp_path: Path, mechanism: str, tls: str) -> None:
    msmtp = need("msmtp")
    if mechanism not in run(msmtp, "--version").stdout.lower():
        pytest.skip(f"this msmtp does not speak {mechanism}")
    settings = tmp_path / "msmtprc"
    settings.touch(mode=0o600)
    settings.write_text(
        f"account default\nhost 127.0.0.1\nport {port(server, tls)}\n"
        f"from {ALICE}\nuser {ALICE}\npassword {PASSWORD}\nauth {mechanism}\n"
        "tls on\ntls_certcheck off\nundisclosed_recipients off\n"
        f"tls_starttls {'off' if tls == 'implicit' else 'on'}\n"
        "remove_bcc_headers off\n"  # ours to do
    )
    done = run(msmtp, "-C", str(settings), "-t", given=MESSAGE)
    assert done.returncode == 0, done.stderr
    assert "from a real client" in arrived(server)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl(server: Users, tmp_path: Path, mechanism: str, tls: str) -> None:
    file = tmp_path / "message"
    file.write_text(MESSAGE, newline="\r\n")
    scheme = "smtps" if tls == "implicit" else "smtp"
    url = f"{scheme}://127.0.0.1:{port(server, tls)}/client.example"
    words = ["-sS", "-k", "--ssl-reqd", "--user", f"{ALICE}:{PASSWORD}"]
    words += ["--login-options", f"AUTH={mechanism}", "--mail-from", ALICE]
    words += ["--mail-rcpt", BOB, "--mail-rcpt", FAR, "--upload-file", str(file)]
    done = run(need("curl"), *words, url)
    assert done.returncode == 0, done.stderr
    assert "from a real client" in arrived(server)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_smtplib(server: Users, mechanism: str, tls: str) -> None:
    context = client_context()
    where = "127.0.0.1", int(port(server, tls))
    with (
        smtplib.SMTP_SSL(*where, context=context, timeout=20)
        if tls == "implicit"
        else smtplib.SMTP(*where, timeout=20)
    ) as client:
        if tls == "starttls":
            client.starttls(context=context)
        client.ehlo()
        client.user, client.password = ALICE, PASSWORD
        way = client.auth_plain if mechanism == "PLAIN" else client.auth_login
        assert client.auth(mechanism, way)[0] == 235
        assert client.sendmail(ALICE, [BOB, FAR], MESSAGE) == {}
    assert "from a real client" in arrived(server)
