"""Logging in over a session: every mechanism, every refusal, and who waits for whom."""

from __future__ import annotations

import asyncio
import statistics
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from club import ALICE, BOB, PASSWORD, Club, Visitor, coded, in_club, plain
from fakes import turns_until
from msgspec.structs import replace
from scram_client import ScramClient

from fastsmtp.auth.options import AuthOptions
from fastsmtp.auth.passwords import hash_password
from fastsmtp.serve.login import NETWORK_MOST, server_secret
from fastsmtp.serve.networks import is_loopback
from fastsmtp.serve.verifier import Verifier
from fastsmtp.smtp.offers import Offers

YES = "235 2.7.0 Authentication successful\r\n"
WRONG = "535 5.7.8 Wrong name or password\r\n"
BLOCKED = "421 4.7.0 Too many failed logins, try again later\r\n"
BUSY = "454 4.7.0 Too many logins at once, try again\r\n"


async def scram(visitor: Visitor, name: str, password: str) -> list[str]:
    """What the server said to each line."""
    client = ScramClient(name, password)
    said = [await visitor.say(f"AUTH SCRAM-SHA-256 {coded(client.first())}")]
    final = client.final(b64decode(said[-1][4:]))
    said.append(await visitor.say(coded(final)))
    if said[-1].startswith("334"):
        assert client.ends(b64decode(said[-1][4:]))
        said.append(await visitor.say(""))
    return said


def test_rfc_32_auth_is_not_offered_in_clear_to_who_is_not_on_this_machine() -> None:
    async def test(club: Club) -> None:
        far = Visitor(club, "192.0.2.7")
        assert "AUTH" not in await far.say("EHLO client.test")
        assert (await far.say(plain(ALICE, PASSWORD))).startswith("538 5.7.11")
        assert "AUTH SCRAM-SHA-256 PLAIN LOGIN" in await far.secure().say("EHLO c.test")
        assert await far.say(plain(ALICE, PASSWORD)) == YES
        assert "AUTH" in await Visitor(club, "127.0.0.9").say("EHLO client.test")
        assert "AUTH" in await Visitor(club, "::1").say("EHLO client.test")

    in_club(test)


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%lo", False),
        ("unix", False),
    ],
)
def test_what_is_our_own_machine(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours


def test_plain_login_and_scram() -> None:
    async def test(club: Club) -> None:
        visitor = Visitor(club)
        assert await visitor.login("Alice@Example.test") == YES
        assert visitor.session.login == ALICE
        assert (await visitor.say(plain(ALICE, PASSWORD))).startswith("503 5.5.1")
        visitor = Visitor(club)
        said = await visitor.say("EHLO c.test", "AUTH LOGIN")
        assert b64decode(said[4:]) == b"Username:"
        assert b64decode((await visitor.say(coded(BOB.encode())))[4:]) == b"Password:"
        assert await visitor.say(coded(PASSWORD.encode())) == YES
        visitor = Visitor(club)
        await visitor.say("EHLO c.test")
        assert (await scram(visitor, ALICE, PASSWORD))[-1] == YES
        assert visitor.session.login == ALICE
        for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
            assert club.count(mechanism, "ok") == 1
        told = club.report.named("logged_in")
        assert [fact[2:] for fact in told] == [
            (ALICE, "PLAIN"),
            (BOB, "LOGIN"),
            (ALICE, "SCRAM-SHA-256"),
        ]
        assert PASSWORD not in repr(club.report.facts)

    in_club(test)


@pytest.mark.slow
def test_attack_9_a_wrong_password_and_an_unknown_name_are_answered_alike() -> None:
    async def test(club: Club) -> None:
        for name in (ALICE, "nobody@example.test", "alice@far.test", "x"):
            visitor = Visitor(club)
            assert await visitor.login(name, "wrong") == WRONG
            said = await scram(visitor, name, "wrong")
            assert [len(line) for line in said] == [len(said[0]), len(WRONG)]
            assert said[-1] == WRONG
            assert visitor.session.login == ""
        assert club.count("PLAIN", "bad_password") == 1
        assert club.count("PLAIN", "unknown_user") == 3
        assert club.count("SCRAM-SHA-256", "bad_password") == 1
        assert club.count("SCRAM-SHA-256", "unknown_user") == 3
        assert "wrong" not in repr(club.report.facts)

    in_club(test, allow=AuthOptions(free_failures=100))


@pytest.mark.slow
def test_attack_9_the_clock_does_not_tell_who_has_an_account() -> None:
    """reliability B13: the medians differ by less than 5 ms."""

    record = hash_password(PASSWORD)

    async def test(club: Club) -> None:
        club.accounts[ALICE] = replace(club.accounts[ALICE], password=record)
        times: dict[str, list[float]] = {ALICE: [], "nobody@example.test": []}
        for n in range(60):
            for name, taken in times.items():
                visitor = Visitor(club)
                await visitor.say("EHLO c.test")
                start = time.perf_counter()
                assert await visitor.say(plain(name, f"wrong {n}")) == WRONG
                taken.append(time.perf_counter() - start)
                visitor.guest.connection_lost(None)
        known, unknown = map(statistics.median, times.values())
        assert abs(known - unknown) < 0.005

    in_club(test, allow=AuthOptions(free_failures=10_000, max_failures=10_000))


def test_an_account_without_a_password_lets_nobody_in() -> None:
    async def test(club: Club) -> None:
        club.accounts[ALICE] = replace(club.accounts[ALICE], password="", scram=None)
        assert await Visitor(club).login(ALICE, PASSWORD) == WRONG
        visitor = Visitor(club)
        await visitor.say("EHLO c.test")
        assert (await scram(visitor, ALICE, PASSWORD))[-1] == WRONG

    in_club(test)


def test_rfc_41_cancel_and_nonsense_leave_nothing_behind() -> None:
    async def test(club: Club) -> None:
        visitor = Visitor(club)
        await visitor.say("EHLO c.test")
        assert (await visitor.say("AUTH LOGIN", "*")).startswith("501 5.7.0")
        assert (await visitor.say("AUTH PLAIN", "!!")).startswith("501 5.5.2")
        assert (await visitor.say("AUTH PLAIN YQ==")).startswith("501 5.5.2")
        assert (await visitor.say("AUTH SCRAM-SHA-256 =")).startswith("501 5.5.2")
        await visitor.say("AUTH LOGIN")
        visitor.guest.connection_lost(None)
        assert club.logins._open == {}
        assert club.count("PLAIN", "error") == 1
        assert club.count("SCRAM-SHA-256", "error") == 1

    in_club(test)


def test_rfc_41_a_login_goes_on_when_its_client_leaves() -> None:
    """So that nobody guesses for free by hanging up."""

    async def test(club: Club) -> None:
        visitor = Visitor(club)
        visitor.begin(plain(ALICE, "wrong"))
        assert visitor.session.pending
        visitor.guest.connection_lost(None)
        await turns_until(lambda: club.count("PLAIN", "bad_password") == 1)
        await turns_until(lambda: not club.logins._tasks)
        assert visitor.session.peer is None

    in_club(test)


def test_a_busy_client_is_verified_once() -> None:
    async def test(club: Club) -> None:
        asked: list[str] = []
        real = club.logins.verifier._verify

        def verify(record: str, password: str) -> bool:
            asked.append(password)
            return real(record, password)

        club.logins.verifier._verify = verify
        crowd = [Visitor(club) for _ in range(8)]
        assert await asyncio.gather(*(v.login() for v in crowd)) == [YES] * 8
        assert asked == [PASSWORD]
        for _ in range(20):
            assert await Visitor(club).login() == YES
        assert asked == [PASSWORD]
        club.time.advance(301)
        assert await Visitor(club).login() == YES
        assert asked == [PASSWORD] * 2

    in_club(test, max_connections_per_network=1000)


@pytest.mark.slow
def test_a_changed_password_is_known_at_once() -> None:
    async def test(club: Club) -> None:
        assert await Visitor(club).login() == YES
        other = hash_password("another one")
        club.accounts[ALICE] = replace(club.accounts[ALICE], password=other)
        assert await Visitor(club).login() == WRONG
        assert await Visitor(club).login(ALICE, "another one") == YES
        del club.accounts[ALICE]
        assert await Visitor(club).login(ALICE, "another one") == WRONG

    in_club(test)


def test_the_memory_of_passwords_holds_no_password() -> None:
    async def test(club: Club) -> None:
        assert await Visitor(club).login() == YES
        (mark,) = club.logins.verifier._right
        assert len(mark) == 32
        assert PASSWORD.encode() not in mark

    in_club(test)


def test_when_too_many_passwords_wait_it_is_454() -> None:
    async def test(club: Club) -> None:
        visitors = [Visitor(club, f"127.0.0.{n}") for n in range(1, 8)]
        lines = [v.login(ALICE, f"wrong {n}") for n, v in enumerate(visitors)]
        said = await asyncio.gather(*lines)
        assert sorted(said) == [BUSY] * 4 + [WRONG] * 3
        assert await visitors[0].say(plain(ALICE, PASSWORD)) == YES
        assert club.count("PLAIN", "blocked") == 4

    in_club(test, allow=AuthOptions(threads=1, waiting=2))


def test_attack_12_one_network_has_few_logins_that_wait() -> None:
    async def test(club: Club) -> None:
        visitors = [Visitor(club) for _ in range(NETWORK_MOST + 3)]
        lines = [v.login(ALICE, f"wrong {n}") for n, v in enumerate(visitors)]
        said = await asyncio.gather(*lines)
        assert sorted(said) == [BUSY] * 3 + [WRONG] * NETWORK_MOST

    in_club(test)


@pytest.mark.slow
def test_attack_8_guesses_are_slowed_and_then_sent_away() -> None:
    async def test(club: Club) -> None:
        club.gate.set()
        said: list[Any] = []
        for n in range(9):
            visitor = Visitor(club)
            said.append(await visitor.login(f"user{n}@example.test", "wrong"))
        assert said == [WRONG] * 6 + [BLOCKED] * 3
        assert club.pauses == [1, 3, 7]  # the clock stands: each waits behind the last
        assert visitor.transport.closed
        assert club.count("PLAIN", "blocked") == 3
        club.time.advance(3600)
        assert await Visitor(club).login() == YES

    allow = AuthOptions(free_failures=3, max_failures=6, max_delay=10)
    in_club(test, allow=allow)


def test_auth_brute_force_from_one_network_does_not_slow_another() -> None:
    """While guesses wait for their turn, others log in, to the same account too."""

    async def test(club: Club) -> None:
        home = Visitor(club, "127.0.0.2")
        assert await home.login() == YES
        for n in range(5):
            assert await Visitor(club).login(ALICE, f"wrong {n}") == WRONG
        waits = Visitor(club)
        waits.begin(plain(ALICE, "wrong"))
        await turns_until(lambda: club.pauses == [1.0])
        assert await Visitor(club, "127.0.0.2").login() == YES
        assert await Visitor(club, "127.0.0.3").login(BOB, PASSWORD) == YES
        assert club.pauses == [1.0]  # nobody else had to
        assert waits.transport.take() == b""
        club.gate.set()
        await turns_until(lambda: bool(waits.transport.written))
        assert waits.transport.take().decode() == WRONG

    in_club(test)


def test_auth_guesses_from_many_networks_do_not_lock_the_owner_out() -> None:
    async def test(club: Club) -> None:
        for n in range(2, 12):
            club.gate.set()
            await Visitor(club, f"127.0.1.{n}").login(ALICE, f"wrong {n}")
        club.pauses.clear()
        assert await Visitor(club, "127.0.2.1").login() == YES  # it had to wait
        assert club.pauses == [10.0]
        assert await Visitor(club, "127.0.2.1").login() == YES  # it is known now
        assert club.pauses == [10.0]

    in_club(test)


def test_our_own_trouble_is_451() -> None:
    async def test(club: Club) -> None:
        def broken(record: str, password: str) -> bool:
            raise MemoryError("no 19 MiB")

        club.logins.verifier._verify = broken
        assert (await Visitor(club).login()).startswith("451 4.3.0 ")
        assert club.count("PLAIN", "error") == 1
        assert club.report.named("fault")

    in_club(test)


def test_auth_may_be_offered_on_the_port_of_strangers() -> None:
    async def test(club: Club) -> None:
        stranger = Visitor(club)
        await stranger.say("EHLO c.test")
        said = await stranger.submit(b"\r\nx\r\n", "a@far.test", ("b@else.test",))
        assert said.startswith("550 5.7.1 Relay")
        await stranger.say("RSET")
        said = await stranger.submit(b"\r\nx\r\n", "a@far.test")
        assert said.startswith("250 ")
        assert await stranger.say(plain(ALICE, PASSWORD)) == YES
        said = await stranger.submit(b"\r\nx\r\n", "a@far.test")
        assert said.startswith("553 5.7.1 ")

    in_club(test, offers=Offers(mechanisms=("PLAIN",)))


def test_the_secret_stays_and_is_ours_alone(tmp_path: Path) -> None:
    made = server_secret(tmp_path)
    assert len(made) == 32
    assert server_secret(tmp_path) == made
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_was_right_is_forgotten_when_there_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastsmtp.serve.verifier.LIMIT", 3)

    async def run() -> None:
        verifier = Verifier(AuthOptions(), lambda: 0.0, lambda record, password: True)
        for n in range(5):
            assert await verifier.verify("record", str(n))
        assert [verifier.remembers("record", str(n)) for n in range(5)] == (
            [False] * 2 + [True] * 3
        )
        verifier.close()

    asyncio.run(run())
