"""Mail of users who have logged in: whose name it may bear, and what is mended in it,
however it comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from club import ALICE, BOB, OFFERS, Club, Visitor, in_club

from fastsmtp.errors import Refused
from fastsmtp.serve.checks import Added
from fastsmtp.serve.submission import HeaderFirst
from fastsmtp.smtp.offers import Offers
from fastsmtp.wire.originator import HEADER_MOST

DATE = b"Date: Tue, 24 Nov 2026 05:00:00 +0000\r\n"
ID = b"Message-ID: <1@client.test>\r\n"
WHOLE = (
    DATE + ID + b"From: Alice <alice@example.test>\r\nTo: x@far.test\r\n\r\nHello\r\n"
)
BLIND = b"Bcc: secret@far.test,\r\n\tother@far.test\r\n , third@far.test\r\n"
BOTH = [b"Date", b"Message-ID"]
ELSEWHERE = "someone@elsewhere.test"


def submitting(
    test: Callable[[Club, Visitor], Awaitable[None]], **settings: Any
) -> None:
    """With a client that has logged in as alice."""

    async def run(club: Club) -> None:
        visitor = Visitor(club)
        assert (await visitor.login()).startswith("235 ")
        await test(club, visitor)

    in_club(run, **settings)


async def by_data(visitor: Visitor, body: bytes, sender: str = ALICE) -> str:
    return await visitor.submit(body, sender)


async def by_bdat(visitor: Visitor, body: bytes, sender: str = ALICE) -> str:
    """In three chunks, none of which ends where a line does."""
    await visitor.say(f"MAIL FROM:<{sender}>", f"RCPT TO:<{BOB}>")
    for piece in (body[:7], body[7:40]):
        said = await visitor.send(b"BDAT %d\r\n" % len(piece) + piece)
        assert said.startswith("250 "), said
    return await visitor.send(b"BDAT %d LAST\r\n" % len(body[40:]) + body[40:])


CHUNKING = Offers(mechanisms=OFFERS.mechanisms, auth_required=True, chunking=True)
WAYS = {
    "data": (by_data, {}),
    "bdat": (by_bdat, {"offers": CHUNKING}),
    "streamed": (by_data, {"memory_per_message": 16 * 1024}),
    "streamed bdat": (
        by_bdat,
        {"offers": CHUNKING, "memory_per_message": 16 * 1024},
    ),
}
LONG = b"y" * 70 + b"\r\n"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    """A function that submits, settings of the club, and octets that make it long."""
    send, settings = WAYS[request.param]
    return send, settings, LONG * 2000 if "streamed" in request.param else b""


def test_rfc_29_nothing_goes_without_a_login() -> None:
    async def test(club: Club) -> None:
        visitor = Visitor(club)
        await visitor.say("EHLO client.test")
        assert (await visitor.submit(WHOLE)).startswith("530 5.7.0 ")

    in_club(test)


def test_a_long_message_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways above that say so are what they say."""
    wrote: list[int] = []
    write = HeaderFirst.write

    def spy(self: HeaderFirst, data: bytes | memoryview) -> None:
        wrote.append(len(data))
        write(self, data)

    monkeypatch.setattr(HeaderFirst, "write", spy)

    async def test(club: Club, visitor: Visitor) -> None:
        await visitor.submit(WHOLE + LONG * 2000)
        assert len(wrote) > 5

    submitting(test, memory_per_message=16 * 1024)


def test_what_is_whole_is_not_changed(way: Any) -> None:
    send, settings, more = way

    async def test(club: Club, visitor: Visitor) -> None:
        assert (await send(visitor, WHOLE + more)).startswith("250 ")
        ((envelope, body),) = club.mail()
        assert body == WHOLE + more
        assert envelope.login == ALICE
        assert [r.address for r in envelope.recipients] == [BOB]

    submitting(test, **settings)


def test_rfc_25_date_and_message_id_are_added_when_they_are_missing(way: Any) -> None:
    send, settings, more = way
    body = b"From: alice@example.test\r\nSubject: date: none\r\n\r\nDate: x\r\n" + more

    async def test(club: Club, visitor: Visitor) -> None:
        said = await send(visitor, body)
        queue_id = said.split()[-1].encode()
        ((_, kept),) = club.mail()
        added, _, rest = kept.partition(b"From: ")
        assert b"From: " + rest == body
        date, id, end = added.split(b"\r\n")
        assert date.startswith(b"Date: ")
        assert date.endswith(b" +0000")
        assert id == b"Message-ID: <%b@mx.example.test>" % queue_id
        assert end == b""

    submitting(test, **settings)


@pytest.mark.parametrize(
    ("header", "added"),
    [
        (DATE, [b"Message-ID"]),
        (ID, [b"Date"]),
        (DATE.lower() + b"message-id : <x@y>\r\n", []),
        (
            b"X-Date: 1\r\nResent-Date: 1\r\nX: a\r\n Date: 1\r\n",
            [b"Date", b"Message-ID"],
        ),
        (b"", BOTH),
    ],
)
def test_rfc_25_only_what_is_missing(header: bytes, added: list[bytes]) -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        await visitor.submit(header + b"\r\nbody\r\n")
        ((_, kept),) = club.mail()
        assert kept.endswith(header + b"\r\nbody\r\n")
        new = kept[: len(kept) - len(header) - 8].split(b"\r\n")[:-1]
        assert [line.partition(b":")[0] for line in new] == added

    submitting(test)


def test_rfc_25_strangers_get_no_field_added() -> None:
    async def test(club: Club) -> None:
        visitor = Visitor(club)
        await visitor.say("EHLO client.test")
        await visitor.submit(BLIND + b"\r\nx\r\n", "a@far.test")
        ((envelope, body),) = club.mail()
        assert body == BLIND + b"\r\nx\r\n"
        assert envelope.login == ""

    in_club(test, offers=Offers())


def test_bcc_is_taken_out_folded_lines_too(way: Any) -> None:
    send, settings, more = way
    body = (
        BLIND
        + DATE
        + b"bcc:\r\n"
        + ID
        + b"Resent-BCC : a@b.test\r\n"
        + b"Subject: x\r\n bcc: this stays\r\n"
        + BLIND
        + b"\r\nBcc: and this\r\n"
        + more
    )

    async def test(club: Club, visitor: Visitor) -> None:
        assert (await send(visitor, body)).startswith("250 ")
        ((_, kept),) = club.mail()
        rest = b"Subject: x\r\n bcc: this stays\r\n\r\nBcc: and this\r\n"
        assert kept == DATE + ID + rest + more

    submitting(test, **settings)


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        ("alice@example.test", True),
        ("Alice@EXAMPLE.test", True),
        ("alice+shop@example.test", True),
        ('"alice"@example.test', True),
        ("sales@example.test", True),  # leads to alice and bob
        ("news@far.test", True),  # [submission] senders
        ("news+today@far.test", True),
        ("any@lists.test", True),
        ("", True),
        ("bob@example.test", False),
        ("chief@example.test", False),  # an alias of bob alone
        ("anything@example.test", False),  # what the catch-all takes is nobody's
        ("other@far.test", False),
        ("any@sub.lists.test", False),
        ("alice@example.test.far.test", False),
        ("alice%example.test@far.test", False),
        ("alice", False),
    ],
)
def test_rfc_31_the_sender_must_be_allowed_for_the_login(
    sender: str, allowed: bool
) -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        said = await visitor.say(f"MAIL FROM:<{sender}>")
        no = "501 5.1.7" if sender == "alice" else "553 5.7.1 "
        assert said.startswith("250 " if allowed else no), said

    submitting(test)


def test_attack_8_one_tenant_does_not_send_as_another(way: Any) -> None:
    """Neither in MAIL nor in the From field, in none of the ways to write it."""
    send, settings, more = way
    froms = [
        b"From: bob@example.test\r\n",
        b"from : bob@example.test\r\n",
        b"From:\r\n bob@example.test\r\n",
        b'From: "alice@example.test" <bob@example.test>\r\n',
        b"From: <bob@example.test> (alice@example.test)\r\n",
        b"From: alice@example.test, bob@example.test\r\n",
        b"From: Team: alice@example.test, bob@example.test;\r\n",
        b"From: alice@example.test\r\nFrom: bob@example.test\r\n",
        b"From: alice@example.test\r\nX: y\r\nFROM: alice@example.test\r\n",
        b"From: alice bob@example.test\r\n",
        b"From: =?utf-8?q?alice=40example=2Etest?= <bob@example.test>\r\n",
        b"From: <@example.test:bob@example.test>\r\n",
        b"From: alice@example.test <bob@example.test>\r\n",
        b"From: undisclosed:;\r\n",
        b"From: alice@example.test\xff\r\n",
        b"From: \r\n",
        b"From: " + b",".join([b"alice@example.test"] * 500) + b"\r\n",
    ]

    async def test(club: Club, visitor: Visitor) -> None:
        assert (await visitor.submit(WHOLE, BOB)).startswith("553 5.7.1 ")
        for field in froms:
            said = await send(visitor, DATE + field + b"\r\nHello\r\n" + more)
            assert said.startswith("550 5.7.1 The From field: "), (field, said)
        assert club.mail() == []
        assert await visitor.say("NOOP") == "250 2.0.0 Ok\r\n"  # in step

    submitting(test, max_errors=100, **settings)


@pytest.mark.parametrize(
    "field",
    [
        b"From: alice@example.test\r\n",
        b"From: Alice <alice+tag@example.test>, sales@example.test\r\n",
        b"From: Team: alice@example.test, news@far.test;\r\n",
        b'From: "bob@example.test" (bob@example.test) <ALICE@example.test>\r\n',
        b"Sender: bob@example.test\r\nReply-To: bob@example.test\r\n",
        b"From: \xe4lice <alice@example.test>\r\n",
        b"",
    ],
)
def test_what_may_stand_in_from(field: bytes) -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        said = await visitor.submit(DATE + ID + field + b"\r\nHello\r\n")
        assert said.startswith("250 "), said
        ((_, kept),) = club.mail()
        assert kept == DATE + ID + field + b"\r\nHello\r\n"

    submitting(test)


def test_a_login_that_may_send_as_anybody() -> None:
    async def test(club: Club) -> None:
        visitor = Visitor(club)
        await visitor.login(BOB)
        body = DATE + ID + b"From: x@any.test\r\n\r\nx\r\n"
        assert (await visitor.submit(body, "y@any.test")).startswith("250 ")

    in_club(test)


def test_from_is_not_looked_at_where_that_is_switched_off() -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        club.terms.submission._check_from = False  # type: ignore[union-attr]
        body = b"From: bob@example.test\r\n\r\nx\r\n"
        assert (await visitor.submit(body)).startswith("250 ")

    submitting(test)


def test_rfc_24_only_users_may_send_to_other_servers() -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        said = await visitor.submit(WHOLE, ALICE, (BOB, ELSEWHERE))
        assert said.startswith("250 ")
        ((envelope, _),) = club.mail()
        assert [r.address for r in envelope.recipients] == [BOB, ELSEWHERE]
        await visitor.say(f"MAIL FROM:<{ALICE}>")
        unknown = await visitor.say("RCPT TO:<nobody@[127.0.0.1]>")
        assert unknown.startswith("250 ")  # a literal is another server's, too

    submitting(test)


@pytest.mark.parametrize("shape", ["one line", "many", "no end"])
def test_a_header_has_a_limit(way: Any, shape: str) -> None:
    send, settings, _ = way
    lines = HEADER_MOST // 72 + 10
    header = {
        "one line": b"X: " + b"y" * HEADER_MOST + b"\r\n\r\nx\r\n",
        "many": (b"X:" + b"y" * 68 + b"\r\n") * lines + b"\r\nx\r\n",
        "no end": (b"X:" + b"y" * 68 + b"\r\n") * lines,
    }[shape]

    async def test(club: Club, visitor: Visitor) -> None:
        assert (await send(visitor, header)).startswith("552 5.3.4 ")
        assert (await send(visitor, WHOLE)).startswith("250 ")
        assert len(club.mail()) == 1

    submitting(test, **{"memory_per_message": 1 << 20, **settings})


@pytest.mark.parametrize("body", [b"", b"\r\n", b"Hello\r\n", b"\r\n\r\n"])
def test_messages_without_a_header_or_without_a_body(way: Any, body: bytes) -> None:
    send, settings, more = way

    async def test(club: Club, visitor: Visitor) -> None:
        assert (await send(visitor, body + more)).startswith("250 ")
        ((_, kept),) = club.mail()
        assert kept.endswith(body + more)
        added = kept[: len(kept) - len(body + more)]
        fields = [line.partition(b":")[0] for line in added.split(b"\r\n")[:-1]]
        assert fields == BOTH

    submitting(test, **settings)


def test_checks_see_the_message_as_it_came_and_add_in_front() -> None:
    seen: list[bytes] = []

    async def test(club: Club) -> None:
        def check(session: Any, body: Any) -> Added:
            seen.append(bytes(memoryview(body)))
            return Added(b"X-Checked: yes\r\n")

        club.check(message=(check,))
        visitor = Visitor(club)
        await visitor.login()
        await visitor.submit(BLIND + DATE + ID + b"\r\nx\r\n")
        ((_, kept),) = club.mail()
        assert seen == [BLIND + DATE + ID + b"\r\nx\r\n"]
        assert kept == b"X-Checked: yes\r\n" + DATE + ID + b"\r\nx\r\n"

    in_club(test)


def test_checks_add_in_front_of_what_was_streamed_too() -> None:
    async def test(club: Club) -> None:
        def check(session: Any, body: Any) -> Added:
            return Added(b"X-Checked: yes\r\n")

        club.check(message=(check,))
        visitor = Visitor(club)
        await visitor.login()
        await visitor.submit(BLIND + DATE + ID + b"\r\n" + LONG * 2000)
        ((_, kept),) = club.mail()
        assert kept == b"X-Checked: yes\r\n" + DATE + ID + b"\r\n" + LONG * 2000

    in_club(test, memory_per_message=16 * 1024)


def test_a_check_that_refuses_leaves_no_spool(way: Any) -> None:
    send, settings, more = way

    async def test(club: Club) -> None:
        async def no(session: Any, body: Any) -> Refused:
            return Refused(554, "5.7.1", "No", "policy_hook")

        club.check(message=(no,))
        visitor = Visitor(club)
        await visitor.login()
        assert await send(visitor, WHOLE + more) == "554 5.7.1 No\r\n"
        assert club.mail() == []

    in_club(test, **settings)


@pytest.mark.parametrize(
    ("tls", "word"), [(False, b" with ESMTPA id "), (True, b" with ESMTPSA id ")]
)
def test_received_says_that_there_was_a_login(tls: bool, word: bytes) -> None:
    async def test(club: Club) -> None:
        visitor = Visitor(club)
        if tls:
            visitor.secure()
        await visitor.login()
        await visitor.submit(WHOLE)
        ((_, body),) = club.store.disk.log
        assert word in body
        assert b"alice@example.test" not in body.partition(b"Received:")[2].partition(
            DATE
        )[0].replace(b"for <bob@example.test>", b"")

    in_club(test)
