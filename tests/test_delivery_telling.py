"""What attempts come to, and that a notice is durable before they are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest
from dsn import Dsn, read

from fastsmtp.delivery.attempt import After, Attempt, Changed
from fastsmtp.delivery.bounce import Clerk, Notice
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.outcomes import Fate, Outcome
from fastsmtp.delivery.reasons import Reason
from fastsmtp.delivery.telling import Telling, outcomes, said
from fastsmtp.errors import Damaged
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Recipient,
    Standing,
    State,
    Target,
    decode_queued,
)
from fastsmtp.queue.moves import Move
from fastsmtp.smtp.letter import Answer
from fastsmtp.store.base import Writes
from fastsmtp.store.memory import Body, MemoryBlob, MemoryStore

ARRIVED = 1_795_649_400_000
NOW = ARRIVED + 3_600_000
OPTIONS = DeliveryOptions()
UNTIL = ARRIVED + int(1000 * OPTIONS.give_up)
ALICE, BOB, CAROL = "alice@example.test", "bob@example.org", "carol@example.org"
MAIL = b"Return-Path: <alice@example.test>\r\nSubject: Lunch\r\n\r\nShall we?\r\n"
NO = Answer(550, "5.1.1", "User unknown", "rcpt")
YES = Answer(250, "2.6.0", "Queued", "body")
LATER = Answer(451, "4.3.2", "Busy", "rcpt")


def after(
    *changed: Changed,
    others: tuple[Target, ...] = (),
    late: bool = False,
    **more: object,
) -> After:
    """An entry of which these targets were tried; `more` is of the envelope."""
    targets = (*(one.target for one in changed), *others)
    names = dict.fromkeys(target.recipient for target in targets)
    more = {"reverse_path": ALICE, "arrived": ARRIVED, "skip": 35} | more
    more.setdefault(
        "recipients", tuple(Recipient(name, "SUCCESS,FAILURE,DELAY") for name in names)
    )
    envelope = Envelope(**more)  # type: ignore[arg-type]
    return After(
        Queued(envelope, len(MAIL), State.DEFERRED, 0, targets), list(changed), late
    )


def tried(
    answer: Answer, standing: Standing, address: str = BOB, recipient: str = ""
) -> Changed:
    return Changed(Target(address, recipient or address, standing, 3), answer)


def attempt(**more: object) -> Attempt:
    made = Attempt(1, "example.org", {}, "smtp", "example.org", "mx1.example.org")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def come(made: After, **more: object) -> list[Outcome]:
    return outcomes(made, attempt(**more), NOW, OPTIONS)


def test_what_a_server_refused_is_failed_with_its_words() -> None:
    assert come(after(tried(NO, Standing.GIVEN_UP))) == [
        Outcome(
            *(BOB, Fate.FAILED, "SUCCESS,FAILURE,DELAY", "", 550, "5.1.1"),
            *("User unknown", "mx1.example.org", None, 3, NOW, UNTIL),
        )
    ]


def test_what_waits_is_told_when_it_is_late_whoever_was_tried() -> None:
    waiting = Target(CAROL, CAROL, Standing.WAITING, 2, error="421 4.3.2 Go away")
    done = Target("d@x.test", "d@x.test", Standing.DELIVERED)
    changed = tried(LATER, Standing.WAITING)
    assert come(after(changed, others=(waiting, done))) == []
    first, second = come(after(changed, others=(waiting, done), late=True))
    assert (first.address, first.fate, first.code) == (BOB, Fate.DELAYED, 451)
    assert (second.address, second.code, second.enhanced, second.text) == (
        *(CAROL, 421, "4.3.2", "Go away"),
    )
    assert (second.remote, second.last, second.until) == ("", 0, UNTIL)


@pytest.mark.parametrize(
    ("more", "fate"),
    [
        ({"offers_dsn": True}, Fate.PASSED),
        ({"offers_dsn": False}, Fate.RELAYED),
        ({"transport": "lmtp"}, Fate.DELIVERED),
        ({"transport": "lmtp", "offers_dsn": True}, Fate.PASSED),
        ({"transport": "local"}, Fate.DELIVERED),
    ],
)
def test_what_was_taken_is_told_by_whom_it_was(
    more: dict[str, object], fate: Fate
) -> None:
    (outcome,) = come(after(tried(YES, Standing.DELIVERED)), **more)
    assert outcome.fate is fate
    assert outcome.reason is None


def test_an_alias_is_done_when_all_behind_it_are() -> None:
    one = tried(YES, Standing.DELIVERED, "a@x.test", BOB)
    other = Target("b@x.test", BOB, Standing.WAITING)
    assert come(after(one, others=(other,))) == []
    (outcome,) = come(after(one, tried(YES, Standing.DELIVERED, "b@x.test", BOB)))
    assert (outcome.address, outcome.fate) == (BOB, Fate.RELAYED)
    (outcome,) = come(after(one, tried(NO, Standing.GIVEN_UP, "b@x.test", BOB)))
    assert (outcome.address, outcome.fate) == (BOB, Fate.FAILED)


@pytest.mark.parametrize(
    ("answer", "more", "reason"),
    [
        (LATER, {}, Reason.EXPIRED),
        (Answer(0, "4.4.1", "timed out", "connect"), {}, Reason.EXPIRED),
        (LATER, {"by": NOW, "by_mode": "R"}, Reason.BY_TIME),
        (NO, {"by": NOW, "by_mode": "R"}, None),
        (Answer(550, "5.6.7", "x", "mail", True), {}, Reason.SMTPUTF8),
        (Answer(550, "5.1.10", "x", "connect", True), {}, Reason.NULL_MX),
        (Answer(550, "5.9.9", "x", "connect", True), {}, None),
    ],
)
def test_what_failed_has_a_reason_of_ours_where_we_know_it(
    answer: Answer, more: dict[str, object], reason: Reason | None
) -> None:
    (outcome,) = come(after(tried(answer, Standing.GIVEN_UP), **more))
    assert outcome.reason is reason
    assert outcome.code == (0 if answer.local else answer.code)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (str(LATER), (451, "4.3.2", "Busy")),
        ("451 Busy", (451, "", "Busy")),
        ("connection refused", (0, "", "connection refused")),
        ("4.4.1 timed out", (0, "4.4.1", "timed out")),
        ("", (0, "", "")),
    ],
)
def test_an_entry_keeps_answers_as_text(
    error: str, answer: tuple[int, str, str]
) -> None:
    assert said(error)[:3] == answer


class Rig:
    """A store with one message in it, and who tells of it."""

    def __init__(self, **options: object) -> None:
        self.store = MemoryStore()
        self.id = self.store.next_id()
        self.store.disk.blobs[self.id] = Body(MAIL, 1)
        self.rested: list[float] = []
        self.told: list[tuple[int, Notice]] = []
        made = DeliveryOptions(**options)  # type: ignore[arg-type]
        self.telling = Telling(
            *(self.store, Clerk("mx.example.test", made), made, lambda: NOW),
            self._rest,
            lambda id, notice: self.told.append((id, notice)),
        )

    def _rest(self, seconds: float) -> Awaitable[None]:
        self.rested.append(seconds)
        self.store.trouble = None
        return asyncio.sleep(0)

    def tell(self, made: After) -> list[Dsn]:
        by = attempt(id=self.id)
        return self.kept(self.telling.tell(self.id, made.queued, made, by))

    def kept(self, telling: Coroutine[Any, Any, Move]) -> list[Dsn]:
        """What it has written, and its move puts into the queue."""

        async def run() -> Move:
            nothing = Writes([], [], 0)
            follows = asyncio.ensure_future(self.store.follow(lambda *_: nothing))
            try:
                return await telling
            finally:
                follows.cancel()

        move, found = asyncio.run(run()), []
        for key, value in move.puts:
            if key[:1] == b"m":
                id, entry = int.from_bytes(key[1:], "big"), decode_queued(value)
                data = self.store.disk.blobs[id].data
                assert move.refs[id] == 1
                assert (entry.envelope.reverse_path, entry.due) == ("", NOW)
                assert entry.octets == len(data)
                found.append(read(data))
        assert len(found) == len(move.refs)
        return found


FAILED = after(tried(NO, Standing.GIVEN_UP))


def test_a_notice_is_written_when_it_is_told() -> None:
    rig = Rig()
    (made,) = rig.tell(FAILED)
    assert made.mail["To"] == ALICE
    assert made.recipients[0]["Final-Recipient"] == f"rfc822; {BOB}"
    assert "Shall we?" in made.mail.as_string()
    assert [(id, notice.kind.value) for id, notice in rig.told] == [(rig.id, "failure")]


def test_what_the_operator_gives_up_is_told() -> None:
    rig = Rig()
    entry = after(
        tried(LATER, Standing.WAITING, "a@x.test", BOB),
        tried(LATER, Standing.WAITING, "b@x.test", BOB),
        tried(LATER, Standing.WAITING, CAROL),
    ).queued
    gone = ["a@x.test", "b@x.test"]
    (made,) = rig.kept(rig.telling.bounce(rig.id, entry, gone, "Spam."))
    (group,) = made.recipients
    assert group["Final-Recipient"] == f"rfc822; {BOB}"
    assert group["Diagnostic-Code"] == "x-fastsmtp; Spam."
    assert group["Status"] == "5.3.0"


def test_what_nobody_wants_to_hear_opens_nothing() -> None:
    rig = Rig()
    del rig.store.disk.blobs[rig.id]
    recipients = (Recipient(BOB, "NEVER"),)
    assert rig.tell(after(tried(NO, Standing.GIVEN_UP), recipients=recipients)) == []
    assert (
        rig.tell(after(tried(YES, Standing.DELIVERED), recipients=(Recipient(BOB),)))
        == []
    )
    assert rig.tell(after(tried(NO, Standing.GIVEN_UP), reverse_path="")) == []


def test_trouble_of_the_store_is_waited_for() -> None:
    rig = Rig()
    rig.store.fail_next = 2
    assert len(rig.tell(FAILED)) == 1
    assert rig.rested == [5.0, 5.0]
    rig = Rig()
    rig.store.trouble = "full"
    assert len(rig.tell(FAILED)) == 1
    assert rig.rested == [5.0]


@pytest.mark.parametrize("error", [KeyError, Damaged])
def test_a_message_that_cannot_be_read_is_told_of_all_the_same(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()

    async def gone(self: MemoryStore, id: int) -> MemoryBlob:
        raise error("gone")

    monkeypatch.setattr(MemoryStore, "blob_open", gone)
    (made,) = rig.tell(FAILED)
    assert made.recipients[0]["Status"] == "5.1.1"


def test_a_body_that_rots_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def rotten(self: MemoryBlob, offset: int, size: int) -> bytes:
        raise Damaged("rot")

    monkeypatch.setattr(MemoryBlob, "read", rotten)
    (made,) = Rig().tell(FAILED)
    assert made.recipients[0]["Status"] == "5.1.1"


def test_a_large_message_goes_back_by_way_of_the_disk() -> None:
    rig = Rig(bounce_size_limit=1 << 20)
    mail = MAIL + b"x" * 70 * 10_000 + b"\r\n"
    rig.store.disk.blobs[rig.id] = Body(mail, 1)
    (made,) = rig.tell(FAILED)
    assert "x" * 70 * 10_000 in made.mail.as_string().replace("\n", "")
