import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.wire.command import (
    VERBS,
    SyntaxFault,
    find_line,
    parse,
    parse_count,
    skip_line,
)
from tests.model import command as model


def test_mail_is_parsed_to_its_spans() -> None:
    command = parse(b"mail from:<@a.test,@b.test:Al.Ice@x.test> SIZE=12 X-Y\r\n")
    assert command.verb == "MAIL"
    assert command.path is not None
    assert command.path.mailbox == b"Al.Ice@x.test"
    assert command.path.routed
    assert command.parameters == ((b"SIZE", b"12"), (b"X-Y", None))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"MAIL\r\n", "keyword"),
        (b"MAIL TO:<a@x.test>\r\n", "keyword"),
        (b"MAIL FROM:\r\n", "no_path"),
        (b"EHLO\r\n", "no_host"),
        (b"MAIL FROM:<a@x.test\r\n", "unclosed"),
        (b"MAIL FROM:<@a.test>\r\n", "route"),
        (b"MAIL FROM:<@x.test:>\r\n", "local"),
        (b'MAIL FROM:<"a@x.test>\r\n', "quotes"),
        (b"RCPT TO:<bob>\r\n", "no_domain"),
        (b"RCPT TO:<bob@>\r\n", "domain"),
        (b"RCPT TO:<bob@x..test>\r\n", "domain"),
        (b"RCPT TO:<bob@[127.0.0.256]>\r\n", "literal"),
        (b"RCPT TO:<bob@[127.0.0.1\x00]>\r\n", "control"),
        (b"RCPT TO:<bob@\xff.test>\r\n", "encoding"),
        (b"MAIL FROM:<a@x.test>SIZE=1\r\n", "trailing"),
        (b"MAIL FROM:<a@x.test> SIZE=\r\n", "parameter"),
    ],
)
def test_each_fault_is_named(line: bytes, fault: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse(line)
    assert caught.value.fault == fault


def test_only_crlf_ends_a_line() -> None:
    assert find_line(b"NOOP\r\nQUIT\r\n") == ("whole", 6)
    assert find_line(b"NOOP\r") == ("more", 0)
    assert find_line(b"NOOP\nQUIT\r\n") == ("bare_lf", 5)
    assert find_line(b"\n") == ("bare_lf", 1)


def test_a_line_that_is_too_long_can_be_dropped_to_its_end() -> None:
    assert find_line(b"x" * 510 + b"\r\n", 512) == ("whole", 512)
    assert find_line(b"x" * 511 + b"\r\n", 512) == ("long", 0)
    assert skip_line(b"x" * 511 + b"\r") == (False, 511)
    assert skip_line(b"x\n\r\nNOOP") == (True, 4)


@pytest.mark.parametrize(
    ("digits", "value"),
    [
        (b"0", 0),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2**64 - 1),
        (b"99999999999999999999", 2**64 - 1),
        (b"", None),
        (b"-1", None),
        (b"1" * 21, None),
    ],
)
def test_a_count_has_up_to_twenty_digits(digits: bytes, value: int | None) -> None:
    assert parse_count(digits) == value


def plain(line: bytes) -> model.Command | None:
    """What the compiled parser says, with the fields that the model has."""
    try:
        command = parse(line)
    except SyntaxFault:
        return None
    path = command.path and model.Path(*command.path[:5])
    return model.Command(*command._replace(path=path))


WORDS = st.sampled_from(
    [
        *(b"MAIL", b"rcpt", b"EHLO", b"helo", b"NOOP", b"StartTLS", b"DATA", b"MAILX"),
        *(b" ", b" ", b"\t", b"FROM:", b"to:", b"FROM:<", b"TO:<", b"<", b">", b"<>"),
        *(
            b"@",
            b"@",
            b".",
            b",",
            b":",
            b'"',
            b"\\",
            b"[",
            b"]",
            b"-",
            b"_",
            b"=",
            b"(",
        ),
        *(b"a", b"Bob", b"x.test", b"@x.test>", b"@a.test,@b.test:", b"Postmaster"),
        *(b"<@a", b",@b", b"<@x,", b"@c:"),
        *(b"[127.0.0.1]", b"[IPv6:::1]", b"[ipv6:1::2::3]", b"[1.2.3]", b"[01.2.3.4]"),
        *(b"\xc3\xa4", b"\xe2\x80\xa8", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"),
        *(b"\x00", b"\r", b"\n", b"\x7f", b"l" * 60, b"d" * 63, b"h.test" * 30),
        *(b" SIZE=10", b" BODY=8BITMIME", b" X", b"X-Y=z"),
    ]
)
LINES = st.one_of(
    st.lists(WORDS).map(b"".join),
    st.tuples(
        st.sampled_from(
            [b"MAIL FROM:<", b"RCPT TO:<", b"mail from: ", b"RCPT TO:<@a:"]
        ),
        st.lists(WORDS, max_size=5).map(b"".join),
        st.sampled_from([b">", b"@x.test>", b"@x.test", b"", b"> SIZE=1", b">X"]),
    ).map(b"".join),
)


@given(LINES)
def test_the_parser_accepts_what_the_model_accepts(line: bytes) -> None:
    assert plain(line + b"\r\n") == model.parse(line + b"\r\n")


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(LINES)
def test_much_more_is_accepted_alike(line: bytes) -> None:
    assert plain(line + b"\r\n") == model.parse(line + b"\r\n")


@given(st.binary(max_size=20) | st.lists(WORDS).map(b"".join), st.integers(1, 40))
def test_lines_end_where_the_model_ends_them(data: bytes, limit: int) -> None:
    assert find_line(data, limit) == model.find_line(data, limit)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"x"])).map(b"".join), st.data())
def test_a_dropped_line_ends_at_its_crlf_wherever_it_is_cut(
    data: bytes, draw: st.DataObject
) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    ended, first = skip_line(data[:cut])
    end = data.find(b"\r\n") + 2
    if not ended:
        ended, more = skip_line(data[first:])
        first += more
    assert ended == (end > 1)
    assert first == (end if ended else len(data) - data.endswith(b"\r"))


@pytest.mark.parametrize("verb", VERBS[1:])
def test_rfc_11_verbs_are_known_in_any_case(verb: str) -> None:
    tail = {"MAIL": " FROM:<a@x.test>", "RCPT": " TO:<a@x.test>"}.get(verb, " x")
    for word in (verb, verb.lower(), verb.title()):
        assert parse(f"{word}{tail}\r\n".encode()).verb == verb
    assert parse(f"{verb}X{tail}\r\n".encode()).verb == ""
    assert parse(f" {verb}{tail}\r\n".encode()).verb == ""


def test_rfc_3_what_is_too_long_is_a_fault_and_never_cut() -> None:
    domain = ".".join(["d" * 60] * 3)
    longest = "l" * 64 + "@" + domain + ".xxxxx"  # 253 octets and the brackets: 255
    for text, fault in (
        (longest + "x", None),
        (longest + "xx", "path_long"),
        ("l" * 64 + "@x.test", None),
        ("l" * 65 + "@x.test", "local_long"),
        ('"' + "l" * 63 + '"@x.test', "local_long"),
        ("l@" + "d" * 63 + ".test", None),
        ("l@" + "d" * 64 + ".test", "domain"),
        ("l@" + ".".join(["d" * 50] * 5), "path_long"),
        ("l@" + ".".join(["d" * 50] * 5) + ".", "domain"),
        ("l@" + ".".join(["d" * 51] * 5), "domain_long"),
    ):
        for line in (f"MAIL FROM:<{text}>\r\n", f"MAIL FROM:{text}\r\n"):
            if fault is None:
                command = parse(line.encode())
                assert command.path is not None
                assert command.path.mailbox == text.encode()
            else:
                with pytest.raises(SyntaxFault) as caught:
                    parse(line.encode())
                assert caught.value.fault == fault


@pytest.mark.parametrize("word", ["Postmaster", "POSTMASTER", "postmaster"])
def test_rfc_5_postmaster_needs_no_domain(word: str) -> None:
    path = parse(f"RCPT TO:<{word}>\r\n".encode()).path
    assert path is not None
    assert path.postmaster
    assert (path.mailbox, path.domain) == (word.encode(), b"")


def test_rfc_6_the_null_path_is_read() -> None:
    path = parse(b"MAIL FROM:<>\r\n").path
    assert path is not None
    assert (path.mailbox, path.local, path.domain) == (b"", b"", b"")
    assert not path.postmaster


def test_rfc_7_case_of_the_local_part_is_kept() -> None:
    path = parse(b"RCPT TO:<BoB.Smith@X.Test>\r\n").path
    assert path is not None
    assert path.mailbox == b"BoB.Smith@X.Test"


@pytest.mark.parametrize(
    ("text", "mailbox", "flag"),
    [
        (b'<"a b"@x.test>', b'"a b"@x.test', "quoted"),
        (b'<"a\\"\\\\@<>"@x.test>', b'"a\\"\\\\@<>"@x.test', "quoted"),
        (b"<a@[127.0.0.1]>", b"a@[127.0.0.1]", "literal"),
        (b"<a@[IPv6:2001:db8::1]>", b"a@[IPv6:2001:db8::1]", "literal"),
        (b"<a@[ipv6:::ffff:192.0.2.1]>", b"a@[ipv6:::ffff:192.0.2.1]", "literal"),
        (b"<@a.test,@b.test:a@x.test>", b"a@x.test", "routed"),
        (b"<\xc3\xa4@x.test>", b"\xc3\xa4@x.test", "non_ascii"),
        (b"<a@b\xc3\xbccher.test>", b"a@b\xc3\xbccher.test", "non_ascii"),
    ],
)
def test_rfc_8_every_form_of_address_is_read(
    text: bytes, mailbox: bytes, flag: str
) -> None:
    path = parse(b"RCPT TO:" + text + b"\r\n").path
    assert path is not None
    assert path.mailbox == mailbox
    flags = path._asdict()
    named = {name for name in flags if flags[name] is True}
    assert named == {flag, "bracketed"}


def test_rfc_11_parameters_are_handed_over_as_they_came() -> None:
    line = b"MAIL FROM:<a@x.test>  SIZE=10\tBODY=8BITMIME AUTH=<> X-Y  \r\n"
    assert parse(line).parameters == (
        (b"SIZE", b"10"),
        (b"BODY", b"8BITMIME"),
        (b"AUTH", b"<>"),
        (b"X-Y", None),
    )


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM: <a@x.test>\r\n",
        b"MAIL FROM:\t<a@x.test>\r\n",
        b"mail  from:<a@x.test> \r\n",
        b"MAIL FROM:a@x.test\r\n",
        b"MAIL FROM: a@x.test  \r\n",
    ],
)
def test_rfc_12_blanks_and_missing_brackets_are_tolerated(line: bytes) -> None:
    path = parse(line).path
    assert path is not None
    assert path.mailbox == b"a@x.test"


@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
def test_no_control_character_enters_a_command(octet: int) -> None:
    for line in (b"MAIL FROM:<a%cb@x.test>\r\n", b"EHLO a%cb\r\n", b"NOOP %c x\r\n"):
        with pytest.raises(SyntaxFault) as caught:
            parse(line % octet)
        assert caught.value.fault == "control"
