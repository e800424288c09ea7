"""Notices of a real server, read by what mailing lists read them with."""

from __future__ import annotations

import email
import mailbox
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.kill_rig import PASSWORD, USER, prepared, until
from dsn import read
from test_delivery_bounce import (
    BOB,
    delayed,
    octets,
    original,
    refused,
    write,
)

from fastsmtp.delivery.outcomes import Fate, Outcome
from fastsmtp_bench.served import MANY, Served

pytestmark = pytest.mark.slow
OTHER = "other@example.test"
RELAYED = """\
[relay_domains."example.test"]
next_hop = "smtp://127.0.0.1:{port}"
"""


@pytest.fixture(params=["one", "split"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    made = prepared(tmp_path, mode=request.param)
    made.command("user", "add", OTHER, "--password-stdin", given=PASSWORD)
    made.start()
    yield made
    made.stop()


def inbox(server: Served, user: str, folder: Path) -> list[bytes]:
    target = folder / "export.mbox"
    target.unlink(missing_ok=True)
    server.command("mail", "export", user, str(target))
    return [mail.as_bytes() for mail in mailbox.mbox(target)]


def test_who_asks_hears_that_mail_has_arrived(server: Served, tmp_path: Path) -> None:
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.ehlo()
        assert client.has_extn("dsn")
        client.sendmail(
            *(USER, OTHER, "Subject: Lunch\r\n\r\nShall we?\r\n"),
            mail_options=["ENVID=QQ1"],
            rcpt_options=["NOTIFY=SUCCESS", f"ORCPT=rfc822;{OTHER}"],
        )
    until(lambda: bool(inbox(server, USER, tmp_path)), "the notice")
    (octets,) = inbox(server, USER, tmp_path)
    made = read(octets.replace(b"\n", b"\r\n"))
    assert made.message["Original-Envelope-Id"] == "QQ1"
    (group,) = made.recipients
    assert group["Action"] == "delivered"
    assert group["Original-Recipient"] == f"rfc822; {OTHER}"
    assert "Shall we" not in made.mail.as_string()
    assert len(inbox(server, OTHER, tmp_path)) == 1


@pytest.fixture
def chain(server: Served, tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """A server, and one of 7 bits behind it that has OTHER."""
    folder = tmp_path / "behind"
    behind = prepared(folder, smtp=f'{MANY}\neight_bit = "reject"')
    behind.command("user", "add", OTHER, "--password-stdin", given=PASSWORD)
    behind.start()
    server.stop()
    server.command("user", "remove", OTHER, "--yes")
    server.more = RELAYED.format(port=behind.port)
    server.configure()
    server.start()
    yield server, behind
    behind.stop()


def test_a_refusal_comes_back_and_what_is_taken_is_of_seven_bits(
    chain: tuple[Served, Served], tmp_path: Path
) -> None:
    server, behind = chain
    text = "Wie wäre es mit Mittagessen?\r\n"
    mail = (
        "Subject: Lunch\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{text}"
    ).encode()
    nobody = "nobody@example.test"
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.sendmail(USER, [OTHER, nobody], mail, mail_options=["BODY=8BITMIME"])
    until(lambda: bool(inbox(server, USER, tmp_path)), "the bounce")
    (octets,) = inbox(server, USER, tmp_path)
    made = read(octets.replace(b"\n", b"\r\n"))
    (group,) = made.recipients
    assert group["Final-Recipient"] == f"rfc822; {nobody}"
    assert (group["Action"], group["Status"]) == ("failed", "5.1.1")
    assert group["Diagnostic-Code"].startswith("smtp; 550 5.1.1 ")
    assert "knows no such address" in made.human
    until(lambda: bool(inbox(behind, OTHER, tmp_path)), "the message")
    (octets,) = inbox(behind, OTHER, tmp_path)
    assert octets.isascii()
    arrived = email.message_from_bytes(octets)
    assert arrived["Content-Transfer-Encoding"] == "quoted-printable"
    assert arrived.get_payload(decode=True) == text.replace("\r\n", "\n").encode()


def test_mailing_lists_know_whom_to_remove() -> None:
    bounce = pytest.importorskip("flufl.bounce")
    about = original()

    def failures(outcome: Outcome) -> tuple[frozenset[bytes], frozenset[bytes]]:
        """Temporary and permanent ones."""
        (notice,) = write(about, outcome)
        mail = email.message_from_bytes(octets(notice, about))
        return bounce.all_failures(mail)  # type: ignore[no-any-return]

    nobody: frozenset[bytes] = frozenset()
    assert failures(refused()) == (nobody, {BOB.encode()})
    assert failures(delayed()) == ({BOB.encode()}, nobody)
    assert failures(Outcome(BOB, Fate.DELIVERED, "SUCCESS")) == (nobody, nobody)
