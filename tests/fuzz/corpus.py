"""What each target begins with: inputs that reach far, and words to put into them."""

import struct

from fastsmtp.delivery import jobs
from fastsmtp.delivery.jobs import Hello, Key, Outcome, frame
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope
from fastsmtp.smtp.letter import Answer

END = b"\r\n.\r\n"
BODIES = [
    b".\r\n",
    b"Subject: x\r\n\r\ntext\r\n..dot" + END,
    b"Received: a\r\n b\r\nReturn-Path: <x@y>\r\n z\r\nSubject: s\r\n\r\n" + END,
    b"Return-Path : a\r\n.. b\r\n. c\r\nReceived:" + b"z" * 80 + END,
    b"a\r\n.\r\r\n.\n.\r\n\xe4\x00\r\n" + b"y" * 70 + b"\r" + END,
    (b"z" * 62 + b"\r\n.") * 3 + b"\r\n",
    b"x" * 700 + END,
]
BODY_WORDS = [
    *(b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r", END, b"\n.\n", b"\r\n\r\n"),
    *(b"Received:", b"Return-Path:", b"return-path \t:", b" ", b"\t", b":", b"R"),
    *(b"\x00", b"\xff", b"x" * 64, b"x" * 63, b"\r\nReceived: ", b"\r\nReturn-Path: "),
]
PATHS = [
    b"<alice@example.test>",
    b"alice@example.test",
    b"<>",
    b"<Postmaster>",
    b"<@a.test,@b.test:bob+tag@x.test>",
    b'<"a b\\"c"@x.test>',
    b"<a@[127.0.0.1]>",
    b"<a@[IPv6:2001:db8::192.0.2.1]>",
    b"<\xc3\xa4\xf0\x9f\x98\x80@b\xc3\xbccher.test>",
    b"<" + b"l" * 64 + b"@" + b".".join([b"d" * 60] * 3) + b">",
]
PATH_WORDS = [
    *(b"<", b">", b"@", b'"', b"\\", b",", b":", b".", b"[", b"]", b" ", b"\t", b"-"),
    *(b"_", b"=", b"\x00", b"\r", b"\x7f", b"\xc3\xa4", b"\xed\xa0\x80", b"\xff"),
    *(b"[IPv6:", b"[127.0.0.1]", b"::", b"postmaster", b"d" * 63, b"l" * 64),
    *(b"x.test", b"255", b"99999999999999999999"),
]
LINES = [
    *(b"MAIL FROM:" + path + b" SIZE=10 BODY=8BITMIME\r\n" for path in PATHS),
    *(b"rcpt to: " + path + b"\r\n" for path in PATHS),
    *(b"EHLO mail.example.test\r\n", b"helo [192.0.2.1]\r\n", b"LHLO x\r\n"),
    *(b"DATA\r\n", b"STARTTLS\r\n", b"NOOP x\r\n", b"VRFY x\r\n", b"QUIT\r\n"),
]
LINE_WORDS = [
    *(b"\r\n", b"MAIL FROM:", b"RCPT TO:", b"EHLO ", b" SIZE=", b" X-Y", b"=", b" "),
    *PATH_WORDS,
]


def record(envelope: bytes, body: bytes) -> bytes:
    """A record whose checksums are still 0: the target seals it."""
    head = struct.pack(
        "<IBBHQQQIIIIQII",
        *(0x31434552, 1, 0, 0, 1 << 36, 1, len(body), len(envelope), 0, 0, 0, 0, 0, 0),
    )
    whole = head + envelope + body
    return whole + bytes(-len(whole) % 8)


ENVELOPES = [
    encode_envelope(Envelope("", (Recipient("bob@x.test"),), 0)),
    encode_envelope(
        Envelope(
            "alice@example.test",
            (Recipient("bob@x.test"), Recipient("Postmaster")),
            1_795_493_520_000,
            skip=40,
            body="8BITMIME",
            client="192.0.2.1",
            helo="x.test",
        )
    ),
]
RECORDS = [
    b"",
    bytes(64),
    *(record(envelope, b"x" * n) for envelope in ENVELOPES for n in (0, 1, 100)),
    record(ENVELOPES[0], b"") + record(ENVELOPES[1], b"y" * 9),
]
RECORD_WORDS = [
    *(b"REC1", bytes(8), b"\xff" * 4, b"\xff" * 8, b"\x01", b"\x80", b"\xc0", b"\xdc"),
    *(b"\x00\x00\x00\x80", b"\x97", b"\xa5", b"\xd9\xff", b"\xdb\xff\xff\xff\xff"),
]

CHUNKS = (
    b"EHLO x\r\nMAIL FROM:<\xc3\xa9@x.test> SMTPUTF8 ENVID=Q\r\n"
    b"RCPT TO:<bob@x.test> NOTIFY=SUCCESS ORCPT=rfc822;b@x\r\n"
)
MAIL = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n"
SESSIONS = [
    b"EHLO x\r\n",
    b"HELO x\r\n" + MAIL + b"Subject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n",
    MAIL + b"x" * 150 + END + MAIL + b"Received: a\r\n" * 3 + END,
    MAIL + b"x\ny" + END + b"RSET\r\n" + MAIL + b"z" * 500 + END,
    b"NOOP " + b"x" * 100 + b"\r\nVRFY x\r\nHELP\r\nbare\nLF\r\nMAIL FROM:<>\r\n",
    b"MAIL FROM:<a@x.test> SIZE=999 BODY=8BITMIME\r\n" + MAIL + b"\xe4\0\r" + END,
    CHUNKS
    + b"BDAT 9\r\n.\r\nRSET\r\nBDAT 3 LAST\r\nx\r\n"
    + CHUNKS
    + b"BDAT 0 LAST\r\n",
    CHUNKS + b"BDAT 200\r\n" + b"x" * 198 + b"\r\nSTARTTLS\r\nRSET\r\nBDAT 9 LAST\r\n",
    b"EHLO x\r\nSTARTTLS\r\nEHLO x\r\nAUTH LOGIN\r\neA==\r\neA==\r\n" + MAIL + END,
    b"XCLIENT ADDR=192.0.2.9 NAME=x.test\r\nEHLO x\r\nAUTH PLAIN AGEAYg==\r\n" + MAIL,
]
SESSION_WORDS = [
    *(MAIL, END, b"\r\n", b"RSET\r\n", b"QUIT\r\n", b"NOOP\r\n", b"EHLO x\r\n"),
    *(b"RCPT TO:<bob@x.test>\r\n", b"MAIL FROM:<>\r\n", b"DATA\r\n", b".\r\n"),
    *(b" SIZE=300", b" BODY=8BITMIME", b" BODY=7BIT", b"\n", b"\r", b"\0", b"\xff"),
    *(b"Received: x\r\n", b"Return-Path: x\r\n", b"x" * 90, b"x" * 300),
    *(b"BDAT 5\r\n12345", b"BDAT 6 LAST\r\nQUIT\r\n", b"BDAT 0 LAST\r\n", b"BDAT 300"),
    *(b"BDAT 18446744073709551615 LAST\r\n", b" LAST", b"STARTTLS\r\n", b"*\r\n"),
    *(b"AUTH PLAIN AGEAYg==\r\n", b"AUTH LOGIN\r\n", b"eA==\r\n", b" SMTPUTF8"),
    *(b"XCLIENT ADDR=192.0.2.9 LOGIN=eve\r\n", b" NOTIFY=NEVER", b" RET=HDRS"),
    *(b" ORCPT=rfc822;a+2Bb", b" ENVID=Q+3D1", b" REQUIRETLS", b"\xc3\xa9", b"="),
]
GREETED = b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n"
TAKEN = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n"
REPLIES = [
    GREETED + TAKEN + b"250 2.0.0 mine\r\n" + TAKEN + b"250 ok\r\n",
    TAKEN + b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go on\r\n250 ok\r\n",
    b"250 ok\r\n550 no\r\n554 no\r\n250 reset\r\n" + TAKEN + b"451 later\r\n",
    b"250 ok\r\n550 no\r\n354 go on\r\n554 nobody\r\n" + TAKEN + b"421 bye\r\n",
    b"220 mx\r\n502 what\r\n250 mx\r\n" + TAKEN + b"250 ok\r\n",
    b"220-a\r\n220 b\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n250 mx\r\n" + TAKEN,
    b"220 mx\r\n250-mx\r\n250 AUTH LOGIN\r\n334 eA==\r\n334 eA==\r\n235 in\r\n",
    b"220 mx\r\n250-mx\r\n250-CHUNKING\r\n250 LIMITS RCPTMAX=2\r\n" + TAKEN,
]
REPLY_WORDS = [
    *(b"250 ok\r\n", b"354 go on\r\n", b"550 5.1.1 no\r\n", b"421 4.3.2 bye\r\n"),
    *(b"250-", b"250", b"-", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"2.0.0 "),
    *(b"220 go\r\n", b"235 in\r\n", b"334 \r\n", b"334 eA==\r\n", b"451 4.2.2 x\r\n"),
    *(b"250-SIZE 9\r\n", b"250-CHUNKING\r\n", b"250-STARTTLS\r\n", b"250-DSN\r\n"),
    *(b"250-AUTH PLAIN\r\n", b"x" * 500, b"250-" + b"y" * 90 + b"\r\n", b"9.9.9"),
    *(GREETED, TAKEN),
]

QUESTIONS = [
    b"220 mx\r\n250-mx\r\n250 SMTPUTF8\r\n250 ok\r\n250 2.1.5 ok\r\n250 ok\r\n",
    b"220 mx\r\n250 mx\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n",
    b"220-a\r\n220\r\n502 what\n250 mx\r\n250\r\n553-a\r\n553 5.7.1 b\r\n250 k\r\n",
    b"220 mx\r\n250 mx\r\n250 ok\r\n451 4.2.0 later\r\n421 bye\r\n",
    b"220 mx\r\n250 mx\r\n550 5.1.8 sender\r\n",
]

PART = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
MESSAGES = [
    b"Subject: x\r\n\r\ntext \xe4\r\n",
    PART + b"Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"<p>\xc3\xa4</p>\r\n--b\r\n\r\n" + b"x" * 1000 + b"\r\n--b--\r\nbehind",
    PART + b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4=\r\n\xe4\r\n--b--\r\n",
    b"Content-Type: multipart/signed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 300 + b"\r\n",
    b"Message-ID: <1@x>\r\nSubject: =?utf-8?b?w6Q=?=\r\nPrecedence: no\r\n\r\n",
]
MESSAGE_WORDS = [
    *(b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\0", b"\xe4", b"\xc3\xa4", b"=", b"=C3"),
    *(
        b"--b",
        b"--b--",
        b"--c",
        b"--",
        b'"',
        b"\\",
        b";",
        b"(",
        b" ",
        b"=?utf-8?q?=0A?=",
    ),
    *(b"x" * 998, b" x" * 500, b"boundary=b", b"boundary=c", b"multipart/mixed"),
    *(b"message/rfc822", b"multipart/digest", b"text/plain", b"base64", b"8bit"),
    *(b"Content-Type: ", b"Content-Transfer-Encoding: ", b"\r\nAction: delivered\r\n"),
    *(b"quoted-printable", b"MIME-Version: 1.0\r\n", b"\r\nSubject: ", PART),
]

LOGIN = b"USER alice\r\nPASS secret\r\n"
FETCHES = [
    LOGIN + b"STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nDELE 2\r\nQUIT\r\n",
    LOGIN + b"TOP 2 0\r\nLIST 3\r\nDELE 3\r\nRETR 3\r\nRSET\r\nNOOP\r\nQUIT\r\n",
    b"CAPA\r\nUTF8\r\nSTLS\r\n" + LOGIN + b"CAPA\r\nUIDL 4\r\nSTAT 1\r\n",
    b"AUTH PLAIN\r\nbW9yZQ==\r\neWVz\r\nDELE 1\r\nQUIT\r\n",
    b"AUTH PLAIN eWVz\r\nLIST\r\nAUTH PLAIN =\r\n*\r\nUSER x\r\n",
    b"AUTH PLAIN\r\n*\r\nUSER a\r\nPASS block\r\nQUIT\r\n",
]
FETCH_WORDS = [
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b"\xff", b"*\r\n", b"=", b"0", b"1"),
    *(b"4", b"5", b"-1", b"99999999999999999999", b"18446744073709551617", b"x" * 500),
    *(b"STAT\r\n", b"LIST", b"UIDL", b"RETR 2\r\n", b"TOP 1 1\r\n", b"DELE 4\r\n"),
    *(b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"CAPA\r\n", b"STLS\r\n", b"UTF8\r\n"),
    *(b"USER ", b"PASS ", b"AUTH PLAIN", b"auth plain ", b"eWVz\r\n", b"bW9yZQ==\r\n"),
    *(LOGIN, b"LAST\r\n", b"retr\t1\r\n"),
]

TARGETS = {
    "body": (BODIES, BODY_WORDS),
    "command": (LINES, LINE_WORDS),
    "address": (PATHS, PATH_WORDS),
    "record": (RECORDS, RECORD_WORDS),
    "session": (SESSIONS, SESSION_WORDS),
    "replies": (REPLIES, REPLY_WORDS),
    "transfer": (MESSAGES, MESSAGE_WORDS),
    "fetch": (FETCHES, FETCH_WORDS),
}

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PROXIES = [
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\nEHLO x\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n",
    b"PROXY UNKNOWN ffff::1 junk\r\n",
    SIGNATURE + b"\x21\x11\x00\x0c" + bytes(range(12)),
    SIGNATURE + b"\x21\x21\x00\x2a" + bytes(36) + b"\x03\x00\x03abc",
    SIGNATURE + b"\x20\x00\x00\x00",
]
PROXY_WORDS = [
    *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b" ", b"::", b"0", b"65536"),
    *(SIGNATURE, b"\x21", b"\x20", b"\x11", b"\x31", b"\x12", b"\xff\xff", b"\x00\x0c"),
    *(b"x" * 100, bytes(40), b"\xd9\xa3"),
]
EXCHANGES = [
    b"\0alice@example.test\0pencil",
    b"alice\0alice\0pencil\0",
    b"alice@example.test\npencil",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO\nc=biws,r=rOpr,p=dHzbZapWIk4jUhN+Ute9",
    b"y,a=us=2Cer,n=us=2Cer,r=abc,x=y\nc=eSxhPXVzPTJDZXIs,r=abc,p=AAAA\n",
    b"p=tls-unique,,m=1,n=user,r=abc\n\n",
]
EXCHANGE_WORDS = [
    *(b"\0", b"\n", b",", b"=", b"=2C", b"=3D", b"n,,", b"y,,", b"a=", b"n=", b"r="),
    *(b"c=", b"biws", b",p=", b"m=", b"\xff", b"\xc3\xa4", b"\xc2\xad", b"x" * 300),
]
HEADERS = [
    b"From: Alice <alice@x.test>\r\nBcc: a@b.test,\r\n c@d.test\r\nDate: x\r\n\r\n",
    b"bcc :x\r\nResent-Bcc:\r\n\ty\r\nfrom: a@b.test, Team: c <d@e.test>;\r\n",
    b'Message-ID: <1@x>\r\nFrom: "a \\" <b@c>" (d (e) \\)) <@f,@g:h@i.test>\r\n',
]
HEADER_WORDS = [
    *(
        b"\r\n",
        b"\r\n ",
        b"\r\n\t",
        b"\r",
        b"\n",
        b":",
        b" :",
        b"Bcc:",
        b"bcc",
        b"From:",
    ),
    *(b"<", b">", b"(", b")", b'"', b"\\", b",", b";", b"@", b".", b"[", b"]", b"\xff"),
    *(b"a@b.test", b"Resent-Bcc:", b"Date:", b"Message-ID:", b"\0", b"\r\n\r\n"),
]
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ANSWERS = [
    HEAD + b"Content-Length: 24\r\n\r\n" + b'{"action":"soft reject"}',
    HEAD + b'\r\n{"action":"reject","messages":{"smtp_message":"Gtube pattern"}}',
    HEAD + b'\r\n{"action":"add header","milter":{"add_headers":{"X-A":"b"}}}',
    HEAD + b'\r\n{"action":"no action","score":5.5,"milter":{"add_headers":{"X-A":'
    b'[{"value":"a;\\r\\n\\tb","order":-1},"c"]},"remove_headers":{"X-Spam":0}}}',
    HEAD
    + b'Transfer-Encoding: chunked\r\n\r\n16\r\n{"action":"no action"}\r\n0\r\n\r\n',
]
ANSWER_WORDS = [
    *(
        b"\r\n",
        b"\\r\\n",
        b"\\n ",
        b"\\u0000",
        b"\\ud800",
        b"\\u00e4",
        b'"',
        b"{",
        b"}",
        b"[",
    ),
    *(b"]", b":", b",", b"-1", b"1e999", b"null", b'"order"', b'"value"', b"X-Spam"),
    *(b'"action"', b'"discard"', b'"greylist"', b'"milter"', b'"messages"', b"\xff"),
    *(
        b"HTTP/1.1 ",
        b"Content-Length: ",
        b"0\r\n\r\n",
        b"[" * 600,
        b"x" * 1000,
        b"A: b\r\n",
    ),
]
PARAMETERS = [
    *(b"FULL", b"Q+2B1", b"SUCCESS,DELAY", b"NEVER", b"rfc822;a+2Bb@x.test", b"<>"),
    *(b"utf-8;\xc3\xa9@x.test", b"a+3Db@x.test", b"+C3+A9"),
    *(b"-9", b"86400", b"2027-01-01T00:00:00.5+02:30", b"9999-12-31T23:59:59Z"),
    *(b"120;RT", b"-120;N", b"0001-01-01T00:00:00+23:59"),
]
PARAMETER_WORDS = [
    *(b"+", b"+0D", b"+0A", b"+00", b"+3D", b"+zz", b";", b",", b"utf-8;", b"rfc822;"),
    *(b"@", b"<", b">", b"\xff", b"\xc3", b"x" * 101, b"x" * 500, b"NEVER", b"+7F"),
]
XCLIENTS = [
    b"NAME=x.test ADDR=192.0.2.7 PORT=25 PROTO=ESMTP HELO=x",
    b"ADDR=IPV6:2001:db8::1 LOGIN=a+40b DESTADDR=::1 DESTPORT=65535",
    b"NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] HELO=[UNAVAILABLE]",
]
XCLIENT_WORDS = [
    *(b"NAME=", b"ADDR=", b"PORT=", b"PROTO=", b"HELO=", b"LOGIN=", b" ", b"=", b"+0A"),
    *(
        b"[UNAVAILABLE]",
        b"[TEMPUNAVAIL]",
        b"IPV6:",
        b"::",
        b"%",
        b"\xff",
        b"\0",
        b"+20",
    ),
    *(b"65536", b"x" * 255, b"\xb2", b"\x0b"),
]
TAKEN_MAIL = Answer(250, "2.0.0", "Ok", "body")
OUTCOME = Outcome(
    *(7, "a.test", "smtp:a.test", "mx", True, 0.5, False),
    (("u@a.test", TAKEN_MAIL),),
)
POSTED = [
    frame(jobs.HELLO, Hello(((Key(7, "a.test"), "smtp:a.test"),), (OUTCOME,))),
    frame(jobs.DONE, [OUTCOME, OUTCOME]) + frame(jobs.BACK, [(1, "a.test", "x")]),
    frame(jobs.RECORDED, [Key(7, "a.test")]) + frame(jobs.DONE, []),
]
POST_WORDS = [
    *(bytes(3) + b"\x01" + bytes((kind,)) + b"\x90" for kind in range(7)),
    *(b"\x90", b"\x91", b"\xc0", b"\xc1", b"\xc3", b"\xca", b"\xff" * 8, b"\xd9\xff"),
    *(b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", bytes(4)),
    *(b"\xcf" + b"\xff" * 8, b"\x03\xff\xff\xff\x04", b"\x04\x00\x00\x00\x04"),
]
PURE = {
    "post": (POSTED, POST_WORDS),
    "question": (
        QUESTIONS,
        [*REPLY_WORDS, b"551 x\r\n", b"5.7.1 ", b"x" * 4090, b"250-x\r\n" * 99],
    ),
    "proxy": (PROXIES, PROXY_WORDS),
    "sasl": (EXCHANGES, EXCHANGE_WORDS),
    "rspamd": (ANSWERS, ANSWER_WORDS),
    "originator": (HEADERS, HEADER_WORDS),
    "parameters": (PARAMETERS, PARAMETER_WORDS),
    "xclient": (XCLIENTS, XCLIENT_WORDS),
    "downgrade": (MESSAGES, MESSAGE_WORDS),
    "notice": (MESSAGES, MESSAGE_WORDS),
}
"""Parsers that are not compiled: no sanitizer has anything to say about them."""
