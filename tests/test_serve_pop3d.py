"""People fetch their mail: logins, snapshots, removing, limits, on fake transports."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import turns_until
from model import popbody
from postoffice import ALICE, BOB, BODY, Collector, PostOffice, in_office
from scram_client import ScramClient

from fastsmtp.auth.options import AuthOptions
from fastsmtp.errors import Conflict, StoreUnavailable
from fastsmtp.mailbox import account, fetched
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.pop3 import counts
from fastsmtp.serve.pop3d import PATIENCE

WHOLE = [BODY + b"%d\r\n" % n for n in range(3)]
SIZE = len(WHOLE[0])


def listed(reply: bytes) -> list[bytes]:
    lines = reply.split(b"\r\n")
    assert lines[0].startswith(b"+OK"), reply
    assert lines[-2:] == [b".", b""]
    return lines[1:-2]


def test_somebody_logs_in_and_fetches() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        assert c.greeting == b"+OK POP3 fastsmtp\r\n"
        assert await c.login() == b"+OK 3 messages (%d octets)\r\n" % (3 * SIZE)
        for n, body in enumerate(WHOLE, 1):
            head = b"+OK %d octets\r\n" % len(body)
            assert await c.say(f"RETR {n}") == head + popbody.given(body)
        assert await c.say("TOP 2 1") == b"+OK\r\n" + popbody.given(WHOLE[1], 1)
        assert await c.say("QUIT") == b"+OK Bye\r\n"
        assert c.transport.ended
        c.vanish()
        assert office.cells[counts.OPEN] == 0
        assert office.cells[counts.DISCONNECTS.place("quit")] == 1
        assert [said[2] for said in office.report.named("session_closed")] == ["quit"]
        assert office.cells[counts.MESSAGES.place("retrieved")] == 3
        assert office.cells[counts.OCTETS] == 3 * SIZE
        assert office.count("RETR") == 3
        assert office.count("TOP") == 1
        assert office.logins_counted("USER", "ok") == 1

    in_office(story)


def test_rfc_78_sizes_of_list_are_octets_of_retr() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        sizes = [int(line.split()[1]) for line in listed(await c.say("LIST"))]
        for n, size in enumerate(sizes, 1):
            head, _, rest = (await c.say(f"RETR {n}")).partition(b"\r\n")
            assert head == b"+OK %d octets" % size
            assert len(popbody.taken(rest)) == size

    in_office(story)


def test_rfc_76_what_happens_meanwhile_changes_nothing_that_was_told() -> None:
    """New mail, and another session that removes."""

    async def story(office: PostOffice) -> None:
        one, two = Collector(office), Collector(office)
        await one.login()
        before = [await one.say(word) for word in ("STAT", "LIST", "UIDL")]
        await office.village.send("alice", body=b"new\r\n")
        await two.login()
        assert (await two.say("STAT")).startswith(b"+OK 4 ")
        await two.say("DELE 2")
        assert await two.say("QUIT") == b"+OK Bye, 1 removed\r\n"
        assert [await one.say(word) for word in ("STAT", "LIST", "UIDL")] == before
        said = await one.say("RETR 2")
        assert said.partition(b"\r\n")[2] == popbody.given(WHOLE[1])
        await one.say("DELE 1")
        await one.say("DELE 2")  # which is gone already
        assert await one.say("QUIT") == b"+OK Bye, 2 removed\r\n"
        three = Collector(office)
        assert (await three.login()).startswith(b"+OK 2 messages")

    in_office(story)


def test_rfc_76_a_lost_connection_removes_nothing() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        await c.say("DELE 1", "DELE 2")
        c.vanish()
        again = Collector(office)
        assert (await again.login()).startswith(b"+OK 3 messages")
        assert office.cells[counts.DISCONNECTS.place("reset")] == 1

    in_office(story)


def test_rfc_77_unique_ids_are_the_same_in_every_session() -> None:
    async def story(office: PostOffice) -> None:
        one = Collector(office)
        await one.login()
        first = listed(await one.say("UIDL"))
        await one.say("DELE 1", "QUIT")
        await office.village.send("alice", body=b"new\r\n")
        two = Collector(office)
        await two.login()
        second = listed(await two.say("UIDL"))
        names = [line.split()[1] for line in first]
        later = [line.split()[1] for line in second]
        assert later[:2] == names[1:]
        assert later[2] not in names

    in_office(story)


def test_rfc_80_time_passes_and_nothing_is_removed() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        await c.say("DELE 1")
        office.pass_time(599)
        assert c.transport.written == b""
        await c.say("NOOP")
        office.pass_time(599)
        assert c.transport.written == b""
        office.pass_time(5)
        assert c.transport.take() == b"-ERR Timeout: nothing was deleted\r\n"
        assert c.transport.closed
        c.vanish()
        assert (await Collector(office).login()).startswith(b"+OK 3 messages")
        assert office.cells[counts.DISCONNECTS.place("timeout")] == 1

    in_office(story)


def test_strangers_have_a_minute() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        office.pass_time(62)
        assert c.transport.closed

    in_office(story)


def coded(text: bytes) -> str:
    return b64encode(text).decode()


def test_auth_plain_and_scram() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        plain = f"\0{ALICE}\0correct horse".encode()
        assert (await c.say(f"AUTH PLAIN {coded(plain)}")).startswith(b"+OK 3")
        c = Collector(office)
        assert await c.say("AUTH PLAIN") == b"+ \r\n"
        assert (await c.say(coded(plain))).startswith(b"+OK 3")
        c = Collector(office)
        scram = ScramClient(ALICE, "correct horse")
        said = await c.say(f"AUTH SCRAM-SHA-256 {coded(scram.first())}")
        challenge = decoded(said)
        said = await c.say(coded(scram.final(challenge)))
        assert scram.ends(decoded(said))
        assert (await c.send(b"\r\n")).startswith(b"+OK 3")
        assert office.logins_counted("PLAIN", "ok") == 2
        assert office.logins_counted("SCRAM-SHA-256", "ok") == 1

    in_office(story)


def decoded(said: bytes) -> bytes:
    from base64 import b64decode

    assert said.startswith(b"+ ")
    return b64decode(said[2:])


@pytest.mark.parametrize("name", [ALICE, "nobody@example.test"])
def test_a_wrong_password_and_an_unknown_name_sound_alike(name: str) -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        said = await c.login(name, "not it")
        assert said == b"-ERR [AUTH] Wrong name or password\r\n"
        why = "bad_password" if name == ALICE else "unknown_user"
        assert office.logins_counted("USER", why) == 1

    in_office(story)


def test_who_guesses_waits_and_is_sent_away() -> None:
    """As in submission: the same counts, whatever the protocol."""

    async def story(office: PostOffice) -> None:
        for _ in range(3):
            await Collector(office).login(ALICE, "guess")
        c = Collector(office)
        await c.say(f"USER {BOB}")
        c.feed(b"PASS guess\r\n")
        await turns_until(lambda: bool(office.pauses))
        assert c.transport.written == b""
        office.gate.set()
        await c.send(b"")
        for _ in range(4):
            c = Collector(office)
            said = await c.login(BOB, "guess")
        assert said == b"-ERR [SYS/TEMP] Too many failed logins, try again later\r\n"
        assert c.transport.closed or c.transport.ended
        assert (await Collector(office, "192.0.2.1").send(b"STLS\r\n"))[:4] == b"-ERR"

    in_office(story, allow=AuthOptions(free_failures=3, max_failures=6, max_delay=60))


def test_no_password_in_clear_from_elsewhere() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office, "192.0.2.7")
        assert (await c.say(f"USER {ALICE}")).startswith(b"-ERR A password")
        assert b"USER" not in (await c.say("CAPA")).replace(b"UTF8 USER", b"")
        c.guest.secured("TLSv1.3")
        assert (await c.login()).startswith(b"+OK 3")

    in_office(story)


def test_a_login_whose_account_went_away_meanwhile() -> None:
    async def story(office: PostOffice) -> None:
        await office.village.leave("alice")
        c = Collector(office)
        said = await c.login()
        assert said.startswith(b"-ERR [SYS/TEMP] Your mailbox cannot be read")
        assert (await c.say("STAT")).startswith(b"-ERR Log in first")

    in_office(story)


def test_quit_tries_again_while_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastsmtp.serve.pop3d.AGAIN", 0)

    async def story(office: PostOffice) -> None:
        store, left = office.village.store, [3]
        real = store.commit

        async def commit(*args: Any, **more: Any) -> int:
            left[0] -= 1
            if left[0] >= 0:
                raise StoreUnavailable("the keeper is away")
            return await real(*args, **more)

        store.commit = commit  # type: ignore[method-assign]
        c = Collector(office)
        await c.login()
        await c.say("DELE 3")
        assert await c.say("QUIT") == b"+OK Bye, 1 removed\r\n"
        assert left == [-1]

    in_office(story)


def test_quit_gives_up_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsmtp.serve.pop3d.PATIENCE", 0)

    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        await c.say("DELE 3")
        office.village.store.trouble = "full"
        said = await c.say("QUIT")
        assert said.startswith(b"-ERR [SYS/TEMP] Nothing was removed")
        office.village.store.trouble = None
        assert (await Collector(office).login()).startswith(b"+OK 3")

    in_office(story)


def test_quit_gives_up_on_a_mailbox_that_changes_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In time: each commit that lost is followed by one that looks again."""
    seconds = iter(range(1000))
    monkeypatch.setattr(
        "fastsmtp.serve.pop3d.time",
        SimpleNamespace(monotonic=lambda: float(next(seconds)), time=lambda: 0.0),
    )

    async def story(office: PostOffice) -> None:
        store, lost = office.village.store, []

        async def commit(*args: Any, **more: Any) -> int:
            lost.append(args)
            raise Conflict

        c = Collector(office)
        await c.login()
        await c.say("DELE 1", "DELE 3")
        real, store.commit = store.commit, commit  # type: ignore[method-assign]
        said = await c.say("QUIT")
        store.commit = real  # type: ignore[method-assign]
        assert said.startswith(b"-ERR [SYS/TEMP] Your mailbox changes too fast")
        assert 1 < len(lost) <= PATIENCE + 1
        assert (await Collector(office).login()).startswith(b"+OK 3")
        assert office.count("QUIT", "err") == 1

    in_office(story)


def test_all_is_removed_in_one_commit() -> None:
    """More than a page of an expunge."""

    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        commits = []
        store = office.village.store
        real = store.commit

        async def commit(*args: Any, **more: Any) -> int:
            commits.append(len(more["deletes"]))
            return await real(*args, **more)

        store.commit = commit  # type: ignore[method-assign]
        c.feed(b"".join(b"DELE %d\r\n" % n for n in range(1, 601)))
        assert await c.say("QUIT") == b"+OK Bye, 600 removed\r\n"
        assert commits == [1200]

    in_office(story, mail=601)


def test_what_is_pipelined_is_removed_after_it_was_given() -> None:
    """RETR, DELE and QUIT in one packet; the client does not read."""

    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        c.guest.pause_writing()
        assert c.feed(b"RETR 1\r\nDELE 1\r\nQUIT\r\n") == b""
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(await office.village.inbox("alice")) == 3
        c.guest.resume_writing()
        said = await c.send(b"", b"removed\r\n")
        assert popbody.given(WHOLE[0]) in said
        assert len(await office.village.inbox("alice")) == 2

    in_office(story)


def test_a_client_that_vanishes_before_it_read_all_loses_nothing() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        c.guest.pause_writing()
        c.feed(b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
        c.vanish()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(await office.village.inbox("alice")) == 3

    in_office(story)


def test_a_full_pipe_stops_reading_from_log_and_client() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        c.guest.pause_writing()
        c.feed(b"RETR 1\r\nNOOP\r\n")
        assert not c.transport.reading
        office.pass_time(200)
        c.guest.resume_writing()
        assert c.transport.take().endswith(b"\r\n.\r\n+OK\r\n")
        assert c.transport.reading
        c.guest.pause_writing()
        c.feed(b"RETR 1\r\n")
        office.pass_time(310)
        assert c.transport.aborted

    in_office(story)


def test_ten_thousand_commands_in_one_packet() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        said = c.feed(b"STAT\r\nRETR 2\r\n" * 5000)
        each = b"+OK 3 %d\r\n+OK %d octets\r\n" % (3 * SIZE, SIZE)
        while len(said) < 5000 * (len(each) + len(popbody.given(WHOLE[1]))):
            await turns_until(lambda: bool(c.transport.written))
            said += c.transport.take()
        assert said == (each + popbody.given(WHOLE[1])) * 5000
        assert office.pop3d.desk.service.kept == 0

    in_office(story)


def test_large_messages_go_out_in_pieces() -> None:
    async def story(office: PostOffice) -> None:
        body = b"Subject: large\r\n\r\n" + b".x\r\nyy\r\n" * 60_000
        await office.village.send("alice", body=body)
        c = Collector(office)
        await c.login()
        said = await c.send(b"RETR 4\r\n", b"yy\r\n.\r\n")
        assert said == b"+OK %d octets\r\n" % len(body) + popbody.given(body)
        said = await c.send(b"TOP 4 30000\r\n", b"\r\n.\r\n")
        assert said == b"+OK\r\n" + popbody.given(body, 30_000)
        assert (await c.say("RETR 1")).endswith(popbody.given(WHOLE[0]))

    in_office(story)


def test_a_body_that_is_gone_is_an_error_and_the_session_goes_on() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        blobs = office.village.store.disk.blobs
        kept = blobs.pop((await office.village.inbox("alice"))[1])
        said = c.feed(b"RETR 1\r\nRETR 2\r\nTOP 2 0\r\nRETR 3\r\n")
        head = b"+OK %d octets\r\n" % SIZE
        gone = b"-ERR That message is there no more\r\n"
        first, last = (head + popbody.given(WHOLE[n]) for n in (0, 2))
        assert said == first + gone + gone + last
        assert office.count("RETR", "err") == 1
        assert office.report.named("store_trouble")
        blobs[(await office.village.inbox("alice"))[1]] = kept

    in_office(story)


def test_connections_are_limited() -> None:
    async def story(office: PostOffice) -> None:
        first = Collector(office)
        Collector(office)
        third = Collector(office)
        assert third.greeting == b"-ERR [SYS/TEMP] Too many connections\r\n"
        assert third.transport.closed
        third.vanish()
        assert Collector(office, "192.0.2.9").greeting.startswith(b"+OK")
        first.vanish()
        assert Collector(office).greeting.startswith(b"+OK")
        assert office.cells[counts.CONNECTIONS.place("ipv4", "limit")] == 1
        assert office.cells[counts.OPEN] == 3

    in_office(story, max_connections_per_network=2)


def test_draining_sends_idle_clients_away_and_lets_quit_finish() -> None:
    async def story(office: PostOffice) -> None:
        idle, busy = Collector(office), Collector(office)
        await busy.login()
        await busy.say("DELE 1")
        busy.feed(b"QUIT\r\n")
        draining = asyncio.ensure_future(office.pop3d.drain(5))
        await turns_until(lambda: bool(idle.transport.written))
        assert idle.transport.take().startswith(b"-ERR [SYS/TEMP] Shutting down")
        idle.vanish()
        await turns_until(lambda: busy.transport.ended)
        assert busy.transport.take() == b"+OK Bye, 1 removed\r\n"
        busy.vanish()
        await draining
        assert Collector(office).greeting.startswith(b"-ERR [SYS/TEMP] Shutting")
        assert len(await office.village.inbox("alice")) == 2

    in_office(story)


def test_who_pipes_a_dialogue_hears_all_of_it() -> None:
    async def story(office: PostOffice) -> None:
        c = Collector(office)
        c.feed(f"USER {ALICE}\r\nPASS correct horse\r\nSTAT\r\nQUIT\r\n".encode())
        assert c.guest.eof_received()
        said = await c.send(b"", b"Bye\r\n")
        assert said.endswith(b"+OK 3 %d\r\n+OK Bye\r\n" % (3 * SIZE))
        assert c.transport.ended

    in_office(story)


def test_sessions_of_one_mailbox_share_what_they_were_told() -> None:
    async def story(office: PostOffice) -> None:
        one, two = Collector(office), Collector(office)
        await one.login()
        await two.login()
        assert one.guest.drop is two.guest.drop
        await office.village.send("alice")
        three = Collector(office)
        await three.login()
        assert three.guest.drop is not one.guest.drop
        part = office.village.ids["alice"]
        await account.expunge(office.village.store, part, INBOX, [1])
        four = Collector(office)
        await four.login()
        assert len(four.guest.drop.uids) == 3

    in_office(story)


DAY = 86_400


async def fetch(office: PostOffice, *lines: str) -> bytes:
    """A session that ends well; the answer to its QUIT."""
    c = Collector(office)
    await c.login()
    for line in lines:
        await c.say(line)
    return await c.say("QUIT")


def test_mail_goes_so_many_days_after_it_was_fetched() -> None:
    """At QUIT, like all that goes: what the session was told stays true."""

    async def story(office: PostOffice) -> None:
        now = [1_700_000_000.0]
        office.pop3d.wall = lambda: now[0]
        assert b"\r\nEXPIRE 7\r\n" in await Collector(office).say("CAPA")
        assert await fetch(office, "RETR 1", "TOP 2 0") == b"+OK Bye\r\n"
        now[0] += 6 * DAY
        assert await fetch(office, "RETR 1", "RETR 3") == b"+OK Bye\r\n"
        now[0] += DAY
        c = Collector(office)
        assert (await c.login()).startswith(b"+OK 3 messages")
        assert (await c.say("RETR 1")).endswith(popbody.given(WHOLE[0]))
        assert await c.say("QUIT") == b"+OK Bye\r\n"
        c = Collector(office)
        assert (await c.login()).startswith(b"+OK 2 messages")
        assert (await c.say("RETR 1")).endswith(popbody.given(WHOLE[1]))
        c.vanish()  # without QUIT it was not fetched
        now[0] += 6 * DAY
        assert await fetch(office) == b"+OK Bye\r\n"
        c = Collector(office)
        assert (await c.login()).startswith(b"+OK 1 messages")
        assert (await c.say("RETR 1")).endswith(popbody.given(WHOLE[1]))
        assert office.cells[counts.MESSAGES.place("expired")] == 2
        assert office.cells[counts.MESSAGES.place("deleted")] == 0
        assert await rows(office) == {}

    in_office(story, keep_days=7)


async def rows(office: PostOffice) -> dict[int, int]:
    return await fetched.times(office.village.store, office.village.ids["alice"], INBOX)


def test_what_was_fetched_is_forgotten_with_its_message() -> None:
    async def story(office: PostOffice) -> None:
        office.pop3d.wall = lambda: 1000.0
        store, part = office.village.store, office.village.ids["alice"]
        one = Collector(office)
        await one.login()
        await fetch(office, "RETR 1", "RETR 2", "RETR 3")
        assert await rows(office) == {1: 1000, 2: 1000, 3: 1000}
        assert await fetch(office, "DELE 2") == b"+OK Bye, 1 removed\r\n"
        assert await rows(office) == {1: 1000, 3: 1000}
        await account.expunge(store, part, INBOX, [1])  # by another protocol
        await office.village.send("alice")
        await fetch(office, "RETR 2")
        assert await rows(office) == {3: 1000, 4: 1000}
        assert await one.say("QUIT") == b"+OK Bye\r\n"  # was told of 1 to 3 alone
        assert await rows(office) == {3: 1000, 4: 1000}

    in_office(story, keep_days=7)


def test_nothing_is_noted_where_mail_stays_for_ever() -> None:
    async def story(office: PostOffice) -> None:
        assert b"\r\nEXPIRE NEVER\r\n" in await Collector(office).say("CAPA")
        await fetch(office, "RETR 1")
        assert await rows(office) == {}

    in_office(story)


def test_expired_mail_stays_when_quit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsmtp.serve.pop3d.PATIENCE", 0)

    async def story(office: PostOffice) -> None:
        now = [1000.0]
        office.pop3d.wall = lambda: now[0]
        await fetch(office, "RETR 1")
        now[0] += DAY
        c = Collector(office)
        await c.login()
        office.village.store.trouble = "full"
        assert (await c.say("QUIT")).startswith(b"-ERR [SYS/TEMP] Nothing was removed")
        office.village.store.trouble = None
        assert (await Collector(office).login()).startswith(b"+OK 3")

    in_office(story, keep_days=1)


@pytest.mark.parametrize("size", [10, 200_000])
def test_rfc_6856_a_header_in_utf_8_is_for_who_said_utf8(size: int) -> None:
    """Others get it as RFC 5322 has it, in the size that LIST tells; the body is theirs
    to read."""
    trace = b"Received: from a.test\r\n\tby mx.test with UTF8SMTP id 1\r\n"
    more = b"\xc3\xa4" * 35 + b"\r\n"
    whole = trace + "Subject: caf\u00e9\r\n\r\n".encode() + more * (size // 72 + 1)
    other = whole.replace(b"UTF8SMTP", b"8BITMIME")

    async def story(office: PostOffice) -> None:
        for body in (whole, other):
            await office.village.send("alice", body=body)
        c = Collector(office)
        await c.login()
        head = b"+OK %d octets\r\n" % len(whole)
        said = await c.send(b"RETR 4\r\n", b"\r\n.\r\n")
        assert said == head + popbody.given(popbody.narrow(whole))
        assert b"Subject: caf??\r\n\r\n\xc3\xa4" in said
        assert b"Subject: caf??\r\n" in await c.say("TOP 4 0")
        said = await c.send(b"RETR 5\r\n", b"\r\n.\r\n")
        assert said == head + popbody.given(other)
        c = Collector(office)
        await c.say("UTF8")
        await c.login()
        said = await c.send(b"RETR 4\r\n", b"\r\n.\r\n")
        assert said == head + popbody.given(whole)
        assert "Subject: caf\u00e9\r\n".encode() in await c.say("TOP 4 0")

    in_office(story)


def test_who_fetches_one_by_one_gets_what_is_there() -> None:
    """Bodies are looked up ahead; what another session removes meanwhile is given."""

    async def story(office: PostOffice) -> None:
        c = Collector(office)
        await c.login()
        looked: list[int] = []
        store = office.village.store
        real = store.open_now

        def opened(ids: Any) -> Any:
            looked.append(len(ids))
            return real(ids)

        store.open_now = opened  # type: ignore[method-assign]
        for n in range(1, 41):
            said = await c.send(b"RETR %d\r\n" % n, b"\r\n.\r\n")
            assert said.endswith(popbody.given(BODY + b"%d\r\n" % (n - 1)))
        assert looked == [1, 16, 16, 7]
        assert (await c.say("RETR 3")).endswith(popbody.given(BODY + b"2\r\n"))
        assert looked == [1, 16, 16, 7, 1]

    in_office(story, mail=40)
