"""Names and lists in a dialogue: who waits, how long, and what is said at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeResolver, turns_until
from test_serve_smtpd import World, feed, in_loop

from fastsmtp.cells import fresh
from fastsmtp.errors import DnsTrouble
from fastsmtp.policy.options import ListOptions, PolicyOptions
from fastsmtp.serve import counts
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.standing import Dns
from fastsmtp.smtp import counts as smtp

BAD, GOOD = "bad.example.net", "good.example.net"
LISTED = ("A", f"7.2.0.192.{BAD}")
WHY = ("TXT", f"7.2.0.192.{BAD}")
PRAISED = ("A", f"7.2.0.192.{GOOD}")
LISTS = {BAD: ListOptions(score=5), GOOD: ListOptions(score=-3)}
POLICY = PolicyOptions(dnsbl_reject=5, dnsbl_defer=2)
RCPT = b"RCPT TO:<bob@example.test>\r\n"
POSTMASTER = b"RCPT TO:<Postmaster@example.test>\r\n"


def opens(guest: Any) -> None:
    feed(guest, b"EHLO client.test\r\n")
    assert feed(guest, b"MAIL FROM:<a@client.test>\r\n").startswith(b"250 ")


class Town:
    """A world whose clients are looked up."""

    def __init__(self, world: World, answers: dict[tuple[str, str], Any]) -> None:
        self.world = world
        self.resolver = FakeResolver(answers)
        self.cells = fresh(counts.CELLS)
        report: Any = world.report
        dns = Dns(self.resolver, LISTS, self.cells, report)
        world.terms = replace(world.terms, dns=dns)
        world.use(Checks())

    async def hears(self, guest: Any, said: bytes) -> bytes:
        """The reply, also when it comes later."""
        reply: bytes = feed(guest, said)
        if not reply:
            await turns_until(lambda: bool(guest.transport.written))
            reply = guest.transport.take()
        return reply

    def results(self) -> dict[str, int]:
        found = {r: self.cells[counts.DNSBL.place(r)] for r in counts.RESULTS}
        return {result: number for result, number in found.items() if number}


def run(
    test: Callable[[Town], Awaitable[None]],
    answers: dict[tuple[str, str], Any],
    policy: PolicyOptions = POLICY,
) -> None:
    async def whole(world: World) -> None:
        await test(Town(world, answers))
        world.server.close()
        await asyncio.sleep(0)

    in_loop(whole, policy=policy)


def test_a_listed_client_is_refused_at_each_recipient() -> None:
    async def test(town: Town) -> None:
        guest, transport = town.world.connect()
        assert transport.take().startswith(b"220 ")  # it does not wait
        opens(guest)
        assert await town.hears(guest, RCPT) == b"554 5.7.1 Refused: Spam, see list\r\n"
        assert await town.hears(guest, RCPT) == b"554 5.7.1 Refused: Spam, see list\r\n"
        assert feed(guest, b"DATA\r\n").startswith(b"554 5.5.1 ")
        assert len(town.resolver.asked) == 3
        assert town.results() == {"reject": 1}
        assert town.world.count(smtp.REJECTS, "rcpt", "dnsbl", "5") == 2
        refused = town.world.report.named("recipient_refused")
        assert [told[3] for told in refused] == ["bob@example.test"] * 2
        ((*_, name, score, lists),) = town.world.report.named("client_known")
        assert (name, score, lists) == ("", 5.0, f"{BAD}=5")

    run(test, {LISTED: ("127.0.0.2",), WHY: (b"Spam, see list",)})


def test_postmaster_hears_everybody() -> None:
    async def test(town: Town) -> None:
        guest, _ = town.world.connect()
        opens(guest)
        assert (await town.hears(guest, POSTMASTER)).startswith(b"250 ")
        assert (await town.hears(guest, RCPT)).startswith(b"554 ")

    run(test, {LISTED: ("127.0.0.2",)})


@pytest.mark.parametrize(
    ("answers", "reply", "result"),
    [
        ({}, b"250 ", "accept"),
        ({LISTED: ("127.0.0.2",)}, b"554 5.7.1 Refused: 192.0.2.7 is listed", "reject"),
        ({LISTED: ("127.0.0.2",), PRAISED: ("127.0.0.1",)}, b"450 4.7.1 ", "defer"),
        ({PRAISED: ("127.0.0.1",)}, b"250 ", "accept"),
        ({LISTED: DnsTrouble("x")}, b"250 ", "error"),
        ({LISTED: ("127.255.255.254",)}, b"250 ", "error"),
        ({LISTED: ("192.0.2.1",)}, b"250 ", "accept"),
        ({LISTED: ("127.0.0.2",), WHY: DnsTrouble("x")}, b"554 5.7.1 ", "reject"),
    ],
)
def test_scores_decide(
    answers: dict[tuple[str, str], Any], reply: bytes, result: str
) -> None:
    async def test(town: Town) -> None:
        guest, _ = town.world.connect()
        opens(guest)
        assert (await town.hears(guest, RCPT)).startswith(reply)
        assert town.results() == {result: 1}

    run(test, answers)


def test_a_silent_list_holds_mail_up_no_longer_than_its_time() -> None:
    async def test(town: Town) -> None:
        town.resolver.held[LISTED[1]] = asyncio.get_running_loop().create_future()
        guest, _ = town.world.connect()
        other, _ = town.world.connect("192.0.2.8")
        opens(guest)
        opens(other)
        assert feed(guest, RCPT) == b""
        assert (await town.hears(other, RCPT)).startswith(b"250 ")
        assert (await town.hears(guest, RCPT)).startswith(b"250 ")
        assert town.results() == {"accept": 1, "error": 1}

    run(test, {}, replace(POLICY, dnsbl_timeout=0.1))


def test_who_leaves_is_not_waited_for() -> None:
    async def test(town: Town) -> None:
        held = asyncio.get_running_loop().create_future()
        town.resolver.held[LISTED[1]] = held
        guest, _ = town.world.connect()
        opens(guest)
        feed(guest, RCPT)
        await asyncio.sleep(0)
        guest.connection_lost(None)
        await asyncio.sleep(0)
        held.set_result(None)
        await turns_until(lambda: bool(town.results()))
        assert not town.world.report.named("fault")
        assert not town.world.report.named("recipient_refused")

    run(test, {LISTED: ("127.0.0.2",)})


def test_a_changed_address_is_looked_up_anew() -> None:
    """As XCLIENT changes it."""

    async def test(town: Town) -> None:
        guest, _ = town.world.connect("127.0.0.1")
        assert not town.resolver.asked
        guest.address = "192.0.2.7"
        opens(guest)
        assert (await town.hears(guest, RCPT)).startswith(b"554 ")

    run(test, {LISTED: ("127.0.0.2",)})


NAMED = {
    ("PTR", "7.2.0.192.in-addr.arpa"): ("mx.client.test",),
    ("A", "mx.client.test"): ("192.0.2.7",),
}


def received(town: Town) -> bytes:
    ((_, body),) = town.world.store.disk.log
    return body.partition(b"Received: ")[2].partition(b"\r\n")[0]


@pytest.mark.parametrize("known", [True, False])
def test_received_has_the_name_if_it_is_known_by_then(known: bool) -> None:
    async def test(town: Town) -> None:
        if not known:
            held = asyncio.get_running_loop().create_future()
            town.resolver.held["mx.client.test"] = held
        guest, _ = town.world.connect()
        for _ in range(10):
            await asyncio.sleep(0)
        opens(guest)
        await town.hears(guest, RCPT)
        assert guest.facts.name == ("mx.client.test" if known else "")
        feed(guest, b"DATA\r\n")
        feed(guest, b"\r\nx\r\n.\r\n")
        name = b"mx.client.test " if known else b""
        assert received(town) == b"from client.test (" + name + b"[192.0.2.7])"
        assert len(town.world.report.named("client_known")) == known

    run(test, NAMED, replace(POLICY, reverse_dns=True))


def test_trusted_clients_and_our_users_are_not_looked_up() -> None:
    async def test(town: Town) -> None:
        guest, _ = town.world.connect("::1")
        opens(guest)
        assert feed(guest, RCPT).startswith(b"250 ")
        assert not town.resolver.asked
        town.world.terms = replace(town.world.terms, listener="submission")
        town.world.use(Checks())
        guest, _ = town.world.connect()
        opens(guest)
        assert feed(guest, RCPT).startswith(b"250 ")
        assert not town.resolver.asked

    run(test, {LISTED: ("127.0.0.2",)})
