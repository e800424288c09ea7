"""The sending part of a process, with servers that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from test_delivery_conversation import Board, Server, run

from fastsmtp.delivery.jobs import Job, Key, Outcome
from fastsmtp.delivery.pool import EACH
from fastsmtp.delivery.relay import Relay
from fastsmtp.net.exchangers import CannotFind, Exchangers, Host
from fastsmtp.policy.options import DestinationOptions
from fastsmtp.policy.relaying import NextHop, Relaying
from fastsmtp.queue.message import Envelope, Recipient
from fastsmtp.smtp.options import Level
from fastsmtp.store.memory import MemoryBlob

BODY = b"Return-Path: <s@x.test>\r\nSubject: x\r\n\r\nhello\r\n"
SKIP = BODY.index(b"Subject")


class Names:
    """A search that knows where the servers of a test are.

    hosts  by next hop: host names in order; each name's server has its port here
    """

    def __init__(self) -> None:
        self.hosts: dict[str, list[Host]] = {}
        self.wrong: dict[str, CannotFind] = {}
        self.asked: list[str] = []

    async def find(self, name: str, *, mx: bool = True, port: int = 25) -> Exchangers:
        self.asked.append(name)
        await asyncio.sleep(0)
        if name in self.wrong:
            raise self.wrong[name]
        hosts = tuple(self.hosts[name])
        return Exchangers(hosts, " ".join(host.name for host in hosts))


class Rig:
    """A relay, what came of its jobs, and the names it knows."""

    def __init__(self, limits: DestinationOptions) -> None:
        self.names = Names()
        self.outcomes: list[Outcome] = []
        self.back: list[Job] = []
        self.bodies = dict.fromkeys(range(1000), BODY)
        self.acknowledge = True
        self.board = Board()
        self.relay = Relay(
            *(self.board, self.names),  # type: ignore[arg-type]
            lambda: Relaying(destinations={"*": limits}),
            *(self, self),
        )
        self._came = asyncio.Event()

    def open(self, id: int) -> MemoryBlob:
        return MemoryBlob(self.bodies[id])

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._came.set()
        if self.acknowledge:
            key = Key(outcome.id, outcome.destination)
            asyncio.get_running_loop().call_soon(self.relay.recorded, key)

    def returned(self, job: Job) -> None:
        self.back.append(job)
        self._came.set()

    def know(self, name: str, *servers: Server) -> None:
        self.names.hosts[name] = [
            Host(f"mx{n}.{name}", ("127.0.0.1",)) for n, _ in enumerate(servers)
        ]

    def give(
        self, id: int, name: str, port: int, *to: str, tls: Level = "none"
    ) -> None:
        hop = NextHop("smtp", name, port, True, tls, key=f"smtp:{name}")
        recipients = tuple(Recipient(address) for address in to or (f"u@{name}",))
        envelope = Envelope("s@x.test", recipients, 0, SKIP)
        self.relay.give(Job(id, name, hop, envelope, len(BODY)))

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._came.clear()
            await self._came.wait()

    async def came(self, outcomes: int) -> None:
        await self.until(lambda: len(self.outcomes) == outcomes)

    def said(self, id: int) -> list[tuple[str, int, str]]:
        (outcome,) = [one for one in self.outcomes if one.id == id]
        return [(address, a.code, a.stage) for address, a in outcome.answers]


@contextlib.asynccontextmanager
async def rig(**limits: Any) -> AsyncIterator[Rig]:
    made = Rig(DestinationOptions(**limits))
    made.relay.open()
    try:
        yield made
    finally:
        await made.relay.close(0.2)


def test_messages_share_a_few_connections() -> None:
    async def story() -> None:
        async with Server("PIPELINING") as server, rig(connections=3) as one:
            one.know("a.test", server)
            for id in range(40):
                one.give(id, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 40)
            assert len(server.bodies) == 40
            assert set(server.bodies) == {BODY[SKIP:]}
            assert 1 <= server.heard.count("EHLO client.test") <= 3
            assert all(o.reached and o.hop == "smtp:a.test" for o in one.outcomes)
            assert one.said(7) == [("u@a.test", 250, "body")]
            assert one.names.asked == ["a.test"]

    run(story)


def test_a_few_messages_are_worth_few_connections() -> None:
    """One costs as much as some messages; where nothing is answered from one sweep to
    the next, each message gets one."""

    async def story() -> None:
        async with Server("PIPELINING") as server, rig(connections=9) as one:
            one.know("a.test", server)
            for id in range(2 * EACH):
                one.give(id, "a.test", server.port)
            await one.came(2 * EACH)
            assert server.heard.count("EHLO client.test") <= 2
            server.say["."] = None
            for id in range(100, 104):
                one.give(id, "a.test", server.port)
            while not server.mute:  # noqa: ASYNC110
                await asyncio.sleep(0)
            before = server.heard.count("EHLO client.test")
            server.mute = False
            for _ in range(2):
                one.relay.sweep(time.monotonic())
            while server.heard.count("EHLO client.test") == before:  # noqa: ASYNC110
                await asyncio.sleep(0)

    run(story)


def test_who_has_not_answered_gets_one_connection() -> None:
    async def story() -> None:
        async with Server(**{"": None}) as silent, rig(connections=9) as one:
            one.know("a.test", silent)
            for id in range(50):
                one.give(id, "a.test", silent.port)
            while not silent.mute:  # noqa: ASYNC110
                await asyncio.sleep(0)
            for _ in range(3):
                one.relay.sweep(time.monotonic())
                await asyncio.sleep(0)
            (pool,) = one.relay.pools.values()
            assert pool.connecting == 1

    run(story)


def test_a_connection_carries_only_so_many() -> None:
    async def story() -> None:
        async with Server() as server, rig(connections=1, reuse=4) as one:
            one.know("a.test", server)
            for id in range(10):
                one.give(id, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 10)
            assert server.heard.count("EHLO client.test") == 3
            assert server.heard.count("QUIT") >= 2

    run(story)


def test_a_next_hop_is_used_again_after_a_pause() -> None:
    """Its connections were closed meanwhile, and it was forgotten."""

    async def story() -> None:
        async with Server() as server, rig(connections=2) as one:
            one.know("a.test", server)
            for turn in range(3):
                for id in range(10 * turn, 10 * turn + 10):
                    one.give(id, "a.test", server.port)
                await one.came(10 * turn + 10)
                while one.relay.pools:
                    one.relay.sweep(time.monotonic() + 10)
                    await asyncio.sleep(0)
            assert len(server.bodies) == 30
            assert one.names.asked == ["a.test"] * 3
            assert not one.relay.unrecorded

    run(story)


def test_no_more_is_under_way_than_there_are_connections() -> None:
    """Whatever dies then, no more than that can arrive twice."""

    async def story() -> None:
        async with Server("PIPELINING") as server, rig(connections=2) as one:
            one.know("a.test", server)
            one.acknowledge = False
            for id in range(20):
                one.give(id, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) >= 2)
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(server.bodies) == len(one.outcomes) == 2
            one.relay.recorded(Key(one.outcomes[0].id, "a.test"))
            await one.until(lambda: len(one.outcomes) == 3)
            assert len(server.bodies) == 3

    run(story)


def test_the_next_envelope_is_there_before_its_body_may_be() -> None:
    async def story() -> None:
        async with Server("PIPELINING") as server, rig(connections=1) as one:
            one.know("a.test", server)
            one.acknowledge = False
            for id in range(3):
                one.give(id, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 1)
            while server.heard.count("DATA") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
            for id in (1, 2):
                assert len(server.bodies) == len(one.outcomes) == id
                one.relay.recorded(Key(id - 1, "a.test"))
                await one.came(id + 1)
            assert server.heard.count("EHLO client.test") == 1

    run(story)


def test_who_hangs_up_behind_each_message_gets_them_all() -> None:
    """What was given ahead had no try, and no more is given ahead."""

    async def story() -> None:
        goodbye = {".": "250 mine\r\n421 one is enough"}
        offered = Server("PIPELINING", **goodbye)
        async with offered as server, rig(connections=2) as one:
            one.know("a.test", server)
            for id in range(20):
                one.give(id, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 20)
            assert len(server.bodies) == 20
            assert all(outcome.answers[0][1].code == 250 for outcome in one.outcomes)

    run(story)


def test_what_cannot_be_given_ahead_holds_up_nothing() -> None:
    async def story() -> None:
        async with Server("PIPELINING") as server, rig(connections=1) as one:
            one.know("a.test", server)
            for id in range(9):
                to = "u@a.test" if id % 2 else "not an address"
                one.give(id, "a.test", server.port, to)
            await one.until(lambda: len(one.outcomes) == 9)
            assert [one.said(id)[0][1] for id in range(3)] == [553, 250, 553]
            assert len(server.bodies) == 4

    run(story)


REPLIES = {
    "421": (421, False),
    "451": (451, False),
    "550": (550, True),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("verb", ["", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_what_a_next_hop_says_comes_back(verb: str, reply: str) -> None:
    code, permanent = REPLIES[reply]
    stage = {"": "greeting", "EHLO": "ehlo", ".": "body"}.get(verb, verb.lower())

    async def story() -> None:
        says = {verb: f"{reply} 4.0.0 no" if code < 500 else f"{reply} 5.0.0 no"}
        if verb == "EHLO":
            says["HELO"] = says["EHLO"]
        if verb in ("MAIL", "RCPT"):
            says["DATA"] = "503 5.5.1 no valid recipients"
        async with Server("PIPELINING", **says) as server, rig() as one:
            one.know("a.test", server)
            one.give(1, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 1)
            ((_, answer),) = one.outcomes[0].answers
            assert (answer.code, answer.permanent) == (code, permanent)
            assert answer.stage == stage
            assert one.outcomes[0].reached == (verb not in ("", "EHLO"))
            assert server.bodies == [] or verb == "."

    run(story)


def test_another_host_is_tried() -> None:
    async def story() -> None:
        async with (
            Server(**{"": "554 not here"}) as bad,
            Server() as good,
            rig() as one,
        ):
            one.names.hosts["a.test"] = [
                Host("bad.test", ("127.0.0.2",)),  # nobody listens there
                Host("good.test", ("127.0.0.1",)),
            ]
            for id in range(3):
                one.give(id, "a.test", good.port)
            await one.until(lambda: len(one.outcomes) == 3)
            assert {o.host for o in one.outcomes} == {"good.test [127.0.0.1]"}
            assert bad.heard == []

    run(story)


def test_a_dead_next_hop_answers_for_all_that_wait() -> None:
    async def story() -> None:
        async with Server() as server, rig() as one:
            one.names.hosts["dead.test"] = [Host("dead.test", ("127.0.0.2",))]
            one.know("good.test", server)
            for id in range(10):
                one.give(id, "dead.test", server.port)
                one.give(id + 100, "good.test", server.port)
            await one.until(lambda: len(one.outcomes) == 20)
            dead = [o for o in one.outcomes if o.destination == "dead.test"]
            assert {(o.reached, o.answers[0][1].code) for o in dead} == {(False, 0)}
            assert len(server.bodies) == 10

    run(story)


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("454 4.7.0 not now", "454 4.7.0 not now"),
        ("530 5.7.1 not you", "4.7.1 not you (530)"),
        ("554 no", "4.7.0 no (554)"),
    ],
)
def test_what_is_said_to_us_is_not_for_ever_and_is_kept_once(
    reply: str, kept: str
) -> None:
    """As `queue list` shows it: no status beside another."""

    async def story() -> None:
        async with Server("STARTTLS", STARTTLS=reply) as server, rig() as one:
            one.know("a.test", server)
            one.give(1, "a.test", server.port, tls="encrypt")
            await one.until(lambda: len(one.outcomes) == 1)
            ((_, answer),) = one.outcomes[0].answers
            assert str(answer) == kept
            assert not answer.permanent

    run(story)


def test_a_silent_next_hop_slows_nobody() -> None:
    async def story() -> None:
        silent = Server(**{"": None})
        async with silent, Server() as server, rig() as one:
            one.know("silent.test", silent)
            one.know("good.test", server)
            for id in range(10):
                one.give(id, "silent.test", silent.port)
            for id in range(100, 120):
                one.give(id, "good.test", server.port)
            await one.until(lambda: len(one.outcomes) == 20)
            assert {o.destination for o in one.outcomes} == {"good.test"}

    run(story)


@pytest.mark.parametrize(("code", "permanent"), [(550, True), (451, False)])
def test_what_the_dns_says_comes_back(code: int, permanent: bool) -> None:
    async def story() -> None:
        async with rig() as one:
            one.names.wrong["a.test"] = CannotFind(code, "4.4.3", "no such thing")
            one.give(1, "a.test", 25)
            await one.until(lambda: len(one.outcomes) == 1)
            ((_, answer),) = one.outcomes[0].answers
            assert (answer.code, answer.permanent) == (code, permanent)
            assert not one.outcomes[0].reached

    run(story)


def test_a_connection_that_breaks_before_the_envelope_is_no_attempt() -> None:
    async def story() -> None:
        async with Server() as server, rig(connections=1) as one:
            one.know("a.test", server)
            one.give(1, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 1)
            server.say["MAIL"] = None  # silence, then the end
            one.give(2, "a.test", server.port)
            while not server.mute:  # noqa: ASYNC110
                await asyncio.sleep(0)
            server.say["MAIL"], server.mute = "250 ok", False
            server.hang_up()
            await one.until(lambda: len(one.outcomes) == 2)
            assert one.said(2) == [("u@a.test", 250, "body")]

    run(story)


def test_a_message_that_is_gone_is_no_trouble() -> None:
    async def story() -> None:
        async with Server() as server, rig() as one:
            one.know("a.test", server)
            del one.bodies[5]
            one.give(5, "a.test", server.port)
            one.give(6, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 2)
            assert one.said(5) == [("u@a.test", 0, "mail")]
            assert one.said(6) == [("u@a.test", 250, "body")]
            assert one.board.troubles == []

    run(story)


def test_the_same_job_is_taken_once() -> None:
    async def story() -> None:
        async with Server() as server, rig() as one:
            one.know("a.test", server)
            one.give(1, "a.test", server.port)
            one.give(1, "a.test", server.port)
            one.give(2, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 2)
            assert len(server.bodies) == 2

    run(story)


def test_who_closes_finishes_and_gives_the_rest_back() -> None:
    async def story() -> None:
        async with Server() as server, rig(connections=1) as one:
            one.know("a.test", server)
            one.acknowledge = False
            for id in range(5):
                one.give(id, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 1)
            await one.relay.close(5)
            assert len(one.outcomes) == 1
            assert sorted(job.id for job in one.back) == [1, 2, 3, 4]
            one.give(9, "a.test", server.port)
            assert one.back[-1].id == 9

    run(story)


@pytest.mark.parametrize("verb", ["", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_who_closes_does_not_wait_for_who_is_silent(verb: str) -> None:
    """All of it is due as before: nothing counts as tried, and nothing is told twice,
    although connections break after that."""

    async def story() -> None:
        async with Server("PIPELINING", **{verb: None}) as server, rig() as one:
            one.know("a.test", server)
            for id in range(9):
                one.give(id, "a.test", server.port)
            while not server.mute:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await one.relay.close(0.01)
            assert sorted(job.id for job in one.back) == [*range(9)]
            for _ in range(50):
                await asyncio.sleep(0)
            await one.relay.close(0.01)
            assert one.outcomes == []
            assert len(one.back) == 9
            assert not one.relay.active

    run(story)


def test_a_rate_is_kept() -> None:
    async def story() -> None:
        async with Server() as server, rig(rate=1) as one:
            one.know("a.test", server)
            one.give(1, "a.test", server.port)
            one.give(2, "a.test", server.port)
            await one.until(lambda: len(one.outcomes) == 1)
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(server.bodies) == 1

    run(story)
