"""Requirements of a client, by their numbers."""

import pytest
from test_smtp_client import Bytes, Call, codes, letter

from fastsmtp.smtp.letter import Letter, Rcpt
from fastsmtp.smtp.options import SendOptions

GROUP = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"


def test_rfc_1_lines_end_with_crlf_only_and_nothing_bare_goes_out() -> None:
    for odd in (b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n", b"ends\r"):
        call = Call().open("PIPELINING")
        call.give(letter(body=b"x" * 100 + b"\r\n" + odd))
        out = call.hear("250 ok", "250 ok", "354 go on")
        assert b"\r\n.\r\n" not in out
        assert call.client.finished
        answer = call.answers[0][0]
        assert (answer.code, answer.enhanced, answer.local) == (554, "5.6.0", True)


def test_rfc_2_one_dot_is_added_out() -> None:
    call = Call().open("PIPELINING")
    call.give(letter(body=b".\r\n..\r\na.\r\n.b"))
    out = call.hear("250 ok", "250 ok", "354 go on")
    assert out == b"..\r\n...\r\na.\r\n..b\r\n.\r\n"


def test_rfc_6_the_null_path_is_said() -> None:
    call = Call().open()
    said = call.give(Letter("", (Rcpt("a@t.test"),), Bytes(b"")))
    assert said == b"MAIL FROM:<>\r\n"


def test_rfc_7_a_local_part_keeps_its_case_and_quotes() -> None:
    call = Call().open("PIPELINING")
    said = call.give(letter('"A b"@T.test', "Postmaster", "x@[192.0.2.1]"))
    assert b'RCPT TO:<"A b"@T.test>\r\nRCPT TO:<Postmaster>\r\n' in said
    assert b"RCPT TO:<x@[192.0.2.1]>\r\n" in said


def test_rfc_19_each_recipient_keeps_its_own_result() -> None:
    call = Call().open("PIPELINING")
    call.give(letter(*(f"r{n}@t.test" for n in range(4))))
    call.hear("250 ok", "250 ok", "450 4.2.1 full", "550 5.1.1 nobody", "252 perhaps")
    call.hear("354 go on")
    call.hear("250 2.0.0 mine")
    answers = call.answers[0]
    assert codes(answers) == [
        (250, "body"),
        (450, "rcpt"),
        (550, "rcpt"),
        (250, "body"),
    ]
    assert [a.enhanced for a in answers] == ["2.0.0", "4.2.1", "5.1.1", "2.0.0"]
    assert [a.permanent for a in answers] == [False, False, True, False]


def test_rfc_20_each_stage_has_its_patience() -> None:
    """RFC 5321 4.5.3.2."""
    call = Call()
    client = call.client
    seen = {client.stage: client.patience}
    for heard in ("220 mx", "250 mx"):
        call.hear(heard)
        seen[client.stage] = client.patience
    assert client.patience == float("inf")  # nothing is awaited
    big = b"line\r\n" * 100_000
    client.give(letter(body=big), call.answers.append)
    client.take()
    for heard in ("250 ok", "250 ok"):
        seen[client.stage] = client.patience
        line = heard.encode() + b"\r\n"
        client.hear(line, len(line))
    seen[client.stage] = client.patience
    client.hear(b"354 go on\r\n", 11)
    assert client.pouring
    seen["block"] = client.patience
    call.all(None)
    seen[client.stage] = client.patience
    assert seen == {
        "greeting": 300,
        "ehlo": 300,
        "mail": 300,
        "rcpt": 300,
        "data": 120,
        "block": 180,
        "body": 600,
    }


def test_rfc_20_they_are_options() -> None:
    options = SendOptions(greeting_timeout=1.5, end_timeout=2.5)
    call = Call(options=options)
    assert call.client.patience == 1.5
    call.open("PIPELINING").give(letter())
    call.hear("250 ok", "250 ok", "354 go on")
    assert call.client.patience == 2.5


@pytest.mark.parametrize("refusal", ["500 what", "502 no", "550 not that"])
def test_rfc_21_helo_where_ehlo_is_refused(refusal: str) -> None:
    call = Call()
    call.hear("220 mx")
    assert call.hear(refusal) == b"HELO client.test\r\n"
    call.hear("250 mx")
    assert call.opened == [None]
    assert not call.client.offers.extended
    assert call.give(letter()) == b"MAIL FROM:<a@client.test>\r\n"


def test_rfc_33_bdat_counts_its_octets_and_nobody_taken_means_no_chunk() -> None:
    body = b"x" * 70 + b"\r\n"
    body *= 8000
    call = Call().open("PIPELINING", "CHUNKING")
    assert call.give(letter(body=body, skip=72)) == GROUP.removesuffix(b"DATA\r\n")
    call.give(letter())
    out = call.hear("250 ok", "250 ok")
    assert out == f"BDAT {len(body) - 72} LAST\r\n".encode() + body[72:] + GROUP
    call.hear("250 got it", "250 ok", "250 ok", "354 go on")
    call.hear("250 ok")
    call.give(letter(body=body))
    assert call.hear("250 ok", "550 nobody") == b""
    assert [codes(a) for a in call.answers] == [
        *([(250, "body")], [(250, "body")], [(550, "rcpt")])
    ]


def test_rfc_33_a_small_body_is_not_worth_a_chunk() -> None:
    call = Call().open("PIPELINING", "CHUNKING")
    assert call.give(letter(body=b"x\r\n" * 1000)) == GROUP


def test_rfc_34_the_size_is_what_is_sent() -> None:
    call = Call().open("SIZE 100000")
    assert call.give(letter(body=b"0123456789", skip=4)).endswith(b" SIZE=6\r\n")


def test_rfc_35_a_group_is_answered_in_order_whatever_it_is_cut_into() -> None:
    call = Call().open("PIPELINING")
    call.give(letter("b@t.test", "c@t.test"))
    for octet in b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go on\r\n250 ok\r\n":
        call.octets(bytes([octet]))
    assert codes(call.answers[0]) == [(250, "body"), (550, "rcpt")]


def test_rfc_36_an_8bit_message_goes_to_8bitmime_only() -> None:
    with_it = Call().open("8BITMIME")
    said = with_it.give(letter(eight_bit=True))
    assert said == b"MAIL FROM:<a@client.test> BODY=8BITMIME\r\n"
    without = Call().open("SIZE")
    refused = without.client.give(letter(eight_bit=True), without.answers.append)
    assert refused is not None
    assert (refused[0].code, refused[0].enhanced) == (554, "5.6.3")
    assert without.client.take() is None
    assert without.client.idle


def test_rfc_37_smtputf8_goes_to_smtputf8_only() -> None:
    with_it = Call().open("8BITMIME", "SMTPUTF8")
    said = with_it.give(letter("b\u00f6b@t.test", smtputf8=True))
    assert said == b"MAIL FROM:<a@client.test> SMTPUTF8\r\n"
    assert with_it.hear("250 ok") == "RCPT TO:<b\u00f6b@t.test>\r\n".encode()
    without = Call().open("8BITMIME")
    refused = without.client.give(letter(smtputf8=True), without.answers.append)
    assert refused is not None
    assert (refused[0].code, refused[0].enhanced) == (550, "5.6.7")


def test_rfc_38_dsn_goes_on_to_dsn_only() -> None:
    """RFC 3461 4, 5.2.1; RFC 6533 3."""
    kept = Letter(
        "a@client.test",
        (
            Rcpt("b@t.test", "SUCCESS,DELAY", "rfc822;b+c=d@t.test"),
            Rcpt("c@t.test", "", "utf-8;\u00f6=+\\x{20}@t.test"),
        ),
        Bytes(b""),
        ret="HDRS",
        envid="a+b c=d",
    )
    call = Call().open("DSN", "PIPELINING")
    assert call.give(kept).split(b"\r\n")[:3] == [
        b"MAIL FROM:<a@client.test> RET=HDRS ENVID=a+2Bb+20c+3Dd",
        b"RCPT TO:<b@t.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc+3Dd@t.test",
        rb"RCPT TO:<c@t.test> ORCPT=utf-8;\x{F6}\x{3D}\x{2B}\x{20}@t.test",
    ]
    without = Call().open("PIPELINING")
    assert without.give(kept) == (
        b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@t.test>\r\nRCPT TO:<c@t.test>\r\n"
        b"DATA\r\n"
    )


def test_rfc_40_after_tls_everything_is_asked_again() -> None:
    call = Call().open("STARTTLS", "8BITMIME", "PIPELINING")
    assert call.opened == []
    assert call.hear("220 go on") == b""
    assert call.client.upgrade
    assert call.client.secure("TLSv1.3") == b"EHLO client.test\r\n"
    assert not call.client.offers.eight_bit
    call.hear("250 mx")
    assert call.opened == [None]
    assert call.client.secured == "TLSv1.3"
    assert call.give(letter()) == b"MAIL FROM:<a@client.test>\r\n"
