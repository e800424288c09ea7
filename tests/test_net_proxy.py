"""The PROXY protocol: what is written by the book is read, and nothing else is."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.net.proxy import LONGEST, SIGNATURE, Header, NotProxy, parse

PORTS = st.integers(0, 65535)
PAIRS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)


def line(source: object, target: object, port: int, other: int) -> bytes:
    """Version 1, from the specification's 2.1."""
    family = f"TCP{ipaddress.ip_address(str(source)).version}"
    return f"PROXY {family} {source} {target} {port} {other}\r\n".encode()


def binary(source: object, target: object, port: int, other: int, more: bytes) -> bytes:
    """Version 2, from 2.2: family and TCP in one octet, then the addresses."""
    one, two = ipaddress.ip_address(str(source)), ipaddress.ip_address(str(target))
    body = one.packed + two.packed + struct.pack(">HH", port, other) + more
    family = 0x11 if one.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", 0x21, family, len(body)) + body


@given(PAIRS, PORTS, PORTS, st.binary(max_size=300), st.binary(max_size=50))
def test_what_a_proxy_writes_is_read(
    pair: tuple[object, object], port: int, other: int, more: bytes, behind: bytes
) -> None:
    for written in (line(*pair, port, other), binary(*pair, port, other, more)):
        header = Header((str(pair[0]), port), len(written))
        assert parse(written + behind) == header
        assert all(parse(written[:end]) is None for end in range(len(written)))


@pytest.mark.parametrize(
    "local",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n",
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x00\x00\x03abc",
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
    ],
)
def test_no_client_is_told(local: bytes) -> None:
    assert parse(local + b"EHLO x\r\n") == Header(None, len(local))


@pytest.mark.parametrize(
    "wrong",
    [
        b"EHLO x\r\n",
        b"\x16\x03\x01\x02",  # TLS without a proxy
        b"\n",
        b"PROXY\r\n",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 \xd9\xa3\r\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2" + b" " * 90,
        b"PROXY UNKNOWN " + b"x" * 100,
        SIGNATURE + b"\x11\x11\x00\x0c",
        SIGNATURE + b"\x22\x11\x00\x0c",
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),  # UDP
        SIGNATURE + b"\x21\x11" + (LONGEST - 15).to_bytes(2, "big"),
    ],
)
def test_anything_else_is_refused_as_soon_as_it_can_be(wrong: bytes) -> None:
    with pytest.raises(NotProxy):
        parse(wrong)
