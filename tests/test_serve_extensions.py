"""What extensions of SMTP leave with a message, and who may use them: the server over a
memory store, on fake transports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from test_serve_smtpd import World, feed, turn

from fastsmtp.queue.message import Envelope, Recipient, decode_envelope
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.smtpd import Guest
from fastsmtp.smtp.offers import Offers

ALL = Offers(chunking=True, smtputf8=True, dsn=True, limits=True, requiretls=True)


def offering(test: Callable[[World], Awaitable[None]], offers: Offers = ALL) -> None:
    async def run() -> None:
        world = World()
        world.terms = replace(world.terms, offers=offers)
        world.use(Checks())
        await test(world)

    asyncio.run(run())


def say(guest: Guest, *lines: str) -> list[str]:
    """Each line in a read of its own; the reply lines."""
    out = b"".join(feed(guest, f"{line}\r\n".encode()) for line in lines)
    return out.decode().split("\r\n")[:-1]


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
