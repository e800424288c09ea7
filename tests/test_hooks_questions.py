"""One question to a hook: whatever the hook does, it is answered once and in time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from fakes import turns_until
from test_serve_smtpd import World, feed, in_loop

from fastsmtp.cells import fresh
from fastsmtp.errors import StoreUnavailable
from fastsmtp.hooks import Accept, Body, Defer, Facts, Reject, questions
from fastsmtp.hooks.counts import (
    ANSWERS,
    DURATION,
    DURATION_SEEN,
    EDGES,
    SLOT,
    TIMEOUTS,
)
from fastsmtp.hooks.deciding import Deciding
from fastsmtp.hooks.options import HookOptions
from fastsmtp.hooks.questions import Hook
from fastsmtp.smtp.offers import Offers
from fastsmtp.store.memory import MemorySpool

SAYS = {
    "connect": b"",
    "helo": b"EHLO client.test\r\n",
    "mail": b"MAIL FROM:<a@client.test> SIZE=77\r\n",
    "rcpt": b"RCPT TO:<bob@example.test>\r\n",
    "data": b"DATA\r\n",
    "message": b"Subject: x\r\n\r\nx\r\n.\r\n",
}
STAGES = tuple(SAYS)
LATE = 0.02  # seconds, a deadline that is waited for


class Rig:
    """A server whose one hook has these functions."""

    def __init__(
        self, world: World, functions: dict[str, Callable[..., Any]], **options: Any
    ) -> None:
        self.world = world
        self.cells = fresh(SLOT)
        settings = HookOptions(module="x.py", **options)
        report: Any = world.report
        self.hook = Hook("x", settings, functions, self.cells, report)
        world.use(Deciding([self.hook]).checks("smtp"))
        self.guest, self.transport = world.connect()

    def results(self) -> dict[str, int]:
        names = ANSWERS.labels[0][1]
        counts = {name: self.cells[ANSWERS.place(name)] for name in names}
        return {name: number for name, number in counts.items() if number}

    async def say(self, *lines: bytes) -> bytes:
        """What is answered to them, one after the other."""
        said = b""
        for line in lines:
            said = feed(self.guest, line) if line else b""
            if self.guest.session.pending or not line:
                await self.answered()
                said += self.transport.take()
        return said

    async def answered(self) -> None:
        """No question is open and its answer has been said."""
        guest = self.guest
        waiting = turns_until(lambda: guest.deciding is None and guest.greeted)
        await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(turns_until(lambda: not guest.session.pending), 5)

    async def up_to(self, stage: str) -> None:
        at = STAGES.index(stage)
        if at:
            await self.answered()
            self.transport.take()
            for before in STAGES[1:at]:
                assert (await self.say(SAYS[before]))[:1] in (b"2", b"3")


def run(
    functions: dict[str, Callable[..., Any]],
    test: Callable[[Rig], Awaitable[None]],
    **options: Any,
) -> None:
    async def whole(world: World) -> None:
        rig = Rig(world, functions, **options)
        try:
            await test(rig)
        finally:
            rig.hook.close()

    in_loop(whole)


def as_async(verdict: Any) -> Callable[..., Any]:
    async def function(*about: Any) -> Any:
        return verdict

    return function


def as_plain(verdict: Any) -> Callable[..., Any]:
    def function(*about: Any) -> Any:
        return verdict

    return function


@pytest.mark.parametrize("make", [as_async, as_plain])
@pytest.mark.parametrize("stage", STAGES)
def test_a_verdict_is_said_at_its_stage(
    stage: str, make: Callable[[Any], Callable[..., Any]]
) -> None:
    async def test(rig: Rig) -> None:
        await rig.up_to(stage)
        assert await rig.say(SAYS[stage]) == b"550 5.7.9 No thanks\r\n"
        assert rig.results() == {"reject": 1}
        assert rig.hook.running == 0

    run({stage: make(Reject("No thanks", 550, "5.7.9"))}, test)


@pytest.mark.parametrize("verdict", [None, Accept()])
@pytest.mark.parametrize("make", [as_async, as_plain])
def test_a_hook_that_has_nothing_against_it_lets_it_pass(
    make: Callable[[Any], Callable[..., Any]], verdict: Accept | None
) -> None:
    async def test(rig: Rig) -> None:
        await rig.up_to("message")
        assert (await rig.say(SAYS["message"])).startswith(b"250 2.0.0")
        assert rig.results() == {"accept": 6}
        assert sum(rig.cells[DURATION.first + n] for n in range(len(EDGES))) == 6
        seen = set(rig.cells[DURATION_SEEN.first : DURATION_SEEN.end : 3])
        assert len(seen - {0}) == 1, "of the message; its connection is nobody's"
        assert not rig.world.report.named("fault")

    run({stage: make(verdict) for stage in STAGES}, test)


def test_a_later_at_connect_is_a_421() -> None:
    async def test(rig: Rig) -> None:
        assert await rig.say(b"") == b"421 4.7.1 Try again later\r\n"

    run({"connect": as_async(Defer())}, test)


def test_what_a_hook_is_told() -> None:
    told: dict[str, Facts] = {}

    def note(stage: str) -> Callable[..., Any]:
        async def function(facts: Facts, *about: Any) -> None:
            told[stage] = facts

        return function

    async def test(rig: Rig) -> None:
        await rig.up_to("message")
        await rig.say(SAYS["message"])
        first, last = told["connect"], told["message"]
        assert (first.client, first.helo, first.reverse_path) == ("192.0.2.7", "", None)
        assert told["helo"].helo == "client.test"
        assert (told["mail"].reverse_path, told["mail"].size) == ("a@client.test", 77)
        assert told["rcpt"].recipients == ()
        assert told["data"].recipients == ("bob@example.test",)
        assert (last.listener, last.server) == ("smtp", "mx.example.test")
        assert (last.tls, last.cipher, last.login) == ("", "", "")
        assert last.queue_id
        assert last.protocol == "ESMTP"

    run({stage: note(stage) for stage in STAGES}, test)


def test_the_null_path_is_not_the_absence_of_one() -> None:
    told: list[Facts] = []

    async def mail(facts: Facts) -> None:
        told.append(facts)

    async def test(rig: Rig) -> None:
        await rig.up_to("mail")
        await rig.say(SAYS["mail"].replace(b"a@client.test", b""))
        assert told[0].reverse_path == ""

    run({"mail": mail}, test)


# failures

FAILS = {
    "accept": b"250",
    "defer": b"451 4.3.0 Cannot be checked now, try again later\r\n",
    "reject": b"554 5.7.1 Cannot be checked\r\n",
}


async def raises(*about: Any) -> None:
    raise RuntimeError("broken")


def plain_raises(*about: Any) -> None:
    raise RuntimeError("broken")


def plain_stops(*about: Any) -> None:
    raise StopIteration


def plain_exits(*about: Any) -> None:
    raise SystemExit(3)


async def hangs(*about: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def clings(*about: Any) -> None:
    """Does not mind being cancelled, once."""
    try:
        await hangs()
    except asyncio.CancelledError:
        await asyncio.sleep(0)


async def gives_itself_up(*about: Any) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (raises, "error"),
        (plain_raises, "error"),
        (plain_stops, "error"),
        (plain_exits, "error"),
        (gives_itself_up, "error"),
        (as_async("550 no"), "error"),
        (as_plain(True), "error"),
        (as_async(Accept([("X-A", "1")])), "error"),  # only `message` may
        (hangs, "timeout"),
        (clings, "timeout"),
    ],
)
@pytest.mark.parametrize("on_failure", FAILS)
def test_what_a_failure_means_is_configured(
    function: Callable[..., Any], result: str, on_failure: str
) -> None:
    async def test(rig: Rig) -> None:
        await rig.up_to("rcpt")
        assert (await rig.say(SAYS["rcpt"])).startswith(FAILS[on_failure])
        assert rig.results() == {result: 1}
        assert rig.cells[TIMEOUTS.place("deadline")] == (result == "timeout")
        ((_, where, _),) = rig.world.report.named("fault")
        assert where == "hook x"
        await asyncio.wait_for(turns_until(lambda: rig.hook.running == 0), 5)

    deadline = LATE if result == "timeout" else 60.0
    run({"rcpt": function}, test, on_failure=on_failure, deadline=deadline)


def test_a_thread_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def function(facts: Facts, address: str) -> None:
        release.wait(10)

    async def test(rig: Rig) -> None:
        try:
            await rig.up_to("rcpt")
            assert (await rig.say(SAYS["rcpt"])).startswith(b"451 4.3.0")
            # The only thread is taken: what comes now has no turn, and is late too.
            assert (await rig.say(SAYS["rcpt"])).startswith(b"451 4.3.0")
            assert rig.results() == {"timeout": 2}
        finally:
            release.set()

    run({"rcpt": function}, test, deadline=LATE, threads=1)


def test_more_questions_than_allowed_fail_at_once() -> None:
    async def test(rig: Rig) -> None:
        await rig.up_to("rcpt")
        assert feed(rig.guest, SAYS["rcpt"]) == b""
        other, _ = rig.world.connect("192.0.2.8")
        for stage in ("helo", "mail"):
            feed(other, SAYS[stage])
        assert feed(other, SAYS["rcpt"]).startswith(b"451 4.3.0")
        assert rig.results() == {"busy": 1}
        rig.guest.connection_lost(None)
        await asyncio.wait_for(turns_until(lambda: rig.hook.running == 0), 5)
        assert feed(other, SAYS["rcpt"]) == b""
        assert rig.hook.running == 1

    run({"rcpt": hangs}, test, at_most=1)


def test_whoever_hangs_up_cancels_the_question() -> None:
    cancelled = []

    async def function(facts: Facts, address: str) -> None:
        try:
            await hangs()
        except asyncio.CancelledError:
            cancelled.append(address)
            raise

    async def test(rig: Rig) -> None:
        await rig.up_to("rcpt")
        feed(rig.guest, SAYS["rcpt"])
        await asyncio.sleep(0)
        rig.guest.connection_lost(None)
        await asyncio.wait_for(turns_until(lambda: rig.hook.running == 0), 5)
        assert cancelled == ["bob@example.test"]
        assert rig.results() == {}

    run({"rcpt": function}, test)


def test_a_step_that_blocks_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = count(0, 3600.0)

    async def function(facts: Facts, address: str) -> None:
        await asyncio.sleep(0)

    async def test(rig: Rig) -> None:
        await rig.up_to("rcpt")
        monkeypatch.setattr(questions, "monotonic", lambda: next(hours))
        assert (await rig.say(SAYS["rcpt"])).startswith(b"250")
        monkeypatch.undo()
        assert rig.cells[TIMEOUTS.place("blocked")] == 2
        assert rig.results() == {"accept": 1}
        (_, where, error), *_ = rig.world.report.named("fault")
        assert where == "hook x"
        assert "held up the event loop for 3600000 ms" in str(error)
        assert f"{__file__}:" in str(error)

    run({"rcpt": function}, test)


def test_the_same_trouble_is_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]

    async def test(rig: Rig) -> None:
        monkeypatch.setattr(questions, "monotonic", lambda: now[0])
        await rig.up_to("rcpt")
        for _ in range(5):
            await rig.say(SAYS["rcpt"])
        assert len(rig.world.report.named("fault")) == 1
        now[0] += 61
        await rig.say(SAYS["rcpt"])
        assert rig.world.report.named("fault")[1][1] == "hook x (4 more since)"
        assert rig.results() == {"error": 6}

    run({"rcpt": raises}, test)


# the message

HEADER = b"Subject: x\r\nFrom: a@client.test\r\n\r\n"
BODIES = {
    "small": HEADER + b"..hello\r\n",
    "large": HEADER + b"..line\r\n" * 9000,
}


def sent(message: bytes, way: str) -> list[bytes]:
    """The message as DATA, or as BDAT in one or several chunks."""
    if way == "data":
        return [b"DATA\r\n", message.replace(b"\r\n..", b"\r\n...") + b".\r\n"]
    size = 9000 if way == "chunks" else len(message)
    chunks = [message[at : at + size] for at in range(0, len(message), size)]
    return [
        b"BDAT %d%s\r\n%s" % (len(c), b" LAST" if n == len(chunks) - 1 else b"", c)
        for n, c in enumerate(chunks)
    ]


@pytest.mark.parametrize("make", ["async", "plain"])
@pytest.mark.parametrize("way", ["data", "bdat", "chunks"])
@pytest.mark.parametrize("size", BODIES)
def test_the_view_has_the_octets_that_are_stored(
    size: str, way: str, make: str
) -> None:
    seen: list[tuple[bytes, bytes, int, str]] = []

    def look(facts: Facts, body: Body) -> Accept:
        pieces = b"".join(body.pieces(1000))
        seen.append((pieces, body.header(), body.size, body.fields()["Subject"]))
        return Accept([("X-Seen", facts.queue_id)])

    async def look_async(facts: Facts, body: Body) -> Accept:
        return look(facts, body)

    async def test(world: World) -> None:
        world.terms = replace(world.terms, offers=Offers(chunking=True))
        rig = Rig(world, {"message": look_async if make == "async" else look})
        await rig.up_to("data")
        said = b""
        for piece in sent(BODIES[size], way):
            for at in range(0, len(piece), 8000):
                said = await rig.say(piece[at : at + 8000]) or said
        assert said.startswith(b"250 2.0.0 Ok")
        assert seen == [(BODIES[size], HEADER, len(BODIES[size]), "x")]
        ((_, stored),) = world.store.disk.log
        assert stored.endswith(BODIES[size])
        assert stored.count(b"X-Seen: ") == 1
        rig.hook.close()

    in_loop(test, memory_per_message=16384)


def test_trouble_of_the_store_is_not_the_hook_s() -> None:
    async def broken(self: MemorySpool) -> Any:
        raise StoreUnavailable("the disk is full")

    async def test(world: World) -> None:
        rig = Rig(world, {"message": as_async(None)})
        await rig.up_to("message")
        large = BODIES["large"] + b".\r\n"
        said = b""
        for at in range(0, len(large), 8000):
            said += await rig.say(large[at : at + 8000])
        assert said.startswith(b"452 4.3.1")
        assert rig.results() == {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemorySpool, "reread", broken)
        in_loop(test, memory_per_message=16384)
