"""RFC 1939 and its extensions, by the numbers of the project's checklist."""

from __future__ import annotations

import re

import pytest
from popfakes import PopTalk

from fastsmtp.errors import PENDING
from fastsmtp.pop3.offers import Offers
from fastsmtp.pop3.options import Pop3Options
from fastsmtp.pop3.states import CLOSED


def test_rfc_76_numbers_stay_and_deletes_wait_for_quit() -> None:
    d = PopTalk(10, 20, 30).login()
    d.say("DELE 1")
    assert d.say("LIST") == ["+OK 2 messages", "2 20", "3 30", "."]
    assert d.say("STAT", "RETR 3") == ["+OK 2 50", "<2>"]
    assert d.door.removed == []
    d.session.lost()
    assert d.door.removed == []


def test_rfc_76_the_snapshot_is_what_was_told_at_the_login() -> None:
    d = PopTalk(10, 20).login()
    d.door.drop = type(d.door.drop)(1, 2, 3, 4)
    assert d.say("STAT") == ["+OK 2 30"]
    assert PopTalk.login(PopTalk(1, 2, 3, 4)).say("STAT") == ["+OK 4 10"]


def test_rfc_77_unique_ids_are_short_printable_and_fixed() -> None:
    d = PopTalk(*[1] * 200).login()
    first = d.say("UIDL")
    assert d.say("UIDL") == first
    ids = [line.split(" ")[1] for line in first[1:-1]]
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"[\x21-\x7e]{1,70}", each) for each in ids)
    assert ids[0] == "0000000700000003"
    again = PopTalk(*[1] * 200).login()
    assert again.say("UIDL") == first
    assert again.say("UIDL 2") == ["+OK 2 0000000700000006"]
    again.say("DELE 1")
    assert again.say("UIDL")[1] == first[2]


def test_rfc_77_another_mailbox_has_other_ids() -> None:
    one, two = PopTalk(1), PopTalk(1)
    two.door.drop.validity = 8
    assert one.login().say("UIDL 1") != two.login().say("UIDL 1")


def test_rfc_79_a_deleted_message_is_there_no_more() -> None:
    d = PopTalk(10, 20).login()
    d.say("DELE 1")
    gone = "-ERR That message is marked as deleted"
    for line in ("RETR 1", "LIST 1", "UIDL 1", "TOP 1 0", "DELE 1"):
        assert d.say(line) == [gone]


def test_rfc_79_top_asks_for_lines() -> None:
    d = PopTalk(10).login()
    assert d.say("TOP 1 0", "TOP 1 10") == ["<0 top 0>", "<0 top 10>"]
    for line in ("TOP 1", "TOP 1 x", "TOP 1 -1", "TOP 1 1 1"):
        assert d.say(line)[0].startswith("-ERR"), line


def test_rfc_80_rset_undoes_and_noop_does_nothing() -> None:
    d = PopTalk(10, 20).login()
    d.say("DELE 1", "DELE 2")
    assert d.say("STAT", "LIST") == ["+OK 0 0", "+OK 0 messages", "."]
    assert d.say("RSET", "NOOP", "STAT") == ["+OK", "+OK", "+OK 2 30"]
    assert d.say("QUIT") == ["+OK Bye"]
    assert d.door.removed == []


def test_rfc_80_nobody_is_logged_out_before_ten_minutes() -> None:
    assert Pop3Options().idle_timeout >= 600
    field = Pop3Options.__dataclass_fields__["idle_timeout"]
    assert field.metadata["low"] == 600


def caps(d: PopTalk) -> list[str]:
    said = d.say("CAPA")
    assert said[0] == "+OK"
    assert said[-1] == "."
    return said[1:-1]


def test_rfc_81_capa_before_tls_after_it_and_after_the_login() -> None:
    d = PopTalk(1, private=False)
    clear = caps(d)
    assert {"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"} <= set(clear)
    assert "STLS" in clear
    assert "USER" not in clear  # RFC 2595 4: no password in clear is offered
    assert not any(line.startswith("SASL") for line in clear)
    assert d.say("STLS")[0].startswith("+OK")
    d.session.secure("TLSv1.3")
    sealed = caps(d)
    assert "STLS" not in sealed
    assert {"USER", "SASL SCRAM-SHA-256 PLAIN", "UTF8 USER"} <= set(sealed)
    d.login()
    assert "STLS" not in caps(d)
    assert {"TOP", "UIDL", "USER"} <= set(caps(d))


def test_rfc_81_without_a_certificate_there_is_no_stls() -> None:
    assert "STLS" not in caps(PopTalk(1, offers=Offers()))


def test_rfc_81_codes_in_brackets_are_those_that_capa_tells_of() -> None:
    d = PopTalk(1)
    assert {"RESP-CODES", "AUTH-RESP-CODE"} <= set(caps(d))
    assert d.say("USER alice", "PASS x")[1].startswith("-ERR [AUTH] ")


@pytest.mark.parametrize("cut", [1, 5, 10_000])
def test_rfc_82_pipelined_commands_are_answered_in_order(cut: int) -> None:
    d = PopTalk(*range(100, 200))
    lines = b"USER alice\r\nPASS secret\r\n"
    lines += b"".join(b"LIST %d\r\nRETR %d\r\n" % (n, n) for n in range(1, 101))
    out = b"".join(d.feed(lines[at : at + cut]) for at in range(0, len(lines), cut))
    said = out.split(b"\r\n")[2:-1]
    assert said == [
        line
        for n in range(100)
        for line in (b"+OK %d %d" % (n + 1, 100 + n), b"<%d>" % n)
    ]


def test_rfc_82_what_follows_a_login_that_waits_is_not_lost() -> None:
    d = PopTalk(7)
    d.door.says["password"] = PENDING
    d.feed(b"USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
    d.door.enter(d.session)
    assert d.answer(None).split(b"\r\n")[1:] == [b"+OK 1 7", b"+OK Bye", b""]
    assert d.session.state == CLOSED
