"""A fair share when the server runs short: one network, however greedy, leaves room."""

from typing import Any

from fakes import FakeTransport
from test_serve_smtpd import World, feed, in_loop

from fastsmtp.policy.options import PolicyOptions
from fastsmtp.smtp import counts

HELLO = b"EHLO client.test\r\n"
MAIL = b"MAIL FROM:<a@client.test>\r\n"
SHARE = b"421 4.3.2 Busy, and your network has its share of connections\r\n"
GREEDY, MODEST = "192.0.2.1", "198.51.100.1"


def open_all(world: World, address: str, tries: int) -> list[tuple[Any, FakeTransport]]:
    """Those that were let in; each other one hears why."""
    inside = []
    for _ in range(tries):
        guest, transport = world.connect(address)
        said = transport.take()
        if said.startswith(b"220 "):
            inside.append((guest, transport))
        else:
            assert said == SHARE
            assert transport.closed
    return inside


def overloads(world: World) -> int:
    return world.count(counts.CONNECTIONS, "ipv4", "overload")


def test_one_network_takes_all_it_can_and_others_still_get_in() -> None:
    async def test(world: World) -> None:
        assert len(open_all(world, GREEDY, 200)) == 80
        assert overloads(world) == 120
        assert world.count(counts.REJECTS, "connect", "overload", "4") == 120
        for n in range(10):
            assert len(open_all(world, f"198.51.100.{n}", 1)) == 1
        assert not open_all(world, GREEDY, 1)

    in_loop(test, max_connections=100, max_connections_per_network=1000)


def test_several_greedy_networks_leave_room_for_one_more() -> None:
    async def test(world: World) -> None:
        free = 1000
        for n in range(1, 7):
            open_all(world, f"192.0.2.{n}", 900)
            left = 1000 - world.server.connections
            assert left >= 200 if n == 1 else left >= free // 2 - 1
            free = left - len(open_all(world, f"198.51.100.{n}", 1))
            assert free == left - 1
        assert world.count(counts.CONNECTIONS, "ipv4", "limit") == 0

    in_loop(test, max_connections=1000, max_connections_per_network=1000)


def test_below_the_mark_nobody_is_asked() -> None:
    async def test(world: World) -> None:
        assert len(open_all(world, GREEDY, 79)) == 79
        assert overloads(world) == 0

    in_loop(test, max_connections=100, max_connections_per_network=1000)


def test_it_can_be_switched_off() -> None:
    async def test(world: World) -> None:
        assert len(open_all(world, GREEDY, 100)) == 100

    off = PolicyOptions(fair_share_above=100)
    in_loop(test, policy=off, max_connections=100, max_connections_per_network=1000)


def test_idle_connections_above_the_share_are_given_up() -> None:
    async def test(world: World) -> None:
        greedy = open_all(world, GREEDY, 80)
        modest = open_all(world, MODEST, 5)
        world.pass_time(8)
        for guest, _ in greedy[:10]:
            feed(guest, HELLO)
            feed(guest, MAIL)  # under way
        for guest, transport in greedy[10:20]:
            feed(guest, HELLO)  # said something just now
            transport.take()
        world.pass_time(3)
        given_up = [t for _, t in greedy if t.closed]
        assert len(given_up) == 80 - 100 // 3
        assert {t.written for t in given_up} == {SHARE}
        assert not any(t.closed for _, t in greedy[:20] + modest)

    in_loop(test, max_connections=100, max_connections_per_network=1000)


def test_nobody_is_sent_away_for_idling_while_there_is_room() -> None:
    async def test(world: World) -> None:
        guests = open_all(world, GREEDY, 79)
        world.pass_time(100)
        assert not any(t.closed for _, t in guests)

    in_loop(test, max_connections=100, max_connections_per_network=1000)


def test_while_the_store_is_behind_the_greedy_wait() -> None:
    async def test(world: World) -> None:
        greedy = open_all(world, GREEDY, 20)
        (modest, _), *_ = open_all(world, MODEST, 2)
        for guest, _ in (*greedy, (modest, None)):
            feed(guest, HELLO)
        world.behind = 0.6
        world.pass_time(2)
        assert feed(greedy[0][0], MAIL) == (
            b"451 4.3.2 Busy, and your network has its share; try again later\r\n"
        )
        assert feed(modest, MAIL).startswith(b"250 ")
        assert not open_all(world, GREEDY, 1)
        assert open_all(world, MODEST, 1)
        assert open_all(world, "203.0.113.1", 1)
        assert world.count(counts.REJECTS, "mail", "overload", "4") == 1
        world.behind = 0.4
        world.pass_time(2)
        assert feed(greedy[0][0], MAIL).startswith(b"250 ")
        assert open_all(world, GREEDY, 1)

    in_loop(test)


def test_a_network_alone_is_never_refused_because_the_store_is_behind() -> None:
    """A load test has one client network."""

    async def test(world: World) -> None:
        world.behind = 0.9
        world.pass_time(2)
        for guest, _ in open_all(world, GREEDY, 30):
            feed(guest, HELLO)
            assert feed(guest, MAIL).startswith(b"250 ")
        assert overloads(world) == 0

    in_loop(test)


def test_few_connections_are_nobodys_fault() -> None:
    async def test(world: World) -> None:
        for n in range(8):
            open_all(world, f"198.51.100.{n}", 1)
        world.behind = 0.9
        world.pass_time(2)
        assert len(open_all(world, GREEDY, 10)) == 5

    in_loop(test)


def test_a_closed_server_is_not_looked_after() -> None:
    async def test(world: World) -> None:
        world.server.close()
        asked = []
        world.behind = 0.9
        world.server.crowd.strained = False
        world.pass_time(3)
        assert not asked
        assert not world.server.crowd.strained

    in_loop(test)
