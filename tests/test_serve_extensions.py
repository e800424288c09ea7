"""What extensions of SMTP leave with a message, and who may use them: the server over a
memory store, on fake transports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from test_serve_smtpd import World, feed, turn

from fastsmtp.errors import Refused
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.queue.message import Envelope, Recipient, decode_envelope
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.smtpd import Guest
from fastsmtp.smtp import counts
from fastsmtp.smtp.offers import Offers

NOTHING: Final = Offers()
LISTED: Final = Refused(554, "5.7.1", "Listed", "content")


def offering(
    test: Callable[[World], Awaitable[None]], offers: Offers = NOTHING, **options: Any
) -> None:
    """`offers` beside what the options switch on."""

    async def run() -> None:
        world = World(dsn=True, **options)
        world.terms = replace(world.terms, offers=offers)
        world.use(Checks())
        await test(world)

    asyncio.run(run())


def say(guest: Guest, *lines: str) -> list[str]:
    """Each line in a read of its own; the reply lines."""
    out = b"".join(feed(guest, f"{line}\r\n".encode()) for line in lines)
    return out.decode().split("\r\n")[:-1]


def told(world: World) -> list[tuple[str, ...]]:
    """The clients of the log, in their order."""
    return [fact[1].client for fact in world.report.named("session_opened")]


def stored(world: World) -> tuple[Envelope, bytes]:
    """The one message there is, with its Received line."""
    ((record, body),) = world.store.disk.log
    return decode_envelope(record.envelope), body


def test_rfc_38_parameters_stand_in_the_envelope() -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        guest.session.secure("TLSv1.3")
        said = say(
            guest,
            "EHLO client.test",
            "MAIL FROM:<é@client.test> SMTPUTF8 REQUIRETLS RET=hdrs ENVID=Q+3D1"
            " BODY=8BITMIME",
            "RCPT TO:<bob@example.test>",
            "RCPT TO:<alice@example.test> NOTIFY=delay,SUCCESS"
            " ORCPT=utf-8;al\\x{e9}@x.test",
            "DATA",
            "Subject: é",
            "",
            ".",
        )
        assert said[-1].startswith("354 ")
        await turn()
        assert transport.take().startswith(b"250 ")
        envelope, body = stored(world)
        assert envelope.recipients == (
            Recipient("bob@example.test"),
            Recipient("alice@example.test", "SUCCESS,DELAY", "utf-8;al\\x{e9}@x.test"),
        )
        assert envelope == Envelope(
            "é@client.test",
            envelope.recipients,
            envelope.arrived,
            len("Return-Path: <é@client.test>\r\n".encode()),
            "8BITMIME",
            "192.0.2.7",
            "client.test",
            smtputf8=True,
            requiretls=True,
            ret="HDRS",
            envid="Q=1",
        )
        assert b"with UTF8SMTPS id " in body

    offering(test)


def test_parameters_end_with_their_transaction() -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect()
        say(guest, "EHLO c.test", "MAIL FROM:<é@c.test> SMTPUTF8 ENVID=Q1")
        say(guest, "RCPT TO:<bob@example.test> NOTIFY=NEVER", "RSET")
        say(guest, "MAIL FROM:<a@c.test>", "RCPT TO:<bob@example.test>", "DATA", ".")
        await turn()
        envelope, body = stored(world)
        assert (envelope.smtputf8, envelope.envid, envelope.ret) == (False, "", "")
        assert envelope.recipients == (Recipient("bob@example.test"),)
        assert b"with ESMTP id " in body

    offering(test)


def test_rfc_22_ehlo_shows_what_is_on() -> None:
    shown: list[list[str]] = []

    async def test(world: World) -> None:
        guest, _ = world.connect()
        shown.append([line[4:] for line in say(guest, "EHLO c.test")[1:]])

    names = ("chunking", "smtputf8", "limits", "requiretls", "deliver_by")
    off = dict.fromkeys(names, False)
    offering(test)
    offering(test, **off, eight_bit="reject")
    assert shown[0] == [
        *("PIPELINING", "SIZE 52428800", "8BITMIME", "CHUNKING", "SMTPUTF8", "DSN"),
        *("LIMITS RCPTMAX=1000", "DELIVERBY 60", "ENHANCEDSTATUSCODES"),
    ]
    assert shown[1] == ["PIPELINING", "SIZE 52428800", "DSN", "ENHANCEDSTATUSCODES"]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("bob@xn--bcher-kva.test", "250 2.1.5"),
        ("bob@bücher.test", "250 2.1.5"),
        ("bob@BÜCHER.test", "250 2.1.5"),
        ("bob@bu\u0308cher.test", "250 2.1.5"),
        ("nobody@bücher.test", "550 5.1.1"),
        ("bob@bucher.test", "550 5.7.1"),
        ("bob@bücher.example", "550 5.7.1"),
    ],
)
def test_rfc_37_both_forms_of_a_domain_are_one(address: str, code: str) -> None:
    async def test(world: World) -> None:
        domains = {"XN--bcher-KVA.test": DomainOptions()}
        known = {"bob@xn--bcher-kva.test"}
        world.policy = Recipients(domains, known.__contains__)
        world.use(Checks())
        guest, _ = world.connect()
        say(guest, "EHLO c.test", "MAIL FROM:<a@c.test> SMTPUTF8")
        assert say(guest, f"RCPT TO:<{address}>")[0].startswith(code)

    offering(test)


PROXY: Final = {"xclient": ["192.0.2.0/24"]}


def test_a_proxy_says_for_whom_it_speaks() -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect()
        attributes = "NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"
        assert f"250-XCLIENT {attributes}" in say(guest, "EHLO proxy.test")
        said = say(guest, "XCLIENT NAME=far.test ADDR=IPV6:2001:DB8:0::7 HELO=c.test")
        assert said == ["220 mx.example.test ESMTP fastsmtp"]
        assert say(guest, "MAIL FROM:<a@c.test>")[0].startswith("503 5.5.1 ")
        say(guest, "EHLO c.test", "MAIL FROM:<a@c.test>", "RCPT TO:<bob@example.test>")
        say(guest, "DATA", ".")
        await turn()
        envelope, body = stored(world)
        assert (envelope.client, envelope.helo) == ("2001:db8::7", "c.test")
        assert b"from c.test (far.test [IPv6:2001:db8::7])\r\n" in body
        assert told(world) == ["192.0.2.7", "2001:db8::7"]
        assert world.report.named("message_accepted")[0][1].client == "2001:db8::7"

    offering(test, **PROXY)


def test_a_stranger_who_uses_xclient_hears_550() -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect("198.51.100.7")
        assert not any("XCLIENT" in line for line in say(guest, "EHLO c.test"))
        said = say(guest, "XCLIENT ADDR=203.0.113.1")
        assert said == ["550 5.7.0 XCLIENT is not for you"]
        say(guest, "MAIL FROM:<a@c.test>", "RCPT TO:<bob@example.test>", "DATA", ".")
        await turn()
        assert stored(world)[0].client == "198.51.100.7"
        assert told(world) == ["198.51.100.7"]

    offering(test, **PROXY)


@pytest.mark.parametrize(
    "attributes",
    [
        *("", "ADDR", "ADDR=", "ADDR=host.test", "ADDR=192.0.2.256", "COLOR=red"),
        *("PORT=65536", "PORT=-1", "PROTO=HTTP", "ADDR=::1 ADDR=::1", "LOGIN=alice"),
        *("NAME=a+0D+0Ab", "HELO=a+20b", "NAME=a;b", "HELO=" + "x" * 256),
    ],
)
def test_attack_7_nothing_odd_is_taken_from_a_proxy(attributes: str) -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect()
        said = say(guest, "EHLO proxy.test", f"XCLIENT {attributes}")
        assert said[-1].startswith("501 5.5.4 ")
        assert guest.address == "192.0.2.7"
        assert say(guest, "NOOP") == ["250 2.0.0 Ok"]

    offering(test, **PROXY)


def test_who_logs_in_through_a_proxy() -> None:
    """Only where there is AUTH; and with the next client nobody is logged in."""

    async def test(world: World) -> None:
        guest, _ = world.connect()
        ehlo = say(guest, "EHLO proxy.test")
        assert any(line.endswith(" DESTADDR DESTPORT LOGIN") for line in ehlo)
        say(guest, "XCLIENT ADDR=203.0.113.1 LOGIN=alice@example.test")
        assert guest.session.login == "alice@example.test"
        said = say(guest, "EHLO c.test", "MAIL FROM:<alice@example.test>")
        assert said[-1] == "250 2.1.0 Ok"
        assert say(guest, "XCLIENT ADDR=203.0.113.2")[0].startswith("503 5.5.1 ")
        say(guest, "RSET", "XCLIENT ADDR=203.0.113.2")
        assert guest.session.login == ""
        said = say(guest, "EHLO c.test", "MAIL FROM:<alice@example.test>")
        assert said[-1].startswith("530 5.7.0 ")
        assert say(guest, "XCLIENT LOGIN=[UNAVAILABLE]")[-1].startswith("220 ")
        assert guest.session.login == ""

    offering(test, Offers(mechanisms=("PLAIN",), auth_required=True), **PROXY)


def test_the_clients_of_a_proxy_are_counted_where_they_are() -> None:
    async def test(world: World) -> None:
        proxied = [world.connect() for _ in range(4)]  # a proxy is no crowd
        assert len(world.server.crowd.guests) == 4
        for guest, _ in proxied[:2]:
            assert say(guest, "XCLIENT ADDR=203.0.113.1")[0].startswith("220 ")
        assert say(proxied[0][0], "XCLIENT ADDR=203.0.113.1")[0].startswith("220 ")
        guest, transport = proxied[2]
        assert say(guest, "XCLIENT ADDR=203.0.113.1")[0].startswith("421 4.7.0 ")
        assert transport.closed
        guest.connection_lost(None)
        assert world.connect("203.0.113.1")[1].take().startswith(b"421 4.7.0 ")
        proxied[0][0].connection_lost(None)
        assert world.connect("203.0.113.1")[1].take().startswith(b"220 ")
        assert world.count(counts.REJECTS, "connect", "limit", "4") == 1
        assert say(proxied[3][0], "XCLIENT ADDR=203.0.113.9")[0].startswith("220 ")

    offering(test, max_connections_per_network=2, **PROXY)


def test_the_client_of_a_proxy_is_asked_about_as_one_that_connects() -> None:
    async def test(world: World) -> None:
        seen: list[str] = []

        def check(guest: Guest) -> Refused | None:
            seen.append(guest.address)
            return LISTED if guest.address == "203.0.113.1" else None

        world.use(Checks(connect=(check,)))
        guest, transport = world.connect()
        assert say(guest, "XCLIENT ADDR=203.0.113.2")[0].startswith("220 ")
        said = say(guest, "XCLIENT ADDR=203.0.113.1")
        assert said == ["554 5.7.1 Listed"]
        assert transport.closed
        assert seen == ["192.0.2.7", "203.0.113.2", "203.0.113.1"]

    offering(test, **PROXY)
