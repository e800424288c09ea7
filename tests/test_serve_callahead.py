"""Recipients of relay domains, verified by asking the next hop: its answers, its
silence, what is remembered of both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakeClock, FakeReport, FakeResolver, turns_until

from fastsmtp.cells import fresh
from fastsmtp.errors import Refused
from fastsmtp.facts import Peer
from fastsmtp.net.exchangers import Search
from fastsmtp.policy.options import CallAheadOptions, RelayDomainOptions
from fastsmtp.policy.recipients import Passed, Recipients
from fastsmtp.policy.relaying import Relaying
from fastsmtp.serve import counts
from fastsmtp.serve.callahead import IDLE, PAUSE, Asker, CallAhead

GOOD, BAD = "bob@ask.test", "eve@ask.test"
ANSWERS = {
    f"RCPT TO:<{GOOD}>": "250 2.1.5 ok",
    f"RCPT TO:<{BAD}>": "550 5.1.1 nobody",
    "RCPT TO:<busy@ask.test>": "451 4.2.0 later",
    "RCPT TO:<policy@ask.test>": "550 5.7.1 we do not like you",
    "RCPT TO:<full@ask.test>": "552 5.2.2 full",
}


class BackEnd:
    """A server on a Unix socket that says what `answers` has, 250 else.

    heard  every line, of all connections
    mute   says nothing
    """

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.greeting = "220 back"
        self.heard: list[str] = []
        self.connections = 0
        self.mute = False
        self.open: set[asyncio.StreamWriter] = set()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.open.add(writer)
        with contextlib.suppress(OSError):
            await self._talk(reader, writer)
        self.open.discard(writer)
        writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(f"{self.greeting}\r\n".encode())
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.heard.append(line)
            if not self.mute:
                said = self.answers.get(line, "250 2.0.0 ok")
                writer.write(f"{said}\r\n".encode())

    def hang_up(self) -> None:
        for writer in tuple(self.open):
            writer.close()

    def asked(self) -> int:
        return sum(line.startswith("RCPT") for line in self.heard)


class World:
    def __init__(self, path: Path, options: dict[str, Any], **domain: Any) -> None:
        self.back = BackEnd()
        self.path = path
        self.clock = FakeClock()
        relayed = {
            "ask.test": RelayDomainOptions(
                **{"next_hop": f"lmtp://{path}", "call_ahead": True, **domain}
            )
        }
        recipients = Recipients({}, lambda name: False, passed=PASSED)
        ways = SimpleNamespace(
            resolve=recipients.resolve,
            relaying=Relaying((), relayed),
            relay_domains=relayed,
        )
        self.report, self.cells = FakeReport(), fresh(counts.CELLS)
        report: Any = self.report
        asker = Asker("mx.test", self.cells, report)
        self.ahead = CallAhead(
            *(CallAheadOptions(**options), asker, ways, Search(FakeResolver())),
            clock=self.clock,
        )

    def told(self) -> dict[str, int]:
        """What RCPT was told, and how often; and what memory had to say to it."""
        return {
            name: count
            for cells in (counts.CALL_AHEAD, counts.CALL_AHEAD_CACHE)
            for name in cells.labels[0][1]
            if (count := self.cells[cells.place(name)])
        }

    def asked(self) -> int:
        """Questions whose duration was counted."""
        first, size = counts.CALL_AHEAD_SECONDS.first, counts.CALL_AHEAD_SECONDS.size
        return sum(self.cells[first : first + size - 1])

    async def ask(self, address: str) -> Refused | None:
        guest = SimpleNamespace(who=PEER)
        session: Any = SimpleNamespace(login="", id=7, queue_id="ID", peer=guest)
        verdict = self.ahead(session, address)
        return await verdict if isawaitable(verdict) else verdict

    async def code(self, address: str) -> int:
        """As it is answered; 250 when nothing speaks against it."""
        refused = await self.ask(address)
        return 250 if refused is None else refused.code


PEER = Peer(7, "192.0.2.1")
PASSED = {
    "ask.test": Passed(frozenset({"listed"}), ask=True),
    "all.test": Passed(),
}
Test = Callable[[World], Awaitable[None]]


def run(
    path: Path, test: Test, options: dict[str, Any] | None = None, **more: Any
) -> None:
    async def whole() -> None:
        world = World(path / "back.sock", options or {}, **more)
        server = await asyncio.start_unix_server(world.back.serve, world.path)
        async with server:
            await asyncio.wait_for(test(world), 30)
            world.ahead.close()
            world.back.hang_up()

    asyncio.run(whole())


def test_what_the_next_hop_says_is_said_and_remembered(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        for _ in range(3):
            assert await world.code(GOOD) == 250
            assert await world.code(BAD) == 550
            assert await world.code(BAD.upper()) == 550
        assert world.back.heard == [
            *("LHLO mx.test", "MAIL FROM:<>", f"RCPT TO:<{GOOD}>", "RSET"),
            *("MAIL FROM:<>", f"RCPT TO:<{BAD}>", "RSET"),
        ]
        assert world.back.connections == 1

    run(tmp_path, test)


def test_questions_and_refusals_are_logged_and_counted(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        for name in (GOOD, BAD, BAD, "busy@ask.test", "listed@ask.test"):
            await world.code(name)
        lines = [line for _, line in world.report.named("recipient_asked")]
        assert {(a.id, a.session, a.client) for a in lines} == {("ID", *PEER[:2])}
        assert [(a.recipient, a.exists, a.reply) for a in lines] == [
            (GOOD, "yes", "250 2.1.5 ok"),
            (BAD, "no", "550 5.1.1 nobody"),
            ("busy@ask.test", "unsaid", "451 4.2.0 later"),
        ]
        assert all(str(world.path) in a.hop for a in lines)
        assert all(0 <= a.microseconds < 5_000_000 for a in lines)
        refused = world.report.named("recipient_refused")
        assert [line[1:4] for line in refused] == [(PEER, "ID", BAD)] * 2
        assert world.told() == {"accept": 1, "reject": 2, "error": 1} | {
            "hit": 1,
            "miss": 3,
        }
        assert world.asked() == 3
        seen = counts.CALL_AHEAD_SEEN
        assert set(world.cells[seen.first : seen.end : 3]) == {0, 7}

    run(tmp_path, test)


def test_a_next_hop_that_is_silent_is_told_of_once(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.back.mute = True
        names = [f"n{n}@ask.test" for n in range(9)]
        await asyncio.gather(*(world.ask(name) for name in names))
        await world.ask("later@ask.test")
        (line,) = world.report.named("cannot_ask")
        assert line[2] == "no answer in 0.1 s"
        assert world.told() == {"defer": 10, "miss": 10}
        assert world.asked() == 9
        assert len(world.report.named("recipient_refused")) == 10

    run(tmp_path, test, {"timeout": 0.1}, when_silent="defer")


def test_who_is_listed_or_not_in_such_a_domain_is_not_asked_about(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        for address in ("listed@ask.test", "x@all.test", "x@far.test"):
            assert await world.code(address) == 250
        assert world.back.connections == 0

    run(tmp_path, test)


@pytest.mark.parametrize(("when", "code"), [("accept", 250), ("defer", 451)])
@pytest.mark.parametrize("name", ["busy", "policy", "full", "b\u00fcro"])
def test_what_says_nothing_of_the_recipient_is_no_answer(
    tmp_path: Path, name: str, when: str, code: int
) -> None:
    async def test(world: World) -> None:
        assert await world.code(f"{name}@ask.test") == code
        assert await world.code(GOOD) == 250
        assert await world.code(BAD) == 550
        assert world.back.connections == 1

    run(tmp_path, test, when_silent=when)


@pytest.mark.parametrize(
    ("greeting", "answers"),
    [
        ("554 5.7.1 no", {}),
        ("421 busy", {}),
        ("hello", {}),
        ("220-" + "x" * 10_000, {}),
        ("\r\n".join(["220-more"] * 200), {}),
        ("220 ok", {"LHLO mx.test": "500 what"}),
        ("220 ok", {"MAIL FROM:<>": "550 5.1.8 no null sender"}),
        ("220 ok", {f"RCPT TO:<{BAD}>": "55x"}),
        ("220 ok", {f"RCPT TO:<{BAD}>": "5501 5.1.1 what"}),
        ("220 ok", {f"RCPT TO:<{BAD}>": "150 5.1.1 what"}),
        ("220 ok", {"RSET": ""}),
    ],
)
def test_a_next_hop_that_is_no_use_refuses_nobody(
    tmp_path: Path, greeting: str, answers: dict[str, str]
) -> None:
    async def test(world: World) -> None:
        world.back.greeting = greeting
        world.back.answers |= answers
        assert await world.code(BAD) == 451
        connections = world.back.connections
        assert await world.code("other@ask.test") == 451  # left alone for a while
        assert world.back.connections == connections
        world.back.greeting, world.back.answers = "220 ok", dict(ANSWERS)
        world.clock.advance(PAUSE + 0.1)
        assert await world.code(BAD) == 550

    run(tmp_path, test, {"timeout": 5.0}, when_silent="defer")


def test_silence_is_waited_for_in_bounds(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.back.mute = True
        assert await world.code(BAD) == 451

    run(tmp_path, test, {"timeout": 0.1}, when_silent="defer")


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await world.code(GOOD) == 451

    where = f"lmtp://{tmp_path}/nowhere"
    run(tmp_path, test, next_hop=where, when_silent="defer")


def test_an_old_answer_counts_while_there_is_no_new_one(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await world.code(GOOD) == 250
        assert await world.code(BAD) == 550
        world.clock.advance(101)  # the bad one is forgotten sooner
        world.back.answers = {"MAIL FROM:<>": "451 later"}
        assert await world.code(BAD) == 451
        world.clock.advance(1000)
        assert await world.code(GOOD) == 250
        world.back.answers = {f"RCPT TO:<{GOOD}>": "550 5.1.1 left"}
        world.clock.advance(PAUSE + 0.1)
        assert await world.code(GOOD) == 550

    options = {"remember_good": 1000.0, "remember_bad": 100.0}
    run(tmp_path, test, options, when_silent="defer")


def test_a_connection_that_was_closed_is_replaced(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await world.code(GOOD) == 250
        world.back.hang_up()
        assert await world.code(BAD) == 550
        assert world.back.connections == 2
        world.clock.advance(IDLE + 1)
        assert await world.code("new@ask.test") == 250
        assert world.back.connections == 3

    run(tmp_path, test)


def test_a_next_hop_that_has_said_goodbye_is_called_again(tmp_path: Path) -> None:
    """421 stands before the end of an idle connection; it answers no question."""

    async def test(world: World) -> None:
        assert await world.code(GOOD) == 250
        for writer in tuple(world.back.open):
            writer.write(b"421 4.4.2 idle too long\r\n")
            await writer.drain()
        assert await world.code(BAD) == 550
        assert world.back.connections == 2
        assert world.report.named("cannot_ask") == []

    run(tmp_path, test)


def test_the_same_question_is_asked_once_and_an_asker_may_leave(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        world.back.mute = True
        askers = [asyncio.ensure_future(world.ask(BAD)) for _ in range(5)]
        await turns_until(lambda: bool(world.back.heard))
        askers[0].cancel()
        world.back.mute = False
        for writer in world.back.open:
            writer.write(b"250 ok\r\n")
        refused = await asyncio.gather(*askers[1:])
        assert {r.code for r in refused if r is not None} == {550}
        assert world.back.asked() == 1

    run(tmp_path, test)


def test_questions_and_connections_are_bounded(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.back.mute = True
        names = [f"n{n}@ask.test" for n in range(9)]
        askers = [asyncio.ensure_future(world.ask(name)) for name in names]
        await turns_until(lambda: world.back.connections == 2)
        assert await world.code("more@ask.test") == 451  # nine wait already
        world.back.mute = False
        for writer in world.back.open:
            writer.write(b"250 ok\r\n")
        assert await asyncio.gather(*askers) == [None] * 9
        assert world.back.connections == 2

    run(tmp_path, test, {"connections": 2, "waiting": 9}, when_silent="defer")


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        for n in range(150):
            assert await world.code(f"n{n}@ask.test") == 250
        assert len(world.ahead._known) == 100
        assert await world.code("n149@ask.test") == 250
        assert world.back.asked() == 150

    run(tmp_path, test, {"cache": 100})


def test_an_address_is_not_said_in_clear_where_tls_is_demanded(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        assert await world.code(GOOD) == 451
        assert world.back.connections == 0

    hop = {"next_hop": "smtp://192.0.2.1", "tls": "encrypt"}
    run(tmp_path, test, when_silent="defer", **hop)
