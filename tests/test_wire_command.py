import pytest

from fastsmtp.wire.command import SyntaxFault, find_line, parse, parse_count, skip_line


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
