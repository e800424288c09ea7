"""Command lines, addresses and the Received field, through their Python faces.

`pytest --benchmark-enable bench/micro_command.py`. A session in Cython pays neither for
the objects of `parse` nor for the call: about nine tenths of these times.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastsmtp.wire.address import parse as parse_address
from fastsmtp.wire.command import find_line, parse
from fastsmtp.wire.header import date, origin, received

LINES = {
    "mail": b"MAIL FROM:<alice@example.org> SIZE=4096 BODY=8BITMIME\r\n",
    "rcpt": b"RCPT TO:<bob@example.test>\r\n",
    "data": b"DATA\r\n",
    "ehlo": b"EHLO mail.example.org\r\n",
    "long": b"RCPT TO:<" + b"l" * 64 + b"@" + b".".join([b"d" * 60] * 3) + b">\r\n",
}


@pytest.mark.parametrize("name", LINES)
def test_parse(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(parse, LINES[name]).verb


def test_find_line(benchmark: BenchmarkFixture) -> None:
    assert benchmark(find_line, LINES["mail"])[0] == "whole"


def test_address(benchmark: BenchmarkFixture) -> None:
    assert benchmark(parse_address, "Bob@Example.test").domain == "example.test"


def test_received(benchmark: BenchmarkFixture) -> None:
    clause = origin("mail.example.org", "192.0.2.7")

    def head() -> bytes:
        at = date(1_795_493_520)
        return received(clause, "mx.test", "ESMTP", "0" * 13, "bob@example.test", at)

    assert benchmark(head).startswith(b"Received: ")
