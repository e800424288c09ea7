"""Attacks that have worked elsewhere, by their classes: what a client can say to the
session and the server. Class 2 is in test_rfc_3207 and test_serve_tls."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, Final

import pytest
from fakes import Dialogue, FakeDoor
from test_serve_smtpd import World, feed, turn

from fastsmtp.errors import Refused
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients, Unknown
from fastsmtp.queue.message import decode_envelope
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.offers import Offers
from fastsmtp.smtp.states import CLOSED, MOVES, State

ALL: Final = Offers(
    starttls=True,
    mechanisms=("PLAIN", "LOGIN"),
    chunking=True,
    smtputf8=True,
    dsn=True,
    requiretls=True,
    xclient=True,
)
NO: Final = Refused(451, "4.3.0", "Not now", "overload")
REPLIES: Final = re.compile(rb"(?:[2-5][0-9]{2}[ -][ -~]{0,506}\r\n)*")


def served(test: Callable[[World], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        await test(World(**options))

    asyncio.run(run())


# 1: SMTP smuggling

ENDINGS: Final = [
    *(
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
    ),
    *(b"\n\n.\r\n", b"\r\n.\r\r\n", b"\r\n. \r\n", b"\r\r\n.\r\n.\r\n"),
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_attack_1_no_other_ending_lets_a_second_message_in(ending: bytes) -> None:
    """CVE-2023-51764 and its kin; with the ending cut anywhere."""
    smuggled = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nevil"
    text = b"Subject: x\r\n\r\ntext" + ending + smuggled + b"\r\n.\r\n"
    for cut in range(len(text)):
        d = Dialogue().start()
        d.feed(text[:cut])
        d.feed(text[cut:])
        assert ("mail", "evil@x.test") not in d.door.heard or b".\r\n." in ending
        for _, _, body in d.door.messages:
            assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", body)


# 3: a state machine that is led astray

GREETING: Final = b"EHLO x\r\n"
OPENING: Final = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<bob@example.test>\r\n"
UTF8: Final = b"MAIL FROM:<\xc3\xa9@x.test> SMTPUTF8 RET=FULL ENVID=Q\r\n"
STEPS: Final = [
    *(GREETING, GREETING, OPENING, OPENING, OPENING, OPENING, b"HELO x\r\n"),
    *(UTF8, b"RCPT TO:<b@x.test> NOTIFY=NEVER\r\n", b"RSET\r\n", b"NOOP\r\n"),
    *(b"DATA\r\n", b".\r\n", b"text\r\n.\r\n", b"text\r\n.\r\n", b"VRFY x\r\n"),
    *(b"BDAT 5\r\nRSET\n", b"BDAT 7 LAST\r\n.\r\nx\r\n", b"BDAT 0 LAST\r\n"),
    *(b"BDAT 6\r\nQUIT\r\n", b"BDAT 9000 LAST\r\n", b"x" * 3000, b"x" * 9000 + b"\r\n"),
    *(b"STARTTLS\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"AUTH LOGIN\r\n", b"YQ==\r\n"),
    *(b"*\r\n", b"XCLIENT ADDR=192.0.2.9 LOGIN=eve\r\n", b"\r\n", b"\0\r\n"),
    *(b"NO", b"OP\r", b"\n", b"\xff\r\n"),
]
LAST: Final = [b"QUIT\r\n", b"BDAT\r\n", b"BDAT x LAST\r\n"]


class Moody:
    """A door that says yes, no, later or breaks; the same seed gives the same one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def __call__(self, *heard: Any) -> Any:
        return self.random.choice([None, None, None, None, PENDING, NO])

    def challenge(self, *heard: Any) -> Any:
        return self.random.choice([b"", b"Name:", None, self()])


def walk(seed: int) -> Dialogue:
    """A session of random steps in random pieces."""
    moody, draw = Moody(seed), random.Random(seed)
    door = FakeDoor()
    names = ("hello", "mail", "recipient", "data", "message", "xclient")
    door.says = dict.fromkeys(names, moody)
    door.says["auth"] = moody.challenge
    limits = {"max_errors": 400, "max_idle_commands": 400, "max_message_size": 65_536}
    d = Dialogue(door, ALL, **limits)
    session, said, states = d.session, d.session.greet(), [State(d.session.state)]
    session.trusted = seed % 3 == 0
    session.private = seed % 2 == 0

    def saw(out: bytes | None) -> None:
        nonlocal said
        said += out or b""
        states.append(State(session.state))

    for n in range(100):
        text = draw.choice(STEPS if n < 96 else LAST)
        cut = draw.randrange(len(text) + 1)
        for piece in (text[:cut], text[cut:]):
            saw(d.session.receive(piece, len(piece)))
            while session.pending or session.holding or session.upgrade:
                if session.upgrade:
                    session.secure("TLSv1.3")
                    states.append(State(session.state))
                elif session.pending:
                    yes = session.mechanism if not session.login else ""
                    session.login = session.login or yes
                    saw(session.answer(draw.choice([None, None, NO])))
                else:
                    saw(session.resume())
                if session.state == CLOSED:
                    break
    session.lost()
    assert REPLIES.fullmatch(said), said
    assert reachable(states)
    return d


def reachable(states: list[State]) -> bool:
    """Whether each state may follow the one before it, in any number of moves."""
    after: dict[State, set[State]] = {state: {state} for state in State}
    for _ in State:
        for state in State:
            for step in tuple(after[state]):
                after[state] |= MOVES[step]
    return all(b in after[a] for a, b in pairwise(states))


@pytest.mark.parametrize("seed", range(8))
def test_attack_3_no_mix_of_commands_breaks_a_session(seed: int) -> None:
    """CVE-2020-28018 and later ones: BDAT, STARTTLS, AUTH, XCLIENT, RSET in any order.
    Under the sanitizers in tests/fuzz the same walk looks at memory."""
    for n in range(100):
        d = walk(seed * 1000 + n)
        assert d.service.kept == 0
        assert d.troubles == []
        for _, recipients, body in d.door.messages:
            assert recipients
            assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", body)
        assert min(d.cells) >= 0


def test_attack_3_a_chunk_does_not_outlive_starttls() -> None:
    """A transaction begun in clear, and half a chunk, are gone after the handshake."""
    d = Dialogue(offers=ALL)
    d.say("EHLO x", "MAIL FROM:<a@x.test>", "RCPT TO:<bob@example.test>")
    d.feed(b"BDAT 100\r\nhalf of it")
    d.session.secure("TLSv1.3")
    assert d.service.kept == 0
    assert d.door.aborts == 1
    assert d.say("RSET", "MAIL FROM:<>") == [
        *("250 2.0.0 Ok", "503 5.5.1 Say HELO or EHLO first"),
    ]


ODD: Final = [
    *("$(id)@x.test", "`id`@x.test", "${run{id}}@x.test", "%s%n@x.test", "|id@x.test"),
    *("a!b%c@x.test", '";id;"@x.test', '"../../etc/passwd"@x.test', "{{7*7}}@x.test"),
    *("/dev/null@x.test", "-oQ/tmp@x.test", '"\\\\"\\""@x.test', "~root@x.test"),
]


@pytest.mark.parametrize("address", ODD)
def test_attack_3_nothing_is_expanded(address: str) -> None:
    """CVE-2019-10149: what a stranger says is text wherever it goes."""

    async def test(world: World) -> None:
        guest, _ = world.connect()
        feed(guest, b"EHLO ${run{id}}.test\r\nEHLO x\r\n")
        feed(guest, f"MAIL FROM:<{address}>\r\n".encode())
        said = feed(guest, f"RCPT TO:<{address}>\r\n".encode())
        assert said.startswith((b"550 5.7.1 ", b"501 ", b"503 "))
        feed(guest, b"RCPT TO:<bob@example.test>\r\n")
        feed(guest, b"DATA\r\nSubject: ${id}\r\n\r\n$(id)\r\n.\r\n")
        await turn()
        for record, body in world.store.disk.log:
            assert decode_envelope(record.envelope).reverse_path == address
            assert body.startswith(f"Return-Path: <{address}>\r\n".encode())
            assert body.endswith(b"Subject: ${id}\r\n\r\n$(id)\r\n")

    served(test)


# 4: a sender that becomes a command


@pytest.mark.parametrize("address", [*ODD, "", "<", ";", "a b@x.test", "a\t@x.test"])
def test_attack_4_a_sender_is_an_address_or_is_refused(address: str) -> None:
    """CVE-2020-7247: a local part that is none was taken when it had no domain."""
    d = Dialogue()
    d.say("EHLO x")
    said = d.say(f"MAIL FROM:<{address}>")[0]
    if said.startswith("250"):
        assert d.door.heard[-1] == ("mail", address)
        assert address == "" or "@" in address
    else:
        assert said.startswith("501 5.1.7 ")


@pytest.mark.parametrize(
    "path",
    [";sleep 5;", "a@", "@x.test", "a@x..test", "a@-", "<a@x.test>", "a@x.test>b", "a"],
)
def test_attack_4_half_an_address_is_none(path: str) -> None:
    d = Dialogue()
    d.say("EHLO x")
    assert d.say(f"MAIL FROM:<{path}>")[0].startswith("501 5.")
    assert d.door.heard == [("hello", "x")]


# 7: text that ends a line somewhere else


@pytest.mark.parametrize("octet", [b"\r", b"\n", b"\0", b"\x0b", b"\x1b", b"\x7f"])
@pytest.mark.parametrize(
    "line",
    [
        *(b"EHLO a%sb", b"MAIL FROM:<a%sb@x.test>", b"RCPT TO:<a%sb@x.test>"),
        *(b'MAIL FROM:<"a%sb"@x.test>', b"MAIL FROM:<a@x%s.test>", b"VRFY a%sb"),
        *(b"MAIL FROM:<a@x.test> ENVID=a%sb", b"RCPT TO:<b@x.test> ORCPT=rfc822;a%sb"),
        *(
            b"MAIL FROM:<\xc3\xa9%s@x.test> SMTPUTF8",
            b"AUTH PLAIN %s",
            b"XCLIENT NAME=%s",
        ),
    ],
)
def test_attack_7_no_control_gets_past_a_command(line: bytes, octet: bytes) -> None:
    d = Dialogue(offers=ALL)
    d.session.trusted = d.session.private = True
    d.say("EHLO client.test")
    if line.startswith(b"RCPT"):
        d.say("MAIL FROM:<a@x.test>")
    before = len(d.door.heard)
    said = d.feed(line % octet + b"\r\n")
    asked = d.door.heard[before:]
    assert said[:1] == b"5" or not any(octet.decode() in str(a) for a in asked)
    for words in asked:
        assert all(str(word).isprintable() for word in words), words
    assert REPLIES.fullmatch(said)


@pytest.mark.parametrize("helo", ["a(b", "[evil]", "x;by evil", "é", "a" * 200])
def test_attack_7_what_a_client_calls_itself_stays_in_its_clause(helo: str) -> None:
    async def test(world: World) -> None:
        guest, _ = world.connect()
        feed(guest, f"EHLO {helo}\r\n".encode())
        feed(guest, b"HELO plain.test\r\n" if guest.session.helo == "" else b"NOOP\r\n")
        feed(guest, b"MAIL FROM:<a@x.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
        feed(guest, b"Subject: x\r\n\r\nx\r\n.\r\n")
        await turn()
        ((_, body),) = world.store.disk.log
        head = body.partition(b"\r\n\r\n")[0] + b"\r\n"
        fields = re.findall(rb"(?m)^([A-Za-z-]+):", head)
        assert fields == [b"Return-Path", b"Received", b"Subject"]
        head = head.replace(b"\r\n\t", b" ")
        clause = re.search(rb"Received: from ([^\r\n()]+) \(", head)
        assert clause is not None
        assert re.fullmatch(rb"[0-9A-Za-z._:\[\]?-]+", clause[1]), clause[1]

    served(test)


def test_attack_7_no_reply_repeats_what_was_said() -> None:
    d = Dialogue(offers=ALL, max_errors=1000)
    d.session.trusted = d.session.private = True
    word = "Zx9Qw7"
    lines = [
        *(
            f"{word}",
            f"EHLO {word}",
            f"MAIL FROM:<{word}@x.test> {word}=1",
            f"HELP {word}",
        ),
        *(f"MAIL FROM:<{word}>", f"VRFY {word}", f"EXPN {word}", f"NOOP {word}"),
        *(f"AUTH {word}", f"XCLIENT {word}=1", f"MAIL FROM:<{word}@x.test>"),
        *(
            f"RCPT TO:<{word}@x.test> {word}",
            f"RCPT TO:<{word}@x.test>",
            f"DATA {word}",
        ),
        *("DATA", f"{word}: {word}", "", f"bare\n{word}", "."),
    ]
    assert not any(word in reply for reply in d.say(*lines))


# 10: loops and backscatter


def test_attack_10_a_loop_ends_by_its_received_lines() -> None:
    """As many hops as RFC 5321 6.3 wants to be allowed, and no more."""

    async def test(world: World) -> None:
        body, hops = b"Subject: x\r\n\r\nx\r\n", 0
        while True:
            guest, transport = world.connect()
            feed(guest, b"EHLO x\r\n")
            feed(guest, b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
            said = feed(guest, body + b".\r\n")
            await turn()
            said = said or transport.take()
            guest.connection_lost(None)
            if not said.startswith(b"250"):
                break
            record, kept = world.store.disk.log[-1]
            body = kept[decode_envelope(record.envelope).skip :]
            hops += 1
        assert said.startswith(b"554 5.4.6 ")
        assert hops == 101

    served(test)


def test_attack_10_who_is_unknown_is_refused_and_never_bounced() -> None:
    """No mail is taken that would have to be sent back to a forged sender."""

    async def test(world: World) -> None:
        guest, _ = world.connect()
        feed(guest, b"EHLO x\r\n")
        feed(guest, b"MAIL FROM:<victim@far.test>\r\n")
        for n in range(20):
            said = feed(guest, b"RCPT TO:<u%d@example.test>\r\n" % n)
            assert said.startswith((b"550 5.1.1 ", b"421 ")), said
        assert not world.store.disk.log

    served(test)


def test_attack_10_aliases_that_point_at_each_other_end() -> None:
    aliases = {"a": ["b@x.test", "b@x.test"], "b": ["a@x.test", "a@x.test"]}
    domains = {"x.test": DomainOptions(aliases=aliases)}
    policy = Recipients(domains, {"c@x.test"}.__contains__)
    assert isinstance(policy.resolve("a@x.test"), Unknown)


# 12: clients that cost more than they pay


PHASES: Final = {
    "connect": (b"",),
    "half a command": (b"EH",),
    "in a transaction": (b"EHLO x\r\n", b"MAIL FROM:<a@x.test>\r\n"),
    "half a chunk": (
        *(b"EHLO x\r\n", b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\n"),
        b"BDAT 1000\r\nabc",
    ),
    "between chunks": (
        *(b"EHLO x\r\n", b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\n"),
        b"BDAT 3\r\nabc",
    ),
    "a chunk that is refused": (b"EHLO x\r\n", b"BDAT 1000000\r\nabc"),
    "half a body": (
        *(b"EHLO x\r\n", b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"),
        b"abc",
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_attack_12_who_falls_silent_is_sent_away(phase: str) -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        for piece in PHASES[phase]:
            feed(guest, piece)
        transport.take()
        world.pass_time(299 if "body" not in phase and phase != "half a chunk" else 179)
        assert transport.take() == b""
        world.pass_time(5)
        assert transport.take().startswith(b"421 4.4.2 ")
        assert transport.closed
        assert world.server.crowd.service.kept == 0

    served(test)


@pytest.mark.parametrize("phase", ["half a command", "a chunk that is refused"])
def test_attack_12_an_octet_now_and_then_gains_no_time(phase: str) -> None:
    async def test(world: World) -> None:
        guest, transport = world.connect()
        for piece in PHASES[phase]:
            feed(guest, piece)
        for _ in range(31):
            world.pass_time(10)
            if not transport.closed:
                feed(guest, b"x")
        assert transport.closed

    served(test)


def test_attack_12_a_flood_of_commands_is_answered_in_bounded_pieces() -> None:
    d = Dialogue(offers=ALL, max_idle_commands=100_000)
    flood = b"NOOP\r\n" * 20_000
    out = d.session.receive(flood, len(flood)) or b""
    assert len(out) < 17_000
    assert d.session.holding > 0
    d.session.lost()
    assert d.service.kept == 0
