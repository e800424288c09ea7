"""Notices are sent by what happens to mail, and arrive like any other."""

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default

import pytest
from msgspec.structs import replace
from village import DOMAIN, NOW, Village, envelope, village

from fastsmtp.delivery.bounce import Clerk
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.telling import Telling
from fastsmtp.queue.message import decode_envelope, encode_envelope
from fastsmtp.smtp.letter import Answer
from fastsmtp.store import keys
from fastsmtp.store.base import Kind

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
TROUBLE = 5000
ALICE = f"alice@{DOMAIN}"
FAR = "someone@far.test"
NO = Answer(550, "5.1.1", "no such user", "rcpt")
BUSY = Answer(451, "4.7.1", "come again", "rcpt")
BODY = b"Return-Path: <x>\r\nSubject: hello\r\n\r\nhow are you\r\n"


def telling(town: Village) -> None:
    """Notices are real."""
    options = DeliveryOptions()
    clerk = Clerk("mx.example.test", options, lambda: "token")
    made = Telling(town.store, clerk, options, lambda: town.now, town.alarm.rest)
    town.tell = made.tell  # type: ignore[method-assign]


async def send(town: Village, *to: str, notify: str = "", **fields: object) -> int:
    raw = decode_envelope(envelope(*to, sender=ALICE))
    recipients = tuple(replace(r, notify=notify) for r in raw.recipients)
    wrapped = replace(raw, recipients=recipients, skip=18, **fields)
    id = await town.store.append(Kind.MAIL, encode_envelope(wrapped), BODY)
    async with town.keeping():
        await town.store.applied(id)
    return id


async def work(town: Village, until: int) -> None:
    async with town.keeping():
        await town.work(until)


async def notices(town: Village, name: str = "alice") -> list[EmailMessage]:
    found = []
    for id in await town.inbox(name):
        blob = await town.store.blob_open(id)
        message = BytesParser(policy=default).parsebytes(blob.read(0, blob.length))
        if message.get_content_type() == "multipart/report":
            found.append(message)
    return found


def status(message: EmailMessage) -> list[tuple[str, str]]:
    """Action and Status of each recipient."""
    _, machine, *_ = message.iter_parts()
    fields = [part for part in machine.get_payload() if part["Action"]]
    return [(part["Action"], part["Status"]) for part in fields]


@village
async def test_who_is_refused_comes_back_to_the_sender(town: Village) -> None:
    telling(town)
    town.far.says["far.test"] = NO
    id = await send(town, FAR, "other@good.test")
    await work(town, NOW + MINUTE)
    (message,) = await notices(town)
    assert status(message) == [("failed", "5.1.1")]
    assert message["Auto-Submitted"] == "auto-replied"
    assert town.store.disk.parts[keys.QUEUE].values == {}
    assert town.refs(id) == 0


@village
async def test_nobody_is_told_of_a_notice(town: Village) -> None:
    """RFC 5321 6.1: the null reverse-path."""
    telling(town)
    town.far.says["far.test"] = NO
    await send(town, FAR, reverse_path="")
    before = dict(town.store.disk.blobs)
    await work(town, NOW + MINUTE)
    assert town.store.disk.blobs.keys() == before.keys()
    assert town.store.disk.parts[keys.QUEUE].values == {}


@village
async def test_it_is_late_and_then_given_up(town: Village) -> None:
    telling(town)
    town.far.says["far.test"] = BUSY
    await send(town, FAR)
    await work(town, NOW + 6 * HOUR)
    (late,) = await notices(town)
    assert status(late) == [("delayed", "4.7.1")]
    await work(town, NOW + DAY)
    assert len(await notices(town)) == 1
    await work(town, NOW + 6 * DAY)
    _, failed = await notices(town)
    assert status(failed) == [("failed", "4.7.1")]


@pytest.mark.parametrize(
    ("notify", "to", "expected"),
    [
        ("SUCCESS", FAR, [("relayed", "2.0.0")]),
        ("SUCCESS,FAILURE", f"bob@{DOMAIN}", [("delivered", "2.1.5")]),
        ("", FAR, None),
        ("FAILURE", FAR, None),
        ("NEVER", "x@no.test", None),
    ],
)
def test_success_is_told_where_it_was_asked_for(
    notify: str, to: str, expected: list[tuple[str, str]] | None
) -> None:
    @village
    async def case(town: Village) -> None:
        telling(town)
        town.far.says["no.test"] = NO
        await send(town, to, notify=notify)
        await work(town, NOW + MINUTE)
        found = await notices(town)
        assert [status(message) for message in found] == (
            [expected] if expected else []
        )
        if "bob" in to:
            assert len(await town.inbox("bob")) == 1

    case()


@village
async def test_a_notice_is_durable_before_the_queue_forgets(town: Village) -> None:
    """The log takes nothing: the message stays, and is recorded when it does again."""
    telling(town)
    town.far.says["far.test"] = NO
    await send(town, FAR)
    town.store.fail_next = 2
    async with town.keeping():
        await town.work(NOW + MINUTE)
    assert len(await notices(town)) == 1
    assert town.now >= NOW + 2 * TROUBLE
