"""Framing: how fast a body is taken in, its end found, its dots taken away.

`pytest --benchmark-enable bench/micro_framing.py`; divide `octets` by the time. Each
round makes a scanner and its output: that costs about 0.2 µs of it.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastsmtp.wire.scan import BodyScanner

HEADER = b"".join(
    line + b"\r\n"
    for line in (
        b"Received: from mail.example.org (mail.example.org [192.0.2.7])",
        b"\tby relay.example.net with ESMTPS id 0123456789ABC",
        b"\tfor <bob@example.test>; Tue, 24 Nov 2026 04:12:00 +0000",
        b"From: Alice Example <alice@example.org>",
        b"To: Bob <bob@example.test>",
        b"Subject: what a typical message looks like",
        b"Date: Tue, 24 Nov 2026 04:12:00 +0000",
        b"Message-ID: <20261124041200.1234@example.org>",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=us-ascii",
        b"",
    )
)
LINES = {
    "text": b"It is a truth universally acknowledged, that a single man in possession",
    "dots": b".",
    "empty": b"",
    "long": b"x" * 10_000,
}


def message(size: int, kind: str = "text") -> bytes:
    """About `size` octets as they come behind DATA, the final "." included."""
    line = LINES[kind]
    stuffed = (b"." if line.startswith(b".") else b"") + line + b"\r\n"
    return HEADER + stuffed * ((size - len(HEADER)) // len(stuffed)) + b".\r\n"


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("size", [512, 4096, 1 << 20])
def test_take_in(benchmark: BenchmarkFixture, size: int, kind: str) -> None:
    data = message(size, kind)
    benchmark.extra_info["octets"] = len(data)
    assert benchmark(lambda: BodyScanner().feed(data)) == len(data)


def test_pieces_of_a_packet(benchmark: BenchmarkFixture) -> None:
    """1 MiB in pieces of 1448 octets, as they come over a network."""
    data = message(1 << 20)
    pieces = [data[at : at + 1448] for at in range(0, len(data), 1448)]
    benchmark.extra_info["octets"] = len(data)

    def feed() -> bool:
        scanner = BodyScanner()
        for piece in pieces:
            scanner.feed(piece)
        return scanner.ended

    assert benchmark(feed)
