"""What clients nobody knows hear: bans, rates, and a greeting that lets them wait."""

import asyncio
from typing import Any

import pytest
from fakes import turns_until
from test_serve_smtpd import World, feed, in_loop

from fastsmtp.errors import Refused
from fastsmtp.policy.options import PolicyOptions
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.networks import grouping, network_of
from fastsmtp.smtp import counts

HELLO = b"EHLO client.test\r\n"
MAIL = b"MAIL FROM:<a@client.test>\r\n"
RCPT = b"RCPT TO:<bob@example.test>\r\n"


def arrivals(world: World) -> dict[str, int]:
    found = {
        result: sum(
            world.count(counts.CONNECTIONS, family, result)
            for family in counts.FAMILIES
        )
        for result in counts.ARRIVALS
    }
    return {result: number for result, number in found.items() if number}


def ready(world: World, address: str = "192.0.2.7") -> Any:
    guest, transport = world.connect(address)
    feed(guest, HELLO)
    transport.take()
    return guest


def test_nothing_is_asked_by_default() -> None:
    async def test(world: World) -> None:
        for _ in range(40):
            guest, transport = world.connect()
            assert transport.take().startswith(b"220 ")
            for _ in range(100):
                feed(guest, HELLO)
                assert feed(guest, MAIL).startswith(b"250 ")
        assert arrivals(world) == {"accepted": 40}
        assert world.server.reception.checks == Checks()

    in_loop(test)


def test_connections_of_a_network_have_a_rate() -> None:
    async def test(world: World) -> None:
        for _ in range(3):
            assert world.connect()[1].take().startswith(b"220 ")
        _, transport = world.connect()
        assert transport.take() == (
            b"421 4.7.0 Too many connections from your network, try again in 20 s\r\n"
        )
        assert transport.closed
        assert world.connect("192.0.2.8")[1].take().startswith(b"220 ")
        assert world.report.named("connection_refused") == [
            ("connection_refused", "192.0.2.7", "rate")
        ]
        world.pass_time(20)
        assert world.connect()[1].take().startswith(b"220 ")
        assert arrivals(world) == {"accepted": 5, "rate": 1}
        assert world.count(counts.REJECTS, "connect", "rate", "4") == 1
        assert world.server.connections == 5

    in_loop(test, policy=PolicyOptions(connections_per_minute=3))


def test_messages_of_a_network_have_a_rate() -> None:
    async def test(world: World) -> None:
        first, second = ready(world), ready(world)
        assert feed(first, MAIL).startswith(b"250 ")
        assert feed(second, MAIL).startswith(b"250 ")
        feed(first, b"RSET\r\n")
        assert feed(first, MAIL) == (
            b"451 4.7.1 Too many messages from your network, try again in 30 s\r\n"
        )
        assert feed(ready(world, "192.0.2.8"), MAIL).startswith(b"250 ")
        world.pass_time(30)
        assert feed(first, MAIL).startswith(b"250 ")
        assert world.count(counts.REJECTS, "mail", "rate", "4") == 1

    in_loop(test, policy=PolicyOptions(messages_per_minute=2))


def test_recipients_of_a_network_have_a_rate() -> None:
    async def test(world: World) -> None:
        guest = ready(world)
        feed(guest, MAIL)
        unknown = b"RCPT TO:<nobody@example.test>\r\n"
        assert feed(guest, RCPT).startswith(b"250 ")
        assert feed(guest, unknown).startswith(b"550 ")
        assert feed(guest, RCPT).startswith(b"250 ")
        assert feed(guest, RCPT).startswith(b"450 4.7.1 Too many recipients")
        assert guest.session.recipients == ["bob@example.test"] * 2
        assert world.count(counts.REJECTS, "rcpt", "rate", "4") == 1

    in_loop(test, policy=PolicyOptions(recipients_per_minute=2))


def test_a_changed_address_is_another_network() -> None:
    """As XCLIENT does it."""

    async def test(world: World) -> None:
        guest = ready(world)
        assert feed(guest, MAIL).startswith(b"250 ")
        feed(guest, b"RSET\r\n")
        assert feed(guest, MAIL).startswith(b"451 ")
        guest.address = "198.51.100.1"
        assert feed(guest, MAIL).startswith(b"250 ")

    in_loop(test, policy=PolicyOptions(messages_per_minute=1))


def test_trusted_networks_have_no_rate() -> None:
    async def test(world: World) -> None:
        for address in ("127.0.0.1", "::1"):
            for _ in range(3):
                guest = ready(world, address)
                feed(guest, MAIL)
                assert feed(guest, RCPT).startswith(b"250 ")
                assert feed(guest, RCPT).startswith(b"250 ")

    one = PolicyOptions(
        connections_per_minute=1,
        messages_per_minute=1,
        recipients_per_minute=1,
        greeting_delay=10,
        banned_networks=["127.0.0.1/32"],
    )
    in_loop(test, policy=one)


def test_users_of_our_own_are_not_strangers() -> None:
    async def test(world: World) -> None:
        for _ in range(3):
            assert world.connect()[1].take().startswith(b"220 ")

    async def as_submission(world: World) -> None:
        from dataclasses import replace

        world.terms = replace(world.terms, listener="submission")
        world.use(Checks())
        await test(world)

    options = PolicyOptions(connections_per_minute=1, greeting_delay=9)
    in_loop(as_submission, policy=options)


def test_who_is_banned_hears_554() -> None:
    async def test(world: World) -> None:
        _, transport = world.connect("198.51.100.9")
        assert transport.take() == b"554 5.7.1 Not welcome here\r\n"
        assert transport.closed
        assert world.connect()[1].take().startswith(b"220 ")
        assert arrivals(world) == {"accepted": 1, "banned": 1}
        assert world.count(counts.REJECTS, "connect", "banned", "5") == 1

    in_loop(test, policy=PolicyOptions(banned_networks=["198.51.100.0/24"]))


DELAYED = PolicyOptions(greeting_delay=60)


def test_who_speaks_before_the_greeting_is_sent_away() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        assert transport.take() == b""
        assert transport.reading
        assert feed(guest, HELLO + MAIL) == (
            b"554 5.5.1 You spoke before you were greeted\r\n"
        )
        assert transport.ended  # and it may still read that
        assert feed(guest, RCPT) == b""
        assert arrivals(world) == {"early_talker": 1}
        assert world.count(counts.REJECTS, "connect", "early_talker", "5") == 1
        assert world.report.named("connection_refused")[0][2] == "early_talker"
        world.pass_time(5)
        assert transport.aborted
        guest.connection_lost(None)
        assert world.server.connections == 0

    in_loop(test, policy=DELAYED)


def test_who_waits_is_greeted() -> None:
    async def test(world: World) -> None:
        guests = [world.connect(f"192.0.2.{n}") for n in range(3)]
        assert arrivals(world) == {}
        await turns_until(lambda: all(t.written for _, t in guests))
        assert arrivals(world) == {"accepted": 3}
        for guest, transport in guests:
            assert transport.take().startswith(b"220 ")
            assert feed(guest, HELLO).startswith(b"250")
        late, transport = world.connect()
        await turns_until(lambda: bool(transport.written))
        assert feed(late, HELLO).startswith(b"250")

    in_loop(test, policy=PolicyOptions(greeting_delay=0.002))


def test_checks_at_connect_are_asked_after_the_wait() -> None:
    no = Refused(554, "5.7.1", "No", "policy_hook")
    asked: list[Any] = []

    def check(guest: Any) -> Refused:
        asked.append(guest)
        return no

    async def test(world: World) -> None:
        world.use(Checks(connect=(check,)))
        _, transport = world.connect()
        assert not asked
        await turns_until(lambda: bool(transport.written))
        assert transport.take() == b"554 5.7.1 No\r\n"
        assert transport.closed
        assert len(asked) == 1
        assert world.count(counts.REJECTS, "connect", "policy_hook", "5") == 1

    in_loop(test, policy=PolicyOptions(greeting_delay=0.001))


@pytest.mark.parametrize("ends", ["leaves", "is drained"])
def test_who_leaves_while_waiting_is_counted_once(ends: str) -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        if ends == "is drained":
            world.server.hold(True)
            assert transport.take().startswith(b"421 4.3.2 ")
        guest.connection_lost(None)
        await asyncio.sleep(0)
        guest.welcome()
        assert transport.written == b""
        assert arrivals(world) == {"accepted": 1}
        assert world.server.connections == 0

    in_loop(test, policy=DELAYED)


def test_a_closed_server_greets_nobody_more() -> None:
    async def test(world: World) -> None:
        _, transport = world.connect()
        world.server.close()
        assert transport.aborted

    in_loop(test, policy=DELAYED)


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "one", "other", "same"),
    [
        (32, 64, "192.0.2.1", "192.0.2.2", False),
        (24, 64, "192.0.2.1", "192.0.2.254", True),
        (24, 64, "192.0.2.1", "192.0.3.1", False),
        (20, 64, "10.1.16.1", "10.1.31.255", True),
        (20, 64, "10.1.16.1", "10.1.32.0", False),
        (32, 64, "2001:db8:1:2::1", "2001:db8:1:2:ffff::", True),
        (32, 48, "2001:db8:1:2::1", "2001:db8:1:3::1", True),
        (32, 56, "2001:db8:1:100::1", "2001:db8:1:200::", False),
        (24, 48, "unix", "unix", True),
    ],
)
def test_what_counts_as_one_network(
    ipv4: int, ipv6: int, one: str, other: str, same: bool
) -> None:
    of = grouping(ipv4, ipv6)
    assert (of(one) == of(other)) == same
    assert of(one)[0] == network_of(one)[0]
