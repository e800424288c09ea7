"""A real server and real TLS: users log in by every mechanism, and submit."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from certificate import client_context
from crash.kill_rig import until
from scram_client import ScramClient
from users import ALICE, BOB, PASSWORD, Users

from fastsmtp_bench.client import pending

pytestmark = pytest.mark.slow
HOUR = 3600
CAROL = "carol@example.test"
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


def submit_for_later(server: Users, to: str) -> dict[str, Any]:
    """As the queue lists it."""
    with client(server, "starttls") as smtp:
        smtp.ehlo("client.example")
        smtp.user, smtp.password = ALICE, PASSWORD
        assert smtp.auth("PLAIN", smtp.auth_plain)[0] == 235
        later = [f"HOLDFOR={HOUR}"]
        message = MESSAGE.replace(b"Bcc: someone@elsewhere.test\r\n", b"")
        assert smtp.sendmail(ALICE, [to], message, mail_options=later) == {}
    until(lambda: pending(server.metrics) == 0, "the log is worked off")
    lines = server.command("queue", "list", "--recipient", to, "--json").splitlines()
    (row,) = map(json.loads, lines)
    return dict(row)


def test_what_is_to_be_released_later_waits_for_users_here_too(server: Users) -> None:
    """RFC 4865: nothing of it is in a mailbox before, and the queue says when."""
    before = server.command("mail", "list", BOB, "--json")
    row = submit_for_later(server, BOB)
    assert (row["state"], row["waiting"], row["attempts"]) == ("scheduled", 1, 0)
    waits = datetime.fromisoformat(row["due"]) - datetime.fromisoformat(row["arrived"])
    assert abs(waits.total_seconds() - HOUR) <= 1
    assert server.command("mail", "list", BOB, "--json") == before
    server.command("queue", "retry", row["id"], "--yes")
    until(lambda: server.command("mail", "list", BOB, "--json") != before, "mail")


def test_who_has_gone_meanwhile_is_refused_at_once(server: Users) -> None:
    words = ("user", "add", CAROL, "--password-stdin")
    server.command(*words, given=f"{PASSWORD}\n")
    row = submit_for_later(server, CAROL)
    server.command("user", "remove", CAROL, "--yes")
    before = server.command("mail", "list", ALICE, "--json")
    server.command("queue", "retry", row["id"], "--yes")
    until(lambda: server.command("mail", "list", ALICE, "--json") != before, "it")
    notice = server.inbox(ALICE)
    assert f"Final-Recipient: rfc822; {CAROL}\n" in notice
    assert "Action: failed\nStatus: 5.1.1\n" in notice
    listed = server.command("queue", "list", "--recipient", CAROL)
    assert listed == "nothing waits\n"
