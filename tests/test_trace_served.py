"""What a server notes about its clients, and the story that is read from it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_serve_smtpd import OPENING, World, feed, turn

from fastsmtp.errors import Refused
from fastsmtp.policy.options import PolicyOptions
from fastsmtp.queue.message import parse_queue_id
from fastsmtp.serve.checks import Checks
from fastsmtp.trace import journal, story
from fastsmtp.trace.journal import Question, question_of
from fastsmtp.trace.ring import Trace

HEADER = b"Received: from x\r\nmessage-ID:\r\n <Abc.1@client.test>\r\nSubject: x\r\n"
SENDER = b"MAIL FROM:<a@client.test>\r\n"
MESSAGE = HEADER + b"\r\nhello\r\n.\r\n"


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Trace]:
    (tmp_path / "why").mkdir()
    made = Trace(str(tmp_path / "why" / "all"), 1 << 20)
    yield made
    made.close()


def during(
    trace: Trace,
    test: Callable[[World], Any],
    checks: Checks | None = None,
    **more: Any,
) -> World:
    async def run() -> World:
        world = World(**more)
        world.terms = replace(world.terms, trace=trace)
        world.use(checks or Checks())
        test(world)
        await turn()
        return world

    return asyncio.run(run())


def told(data: Path, what: str) -> list[list[str]]:
    """The story of each message that is meant, without its times."""
    own = int(what) if what.isdigit() else 0
    question = Question(id=own) if own else question_of(what)
    return [
        [f"{event.what}: {event.text}" for event in story.events(rows)]
        for rows in journal.ask(data, question).messages
    ]


def talk(world: World, *pieces: bytes, address: str = "192.0.2.7") -> bytes:
    guest, transport = world.connect(address)
    return transport.take() + b"".join(feed(guest, piece) for piece in pieces)


def test_an_accepted_message_is_told_from_the_connection_on(
    trace: Trace, tmp_path: Path
) -> None:
    during(trace, lambda world: talk(world, *OPENING, MESSAGE))
    id = journal.ask(tmp_path, question_of("bob")).messages[0][0][2]
    for what in (
        *("Bob@example.test", "bob", "@example.test", "192.0.2.7", str(id)),
        *(
            "<Abc.1@client.test>",
            "abc.1@CLIENT.test",
            "Message-ID: <Abc.1@client.test>",
        ),
    ):
        (lines,) = told(tmp_path, what)
        assert lines[:3] == [
            "connected: 192.0.2.7 to smtp, HELO client.test",
            "sender: <a@client.test>",
            "recipient: <Bob@example.test> accepted",
        ]
        octets = len(MESSAGE) - 3
        text = f"received: {octets} octets, Message-ID <Abc.1@client.test>"
        assert lines[3] == text
        assert lines[4].startswith("durable: on disk ")
        assert len(lines) == 5
    for what in ("carol", "@client.test", "192.0.2.8", "1"):
        assert told(tmp_path, what) == []


def test_mail_refused_at_rcpt_is_found_by_its_recipient(
    trace: Trace, tmp_path: Path
) -> None:
    rcpts = b"RCPT TO:<nobody@example.test>\r\nRCPT TO:<x@far.test>\r\n"
    during(trace, lambda world: talk(world, OPENING[0], SENDER + rcpts))
    for what in ("nobody@example.test", "x@far.test"):
        (lines,) = told(tmp_path, what)
        assert lines[:2] == [
            "connected: 192.0.2.7 to smtp, HELO client.test",
            "sender: <a@client.test>",
        ]
        assert lines[2:] == [
            "refused: at RCPT <nobody@example.test>: 550 5.1.1 No such user here "
            "(no account)",
            "refused: at RCPT <x@far.test>: 550 5.7.1 Relay access denied "
            "(foreign domain)",
        ]


def test_a_refusal_goes_with_the_message_that_others_got(
    trace: Trace, tmp_path: Path
) -> None:
    start = OPENING[1].replace(b"DATA", b"RCPT TO:<nobody@example.test>\r\nDATA")
    during(trace, lambda world: talk(world, OPENING[0], start, MESSAGE))
    (lines,) = told(tmp_path, "nobody@example.test")
    assert [line.partition(":")[0] for line in lines].count("connected") == 1
    assert sum("nobody" in line for line in lines) == 1
    assert lines[-1].startswith("durable:")


@pytest.mark.parametrize(
    ("stage", "place"),
    [
        ("mail", "at MAIL <a@client.test>"),
        ("rcpt", "at RCPT <Bob@example.test>"),
        ("data", "at DATA"),
        ("message", "after the message"),
    ],
)
def test_what_a_hook_refuses_is_told_with_its_cause(
    trace: Trace, tmp_path: Path, stage: str, place: str
) -> None:
    no = Refused(451, "4.7.1", "Come back later", "policy_hook", "my hook: greylisted")
    checks = Checks(**{stage: (lambda *_: no,)})  # type: ignore[arg-type]
    pieces = (*OPENING, MESSAGE) if stage == "message" else OPENING
    during(trace, lambda world: talk(world, *pieces), checks)
    (lines,) = told(tmp_path, "192.0.2.7")
    refusals = [line for line in lines if line.startswith("refused")]
    said = f"refused: {place}: 451 4.7.1 Come back later (my hook: greylisted)"
    assert refusals[0] == said


def test_who_hangs_up_in_the_middle_is_told(trace: Trace, tmp_path: Path) -> None:
    def test(world: World) -> None:
        guest, _ = world.connect()
        for piece in (*OPENING, b"Subject: x\r\n"):
            feed(guest, piece)
        guest.connection_lost(None)

    during(trace, test)
    (lines,) = told(tmp_path, "bob@example.test")
    assert lines[-1] == "dropped: the client gave up in the middle"


def test_who_may_not_come_in_is_found_by_address(trace: Trace, tmp_path: Path) -> None:
    policy = PolicyOptions(banned_networks=["2001:db8::/32"])
    during(trace, lambda w: talk(w, address="2001:db8::7"), policy=policy)
    (lines,) = told(tmp_path, "[2001:0DB8:0::7]")
    assert lines[0] == "connected: 2001:db8::7 to smtp"
    assert lines[1].startswith("sent away: ")
    assert lines[1].endswith("(banned)")


def test_tls_name_and_login_are_told(trace: Trace, tmp_path: Path) -> None:
    def test(world: World) -> None:
        guest, _ = world.connect()
        guest.name = "mail.client.test"
        guest.secured("TLSv1.3", "TLS_AES_128_GCM_SHA256")
        feed(guest, OPENING[0])
        guest.session.login = "alice@example.test"
        for piece in (OPENING[1], MESSAGE):
            feed(guest, piece)

    during(trace, test)
    (lines,) = told(tmp_path, "bob@example.test")
    assert lines[:3] == [
        "connected: 192.0.2.7 (mail.client.test) to smtp, HELO client.test",
        "tls: TLSv1.3 with cipher TLS_AES_128_GCM_SHA256",
        "login: alice@example.test",
    ]


def test_a_session_is_another_after_another_helo(trace: Trace, tmp_path: Path) -> None:
    again = b"EHLO other.test\r\n"

    def test(world: World) -> None:
        world.store.holding = False
        talk(world, *OPENING, MESSAGE, again, OPENING[1], MESSAGE)

    during(trace, test)
    helos = [lines[0] for lines in told(tmp_path, "bob@example.test")]
    if len(helos) == 2:
        assert helos[1].endswith("HELO other.test")
    assert helos[0].endswith("HELO client.test")


def test_a_large_message_has_its_message_id_too(trace: Trace, tmp_path: Path) -> None:
    large = HEADER + b"\r\n" + b"x" * 70 + b"\r\n"
    body = large + (b"y" * 70 + b"\r\n") * 2000 + b".\r\n"
    pieces = [body[n : n + 4096] for n in range(0, len(body), 4096)]

    def test(world: World) -> None:
        talk(world, *OPENING, *pieces)

    during(trace, test, memory_per_message=16384)
    (lines,) = told(tmp_path, "abc.1@client.test")
    assert any("Message-ID <Abc.1@client.test>" in line for line in lines)


def test_what_becomes_of_it_later_is_in_the_same_story(
    trace: Trace, tmp_path: Path
) -> None:
    during(trace, lambda world: talk(world, *OPENING, MESSAGE))
    id = journal.ask(tmp_path, question_of("bob")).messages[0][0][2]
    other = Trace(str(tmp_path / "why" / "keep"), 1 << 20)
    other.applied(id, 1, 1)
    other.applied(id, 1, 1)
    other.attempt(id, "x@far.test", "far.test", "mx.far.test", 451, "busy", 12)
    other.attempt(id, "x@far.test", "far.test", "", 0, "connection refused", 3)
    other.moved(id, "bounced", "to <a@client.test>")
    other.close()
    (lines,) = told(tmp_path, "x@far.test")
    assert lines[-4:] == [
        "filed: into 1 mailbox, 1 recipient must wait",
        "attempt: <x@far.test> at mx.far.test: 451 busy (12 ms)",
        "attempt: <x@far.test> at far.test: connection refused (3 ms)",
        "bounced: to <a@client.test>",
    ]
    assert lines[0].startswith("connected:")


def test_a_queue_id_is_the_name_in_a_message_id_of_ours() -> None:
    from fastsmtp.cli.why import queue_id_in

    id = "0000060000001"
    for text in (id, id.lower(), f"<{id}@mx.example.test>", f" {id}@mx.example.test "):
        assert queue_id_in(text) == parse_queue_id(id)
    assert queue_id_in("bob@example.test") == 0


def test_records_that_were_cut_off_are_passed_over(
    trace: Trace, tmp_path: Path
) -> None:
    for kind in range(12):
        trace.note(kind, 7, (1,), ("bob@example.test",))
        trace.note(kind, 7, (), ())
    assert told(tmp_path, "bob@example.test") == []
    assert told(tmp_path, "7") == []


def test_files_of_others_in_the_folder_are_passed_over(
    trace: Trace, tmp_path: Path
) -> None:
    (tmp_path / "why" / "odd.mail").write_bytes(b"x" * 9000)
    trace.moved(7, "held", "for bob@example.test")
    assert told(tmp_path, "7") == [["held: for bob@example.test"]]
