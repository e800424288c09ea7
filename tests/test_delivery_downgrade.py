"""What a hop cannot take is encoded, and decodes to what it was.

The oracle is the `email` package: it reads the message before and after.
"""

from __future__ import annotations

import email
import email.policy
import time
from email.message import Message
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.delivery.downgrade import Facts, Fit, Hop, fit, survey
from fastsmtp.delivery.reasons import Reason
from fastsmtp.queue.message import Envelope, Recipient

SEVEN = Hop(eight_bit=False, smtputf8=False)
EIGHT = Hop(eight_bit=True, smtputf8=False)
MODERN = Hop(eight_bit=True, smtputf8=True)
MIME = b"MIME-Version: 1.0\r\n"
TEXT = MIME + b"Content-Type: text/plain; charset=utf-8\r\n"
EIGHT_BIT = b"Content-Transfer-Encoding: 8bit\r\n"
QP = b"Content-Transfer-Encoding: quoted-printable\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n"


class Octets:
    """A body in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length = data, len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def envelope(reverse_path: str = "a@x.test", **more: object) -> Envelope:
    to = (Recipient("b@y.test"),)
    return Envelope(reverse_path, to, 0, **more)  # type: ignore[arg-type]


def fitted(data: bytes, hop: Hop = SEVEN, **more: object) -> Fit | Reason:
    return fit(envelope(**more), Octets(data), ["b@y.test"], hop)


def octets(made: Fit | Reason) -> bytes:
    """What the next hop gets; however it is read, it is the same."""
    assert isinstance(made, Fit), made
    body = made.body
    whole = body.read(made.skip, body.length)
    assert len(whole) == body.length - made.skip
    for size in (7, 1000, 65_536):
        if body.length // size < 3000:
            at = range(made.skip, body.length, size)
            assert b"".join(body.read(begin, size) for begin in at) == whole
    assert body.read(body.length, 10) == b""
    return whole


def converted(data: bytes, hop: Hop = SEVEN, **more: object) -> bytes:
    made = fitted(data, hop, **more)
    whole = octets(made)
    assert isinstance(made, Fit)
    assert made.converted
    facts = survey(Octets(whole), 0)
    assert not facts.unfit
    assert facts.eight_bit == made.eight_bit
    assert not facts.eight_bit or hop.eight_bit
    return whole


# -- what needs nothing


@pytest.mark.parametrize("hop", [SEVEN, EIGHT, MODERN])
def test_plain_mail_is_given_as_it_is(hop: Hop) -> None:
    body = Octets(b"Return-Path: <a@x.test>\r\nSubject: x\r\n\r\n.text\r\n")
    made = fit(envelope(skip=25), body, ["b@y.test"], hop)
    assert made == Fit(body, 25, False, False)


def test_eight_bits_are_given_and_declared_where_they_are_taken() -> None:
    """Whatever BODY= said when it came: it may have been wrong."""
    data = TEXT + EIGHT_BIT + "\r\nMüssen\r\n".encode()
    for body in ("7BIT", "8BITMIME"):
        made = fitted(data, EIGHT, body=body)
        assert isinstance(made, Fit)
        assert made.eight_bit
        assert not made.converted
        assert octets(made) == data


def test_facts_that_are_known_are_not_looked_for() -> None:
    class Unread(Octets):
        def read(self, offset: int, size: int) -> bytes:
            raise AssertionError

    made = fit(envelope(), Unread(b"x"), ["b@y.test"], SEVEN, Facts())
    assert isinstance(made, Fit)


# -- what is encoded


def test_rfc_36_text_becomes_quoted_printable() -> None:
    data = TEXT + EIGHT_BIT + "X: y\r\n\r\nMüssen wir = ? \r\n.\r\n".encode()
    assert converted(data) == (
        TEXT + b"X: y\r\n" + QP + b"\r\nM=C3=BCssen wir =3D ?=20\r\n.\r\n"
    )


def test_rfc_36_text_becomes_base64_where_that_is_shorter() -> None:
    text = "Привет, как дела? Всё хорошо.\r\n".encode() * 10
    made = converted(TEXT + b"\r\n" + text)
    head, _, body = made.partition(b"\r\n\r\n")
    assert head + b"\r\n" == TEXT + BASE64
    assert len(body) < 1.4 * len(text)
    assert email.message_from_bytes(made).get_payload(decode=True) == text


def test_rfc_36_parts_are_encoded_one_by_one_and_their_headers_say_so() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n" + EIGHT_BIT + b"\r\n"
        b"preamble \xe4\r\n"
        b"--b\r\n\r\nplain\r\n"
        b"--b\r\nContent-type: text/html; charset=utf-8\r\n"
        b"content-transfer-encoding : 8BIT (yes)\r\nX: y\r\n\r\n<p>\xc3\xa4</p>\r\n"
        b"--b  \r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\r\n"
        b"--b--\r\nepilogue \xe4"
    )
    assert converted(data) == (
        b"Content-Type: multipart/mixed; boundary=b\r\n"
        b"Content-Transfer-Encoding: 7bit\r\nMIME-Version: 1.0\r\n\r\n"
        b"\r\n--b\r\n\r\nplain\r\n"
        b"--b\r\nContent-type: text/html; charset=utf-8\r\n"
        b"X: y\r\n" + QP + b"\r\n<p>=C3=A4</p>\r\n"
        b"--b  \r\nContent-Type: image/png\r\n" + BASE64 + b"\r\niVBORw0K\r\n\r\n"
        b"--b--\r\n"
    )


@pytest.mark.parametrize(
    ("text", "charset"), [("ä".encode(), b"utf-8"), (b"\xe4", b"unknown-8bit")]
)
def test_rfc_36_mail_that_is_not_mime_is_afterwards(
    text: bytes, charset: bytes
) -> None:
    """RFC 1428 has the name for what nobody knows."""
    assert converted(b"Subject: x\r\n\r\n" + text + b"\r\n").partition(b"\r\n\r\n")[
        0
    ] == (
        b"Subject: x\r\nContent-Type: text/plain; charset="
        + charset
        + b"\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0"
    )


def test_rfc_36_a_message_in_a_message_is_encoded_inside() -> None:
    inner = b"Subject: in\r\n" + TEXT + EIGHT_BIT + b"\r\n\xc3\xa4\r\n"
    data = MIME + b"Content-Type: message/rfc822\r\n" + EIGHT_BIT + b"\r\n" + inner
    assert converted(data) == (
        MIME
        + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        + b"Subject: in\r\n"
        + TEXT
        + QP
        + b"\r\n=C3=A4\r\n"
    )


def test_parts_of_a_digest_are_messages() -> None:
    """RFC 2046 5.1.5."""
    data = (
        MIME + b"Content-Type: multipart/digest; boundary=b\r\n\r\n"
        b"--b\r\n\r\nSubject: in\r\n\r\n\xe4\r\n--b--\r\n"
    )
    made = converted(data)
    assert b"--b\r\n\r\nSubject: in\r\nContent-Type: text/plain" in made


def test_long_lines_are_encoded_for_every_hop() -> None:
    long = b"x" * 2000
    for hop in (SEVEN, MODERN):
        made = converted(TEXT + b"\r\n" + long + b"\r\n", hop)
        read = email.message_from_bytes(made)
        assert read.get_payload(decode=True) == long + b"\r\n"
    fits = b"Subject: x\r\n\r\n" + b"y" * 998 + b"\r\n"
    assert octets(fitted(fits)) == fits


def test_only_what_does_not_fit_is_encoded() -> None:
    data = (
        MIME + b"Content-Type: multipart/mixed; boundary=b\r\n" + EIGHT_BIT + b"\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\n\xe4\r\n"
        b"--b\r\n\r\n" + b"x" * 1000 + b"\r\n--b--\r\n"
    )
    made = fitted(data, EIGHT)
    assert b"\r\n\r\n\xe4\r\n" in octets(made)
    assert EIGHT_BIT in octets(made)
    assert isinstance(made, Fit)
    assert made.eight_bit


def test_a_long_line_of_the_header_is_folded() -> None:
    data = b"To: " + b"a@x.test, " * 500 + b"\r\nX: " + b"y" * 3000 + b"\r\n\r\n.\r\n"
    made = converted(data)
    assert made.replace(b"\r\n ", b" ").startswith(b"To: " + b"a@x.test, " * 500)
    assert made.endswith(b"\r\n\r\n.\r\n")
    assert made.count(b"y") == 3000


@pytest.mark.parametrize("octet", [b"\0", b"\r", b"\n"])
def test_attack_1_no_bare_line_end_and_no_nul_ever_leaves(octet: bytes) -> None:
    text = b"a" + octet + b".\r" + octet + b"\nb\r\n"
    for hop in (SEVEN, MODERN):
        made = converted(TEXT + b"\r\n" + text, hop)
        assert email.message_from_bytes(made).get_payload(decode=True) == text
        assert fitted(b"X: a" + octet + b"b\r\n\r\n.\r\n", hop) is Reason.CONVERSION


def test_what_is_encoded_badly_is_mended() -> None:
    quoted = b"=C3=A4 \xe4=\r\n=zz" + b"=C3=A4" * 400 + b"\r\n"
    made = converted(TEXT + QP + b"\r\n" + quoted)
    assert email.message_from_bytes(made).get_payload(decode=True) == (
        b"\xc3\xa4 \xe4=zz" + b"\xc3\xa4" * 400 + b"\r\n"
    )
    based = b"QUJD" * 1000 + b"\r\n"
    made = converted(TEXT + BASE64 + b"\r\n" + based, EIGHT)
    assert max(map(len, made.split(b"\r\n"))) == 76
    assert email.message_from_bytes(made).get_payload(decode=True) == b"ABC" * 1000


def test_large_parts_are_encoded_in_pieces() -> None:
    for line in (b"ab\xc3\xa4 \r\n", b"\xc3\xa4=", b"x" * 999 + b"\r\n", b"\xff"):
        text = line * (300_000 // len(line)) + b"\r\n"
        made = converted(TEXT + b"\r\n" + text)
        assert email.message_from_bytes(made).get_payload(decode=True) == text
    quoted = b"=C3=A4=zz" * 40_000
    made = converted(TEXT + QP + b"\r\n" + quoted + b"\r\n")
    before = email.message_from_bytes(TEXT + QP + b"\r\n" + quoted + b"\r\n")
    after = email.message_from_bytes(made)
    assert after.get_payload(decode=True) == before.get_payload(decode=True)


# -- what goes back


@pytest.mark.parametrize(
    "data",
    [
        "Subject: Müssen\r\n\r\nx\r\n".encode(),
        MIME + b"Content-Type: message/rfc822\r\n\r\nSubject: \xe4\r\n\r\nx\r\n",
        MIME + b"Content-Type: multipart/signed; boundary=b\r\n\r\n"
        b"--b\r\n\r\n\xe4\r\n--b\r\n\r\nsignature\r\n--b--\r\n",
        MIME + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
        b"Content-Type: multipart/encrypted; boundary=b\r\n\r\n"
        b"--b\r\n\r\n" + b"x" * 2000 + b"\r\n--b--\r\n--a--\r\n",
        MIME + b"Content-Type: message/partial\r\n\r\n\xe4\r\n",
        MIME + b"Content-Type: message/delivery-status\r\n\r\nX: \xe4\r\n",
        MIME + b"Content-Type: multipart/mixed\r\n\r\n\xe4\r\n",
        TEXT + b"Content-Transfer-Encoding: x-uuencode\r\n\r\n\xe4\r\n",
        TEXT + EIGHT_BIT + QP + b"\r\n\xe4\r\n",
        TEXT + b"Content-Type: text/html\r\n\r\n\xe4\r\n",
        b"X: " + b"y" * 300_000 + b"\r\n\r\n\xe4\r\n",
    ],
)
def test_rfc_36_what_cannot_be_encoded_without_harm_goes_back(data: bytes) -> None:
    assert fitted(data) is Reason.CONVERSION


def test_what_is_signed_stays_octet_by_octet() -> None:
    signed = (
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nfrom here\r\n"
        b"--b\r\nContent-Type: application/pgp-signature\r\n\r\nxyz\r\n--b--\r\n"
    )
    data = (
        MIME
        + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
        + signed
        + b"--a\r\nContent-Type: text/plain\r\n\r\n\xe4\r\n--a--\r\n"
    )
    assert signed in converted(data)


def test_a_message_of_utf8_may_be_encoded_as_a_whole() -> None:
    """RFC 6532 3.7."""
    inner = "Subject: Müssen\r\n\r\nwir\r\n".encode()
    made = converted(MIME + b"Content-Type: message/global\r\n\r\n" + inner)
    read = email.message_from_bytes(made)
    assert read["Content-Transfer-Encoding"] in ("base64", "quoted-printable")
    assert QP in made or BASE64 in made


# -- addresses and headers beyond ASCII


def utf8(data: bytes, hop: Hop, to: str = "b@y.test", of: str = "a@x.test") -> object:
    return fit(envelope(of, smtputf8=True), Octets(data), [to], hop)


def test_rfc_37_what_needs_smtputf8_goes_only_where_it_is_offered() -> None:
    plain = b"Subject: x\r\n\r\ny\r\n"
    header = "Subject: Müssen\r\n\r\ny\r\n".encode()
    for hop in (SEVEN, EIGHT):
        assert utf8(plain, hop, to="ä@y.test") is Reason.SMTPUTF8
        assert utf8(plain, hop, of="ä@x.test") is Reason.SMTPUTF8
        assert utf8(header, hop) is Reason.SMTPUTF8
        inner = MIME + b"Content-Type: message/rfc822\r\n\r\n" + header
        assert utf8(inner, hop) is Reason.SMTPUTF8
    for data in (plain, header):
        made = utf8(data, MODERN, "ä@y.test", "ä@x.test")
        assert isinstance(made, Fit)
        assert made.smtputf8
        assert octets(made) == data


def test_rfc_37_what_does_not_need_it_goes_as_other_mail() -> None:
    text = TEXT + "\r\nMüssen\r\n".encode()
    made = utf8(text, EIGHT)
    assert isinstance(made, Fit)
    assert (made.eight_bit, made.smtputf8, made.converted) == (True, False, False)
    made = utf8(text, SEVEN)
    assert isinstance(made, Fit)
    assert (made.eight_bit, made.smtputf8, made.converted) == (False, False, True)


def test_a_header_of_eight_bits_that_came_without_smtputf8_goes_on() -> None:
    data = b"Subject: M\xfcssen\r\n\r\nwir\r\n"
    for hop in (EIGHT, MODERN):
        made = fitted(data, hop)
        assert isinstance(made, Fit)
        assert octets(made) == data
        assert not made.smtputf8


# -- any message


class Leaf(NamedTuple):
    header: bytes
    body: bytes


line = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"--", b"--b0", b"--b1--", b" ", b"\t", b".", b"", b"=", b"=C3=A4 ", b"From x"]
    ),
    st.integers(900, 1100).map(lambda n: b"y" * n),
    st.text("äöü €привет", min_size=1, max_size=60).map(str.encode),
)
text = st.lists(line, max_size=6).map(b"\r\n".join)
types = st.sampled_from(
    [
        b"",
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b'Content-Type: Text/HTML;\r\n charset="iso-8859-1"\r\n',
        b"Content-Type: application/octet-stream; name=x\r\n",
        b"X-Other: y\r\n",
    ]
)
encodings = st.sampled_from(
    [
        b"",
        EIGHT_BIT,
        b"Content-Transfer-Encoding: 7bit\r\n",
        b"CONTENT-TRANSFER-ENCODING:\r\n binary\r\n",
    ]
)
leaves = st.builds(lambda t, e, b: t + e + b"\r\n" + b, types, encodings, text)


def multipart(kind: bytes, encoding: bytes, around: bytes, parts: list[bytes]) -> bytes:
    """One whose boundary is not in its parts."""
    number = 0
    while any(b"--b%d" % number in part for part in (around, *parts)):
        number += 1
    made = b"Content-Type: multipart/%s; boundary=b%d\r\n" % (kind, number)
    made += encoding + b"\r\n" + around
    for part in parts:
        made += b"\r\n--b%d\r\n" % number + part
    return made + b"\r\n--b%d--\r\n" % number + around


def trees(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        multipart,
        st.sampled_from([b"mixed", b"alternative", b"related"]),
        encodings,
        st.sampled_from([b"", b"ignore me", b"ignor\xe9"]),
        st.lists(children, min_size=1, max_size=3),
    ) | st.builds(
        lambda e, m: b"Content-Type: message/rfc822\r\n" + e + b"\r\n" + m,
        encodings,
        children.map(lambda part: b"Subject: in\r\n" + part),
    )


messages = st.recursive(leaves, trees, max_leaves=6).map(
    lambda part: b"From: a@x.test\r\nSubject: x\r\n" + part + b"\r\n"
)
MINE = {"content-transfer-encoding", "mime-version", "content-type"}


def same(before: Message, after: Message) -> None:
    """The oracle sees the same parts, headers and octets."""
    assert before.get_content_type() == after.get_content_type()
    assert before.is_multipart() == after.is_multipart()
    for one, other in ((before, after), (after, before)):
        for name, value in one.items():
            if name.lower() not in MINE:
                assert value in (other.get_all(name) or ()), name
    if before["Content-Type"]:
        assert before["Content-Type"] == after["Content-Type"]
    if before.is_multipart():
        pairs = list(zip(before.get_payload(), after.get_payload(), strict=True))
        for one, other in pairs:
            same(one, other)
    else:
        assert before.get_payload(decode=True) == after.get_payload(decode=True)


@settings(deadline=None, max_examples=60)
@given(messages, st.sampled_from([SEVEN, EIGHT, MODERN]))
def test_any_message_decodes_to_what_it_was(data: bytes, hop: Hop) -> None:
    made = fitted(data, hop)
    if made is Reason.CONVERSION:
        return
    whole = octets(made)
    facts = survey(Octets(whole), 0)
    assert not facts.unfit
    assert hop.eight_bit or not facts.eight_bit
    read = email.message_from_bytes(whole)
    same(email.message_from_bytes(data), read)
    if whole != data:
        assert read["MIME-Version"] == "1.0" or b"boundary" not in data


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400), st.sampled_from([SEVEN, EIGHT, MODERN]))
def test_any_octets_fit_or_go_back(data: bytes, hop: Hop) -> None:
    made = fitted(data, hop)
    if isinstance(made, Fit):
        facts = survey(Octets(octets(made)), 0)
        assert not facts.unfit
        assert hop.eight_bit or not facts.eight_bit


def nested(depth: int) -> bytes:
    made = b""
    for n in range(depth):
        made += b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
    return MIME + made + b"\r\n\xe4\r\n"


@pytest.mark.parametrize(
    "data",
    [
        nested(1000),
        MIME + b"Content-Type: message/rfc822\r\n\r\n" * 10_000 + b"\xe4\r\n",
        MIME
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\n" * 100_000
        + b"\r\n\xe4\r\n",
        MIME
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        + b"--c\r\n" * 500_000
        + b"\xe4",
        MIME
        + b'Content-Type: multipart/mixed; boundary="'
        + b"\\" * 9000
        + b"\r\n\r\n\xe4",
        MIME + b"Content-Type: multipart/mixed" + b"; a=b" * 1500 + b"\r\n\r\n\xe4",
        MIME + b"Content-Transfer-Encoding: " + b"(" * 60_000 + b"\r\n\r\n\xe4",
        b"A: " + b"x " * 100_000 + b"\r\n\r\n\xe4",
        b"A: " + b"\x80" * 200_000 + b"\r\n\r\nx\r\n",
    ],
)
def test_attack_6_no_message_takes_long(data: bytes) -> None:
    began = time.process_time()
    for hop in (SEVEN, EIGHT):
        fitted(data, hop)
    assert time.process_time() - began < 1
