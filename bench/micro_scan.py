"""Scanning without output: what the facts cost, and what odd input does to that.

`pytest --benchmark-enable bench/micro_scan.py`; divide `octets` by the time.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastsmtp.wire.scan import BodyScanner
from fastsmtp_bench.micro_framing import HEADER, message

MIB = 1 << 20
ODD = {
    "text": message(MIB),
    "eight bit": message(MIB).replace(b"a", b"\xe4"),
    "nul": message(MIB).replace(b"a", b"\0"),
    "bare lf": HEADER + b"\n" * MIB + b"\r\n.\r\n",
    "bare cr": HEADER + b"\r" * MIB + b"\r\n.\r\n",
    "dots": HEADER + b"..\r\n" * (MIB // 4) + b".\r\n",
    "header": HEADER[:-2] + b"Received: from a by b\r\n" * (MIB // 23) + b"\r\n.\r\n",
    "almost": HEADER[:-2] + b"Return-Path\r\n" * (MIB // 13) + b"\r\n.\r\n",
    "left out": b"Return-Path: " + b"x" * MIB + b"\r\n\r\n.\r\n",
}


@pytest.mark.parametrize("size", [512, 4096, MIB])
def test_facts_alone(benchmark: BenchmarkFixture, size: int) -> None:
    data = message(size)
    benchmark.extra_info["octets"] = len(data)
    assert benchmark(lambda: BodyScanner(keep=False).feed(data)) == len(data)


@pytest.mark.parametrize("kind", ODD)
def test_odd_input(benchmark: BenchmarkFixture, kind: str) -> None:
    data = ODD[kind]
    benchmark.extra_info["octets"] = len(data)
    assert benchmark(lambda: BodyScanner(keep=False).feed(data)) == len(data)
