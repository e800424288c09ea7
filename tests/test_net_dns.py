"""What is remembered of the DNS, for how long; and c-ares against a real server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import FakeClock, turns_until
from nameserver import FAILURE, a, aaaa, mx, ptr, serving, txt

from fastsmtp.cells import fresh
from fastsmtp.errors import DnsTrouble, NoData, NoRecord, NoSuchName
from fastsmtp.net import ares, counts
from fastsmtp.net.dns import FAILED, LONGEST, WITHOUT, Resolver
from fastsmtp.net.options import DnsOptions


class Script:
    """A channel that says what the test puts there, with a TTL of 300 s."""

    def __init__(self) -> None:
        self.says: Any = ("192.0.2.1",)
        self.ttl = 300.0
        self.asked: list[tuple[str, str]] = []
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def query(self, kind: str, name: str) -> tuple[tuple[Any, ...], float]:
        self.asked.append((kind, name))
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says, self.ttl

    async def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, **options: Any) -> None:
        self.channel = Script()
        self.clock = FakeClock()
        self.cells = fresh(counts.DNS_CELLS)
        given = (DnsOptions(**options), self.cells, self.channel, self.clock)
        self.resolver = Resolver(*given)

    async def asks(self, name: str = "a.test", kind: str = "A") -> Any:
        """The answer, an exception as a value."""
        try:
            return await self.resolver.ask(kind, name)
        except (NoRecord, DnsTrouble) as error:
            return error

    def cached(self, result: str) -> int:
        return self.cells[counts.CACHE.place(result)]

    def queries(self, kind: str, result: str) -> int:
        cells = counts.query(kind, result)
        return sum(self.cells[cells.first : cells.first + len(cells.edges) + 1])


def run(test: Callable[[World], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        await test(World(**options))

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("says", "ttl", "kept"),
    [
        (("192.0.2.1",), 300.0, 300.0),
        (("192.0.2.1",), 1e6, LONGEST),
        (("192.0.2.1",), 0.0, 1.0),
        (NoSuchName("no"), 0.0, WITHOUT),
        (NoData("no"), 0.0, WITHOUT),
        (DnsTrouble("no"), 0.0, FAILED),
    ],
)
def test_an_answer_is_remembered_for_its_time(
    says: Any, ttl: float, kept: float
) -> None:
    async def test(world: World) -> None:
        world.channel.says, world.channel.ttl = says, ttl
        for _ in range(2):
            assert repr(await world.asks("A.Test.")) == repr(says)
            world.clock.advance(kept - 0.01)
        assert (
            world.channel.asked == [("A", "a.test"), ("A", "a.test")][: 1 + (kept < 1)]
        )
        await world.asks()
        assert len(world.channel.asked) == 2
        assert [world.cached(r) for r in counts.CACHED] == [1, 1, 1]

    run(test)


def test_what_is_known_can_be_had_at_once() -> None:
    async def test(world: World) -> None:
        assert world.resolver.known("A", "a.test") is None
        await world.asks()
        assert world.resolver.known("A", "a.test.") == ("192.0.2.1",)
        assert world.resolver.known("AAAA", "a.test") is None
        world.clock.advance(300)
        assert world.resolver.known("A", "a.test") is None

    run(test)


def test_each_who_asks_gets_an_exception_of_its_own() -> None:
    async def test(world: World) -> None:
        world.channel.says = NoSuchName("a.test does not exist")
        first, second = await world.asks(), await world.asks()
        assert first is not second
        assert str(second) == "a.test does not exist"
        assert world.queries("A", counts.NO_NAME) == 1

    run(test)


def test_the_same_question_goes_out_once() -> None:
    async def test(world: World) -> None:
        world.channel.gate = asyncio.Event()
        askers = [asyncio.ensure_future(world.asks()) for _ in range(3)]
        await turns_until(lambda: bool(world.channel.asked))
        askers[0].cancel()  # who leaves takes nothing from the others
        await asyncio.sleep(0)
        world.channel.gate.set()
        assert await askers[1] == await askers[2] == ("192.0.2.1",)
        assert len(world.channel.asked) == 1

    run(test)


def test_questions_under_way_are_bounded() -> None:
    async def test(world: World) -> None:
        world.channel.gate = asyncio.Event()
        askers = [asyncio.ensure_future(world.asks(f"{n}.test")) for n in range(10)]
        await turns_until(lambda: len(world.channel.asked) == 10)
        assert isinstance(await world.asks("more.test"), DnsTrouble)
        world.channel.gate.set()
        await asyncio.gather(*askers)
        assert await world.asks("more.test") == ("192.0.2.1",)

    run(test, outstanding=10)


def test_a_server_that_is_silent_is_given_up_in_time() -> None:
    async def test(world: World) -> None:
        world.channel.gate = asyncio.Event()
        assert isinstance(await world.asks(), DnsTrouble)
        assert isinstance(await world.asks(), DnsTrouble)
        assert len(world.channel.asked) == 1
        assert world.queries("A", counts.TROUBLE) == 1

    run(test, timeout=0.01)


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    async def test(world: World) -> None:
        for n in range(100):
            await world.asks(f"{n}.test")
        assert world.resolver.known("A", "0.test") is not None
        await world.asks("new.test")
        assert world.resolver.known("A", "0.test") is None
        assert world.resolver.known("A", "99.test") is not None
        assert world.resolver.known("A", "new.test") is not None
        for n in range(1000):
            await world.asks(f"more{n}.test")
        assert len(world.resolver._known) <= 100

    run(test, cache=100)


def test_what_is_too_old_makes_room_first() -> None:
    async def test(world: World) -> None:
        for n in range(60):
            await world.asks(f"old{n}.test")
        world.clock.advance(301)
        for n in range(41):
            await world.asks(f"{n}.test")
        assert world.resolver.known("A", "0.test") is not None
        assert len(world.resolver._known) == 41

    run(test, cache=100)


def test_closing_ends_who_waits() -> None:
    async def test(world: World) -> None:
        world.channel.gate = asyncio.Event()
        asker = asyncio.ensure_future(world.asks())
        await turns_until(lambda: bool(world.channel.asked))
        await world.resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await asker
        assert world.channel.closed

    run(test)


ZONE = {
    ("A", "a.test"): [a("192.0.2.1"), a("192.0.2.2")],
    ("AAAA", "a.test"): [aaaa("2001:db8::1")],
    ("MX", "a.test"): [mx(20, "Second.a.test"), mx(10, "first.a.test")],
    ("MX", "null.test"): [mx(0, "")],
    ("PTR", "1.2.0.192.in-addr.arpa"): [ptr("Mail.a.test"), ptr("b.test")],
    ("TXT", "a.test"): [txt(b"one ", b"record"), txt(b"\xff\x00")],
    ("A", "empty.test"): [],
    ("A", "broken.test"): FAILURE,
    ("A", "odd.test"): [txt(b"no address")],
    ("PTR", "odd.test"): [ptr("white space.\x01.test")],
}


@pytest.mark.parametrize(
    ("kind", "name", "answer"),
    [
        ("A", "a.test", ("192.0.2.1", "192.0.2.2")),
        ("AAAA", "a.test", ("2001:db8::1",)),
        ("MX", "a.test", ((10, "first.a.test"), (20, "second.a.test"))),
        ("MX", "null.test", ((0, ""),)),
        ("PTR", "1.2.0.192.in-addr.arpa", ("mail.a.test", "b.test")),
        ("TXT", "a.test", (b"one record", b"\xff\x00")),
        ("A", "absent.test", NoSuchName),
        ("A", "empty.test", NoData),
        ("A", "odd.test", NoData),
        ("A", "broken.test", DnsTrouble),
        ("A", "x" * 64 + ".test", NoSuchName),
        ("A", "two..dots", NoSuchName),
        ("A", "nön.test", NoSuchName),
    ],
)
def test_answers_of_a_real_server(kind: str, name: str, answer: Any) -> None:
    async def test() -> None:
        async with serving(ZONE) as server:
            options = DnsOptions(servers=[server.address], timeout=2.0)
            resolver = Resolver(options)
            try:
                if isinstance(answer, tuple):
                    assert await resolver.ask(kind, name) == answer
                else:
                    with pytest.raises(answer):
                        await resolver.ask(kind, name)
            finally:
                await resolver.close()

    asyncio.run(test())


def test_a_name_that_is_no_host_name_is_harmless() -> None:
    async def test() -> None:
        async with serving(ZONE) as server:
            resolver = Resolver(DnsOptions(servers=[server.address], timeout=2.0))
            for said in await resolver.ask("PTR", "odd.test"):
                assert said.isascii()
                assert said.isprintable()
            await resolver.close()

    asyncio.run(test())


def test_a_silent_server_and_one_that_is_not_there() -> None:
    async def test() -> None:
        async with serving(ZONE) as server:
            server.silent = True
            for address in (server.address, "127.0.0.1:1"):
                options = DnsOptions(servers=[address], timeout=0.15)
                resolver = Resolver(options)
                with pytest.raises(DnsTrouble):
                    await resolver.ask("A", "a.test")
                await resolver.close()
            assert server.asked

    asyncio.run(test())


def test_c_ares_is_made_anew_before_it_remembers_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ares, "LIFE", 3)

    async def test() -> None:
        async with serving(ZONE) as server:
            channel = ares.Ares(DnsOptions(servers=[server.address], timeout=2.0))
            for _ in range(7):
                await channel.query("A", "a.test")
            assert len(server.asked) == 3  # c-ares itself remembered the rest
            asking = [channel.query("MX", "a.test") for _ in range(7)]
            assert len({await each for each in asyncio.as_completed(asking)}) == 1
            await channel.close()

    asyncio.run(test())
