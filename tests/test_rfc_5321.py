"""The numbers of docs/rfc.md that a receiving dialogue can show, one test each."""

from typing import Any

import pytest
from fakes import Dialogue, FakeDoor

from fastsmtp.errors import Refused
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Local, Recipients
from fastsmtp.smtp.door import PENDING

HELLO = ("EHLO client.test",)
OPEN = (*HELLO, "MAIL FROM:<a@client.test>")
READY = (*OPEN, "RCPT TO:<bob@example.test>")


def last(*lines: str, **options: Any) -> str:
    """The last reply line to these commands."""
    return Dialogue(**options).say(*lines)[-1]


@pytest.mark.parametrize(
    "ending",
    [
        *(b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r"),
        *(b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\n\r.\n\r"),
    ],
)
def test_rfc_1_only_crlf_dot_crlf_ends_the_data(ending: bytes) -> None:
    d = Dialogue().start()
    assert d.feed(b"one" + ending + b"MAIL FROM:<smuggled@evil.test>\r\n") == b""
    said = d.feed(b"\r\n.\r\n").decode()
    assert said.startswith("554 5.6.11 ")
    assert "(line " in said
    assert d.door.messages == []
    assert d.say("NOOP") == ["250 2.0.0 Ok"]


def test_rfc_1_only_crlf_ends_a_command() -> None:
    d = Dialogue()
    assert d.feed(b"NOOP\n").startswith(b"500 5.5.2")
    assert d.feed(b"NOOP\nNOOP\n") == b""
    assert d.feed(b"\r\n") == b""
    assert d.feed(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"
    assert d.feed(b"NO\rOP\r\n").startswith(b"500 5.5.2")
    assert d.feed(b"NOOP\0\r\n").startswith(b"500 5.5.2")
    assert d.feed(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"


def test_rfc_2_one_leading_dot_is_taken_off() -> None:
    d = Dialogue().start()
    assert d.feed(b"..\r\n...a\r\n.b\r\nc.\r\n.\r\n").startswith(b"250 ")
    assert d.door.messages[0][2] == b".\r\n..a\r\nb\r\nc.\r\n"


def test_rfc_3_long_things_are_taken_up_to_the_limits_and_never_cut() -> None:
    local = "l" * 64
    domain = ".".join(["d" * 61] * 3)
    d = Dialogue()
    assert d.say("EHLO " + "h" * 250)[-1].startswith("250 ")
    assert d.say(f"MAIL FROM:<{local}@{domain}>") == ["250 2.1.0 Ok"]
    assert d.say(f"RCPT TO:<l{local}@{domain}>")[0].startswith("501 5.1.3")
    assert d.say(f"RCPT TO:<{local}@{domain}.{domain}>")[0].startswith("501 5.1.3")
    assert d.say("NOOP " + "x" * 505) == ["250 2.0.0 Ok"]
    assert d.say("NOOP " + "x" * 2041) == ["250 2.0.0 Ok"]
    assert d.say("NOOP " + "x" * 2042)[0].startswith("500 5.5.2")
    assert d.say("NOOP " + "x" * 100_000)[0].startswith("500 5.5.2")
    assert d.say("NOOP") == ["250 2.0.0 Ok"]
    d.say(f"RCPT TO:<{local}@{domain}>", "DATA")
    assert d.say("x" * 998, ".")[0].startswith("250 ")
    assert d.door.messages[0][:2] == (f"{local}@{domain}", [f"{local}@{domain}"])
    assert max(map(len, d.say("HELP"))) <= 510


def test_rfc_3_a_line_of_the_body_is_limited_when_it_was_asked_for() -> None:
    assert Dialogue().start().say("x" * 5000, ".")[0].startswith("250 ")
    strict = Dialogue(max_line=1000)
    assert strict.start().say("x" * 998, ".")[0].startswith("250 ")
    strict.say("MAIL FROM:<>", "RCPT TO:<bob@example.test>", "DATA")
    said = strict.say("short", "x" * 999, ".")
    assert said == ["554 5.6.0 Line longer than 1000 octets (line 2)"]


def test_rfc_4_a_hundred_recipients_and_then_452() -> None:
    d = Dialogue(max_recipients=100)
    d.say(*OPEN)
    taken = d.say(*(f"RCPT TO:<r{n}@example.test>" for n in range(100)))
    assert set(taken) == {"250 2.1.5 Ok"}
    more = d.say(*(f"RCPT TO:<s{n}@example.test>" for n in range(50)))
    assert all(reply.startswith("452 4.5.3 ") for reply in more)
    d.say("DATA")
    assert d.say("x", ".")[0].startswith("250 ")
    assert len(d.door.messages[0][1]) == 100


@pytest.mark.parametrize("name", ["Postmaster", "postmaster", "POSTMASTER"])
def test_rfc_5_postmaster_needs_no_domain(name: str) -> None:
    policy = Recipients(
        {"example.test": DomainOptions(catch_all="bob@example.test")},
        {"bob@example.test"}.__contains__,
    )
    door = FakeDoor()
    door.says["recipient"] = lambda address: (
        None
        if isinstance(policy.resolve(address), Local)
        else Refused(550, "5.1.1", "Unknown", "unknown_recipient")
    )
    d = Dialogue(door)
    d.say(*OPEN)
    assert d.say(f"RCPT TO:<{name}>") == ["250 2.1.5 Ok"]
    assert d.say("RCPT TO:<somebody>")[0].startswith("501 ")


def test_rfc_6_the_null_reverse_path_is_taken() -> None:
    d = Dialogue()
    d.say("EHLO x", "MAIL FROM:<>", "RCPT TO:<bob@example.test>", "DATA", "x", ".")
    assert d.door.messages[0][0] == ""


def test_rfc_7_the_case_of_a_local_part_is_kept() -> None:
    d = Dialogue().start("BoB.Smith@Example.TEST")
    d.say("x", ".")
    assert d.door.messages[0][1] == ["BoB.Smith@Example.TEST"]


@pytest.mark.parametrize(
    ("given", "heard"),
    [
        ('"john doe"@example.test', '"john doe"@example.test'),
        ("a@[127.0.0.1]", "a@[127.0.0.1]"),
        ("a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"),
        ("@one.test,@two.test:a@example.test", "a@example.test"),
    ],
)
def test_rfc_8_odd_forms_are_read_and_a_route_is_ignored(
    given: str, heard: str
) -> None:
    d = Dialogue()
    d.say("EHLO x")
    assert d.say(f"MAIL FROM:<{given}>", f"RCPT TO:<{given}>")[-1] == "250 2.1.5 Ok"
    assert d.door.heard[-2:] == [("mail", heard), ("recipient", heard)]


@pytest.mark.parametrize("again", ["EHLO again.test", "HELO again.test", "RSET"])
def test_rfc_9_a_greeting_in_between_is_a_reset(again: str) -> None:
    d = Dialogue()
    d.say(*READY, again)
    assert d.door.aborts == 1
    assert d.say("DATA")[0].startswith("503 5.5.1")
    assert d.say("MAIL FROM:<b@x.test>") == ["250 2.1.0 Ok"]


@pytest.mark.parametrize("before", [(), HELLO, OPEN, READY])
def test_rfc_9_some_commands_are_welcome_at_any_time(before: tuple[str, ...]) -> None:
    d = Dialogue()
    d.say(*before)
    assert d.say("NOOP", "NOOP with words") == ["250 2.0.0 Ok"] * 2
    assert d.say("VRFY bob")[0].startswith("252 2.0.0 ")
    assert d.say("HELP")[0].startswith("214 2.0.0 ")
    assert d.say("HELP MAIL")[0].startswith("214 2.0.0 ")
    if before == READY:
        assert d.say("DATA", "x", ".")[-1].startswith("250 ")
    assert d.say("RSET") == ["250 2.0.0 Ok"]
    assert d.say("QUIT") == ["221 2.0.0 Bye"]
    assert d.session.parting == "quit"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("MAIL FROM:<a@x.test>",), "503 5.5.1"),
        (("RCPT TO:<a@x.test>",), "503 5.5.1"),
        ((*OPEN, "MAIL FROM:<b@x.test>"), "503 5.5.1"),
        ((*HELLO, "RCPT TO:<a@x.test>"), "503 5.5.1"),
        ((*HELLO, "DATA"), "503 5.5.1"),
        ((*OPEN, "DATA"), "554 5.5.1"),
    ],
)
def test_rfc_10_commands_out_of_order(lines: tuple[str, ...], code: str) -> None:
    assert last(*lines).startswith(code)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("BLURB",), "500 5.5.2"),
        (("",), "500 5.5.2"),
        (("EHLO",), "501 5.5.4"),
        (("HELO a\x7fb",), "500 5.5.2"),
        ((*HELLO, "MAIL"), "501 5.5.4"),
        ((*HELLO, "MAIL a@x.test"), "501 5.1.7"),
        ((*HELLO, "MAIL FROM:<a@x.test"), "501 5.1.7"),
        ((*HELLO, "MAIL FROM:<a@x.test> SIZE=ten"), "501 5.5.4"),
        ((*HELLO, "MAIL FROM:<a@x.test> BODY=9BIT"), "501 5.5.4"),
        ((*HELLO, "MAIL FROM:<a@x.test> COLOR=red"), "555 5.5.4"),
        ((*HELLO, "MAIL FROM:<a@x.test> SMTPUTF8"), "555 5.5.4"),
        ((*HELLO, "MAIL FROM:<\u00e4@x.test>"), "553 5.6.7"),
        ((*OPEN, "RCPT TO:<>"), "501 5.1.3"),
        ((*OPEN, "RCPT TO:<a@x.test> NOTIFY=NEVER"), "555 5.5.4"),
        ((*READY, "DATA now"), "501 5.5.4"),
        (("RSET now",), "501 5.5.4"),
        (("QUIT now",), "501 5.5.4"),
        (("VRFY",), "501 5.5.4"),
        (("EXPN list",), "502 5.5.1"),
        (("STARTTLS",), "502 5.5.1"),
        (("AUTH PLAIN",), "502 5.5.1"),
        ((*READY, "BDAT 0 LAST"), "502 5.5.1"),
    ],
)
def test_rfc_11_what_is_wrong_is_said_by_the_code(
    lines: tuple[str, ...], code: str
) -> None:
    assert last(*lines).startswith(code)


def test_rfc_11_verbs_and_keywords_come_in_any_case() -> None:
    d = Dialogue()
    said = d.say("eHlO x", "mAiL fRoM:<a@x.test> size=10 body=8bitmime")
    assert said[-1] == "250 2.1.0 Ok"
    said = d.say("rcpt to:<b@example.test>", "data", "x", ".", "quit")
    assert [line[:3] for line in said] == ["250", "354", "250", "221"]


def test_rfc_12_the_session_of_the_lecture_book() -> None:
    said = Dialogue().say(
        *(
            "helo crepes.fr",
            "mail from: <alice@crepes.fr>",
            "rcpt to: <bob@example.test>",
        ),
        *("data", "Do you like ketchup?", "How about pickles?", ".", "quit"),
    )
    assert [line[:3] for line in said] == ["250", "250", "250", "354", "250", "221"]
    assert last("HELO") == "250 mx.example.test"
    assert last(*HELLO, "MAIL FROM: a@x.test") == "250 2.1.0 Ok"


def test_rfc_13_a_message_without_its_end_is_discarded() -> None:
    d = Dialogue().start()
    d.feed(b"half a message\r\n.\r")
    d.session.lost()
    assert d.door.messages == []
    assert d.door.aborts == 1
    assert d.service.kept == 0
    assert d.session.parting == "reset"
    assert d.feed(b"\n") == b""


def test_rfc_14_the_250_waits_for_the_door_and_names_the_queue_id() -> None:
    d = Dialogue()
    d.door.says["message"] = PENDING
    assert d.start().feed(b"x\r\n.\r\n") == b""
    assert d.session.pending
    assert d.session.answer(None) == b"250 2.0.0 Ok: queued as Q1\r\n"


def test_rfc_15_a_return_path_is_taken_out_and_received_is_kept() -> None:
    d = Dialogue().start()
    d.say("Return-Path: <x@y>", " folded", "Received: from a by b; then")
    d.say("Subject: x", "", "Return-Path: <in the body>", ".")
    kept = b"Received: from a by b; then\r\nSubject: x\r\n\r\n"
    kept += b"Return-Path: <in the body>\r\n"
    assert d.door.messages[0][2] == kept


def test_rfc_16_more_than_a_hundred_received_lines_are_a_loop() -> None:
    d = Dialogue(max_received=100).start()
    d.feed(b"Received: x\r\n" * 100)
    assert d.say("", ".")[0].startswith("250 ")
    d.say("MAIL FROM:<>", "RCPT TO:<b@example.test>", "DATA")
    d.feed(b"Received: x\r\n" * 101)
    assert d.say("", ".")[0].startswith("554 5.4.6 ")


def test_rfc_17_a_421_comes_before_the_connection_ends() -> None:
    d = Dialogue(max_errors=3)
    said = d.say("A", "B", "C")
    assert [line[:9] for line in said] == ["500 5.5.2"] * 3 + ["421 4.7.0"]
    assert d.session.parting == "too_many_errors"
    d = Dialogue()
    gone = Refused(421, "4.4.2", "Too slow", "limit")
    assert d.session.shut(gone, "timeout") == b"421 4.4.2 Too slow\r\n"
    assert d.session.shut(gone, "timeout") is None
    said = Dialogue().say("EHLO x")
    assert all(line.startswith("250-") for line in said[:-1])
    assert said[-1].startswith("250 ")


def test_rfc_22_ehlo_offers_what_is_on_and_nothing_else() -> None:
    offered = Dialogue(max_message_size=100_000).say("EHLO x")
    assert offered == [
        "250-mx.example.test",
        "250-PIPELINING",
        "250-SIZE 100000",
        "250-8BITMIME",
        "250 ENHANCEDSTATUSCODES",
    ]
    assert "250-8BITMIME" not in Dialogue(eight_bit="reject").say("EHLO x")
    seven = last("EHLO x", "MAIL FROM:<a@x.test> BODY=8BITMIME", eight_bit="reject")
    assert seven.startswith("555 5.5.4")
    assert Dialogue().say("HELO x") == ["250 mx.example.test"]


def test_rfc_23_vrfy_tells_nothing_and_expn_is_off() -> None:
    d = Dialogue()
    assert d.say("VRFY bob@example.test") == d.say("VRFY nobody@example.test")
    assert last("VRFY bob", vrfy=False).startswith("502 5.5.1")
    assert d.say("EXPN staff")[0].startswith("502 5.5.1")
    assert d.door.heard == []


def test_rfc_24_a_refused_recipient_gets_no_mail() -> None:
    door = FakeDoor()
    denied = Refused(550, "5.7.1", "Relay access denied", "relay")
    door.says["recipient"] = lambda address: (
        None if address.endswith("@example.test") else denied
    )
    d = Dialogue(door)
    d.say(*OPEN)
    assert d.say("RCPT TO:<x@far.test>") == ["550 5.7.1 Relay access denied"]
    assert d.say("DATA")[0].startswith("554 5.5.1")
    d.say("RCPT TO:<bob@example.test>", "RCPT TO:<y@far.test>", "DATA", "x", ".")
    assert door.messages[0][1] == ["bob@example.test"]


def test_rfc_34_size_is_checked_at_mail_and_at_the_end() -> None:
    d = Dialogue(max_message_size=65_536)
    assert d.say("EHLO x")[2] == "250-SIZE 65536"
    assert d.say("MAIL FROM:<> SIZE=65537")[0].startswith("552 5.3.4 ")
    assert d.say("MAIL FROM:<> SIZE=99999999999999999999")[0].startswith("552 5.3.4 ")
    assert d.say("MAIL FROM:<> SIZE=65536") == ["250 2.1.0 Ok"]
    d.say("RCPT TO:<bob@example.test>", "DATA")
    assert d.feed(b"..345678\r\n" * 7281 + b"12345\r\n.\r\n").startswith(b"250 ")
    d.say("MAIL FROM:<>", "RCPT TO:<bob@example.test>", "DATA")
    assert d.feed(b"x" * 65_535 + b"\r\n.\r\n").startswith(b"552 5.3.4 ")
    assert d.say("NOOP") == ["250 2.0.0 Ok"]
    assert d.service.kept == 0


def test_rfc_34_what_we_cannot_store_now_is_452() -> None:
    door = FakeDoor()
    door.says["mail"] = Refused(452, "4.3.1", "No room", "store_error")
    assert Dialogue(door).say(*OPEN)[-1] == "452 4.3.1 No room"


def test_rfc_35_a_group_is_answered_in_order_and_in_one_write() -> None:
    d = Dialogue()
    d.say("EHLO x")
    group = (
        b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:nonsense@\r\n"
        b"RCPT TO:<c@example.test>\r\nDATA\r\n"
    )
    said = d.session.receive(group, len(group)) or b""
    codes = [line[:3] for line in said.split(b"\r\n")[:-1]]
    assert codes == [b"250", b"250", b"501", b"250", b"354"]
    assert d.feed(b"x\r\n.\r\nMAIL FROM:<>\r\n").count(b"\r\n") == 2


def test_rfc_35_what_was_sent_behind_ehlo_or_a_refused_data_is_refused() -> None:
    d = Dialogue()
    said = d.feed(b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nNOOP\r\n").decode()
    assert [line[:9] for line in said.split("\r\n")[-3:-1]] == ["503 5.5.0"] * 2
    assert d.door.heard == [("hello", "x")]
    d.say("MAIL FROM:<a@x.test>")
    said = d.feed(b"DATA\r\nMAIL FROM:<evil@x.test>\r\n").decode()
    assert [line[:9] for line in said.split("\r\n")[:-1]] == ["554 5.5.1", "503 5.5.0"]
    assert d.say("RCPT TO:<b@example.test>") == ["250 2.1.5 Ok"]


def test_rfc_39_every_answer_but_the_greetings_has_an_enhanced_code() -> None:
    d = Dialogue(max_errors=100)
    said = d.say("RCPT", "BLURB", "NOOP", "HELP", "VRFY x", "EXPN x", "DATA")
    d.say("EHLO x")
    said += d.say("MAIL FROM:<>", "MAIL FROM:<>", "DATA", "RCPT TO:<b@x.test>", "RSET")
    said += d.say("DATA", "NOOP x", "QUIT")
    for line in said:
        code, status = line.split()[:2]
        assert status[:2] == f"{code[0]}.", line
        assert status.count(".") == 2, line
