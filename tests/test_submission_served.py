"""A real server and real TLS: users log in by every mechanism, and submit."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Iterator

import pytest
from certificate import client_context
from scram_client import ScramClient
from users import ALICE, BOB, PASSWORD, Users

pytestmark = pytest.mark.slow
FAR = "someone@elsewhere.test"
MESSAGE = (
    b"From: Alice <alice@example.test>\r\nTo: bob@example.test\r\n"
    b"Bcc: someone@elsewhere.test\r\nSubject: x\r\n\r\nHello\r\n"
)


@pytest.fixture(scope="module", params=["one", "split"])
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Users]:
    made = Users(tmp_path_factory.mktemp("users"), request.param)
    made.start()
    yield made
    made.stop()


def client(server: Users, tls: str) -> smtplib.SMTP:
    context: ssl.SSLContext = client_context()
    if tls == "implicit":
        return smtplib.SMTP_SSL("127.0.0.1", server.sealed, timeout=20, context=context)
    made = smtplib.SMTP("127.0.0.1", server.clear, timeout=20)
    made.ehlo()
    assert not made.has_extn("auth")  # RFC 4954 4: not in clear
    made.starttls(context=context)
    return made


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_rfc_30_users_log_in_and_submit(
    server: Users, tls: str, mechanism: str
) -> None:
    with client(server, tls) as smtp:
        smtp.ehlo("client.example")
        assert smtp.esmtp_features["auth"].split() == [
            "SCRAM-SHA-256",
            "PLAIN",
            "LOGIN",
        ]
        assert smtp.mail(ALICE)[0] == 530
        smtp.user, smtp.password = ALICE, PASSWORD
        if mechanism == "SCRAM-SHA-256":
            scram = ScramClient(ALICE, PASSWORD)

            def answer(challenge: bytes | None = None) -> str:
                if challenge is None:
                    return scram.first().decode()
                if challenge.startswith(b"r="):
                    return scram.final(challenge).decode()
                assert scram.ends(challenge)
                return ""

            code, _ = smtp.auth(mechanism, answer)
        else:
            code, _ = smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower()}"))
        assert code == 235
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            smtp.sendmail(BOB, [BOB], MESSAGE)
        assert refused.value.smtp_code == 553
        assert smtp.sendmail(ALICE, [BOB, FAR], MESSAGE) == {}
    kept = server.inbox(BOB)
    assert " with ESMTPSA id " in kept
    assert "Bcc" not in kept
    assert "\nDate: " in kept
    assert "\nMessage-ID: <" in kept
    entry = json.loads(server.command("queue", "list", "--json").splitlines()[-1])
    assert (entry["sender"], entry["recipients"]) == (f"<{ALICE}>", 1)
    # Nobody listens where it is sent to: it waits for its first attempt or its second.
    assert entry["state"] in ("scheduled", "active", "deferred")


def test_wrong_passwords_are_counted_and_not_told_of(server: Users) -> None:
    with client(server, "implicit") as smtp:
        for name in (ALICE, "nobody@example.test"):
            with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
                smtp.login(name, "not it")
            assert wrong.value.smtp_code == 535
    text = server.read_metrics()
    failed = 'fastsmtp_auth_attempts_total{protocol="smtp",mechanism="%s",result="%s"}'
    assert f"{failed % ('PLAIN', 'bad_password')} 0" not in text
    assert f"{failed % ('PLAIN', 'unknown_user')} 0" not in text
    log = server.log.read_text()
    assert "not it" not in log
    assert PASSWORD not in log


def test_rfc_24_strangers_still_do_not_relay(server: Users) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.mail("x@y.test")[0] == 250
        assert smtp.rcpt(FAR)[0] == 550


def test_a_changed_password_counts_at_once(server: Users) -> None:
    """In whichever process the cache is."""
    words = ("user", "passwd", ALICE, "--password-stdin")
    try:
        with client(server, "starttls") as smtp:
            smtp.login(ALICE, PASSWORD)
        server.command(*words, given="another one\n")
        with client(server, "starttls") as smtp:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                smtp.login(ALICE, PASSWORD)
            smtp.login(ALICE, "another one")
    finally:
        server.command(*words, given=f"{PASSWORD}\n")
