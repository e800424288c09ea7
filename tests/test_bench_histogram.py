"""Histograms: close to what was put in, and the same in C and Python."""

import json
import random
import shutil
import subprocess

import pytest

from fastsmtp_bench import peers
from fastsmtp_bench.histogram import PARTS, Histogram, value
from fastsmtp_bench.native import program


def bucket(ns: int) -> int:
    """As histogram.h finds it."""
    if ns < 2 * PARTS:
        return ns
    power = ns.bit_length() - 8
    return power * PARTS + (ns >> power)


def test_a_bucket_tells_its_values_within_a_hundredth() -> None:
    chance = random.Random(1)
    for _ in range(5000):
        ns = int(2 ** chance.uniform(0, 50))
        assert value(bucket(ns)) == pytest.approx(ns, rel=0.008)


def test_buckets_follow_each_other() -> None:
    values = [value(n) for n in range(58 * PARTS)]
    assert values == sorted(set(values))


def test_quantiles_are_those_of_the_values() -> None:
    chance = random.Random(2)
    seen = [int(chance.lognormvariate(13, 1)) for _ in range(20_000)]
    whole = Histogram()
    for some in (seen[:7000], seen[7000:]):
        part = Histogram()
        part.add((bucket(ns), 1) for ns in some)
        whole.merge(part)
    seen.sort()
    for part_ in (0.5, 0.9, 0.99, 0.999):
        exact = seen[int(part_ * len(seen)) - 1] / 1e9
        assert whole.quantile(part_) == pytest.approx(exact, rel=0.01)
    assert whole.total == 20_000
    assert Histogram().quantile(0.5) == 0.0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_intervals_of_load_add_up_to_its_report() -> None:
    with peers.null_sink() as (port, _):
        words = ["--port", str(port), "--rate", "2000", "--seconds", "0.6"]
        done = subprocess.run(
            [program("load"), *words, "--interval", "0.1"],
            capture_output=True,
            check=True,
            timeout=30,
        )
    *intervals, report = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(intervals) >= 5
    for name, told in (("waited", "latency_us"), ("whole", "whole_us")):
        seen = Histogram()
        for interval in intervals:
            seen.add(interval[name])
        assert seen.total == report["acknowledged"]
        for part, key in ((0.5, "p50"), (0.99, "p99")):
            assert seen.quantile(part) * 1e6 == pytest.approx(
                report[told][key], rel=0.01, abs=1
            )
    assert report["started"] == report["acknowledged"]
    assert 1000 <= report["started"] <= 1200
