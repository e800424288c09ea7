"""What a next hop does wrong, and what becomes of the message: how it stands in the
queue, what its sender is told, and that mail for others does not notice.

One table: a fault at a stage. What is said for ever (550 where mail may be refused)
goes back at once; all else waits, is told as late with a status of class 4, and comes
back with one when its time is over. TLS that only may be is no reason to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from abroad import Away, Faulty, abroad
from fakes import turns_until
from nameserver import FAILURE, Zone, serving
from test_delivery_conversation import Server, run
from test_delivery_notices import notices, send, status
from test_net_exchangers import Book
from village import NOW, Village

from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.errors import DnsTrouble, NoData
from fastsmtp.net.dns import Resolver
from fastsmtp.net.exchangers import Search
from fastsmtp.net.options import DnsOptions
from fastsmtp.queue.message import Standing, State

MINUTE = 60_000
HOUR = 60 * MINUTE
BAD, GOOD = "someone@bad.test", "someone@good.test"
OPTIONS = DeliveryOptions(retry=(5 * 3600.0,), give_up=8 * 3600.0)
"""Attempts at 0, 5 and 10 hours: the second tells that it is late, the third gives it
up."""

FAULTS = {
    "421": "421 4.3.2 going down",
    "450": "450 4.2.1 not now",
    "451": "451",
    "550": "550 5.7.1 go away",
    "554": "554",
    **{name: name for name in ("hang", "close", "reset", "garbage")},
}
STAGES = ("", "EHLO", "STARTTLS", "HANDSHAKE", "AUTH", "MAIL", "RCPT", "DATA", ".")
OFFERS = {"AUTH": ["AUTH PLAIN"], "STARTTLS": ["STARTTLS"], "HANDSHAKE": ["STARTTLS"]}


STATUS = {
    "421": ("4.3.2", "4.3.2"),
    "450": ("4.2.1", "4.2.1"),
    "451": ("4.0.0", "4.4.7"),
    "550": ("", "5.7.1"),
    "554": ("", "5.0.0"),
    "garbage": ("4.5.0", "4.5.0"),
}
"""Of the notice that it is late, and of the one that it failed; else 4.4.2 both."""


class Row(NamedTuple):
    """`tls` is what is demanded; the end is one of "waits", "returns", "arrives";
    status of the notice that it is late, and of the one that it failed."""

    stage: str
    fault: str
    tls: str
    end: str
    status: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.stage or 'greeting'}-{self.fault}-{self.tls}"


def statuses(stage: str, fault: str) -> tuple[str, str]:
    if stage == "HANDSHAKE":
        return "4.7.5", "4.7.5"
    late, failed = STATUS.get(fault, ("4.4.2", "4.4.2"))
    if stage in ("AUTH", "STARTTLS"):  # our business: nothing is for ever
        mended = {"451": "4.7.0", "550": "4.7.1", "554": "4.7.0"}
        late = failed = mended.get(fault, late)
    return late, failed


def rows() -> Iterator[Row]:
    for stage in STAGES:
        for fault in FAULTS:
            status = statuses(stage, fault)
            if stage in ("STARTTLS", "HANDSHAKE"):
                yield Row(stage, fault, "may", "arrives", status)
                yield Row(stage, fault, "encrypt", "waits", status)
            elif fault in ("550", "554") and stage != "AUTH":
                yield Row(stage, fault, "none", "returns", status)
            else:
                yield Row(stage, fault, "none", "waits", status)


async def work(town: Village, until: int) -> None:
    async with town.keeping():
        await town.work(until, OPTIONS)


async def told(town: Village) -> list[tuple[str, str]]:
    """Action and Status of each notice to the sender so far."""
    return [pair for notice in await notices(town) for pair in status(notice)]


async def check(row: Row, town: Village, away: Away) -> None:
    """One message for the bad server and one for the good one, until they are gone."""
    began = away.board.time.now
    await send(town, BAD)
    await send(town, GOOD)
    await work(town, NOW + 1000)
    assert away.at("good.test") == [began], "it has cost others time"
    late, failed = row.status
    if row.end == "waits":
        (entry,) = await town.queue()
        (target,) = entry.queued.targets
        assert entry.state == State.DEFERRED
        assert (target.address, target.standing) == (BAD, Standing.WAITING)
        assert (target.attempts, bool(target.error)) == (1, True)
        assert 4.4 * HOUR < target.due - NOW < 5.6 * HOUR
        assert await told(town) == []
        await work(town, target.due + MINUTE)
        assert await told(town) == [("delayed", late)]
    await work(town, NOW + 12 * HOUR)
    assert await town.queue() == []
    assert len(away.at("good.test")) == 1
    ends = {
        "waits": [("delayed", late), ("failed", failed)],
        "returns": [("failed", failed)],
        "arrives": [],
    }
    assert await told(town) == ends[row.end]
    assert len(away.at("bad.test")) == (3 if row.end == "waits" else 1)


@pytest.mark.parametrize("row", list(rows()), ids=str)
def test_a_fault(row: Row, tmp_path: Path) -> None:
    more: dict[str, Any] = {"tls": row.tls}
    if row.stage == "AUTH":
        secret = tmp_path / "secret"
        secret.write_text("a password\n")
        more |= {"login": "us", "secret_file": str(secret)}
    bad = Faulty(row.stage, FAULTS[row.fault], *OFFERS.get(row.stage, ()))
    good = Server()

    async def story() -> None:
        servers = {"bad.test": bad, "good.test": good}
        async with abroad(servers, bad=more) as (town, away):
            await check(row, town, away)
        assert len(good.bodies) == 1
        assert len(bad.bodies) == {"arrives": 1}.get(row.end, len(bad.bodies))

    run(story)


# -- the DNS

TROUBLE = DnsTrouble("SERVFAIL")
MX, AAAA = ("MX", "bad.test"), ("AAAA", "m.test")
NAMES: dict[str, tuple[dict[tuple[str, str], Any], str]] = {
    "no MX to be had": ({MX: TROUBLE}, ""),
    "no address to be had": ({MX: [(10, "m.test")], ("A", "m.test"): TROUBLE}, ""),
    "no address of another kind": (
        {MX: [(10, "m.test")], ("A", "m.test"): NoData("none"), AAAA: TROUBLE},
        "",
    ),
    "one host of two to be had": (
        {MX: [(10, "gone.test"), (20, "m.test")], ("A", "m.test"): TROUBLE},
        "",
    ),
    "no such domain": ({}, "5.1.2"),
    "takes no mail": ({MX: [(0, "")]}, "5.1.10"),
    "hosts without an address": ({MX: [(10, "gone.test")]}, "5.4.4"),
    "it is us": ({MX: [(10, "us.test")]}, "5.4.6"),
}
"""What the DNS says, and the status of the notice that goes back at once; "": it
waits, for nothing that the DNS cannot say is for ever."""


@pytest.mark.parametrize("what", NAMES)
def test_what_the_dns_says(what: str) -> None:
    answers, status_now = NAMES[what]
    end = "returns" if status_now else "waits"
    failed = status_now or "4.4.3"

    async def story() -> None:
        search = Search(
            *(Book(answers), ("us.test",)),
            reachable=lambda address: True,
        )
        good = Server()
        async with abroad({"good.test": good}, search) as (town, away):
            row = Row("DNS", what, "none", end, ("4.4.3", failed))
            await check(row, town, away)

    run(story)


def test_a_name_server_that_takes_its_time_costs_others_none() -> None:
    async def story() -> None:
        names = Book({MX: TROUBLE})
        names.held["bad.test"] = asyncio.get_running_loop().create_future()
        good = Server()
        search = Search(names, reachable=lambda address: True)
        async with abroad({"good.test": good}, search) as (town, away):
            working = asyncio.ensure_future(both(town))
            await turns_until(lambda: bool(away.at("good.test")))
            assert away.at("bad.test") == []
            names.held["bad.test"].set_result(None)
            await working
            assert await told(town) == []
            (entry,) = await town.queue()
            assert entry.state == State.DEFERRED

    async def both(town: Village) -> None:
        await send(town, BAD)
        await send(town, GOOD)
        await work(town, NOW + 1000)

    run(story)


@pytest.mark.parametrize("how", ["down", "silent", "SERVFAIL", "REFUSED"])
def test_a_name_server_in_trouble_is_never_the_end(how: str) -> None:
    """Our resolver, and a name server on loopback."""

    async def story() -> None:
        zone: Zone = dict.fromkeys([MX, ("A", "bad.test")], FAILURE)
        if how == "REFUSED":
            zone = dict.fromkeys([MX, ("A", "bad.test")], 5)
        async with serving(zone) as names:
            names.silent = how == "silent"
            address = "127.0.0.1:9" if how == "down" else names.address
            resolver = Resolver(DnsOptions(servers=[address], timeout=0.1))
            good = Server()
            async with abroad({"good.test": good}, Search(resolver)) as (town, away):
                await send(town, BAD)
                await send(town, GOOD)
                await work(town, NOW + 1000)
                assert len(away.at("good.test")) == 1
                (entry,) = await town.queue()
                (target,) = entry.queued.targets
                assert target.standing == Standing.WAITING
                assert target.error.startswith("451 4.4.3 ")
                assert await told(town) == []
            await resolver.close()

    run(story)
