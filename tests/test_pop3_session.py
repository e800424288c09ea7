"""The POP3 engine: states, commands, limits, cuts, and questions that wait."""

from __future__ import annotations

import random
from base64 import b64encode

import pytest
from popfakes import BLOCKED, BROKEN, BUSY, WRONG, PopTalk

from fastsmtp.errors import PENDING, StoreUnavailable
from fastsmtp.pop3 import counts
from fastsmtp.pop3.commands import ROWS
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.states import (
    AUTHORIZATION,
    CLOSED,
    MOVES,
    NAMED,
    TRANSACTION,
    UPDATE,
    State,
)


def test_a_session_as_in_rfc_1939_section_10() -> None:
    d = PopTalk(120, 200)
    assert d.session.greet() == b"+OK POP3 fastsmtp\r\n"
    assert d.say("USER alice", "PASS secret") == [
        *("+OK Send the password", "+OK 2 messages (320 octets)")
    ]
    assert d.say("STAT") == ["+OK 2 320"]
    assert d.say("LIST") == ["+OK 2 messages", "1 120", "2 200", "."]
    assert d.say("RETR 1", "DELE 1", "RETR 2", "DELE 2") == ["<0>", "+OK", "<1>", "+OK"]
    assert d.say("QUIT") == ["+OK Bye, 2 removed"]
    assert d.door.removed == [[3, 6]]
    assert d.session.state == CLOSED
    assert d.session.parting == "quit"
    assert d.session.receive(b"NOOP\r\n", 6) is None
    assert d.troubles == []


def test_verbs_are_known_in_any_case_and_spaces_at_the_end_do_no_harm() -> None:
    d = PopTalk(120, 200).login()
    assert d.say("sTaT", "LIST  2 ", "noop ") == ["+OK 2 320", "+OK 2 200", "+OK"]


@pytest.mark.parametrize(
    "line",
    ["", " ", "XYZ", "STATS", "LAST", "APOP alice c4c9334bac560ecc979e58001b3e22fb"],
)
def test_what_is_no_command_is_an_error(line: str) -> None:
    d = PopTalk()
    assert d.say(line) == ["-ERR Command not recognized"]
    assert d.count("other", "err") == 1


def test_each_command_has_its_states() -> None:
    wanted = {row.verb: row.states for row in ROWS}
    for state in (AUTHORIZATION, NAMED, TRANSACTION):
        for verb, states in wanted.items():
            d = PopTalk(120)
            d.door.says["auth"] = WRONG
            if state == NAMED:
                d.say("USER alice")
            elif state == TRANSACTION:
                d.login()
            argument = {"USER": " a", "PASS": " b", "TOP": " 1 0", "AUTH": " PLAIN ="}
            more = argument.get(verb, " 1" if verb in ("RETR", "DELE") else "")
            said = d.say(f"{verb}{more}")[0]
            misplaced = said in (
                *("-ERR Log in first", "-ERR Logged in already"),
                "-ERR USER comes first",
            )
            assert misplaced == (state not in states), (state, verb, said)


def test_commands_take_arguments_or_do_not() -> None:
    d = PopTalk(1).login()
    for line in ("STAT 1", "NOOP x", "RSET x", "CAPA x", "QUIT now"):
        assert d.say(line) == ["-ERR Takes no argument"]
    for line in ("RETR", "DELE", "TOP"):
        assert d.say(line) == ["-ERR An argument is missing"]
    assert PopTalk().say("USER", "AUTH") == ["-ERR An argument is missing"] * 2


@pytest.mark.parametrize(
    ("number", "reply"),
    [
        ("0", "-ERR No such message"),
        ("3", "-ERR No such message"),
        ("4294967297", "-ERR No such message"),
        ("99999999999999999999999999", "-ERR No such message"),
        ("-1", "-ERR A message number is digits"),
        ("1x", "-ERR A message number is digits"),
        ("+1", "-ERR A message number is digits"),
        ("\u0661", "-ERR A message number is digits"),
    ],
)
def test_numbers_that_no_message_has(number: str, reply: str) -> None:
    d = PopTalk(1, 2).login()
    for verb in ("RETR", "DELE", "LIST", "UIDL"):
        assert d.say(f"{verb} {number}") == [reply]
    assert d.say(f"TOP {number} 0") == [reply]


def test_a_password_may_hold_spaces_and_begin_with_one() -> None:
    d = PopTalk()
    d.say("USER alice", "PASS  two  spaces ")
    assert d.door.heard == [("password", b"alice", b" two  spaces ")]


def test_a_wrong_password_begins_anew() -> None:
    d = PopTalk(1)
    assert d.say("USER alice", "PASS x") == [
        *("+OK Send the password", "-ERR [AUTH] Wrong name or password")
    ]
    assert d.session.state == AUTHORIZATION
    assert d.say("PASS secret") == ["-ERR USER comes first"]
    assert d.say("USER nobody", "PASS secret")[1] == (
        "-ERR [AUTH] Wrong name or password"
    )
    d.login()


def test_what_is_not_the_users_fault_says_so() -> None:
    d = PopTalk(1)
    d.door.says["password"] = BUSY
    said = d.say("USER alice", "PASS secret")
    assert said[1] == "-ERR [SYS/TEMP] Too many logins at once, try again"
    d.door.says["password"] = StoreUnavailable("disk")
    said = d.say("USER alice", "PASS secret")
    assert said[1] == "-ERR [SYS/TEMP] Our own trouble, try again"
    assert len(d.troubles) == 1
    assert d.session.state == AUTHORIZATION


def test_who_fails_too_often_is_sent_away() -> None:
    d = PopTalk(1)
    d.door.says["password"] = BLOCKED
    d.say("USER alice", "PASS secret")
    assert d.session.state == CLOSED
    assert d.session.parting == "too_many_errors"


def test_the_one_who_errs_too_often_is_sent_away() -> None:
    d = PopTalk(1, max_errors=3)
    said = d.say("X", "X", "X")
    assert said[-1] == "-ERR Too many errors"
    assert d.session.state == CLOSED
    d = PopTalk(1, max_errors=3)
    d.say("X", "X")
    d.login()
    assert d.say("X", "X")[-1] == "-ERR Command not recognized"


def test_no_password_in_clear() -> None:
    d = PopTalk(1, private=False)
    for line in ("USER alice", "AUTH PLAIN", "AUTH PLAIN AGEAYg=="):
        assert d.say(line) == ["-ERR A password is not taken in clear: say STLS first"]
    assert d.door.heard == []
    d = PopTalk(1, private=False, offers=Offers())
    assert d.say("USER alice")[0].endswith("there is no TLS here")


def test_stls_forgets_what_was_said_in_clear() -> None:
    d = PopTalk(1, private=False)
    assert d.feed(b"UTF8\r\nSTLS\r\nUSER mallory\r\nPASS x\r\n") == (
        b"+OK UTF-8\r\n+OK Begin the TLS handshake\r\n"
    )
    assert d.session.upgrade
    assert d.feed(b"QUIT\r\n") == b""
    d.session.secure("TLSv1.3")
    assert not d.session.utf8
    assert d.say("PASS x") == ["-ERR USER comes first"]
    d.login()
    assert d.say("STLS") == ["-ERR Logged in already"]


def test_stls_twice_or_where_there_is_none() -> None:
    d = PopTalk(1)
    d.session.secure("TLSv1.3")
    assert d.say("STLS") == ["-ERR TLS is on already"]
    assert PopTalk(1, offers=Offers()).say("STLS") == ["-ERR Not offered here"]


def coded(text: bytes) -> str:
    return b64encode(text).decode()


def test_auth_with_challenges() -> None:
    d = PopTalk(1)
    d.door.says["auth"] = lambda mechanism, response: (
        None if response == b"answer" else b"challenge" if response is None else WRONG
    )
    assert d.say("AUTH plain") == [f"+ {coded(b'challenge')}"]
    assert d.say(coded(b"answer")) == ["+OK 1 messages (1 octets)"]
    assert d.door.heard == [("auth", "PLAIN", None), ("auth", "PLAIN", b"answer")]
    assert d.session.state == TRANSACTION


def test_auth_with_an_initial_response() -> None:
    for word, response in (("=", b""), (coded(b"\0a\0b"), b"\0a\0b")):
        d = PopTalk(1)
        assert d.say(f"AUTH PLAIN {word}")[0].startswith("+OK")
        assert d.door.heard == [("auth", "PLAIN", response)]


def test_an_empty_challenge_is_a_plus_and_a_space() -> None:
    d = PopTalk(1)
    d.door.says["auth"] = b""
    assert d.say("AUTH PLAIN") == ["+ "]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("*", "-ERR Authentication cancelled"),
        ("not base64!", "-ERR That is not base64"),
        ("x" * 13000, "-ERR Line too long"),
        ("a\nb", "-ERR Line has a bare CR, bare LF or NUL"),
    ],
)
def test_an_exchange_that_ends_early(line: str, reply: str) -> None:
    d = PopTalk(1)
    d.door.says["auth"] = b"challenge"
    d.say("AUTH PLAIN")
    assert d.say(line) == [reply]
    assert d.door.heard[-1] == ("cancelled",)
    d.door.says.clear()
    d.login()


def test_a_mechanism_nobody_knows() -> None:
    d = PopTalk(1)
    assert d.say("AUTH CRAM-MD5") == ["-ERR Mechanism not supported"]
    assert d.say("AUTH PLAIN x") == ["-ERR That is not base64"]


def test_a_long_line_is_refused_once_and_skipped() -> None:
    d = PopTalk(1).login()
    million = b"NOOP " + b"x" * 1_000_000
    out = b""
    for at in range(0, len(million), 16384):
        out += d.feed(million[at : at + 16384])
    assert out == b""
    assert d.service.kept == 0
    assert d.feed(b"\r\nNOOP\r\n") == b"-ERR Line too long\r\n+OK\r\n"


def test_a_bare_end_of_line_is_told_at_once_and_skipped() -> None:
    d = PopTalk(1).login()
    assert d.feed(b"NOOP\nDELE 1\r\nNOOP\r\n") == (
        b"-ERR Line has a bare CR, bare LF or NUL\r\n+OK\r\n"
    )
    assert d.feed(b"NO\0OP\r\nNOOP x\rDELE 1\r\n").count(b"-ERR") == 2
    assert d.session.marked == 0


def test_what_is_pipelined_is_answered_in_order_however_it_is_cut() -> None:
    lines = (
        b"CAPA\r\nUSER alice\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 2\r\n"
        b"TOP 1 3\r\nDELE 1\r\nRETR 1\r\nLIST\r\nUIDL 1\r\nUIDL 2\r\nRSET\r\nSTAT\r\n"
        b"FOO\r\nDELE 2\r\nSTAT\r\nQUIT\r\n"
    )
    whole = PopTalk(120, 200)
    expected = whole.feed(lines)
    rng = random.Random(5)
    for size in (1, 2, 3, 7, 50):
        d = PopTalk(120, 200)
        pieces = [lines[n : n + size] for n in range(0, len(lines), size)]
        assert b"".join(d.feed(p) for p in pieces) == expected
        assert d.door.removed == [[6]]
    for _ in range(50):
        d, out, at = PopTalk(120, 200), b"", 0
        while at < len(lines):
            size = rng.randrange(1, 60)
            out += d.feed(lines[at : at + size])
            at += size
        assert out == expected
        assert d.service.kept == 0


def test_input_is_held_while_the_door_thinks() -> None:
    d = PopTalk(120)
    d.door.says["password"] = PENDING
    assert d.feed(b"USER alice\r\nPASS secret\r\nSTAT\r\nQU") == (
        b"+OK Send the password\r\n"
    )
    assert d.session.pending
    assert d.feed(b"IT\r\n") == b""
    assert d.session.holding
    d.door.enter(d.session)
    assert d.answer(None) == (
        b"+OK 1 messages (120 octets)\r\n+OK 1 120\r\n+OK Bye\r\n"
    )
    assert d.service.kept == 0


def test_input_is_held_while_much_is_to_be_said() -> None:
    """Ten thousand RETR in one packet: a part is answered, the rest waits."""
    d = PopTalk(*[4096] * 10_000).login()
    lines = b"".join(b"RETR %d\r\n" % n for n in range(1, 10_001))
    pieces = d.session.receive(lines, len(lines))
    assert pieces == list(range(64))
    seen = pieces
    while d.session.holding:
        pieces = d.session.resume()
        assert pieces
        assert len(pieces) <= 64
        seen = seen + pieces
    assert seen == list(range(10_000))
    assert d.service.kept == 0


def test_an_end_while_the_door_thinks_does_no_harm() -> None:
    d = PopTalk(120)
    d.door.says["password"] = PENDING
    d.say("USER alice", "PASS secret")
    d.session.lost()
    assert d.session.peer == "peer"
    d.door.enter(d.session)
    assert d.session.answer(None) is None
    assert d.session.peer is None
    assert d.session.parting == "reset"


def test_quit_waits_for_the_door() -> None:
    d = PopTalk(1, 2, 3).login()
    d.door.says["update"] = PENDING
    assert d.feed(b"DELE 3\r\nDELE 1\r\nQUIT\r\nNOOP\r\n") == b"+OK\r\n+OK\r\n"
    assert d.session.state == UPDATE
    assert d.door.removed == [[3, 9]]
    assert d.answer(None) == b"+OK Bye, 2 removed\r\n"
    assert d.session.state == CLOSED
    assert d.cells[counts.MESSAGES.place("deleted")] == 2


def test_quit_that_fails_says_so_and_ends() -> None:
    d = PopTalk(1).login()
    d.door.says["update"] = BROKEN
    assert d.say("DELE 1", "QUIT")[1] == "-ERR [SYS/TEMP] Cannot be removed now"
    assert d.session.state == CLOSED
    assert d.cells[counts.MESSAGES.place("deleted")] == 0


def test_shut_says_why_and_removes_nothing() -> None:
    d = PopTalk(1).login()
    d.say("DELE 1")
    assert d.session.shut(b"-ERR Over\r\n", "timeout") == [b"-ERR Over\r\n"]
    assert d.session.shut(b"-ERR Over\r\n", "timeout") is None
    assert d.session.parting == "timeout"
    assert d.door.removed == []


def test_what_is_counted() -> None:
    d = PopTalk(5).login()
    d.say("STAT", "STAT", "STAT x", "RETR 1", "NOPE", "QUIT")
    assert d.count("STAT") == 2
    assert d.count("STAT", "err") == 1
    assert d.count("RETR") == 1
    assert d.count("other", "err") == 1
    assert d.count("QUIT") == 1
    histogram = counts.duration("STAT", "ok")
    assert sum(d.cells[histogram.first : histogram.first + len(histogram.edges)]) == 2


WORDS = (
    *("USER alice", "PASS secret", "PASS x", "AUTH PLAIN =", "CAPA", "STAT", "LIST"),
    *("UIDL", "RETR 1", "TOP 1 1", "DELE 1", "DELE 2", "RSET", "NOOP", "QUIT", "UTF8"),
    *("FOO", "STLS"),
)


def test_the_moves_are_those_of_the_table() -> None:
    """Sessions at random take no other; and only QUIT removes."""
    rng = random.Random(11)
    seen: set[tuple[State, State]] = set()
    for _ in range(400):
        d = PopTalk(1, 2, 3)
        d.door.says["update"] = rng.choice((None, PENDING, BROKEN))
        d.door.says["auth"] = rng.choice((None, WRONG, b"", PENDING))
        for _ in range(12):
            before = State(d.session.state)
            if d.session.pending:
                if before != UPDATE:
                    d.door.enter(d.session)
                d.answer(rng.choice((None, WRONG)))
            elif d.session.upgrade:
                d.session.secure("TLSv1.3")
            else:
                d.say(rng.choice(WORDS))
            seen.add((before, State(d.session.state)))
            assert len(d.door.removed) <= 1
            assert not d.door.removed or d.session.state in (UPDATE, CLOSED)
        d.session.lost()
        assert d.troubles == []
        assert d.service.kept == 0
    for before, after in seen:
        assert after in MOVES[before] or (before, after) == (TRANSACTION, CLOSED)
    assert (TRANSACTION, UPDATE) in seen
    assert (NAMED, AUTHORIZATION) in seen
