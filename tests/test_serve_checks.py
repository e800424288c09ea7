"""Checks at every stage: their order, what waits for them, what is lost with them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from test_serve_smtpd import World, feed, in_loop

from fastsmtp.errors import Refused, StoreUnavailable
from fastsmtp.queue.message import decode_envelope
from fastsmtp.serve.checks import Added, Checks
from fastsmtp.smtp import counts
from fastsmtp.smtp.options import SmtpOptions
from fastsmtp.smtp.session import Session
from fastsmtp.store.base import Spool
from fastsmtp.store.memory import MemorySpool

NO = Refused(554, "5.7.1", "Not today", "policy_hook")
STAGES = ("hello", "mail", "rcpt", "data", "message")
SAYS = {
    "hello": b"EHLO client.test\r\n",
    "mail": b"MAIL FROM:<a@client.test>\r\n",
    "rcpt": b"RCPT TO:<bob@example.test>\r\n",
    "data": b"DATA\r\n",
    "message": b"Subject: x\r\n\r\nx\r\n.\r\n",
}


async def turn() -> None:
    """Enough turns of the loop for a check, the task around it, and the store."""
    for _ in range(10):
        await asyncio.sleep(0)


class Later:
    """A check whose answer the test gives."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def __call__(self, *about: Any) -> Awaitable[Any]:
        self.asked.append(about)
        return self.answer


def up_to(world: World, stage: str) -> Any:
    """A client that has said what comes before this stage."""
    guest, transport = world.connect()
    for before in STAGES[: STAGES.index(stage)]:
        assert feed(guest, SAYS[before])[:1] in (b"2", b"3")
    transport.take()
    return guest, transport


def run(
    test: Callable[[World], Awaitable[None]], checks: Callable[[], Checks] = Checks
) -> None:
    async def whole(world: World) -> None:
        world.use(checks())
        await test(world)

    in_loop(whole)


@pytest.mark.parametrize("stage", STAGES)
def test_a_refusal_is_said_at_its_stage_and_ends_it(stage: str) -> None:
    asked = []

    def after(*about: Any) -> None:
        asked.append(about)

    async def test(world: World) -> None:
        guest, _ = up_to(world, stage)
        assert feed(guest, SAYS[stage]) == b"554 5.7.1 Not today\r\n"
        assert asked == []  # the one behind the refusal
        await turn()
        assert not world.store.disk.log

    run(
        test, lambda: Checks(**{stage: (lambda *about: None, lambda *about: NO, after)})
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("answer", [None, NO])
def test_an_answer_may_come_later_and_input_waits(
    stage: str, answer: Refused | None
) -> None:
    later: list[Later] = []

    def checks() -> Checks:
        later.append(Later())
        return Checks(**{stage: (later[0],)})

    async def test(world: World) -> None:
        guest, transport = up_to(world, stage)
        assert feed(guest, SAYS[stage]) == b""
        await turn()
        assert transport.take() == b""
        assert len(later[0].asked) == 1
        assert guest.session.pending
        later[0].answer.set_result(answer)
        await turn()
        said = transport.take()
        assert said.startswith(b"554 5.7.1" if answer else (b"250", b"354"))
        assert len(world.store.disk.log) == (stage == "message" and answer is None)

    run(test, checks)


def test_checks_behind_one_that_waited_are_asked_too() -> None:
    order = []

    async def slow(*about: Any) -> None:
        await asyncio.sleep(0)
        order.append("slow")

    def quick(*about: Any) -> Refused:
        order.append("quick")
        return NO

    async def test(world: World) -> None:
        guest, transport = up_to(world, "mail")
        feed(guest, SAYS["mail"])
        await turn()
        assert transport.take() == b"554 5.7.1 Not today\r\n"
        assert order == ["slow", "quick"]

    run(test, lambda: Checks(mail=(slow, quick)))


@pytest.mark.parametrize("waits", [False, True])
def test_a_check_that_raises_is_our_trouble(waits: bool) -> None:
    async def slow(*about: Any) -> None:
        raise RuntimeError("broken")

    def quick(*about: Any) -> None:
        raise RuntimeError("broken")

    async def test(world: World) -> None:
        guest, transport = up_to(world, "rcpt")
        said = feed(guest, SAYS["rcpt"])
        await turn()
        assert (said + transport.take()).startswith(b"451 4.3.0")
        assert world.report.named("fault")

    run(test, lambda: Checks(rcpt=(slow if waits else quick,)))


def test_fields_are_added_under_received() -> None:
    async def first(*about: Any) -> Added:
        return Added(b"X-One: 1\r\n")

    def second(*about: Any) -> Added:
        return Added(b"X-Two: 2\r\n")

    async def test(world: World) -> None:
        guest, _ = up_to(world, "message")
        feed(guest, SAYS["message"])
        await turn()
        ((_, body),) = world.store.disk.log
        received, _, rest = body.partition(b"X-One: 1\r\n")
        assert received.startswith(b"Return-Path: <a@client.test>\r\nReceived: ")
        assert rest == b"X-Two: 2\r\nSubject: x\r\n\r\nx\r\n"

    run(test, lambda: Checks(message=(first, second)))


LARGE = b"Subject: x\r\n\r\n" + b"x" * 70 + (b"\r\n" + b"y" * 70) * 1000 + b"\r\n.\r\n"


def large(world: World, checks: Checks) -> Any:
    """A client that has sent a message which is in a file at its end."""
    world.terms = replace(world.terms, options=SmtpOptions(memory_per_message=16_384))
    world.use(checks)
    guest, transport = up_to(world, "message")
    for at in range(0, len(LARGE), 10_000):
        transport.write(feed(guest, LARGE[at : at + 10_000]))
    return guest, transport


def test_a_large_message_is_given_as_the_spool_that_has_it() -> None:
    given: list[Any] = []

    async def first(session: Session, spool: Spool) -> None:
        given.append((await spool.reread()).read(0, 1 << 20)[len(session.head) :])

    async def second(session: Session, spool: Spool) -> None:
        given.append((await spool.reread()).read(0, 1 << 20)[len(session.head) :])

    async def test(world: World) -> None:
        large(world, Checks(message=(first, second)))
        await turn()
        ((_, body),) = world.store.disk.log
        assert given == [LARGE[:-3]] * 2
        assert body.endswith(LARGE[:-3])

    run(test)


@pytest.mark.parametrize("waits", [False, True])
def test_fields_are_added_to_a_large_message_too(waits: bool) -> None:
    async def slow(*about: Any) -> Added:
        return Added(b"X-One: 1\r\n")

    def quick(*about: Any) -> Added:
        return Added(b"X-One: 1\r\n")

    async def test(world: World) -> None:
        _, transport = large(world, Checks(message=(slow if waits else quick,)))
        await turn()
        assert b"250 2.0.0 Ok" in transport.take()
        ((record, body),) = world.store.disk.log
        head, _, rest = body.partition(b"X-One: 1\r\n")
        assert head.startswith(b"Return-Path: <a@client.test>\r\nReceived: ")
        assert rest == LARGE[:-3]
        assert decode_envelope(record.envelope).skip == head.index(b"Received")

    run(test)


def test_a_large_message_that_cannot_be_written_again_is_deferred() -> None:
    async def test(world: World) -> None:
        _, transport = large(world, Checks(message=(lambda *_: Added(b"X: 1\r\n"),)))
        await turn()
        assert transport.take().startswith(b"452 4.3.1")
        assert not world.store.disk.log

    async def broken(self: MemorySpool) -> Any:
        raise StoreUnavailable("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemorySpool, "reread", broken)
        run(test)


def test_whoever_leaves_while_a_large_message_is_written_again_keeps_it() -> None:
    async def test(world: World) -> None:
        guest, _ = large(world, Checks(message=(lambda *_: Added(b"X: 1\r\n"),)))
        guest.connection_lost(None)
        await turn()
        assert not world.store.disk.log
        assert world.count(counts.MESSAGES, "deferred") == 1
        assert guest.deciding is None

    run(test)


def test_whoever_leaves_is_not_waited_for() -> None:
    later: list[Later] = []

    def checks() -> Checks:
        later.append(Later())
        return Checks(message=(later[0],))

    async def test(world: World) -> None:
        guest, _ = up_to(world, "message")
        feed(guest, SAYS["message"])
        guest.connection_lost(None)
        await turn()
        assert later[0].answer.cancelled()
        assert not world.store.disk.log
        assert world.count(counts.MESSAGES, "deferred") == 1

    run(test, checks)


@pytest.mark.parametrize("answer", [None, NO])
def test_a_greeting_waits_for_the_checks_at_connect(answer: Refused | None) -> None:
    later: list[Later] = []

    def checks() -> Checks:
        later.append(Later())
        return Checks(connect=(later[0],))

    async def test(world: World) -> None:
        guest, transport = world.connect()
        assert transport.take() == b""
        assert not transport.reading
        later[0].answer.set_result(answer)
        await turn()
        if answer is None:
            assert transport.take().startswith(b"220 ")
            assert transport.reading
            assert feed(guest, SAYS["hello"]).startswith(b"250")
        else:
            assert transport.take() == b"554 5.7.1 Not today\r\n"
            assert transport.closed

    run(test, checks)


def test_a_refusal_at_connect_is_the_greeting() -> None:
    async def test(world: World) -> None:
        _, transport = world.connect()
        assert transport.take() == b"554 5.7.1 Not today\r\n"
        assert transport.closed

    run(test, lambda: Checks(connect=(lambda guest: NO,)))
