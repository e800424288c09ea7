"""Who is told what, and how it is written."""

from __future__ import annotations

import itertools
from email.utils import parseaddr

import pytest
from dsn import Dsn, read
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.delivery.bounce import (
    Clerk,
    Kind,
    Notice,
    Original,
    Owed,
    owed,
)
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.outcomes import Fate, Outcome, status
from fastsmtp.delivery.reasons import Reason
from fastsmtp.queue.message import Envelope, Recipient, queue_id

ALICE, BOB = "alice@example.test", "bob@example.org"
ARRIVED = 1_795_649_400_000
NOW = ARRIVED + 3_600_000
RETURN_PATH = b"Return-Path: <alice@example.test>\r\n"
HEADER = (
    b"Received: from alice.example.test by mx.example.test\r\n"
    b"From: Alice <alice@example.test>\r\n"
    b"Subject: Lunch on Friday\r\n"
    b"Message-ID: <1@example.test>\r\n"
)
TEXT = b"Shall we?\r\n"


class Octets:
    """A body in memory that remembers how much was read at a time."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length, self.most = data, len(data), 0

    def read(self, offset: int, size: int) -> bytes:
        self.most = max(self.most, size)
        return self.data[offset : offset + size]


def original(
    body: bytes = HEADER + b"\r\n" + TEXT,
    reverse_path: str = ALICE,
    **more: object,
) -> Original:
    envelope = Envelope(
        reverse_path,
        (Recipient(BOB),),
        ARRIVED,
        len(RETURN_PATH),
        **more,  # type: ignore[arg-type]
    )
    return Original(7 << 36, envelope, Octets(RETURN_PATH + body))


def clerk(**options: object) -> Clerk:
    made = DeliveryOptions(**options)  # type: ignore[arg-type]
    return Clerk("mx.example.test", made, lambda: "token")


def refused(address: str = BOB, **more: object) -> Outcome:
    made = Outcome(
        address,
        Fate.FAILED,
        code=550,
        enhanced="5.1.1",
        text="User unknown",
        remote="mx1.example.org",
        attempts=1,
        last=NOW,
    )
    return made._replace(**more)


def delayed(address: str = BOB, **more: object) -> Outcome:
    made = Outcome(
        address,
        Fate.DELAYED,
        code=451,
        enhanced="4.3.2",
        text="Come back later",
        remote="mx1.example.org",
        attempts=9,
        last=NOW,
        until=ARRIVED + 432_000_000,
    )
    return made._replace(**more)


def write(about: Original, *outcomes: Outcome, by: Clerk | None = None) -> list[Notice]:
    ids = itertools.count(8 << 36)
    return (by or clerk()).notices(about, outcomes, NOW, ids.__next__)


def octets(notice: Notice, about: Original) -> bytes:
    made = b"".join(notice.pieces(about.body))
    assert len(made) == notice.length
    assert made[: notice.envelope.skip] == b"Return-Path: <>\r\n"
    for line in (notice.head + notice.tail).split(b"\r\n"):
        assert len(line) <= 998
    assert made.isascii() == (notice.envelope.body == "7BIT")
    return made


def dsn(
    about: Original, *outcomes: Outcome, by: Clerk | None = None
) -> tuple[Notice, Dsn]:
    (notice,) = write(about, *outcomes, by=by)
    return notice, read(octets(notice, about))


FATES = ("failed", "delayed", "delivered", "expanded", "relayed", "passed")
WANTED = {
    "": ("failed", "delayed"),
    "NEVER": (),
    "FAILURE": ("failed",),
    "DELAY": ("delayed",),
    "SUCCESS": ("delivered", "expanded", "relayed"),
    "SUCCESS,FAILURE": ("failed", "delivered", "expanded", "relayed"),
    "FAILURE,DELAY": ("failed", "delayed"),
    "SUCCESS,FAILURE,DELAY": FATES[:5],
}


@pytest.mark.parametrize("notify", WANTED)
def test_rfc_38_who_is_told_follows_from_notify(notify: str) -> None:
    """RFC 3461 4.1; the server that a message was passed to tells itself (5.2.1)."""
    envelope = original().envelope
    for fate in FATES:
        due = owed(envelope, [Outcome(BOB, Fate(fate), notify)])
        assert bool(due) is (fate in WANTED[notify]), fate


def test_attack_10_nothing_is_bounced_to_the_null_reverse_path() -> None:
    about = original(reverse_path="")
    asked = "SUCCESS,FAILURE,DELAY"
    everything = [Outcome(BOB, fate, asked, code=550) for fate in Fate]
    assert owed(about.envelope, everything) == ()
    assert write(about, *everything) == []


def test_attack_10_a_notice_is_never_answered_by_another() -> None:
    about = original()
    notice, _ = dsn(about, refused())
    assert notice.envelope.reverse_path == ""
    assert notice.envelope.recipients == (Recipient(ALICE, "NEVER"),)  # RFC 3461 6.1
    back = Original(
        notice.id, notice.envelope, Octets(b"".join(notice.pieces(about.body)))
    )
    assert write(back, refused(ALICE)) == []


def test_a_delay_is_told_once_and_not_to_a_machine() -> None:
    assert len(write(original(), delayed())) == 1
    assert write(original(), delayed(warned=True)) == []
    for line in (
        b"Precedence: bulk\r\n",
        b"List-Id: <all.example.test>\r\n",
        b"Auto-Submitted: auto-generated\r\n",
    ):
        about = original(line + HEADER + b"\r\n" + TEXT)
        assert write(about, delayed()) == []
        assert len(write(about, delayed(notify="DELAY"))) == 1
        assert len(write(about, refused())) == 1
    assert len(write(original(b"Auto-Submitted: no\r\n" + HEADER), delayed())) == 1


def test_rfc_38_a_group_for_each_recipient_and_a_notice_for_each_kind() -> None:
    asked = "SUCCESS,FAILURE,DELAY"
    outcomes = [
        refused(notify=asked),
        Outcome("carol@example.org", Fate.DELIVERED, asked),
        refused("dave@example.net", code=0, text="", reason=Reason.NULL_MX),
        Outcome("erin@example.org", Fate.RELAYED, asked, code=250, enhanced="2.6.0"),
        delayed("frank@example.org"),
        Outcome("grace@example.org", Fate.PASSED, asked),
        refused("heidi@example.org", notify="NEVER"),
    ]
    notices = write(about := original(), *outcomes)
    assert [notice.kind for notice in notices] == list(Kind)
    assert len({notice.id for notice in notices}) == 3
    read_ = [read(octets(notice, about)) for notice in notices]
    told = [
        [(one["Final-Recipient"], one["Action"], one["Status"]) for one in d.recipients]
        for d in read_
    ]
    assert told == [
        [
            ("rfc822; bob@example.org", "failed", "5.1.1"),
            ("rfc822; dave@example.net", "failed", "5.1.10"),
        ],
        [("rfc822; frank@example.org", "delayed", "4.3.2")],
        [
            ("rfc822; carol@example.org", "delivered", "2.0.0"),
            ("rfc822; erin@example.org", "relayed", "2.6.0"),
        ],
    ]


def test_rfc_38_the_machine_reads_who_when_why_and_where() -> None:
    about = original(envid="Q+Q=1")
    outcome = refused(orcpt="rfc822;Bob+x@example.org", attempts=3)
    notice, made = dsn(about, outcome)
    assert made.message == {
        "Original-Envelope-Id": "Q+Q=1",
        "Reporting-MTA": "dns; mx.example.test",
        "Arrival-Date": "Wed, 25 Nov 2026 23:30:00 +0000",
    }
    assert made.recipients == [
        {
            "Original-Recipient": "rfc822; Bob+x@example.org",
            "Final-Recipient": "rfc822; bob@example.org",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx1.example.org",
            "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
            "Last-Attempt-Date": "Thu, 26 Nov 2026 00:30:00 +0000",
            "Final-Log-ID": queue_id(about.id),
        }
    ]
    mail = made.mail
    assert parseaddr(mail["From"]) == (
        "Mail Delivery System",
        "MAILER-DAEMON@mx.example.test",
    )
    assert parseaddr(mail["To"])[1] == ALICE
    assert mail["Message-ID"] == f"<{queue_id(notice.id)}@mx.example.test>"
    assert mail["In-Reply-To"] == mail["References"] == "<1@example.test>"
    assert str(mail["Date"]) == "Thu, 26 Nov 2026 00:30:00 +0000"
    assert notice.envelope.arrived == NOW


def test_a_delay_says_until_when_it_is_tried() -> None:
    _, made = dsn(original(), delayed())
    assert made.recipients[0]["Will-Retry-Until"] == "Mon, 30 Nov 2026 23:30:00 +0000"
    assert made.returned.get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("ret", "limit", "more", "whole"),
    [
        ("", 1000, {}, True),
        ("FULL", 1000, {}, True),
        ("HDRS", 1000, {}, False),
        ("FULL", 10, {}, False),
        ("", 10, {}, False),
        ("FULL", 1000, {"requiretls": True}, False),  # RFC 8689 5
    ],
)
def test_rfc_38_what_goes_back_follows_from_ret_and_the_limit(
    ret: str, limit: int, more: dict[str, object], whole: bool
) -> None:
    about = original(ret=ret, **more)
    notice, made = dsn(about, refused(), by=clerk(bounce_size_limit=limit))
    returned = made.returned
    assert notice.envelope.requiretls is about.envelope.requiretls
    if whole:
        assert returned.get_content_type() == "message/rfc822"
        (inner,) = returned.iter_parts()
        assert inner["Subject"] == "Lunch on Friday"
        assert inner.get_content() == "Shall we?\r\n"
        assert inner["Return-Path"] is None
    else:
        assert returned.get_content_type() == "text/rfc822-headers"
        assert returned.get_payload(decode=True) == HEADER
        assert b"Shall we" not in octets(notice, about)


def test_rfc_38_only_what_failed_goes_back_whole() -> None:
    """RFC 3461 4.3."""
    about = original(ret="FULL")
    for outcome in (delayed(), Outcome(BOB, Fate.DELIVERED, "SUCCESS")):
        _, made = dsn(about, outcome)
        assert made.returned.get_content_type() == "text/rfc822-headers"


def test_a_large_message_goes_back_in_pieces() -> None:
    about = original(HEADER + b"\r\n" + b"x" * 70 * 100_000)
    (notice,) = write(about, refused(), by=clerk(bounce_size_limit=1 << 30))
    assert len(notice.head) < 4000
    assert (notice.begin, notice.end) == (len(RETURN_PATH), about.body.length)
    for piece in notice.pieces(about.body):
        assert len(piece) <= 256 * 1024
    assert isinstance(about.body, Octets)
    assert about.body.most <= 256 * 1024


def test_eight_bits_are_declared_where_they_are() -> None:
    """What BODY= said of the original is not asked: it may be wrong."""
    about = original(HEADER + b"\r\n" + "Müssen wir?\r\n".encode())
    notice, made = dsn(about, refused())
    assert notice.envelope.body == "8BITMIME"
    assert not notice.envelope.smtputf8
    assert made.mail["Content-Transfer-Encoding"] == "8bit"
    assert made.returned["Content-Transfer-Encoding"] == "8bit"
    notice, made = dsn(about, refused(), by=clerk(bounce_size_limit=0))
    assert notice.envelope.body == "7BIT"


def test_a_header_of_eight_bits_or_endless_lines_is_encoded() -> None:
    for line in ("Subject: Müssen wir?\r\n".encode(), b"X: " + b"y" * 5000 + b"\r\n"):
        about = original(line + HEADER + b"\r\n" + TEXT, ret="HDRS")
        _, made = dsn(about, refused())
        assert made.returned["Content-Transfer-Encoding"] == "quoted-printable"
        assert made.returned.get_payload(decode=True) == line + HEADER


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", b""),
        (b"\r\nonly a body\r\n", b""),
        (b"Subject: no body\r\n", b"Subject: no body\r\n"),
        (b"A: b\r\n" * 20_000, b"A: b\r\n" * (64 * 1024 // 6)),
        (b"x" * 100_000, b""),
    ],
)
def test_any_header_goes_back_in_whole_lines(body: bytes, kept: bytes) -> None:
    _, made = dsn(original(body, ret="HDRS"), refused())
    assert made.returned.get_payload(decode=True) == kept


def test_rfc_37_a_notice_is_ascii_unless_its_reader_is_not() -> None:
    """RFC 6533: an address in ASCII reaches more servers."""
    about = original(
        "Subject: Mittagessen für zwei\r\n\r\nä\r\n".encode(), smtputf8=True
    )
    outcome = refused("jörg+1@bücher.example", orcpt="utf-8;jörg@bücher.example")
    notice, made = dsn(about, outcome)
    assert not notice.envelope.smtputf8
    assert made.recipients[0]["Final-Recipient"] == (
        r"utf-8; j\x{F6}rg\x{2B}1@b\x{FC}cher.example"
    )
    assert made.recipients[0]["Original-Recipient"] == (
        r"utf-8; j\x{F6}rg@b\x{FC}cher.example"
    )
    assert made.returned.get_content_type() == "message/global"  # RFC 6532 3.7
    assert "Mittagessen für zwei" in made.human
    notice, made = dsn(about, outcome, by=clerk(bounce_size_limit=0))
    assert notice.envelope.body == "7BIT"


def test_rfc_37_a_notice_to_an_address_beyond_ascii_is_global() -> None:
    about = original(HEADER + b"\r\n" + TEXT, "ä@example.test", smtputf8=True)
    outcome = refused("jörg@bücher.example", text="Unbekannt: jörg")
    notice, made = dsn(about, outcome)
    assert notice.envelope.smtputf8
    assert notice.envelope.body == "8BITMIME"
    status = list(made.mail.iter_parts())[1]
    assert status.get_content_type() == "message/global-delivery-status"
    assert status["Content-Transfer-Encoding"] == "8bit"
    assert made.recipients[0]["Final-Recipient"] == "utf-8; jörg@bücher.example"
    assert made.recipients[0]["Diagnostic-Code"] == "smtp; 550 5.1.1 Unbekannt: jörg"
    assert made.returned.get_content_type() == "message/global"
    about = original(HEADER + b"\r\n", "ä@example.test", smtputf8=True, ret="HDRS")
    _, made = dsn(about, outcome)
    assert made.returned.get_content_type() == "message/global-headers"


def test_the_postmaster_gets_the_header_of_all_that_failed() -> None:
    by = clerk(postmaster_copy="pm@example.test")
    about = original(ret="FULL")
    first, second = write(about, refused(), refused("x@y.test", notify="NEVER"), by=by)
    assert [r.address for r in first.envelope.recipients] == [ALICE]
    assert [r.address for r in second.envelope.recipients] == ["pm@example.test"]
    assert second.envelope.reverse_path == ""
    made = read(octets(second, about))
    assert len(made.recipients) == 2
    assert "<alice@example.test>" in made.human
    assert made.returned.get_content_type() == "text/rfc822-headers"
    assert write(original(), delayed(), by=by)[0].kind is Kind.DELAY
    assert len(write(original(), delayed(), by=by)) == 1


def test_attack_10_the_postmaster_hears_of_lost_notices_and_makes_no_loop() -> None:
    by = clerk(postmaster_copy="pm@example.test")
    null = original(reverse_path="")
    (notice,) = write(null, refused(), by=by)
    assert "From:     <>" in read(octets(notice, null)).human
    assert write(null, refused("pm@example.test"), by=by) == []
    assert len(write(original(reverse_path="pm@example.test"), refused(), by=by)) == 1


def test_deliver_by_with_a_trace_tells_each_hop() -> None:
    """RFC 2852 4.1.4.2."""
    envelope = original(by=NOW, by_mode="NT").envelope
    for fate in (Fate.PASSED, Fate.RELAYED):
        for notify, told in (("", 1), ("FAILURE", 1), ("NEVER", 0)):
            assert len(owed(envelope, [Outcome(BOB, fate, notify)])) == told
    about = original(by=NOW, by_mode="NT")
    _, made = dsn(about, Outcome(BOB, Fate.PASSED))
    assert made.recipients[0]["Action"] == "relayed"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (refused(), "5.1.1"),
        (refused(enhanced=""), "5.0.0"),
        (refused(enhanced="", code=451), "4.0.0"),
        (refused(enhanced="2.0.0"), "5.0.0"),
        (refused(code=0, enhanced=""), "4.4.1"),
        (refused(code=0, enhanced="", reason=Reason.EXPIRED), "4.4.7"),
        (refused(code=452, enhanced="4.2.2", reason=Reason.EXPIRED), "4.2.2"),
        (refused(code=0, reason=Reason.BY_TIME), "5.4.7"),
        (refused(code=0, reason=Reason.NULL_MX), "5.1.10"),
        (refused(code=0, reason=Reason.NO_ROUTE), "5.4.4"),
        (refused(code=0, reason=Reason.LOOP), "5.4.6"),
        (refused(code=0, reason=Reason.CONVERSION), "5.6.3"),
        (refused(code=0, reason=Reason.SMTPUTF8), "5.6.7"),
        (refused(code=0, reason=Reason.REQUIRETLS), "5.7.30"),
        (delayed(), "4.3.2"),
        (delayed(code=0, enhanced=""), "4.4.1"),
        (delayed(code=0, enhanced="", reason=Reason.BY_TIME), "4.4.7"),
        (delayed(code=550, enhanced="5.7.1"), "4.0.0"),
        (Outcome(BOB, Fate.DELIVERED), "2.0.0"),
        (Outcome(BOB, Fate.RELAYED, code=250, enhanced="2.1.5"), "2.1.5"),
        (Outcome(BOB, Fate.RELAYED, code=250, enhanced="5.1.5"), "2.0.0"),
    ],
)
def test_the_status_is_that_of_the_actual_problem(
    outcome: Outcome, expected: str
) -> None:
    assert status(outcome) == expected


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_codes_of_its_class_and_words(reason: Reason) -> None:
    for outcome in (refused(code=0, reason=reason), delayed(code=0, reason=reason)):
        _, made = dsn(original(), outcome)
        assert "{" not in made.human
        assert "example.org" in made.human


hostile = st.text(
    st.sampled_from("ab5. \r\n\t\0\x0b\x1b\x7f\x85\u2028\u202eé€𝄞<>@();:=-_\\\"'%{}"),
    max_size=60,
) | st.sampled_from(
    [
        "x\r\n\r\n--=_token--",
        "\r\nAction: delivered",
        "\n\nFinal-Recipient: rfc822; eve@example.test",
        "x" * 3000,
        "é" * 3000,
        "=?utf-8?q?=0A?=",
        "{domain}",
        "{0.__class__}",
        "\ud800",
    ]
)
outcomes = st.builds(
    Outcome,
    address=st.sampled_from(
        [BOB, "é@bücher.example", '"a b\\"c"@x.test', "Postmaster"]
    ),
    fate=st.sampled_from(Fate),
    notify=st.sampled_from(list(WANTED)),
    orcpt=st.sampled_from(["", "rfc822;x@y.test", "x400;/G=a/", "utf-8;é@x.test"]),
    code=st.sampled_from([0, 250, 421, 451, 550, 554, 999]),
    enhanced=st.sampled_from(["", "4.2.2", "5.1.1", "2.0.0", "5.7.1"]),
    text=hostile,
    remote=hostile,
    reason=st.none() | st.sampled_from(Reason),
    attempts=st.integers(0, 3),
    last=st.sampled_from([0, NOW]),
    until=st.sampled_from([0, NOW]),
)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(outcomes, max_size=4),
    hostile,
    st.sampled_from([ALICE, "", "é@example.test", '"x\\"y z"@x.test']),
    st.sampled_from([0, 1 << 20]),
)
def test_attack_7_nothing_a_stranger_said_leaves_its_place(
    told: list[Outcome], text: str, reverse_path: str, limit: int
) -> None:
    subject = text.replace("\r", " ").replace("\n", "\r\n ").replace("\0", " ")
    header = f"Subject: x{subject}\r\n".encode("utf-8", "replace") + HEADER
    about = original(header + b"\r\n" + TEXT, reverse_path)
    by = clerk(bounce_size_limit=limit, postmaster_copy="pm@example.test")
    for notice in write(about, *told, by=by):
        made = read(octets(notice, about))
        due = [
            one
            for one in owed(about.envelope, told, "pm@example.test")
            if (one.kind, one.to)
            == (notice.kind, notice.envelope.recipients[0].address)
        ]
        assert len(made.recipients) == len(due[0].outcomes)
        for one, group in zip(due[0].outcomes, made.recipients, strict=True):
            action = "relayed" if one.fate is Fate.PASSED else one.fate.value
            assert group["Action"] == action
            assert group["Final-Recipient"].endswith(
                one.address if one.address.isascii() else "cher.example"
            )
        if notice.envelope.body == "7BIT":
            assert octets(notice, about).isascii()


def test_attack_6_a_thousand_recipients_make_one_notice_that_can_be_read() -> None:
    about = original()
    many = [refused(f"r{n}@example.org") for n in range(1000)]
    (notice,) = write(about, *many)
    made = octets(notice, about)
    assert made.count(b"Final-Recipient: ") == 1000
    human = made.partition(b"Content-Type: message/delivery-status")[0]
    assert b"and 980 more" in human
    assert len(human) < 2500
    different = [refused(f"r@{n}.example", text=f"No {n}") for n in range(1000)]
    (notice,) = write(about, *different)
    human = octets(notice, about).partition(b"message/delivery-status")[0]
    assert b"There are more" in human
    assert len(human) < 20_000


def test_an_owed_notice_names_its_recipients() -> None:
    one, other = refused(), refused("x@y.test")
    assert owed(original().envelope, [one, other]) == (
        Owed(Kind.FAILURE, ALICE, (one, other)),
    )
