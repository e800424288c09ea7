from fastsmtp.wire.scan import BodyScanner


def test_one_pass_reports_the_header_and_takes_the_dots_away() -> None:
    scanner = BodyScanner()
    data = (
        b"Return-path : x\r\n\ty\r\nRECEIVED: a\r\n b\r\n"
        b"Subject: x\r\n\r\n..hi\r\nReceived: no\r\n.\r\nQUIT\r\n"
    )
    assert scanner.feed(data) == len(data) - len(b"QUIT\r\n")
    assert scanner.ended
    assert scanner.output == (
        b"RECEIVED: a\r\n b\r\nSubject: x\r\n\r\n.hi\r\nReceived: no\r\n"
    )
    assert scanner.size == 71
    assert scanner.lines == 8
    assert (scanner.longest, scanner.longest_line) == (17, 1)
    assert scanner.header_end == 31
    assert (scanner.received, scanner.return_paths, scanner.left_out) == (1, 1, 21)
