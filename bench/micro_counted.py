"""A case for every compiled module, in seconds: what `instructions` counts, timed.

python -m pytest bench/micro_counted.py --benchmark-enable -c pyproject.toml
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fastsmtp_bench.counted import CASES, Run


@contextmanager
def made(name: str) -> Iterator[Run]:
    run = CASES[name].make()
    try:
        yield run
    finally:
        getattr(run, "close", lambda: None)()


@pytest.mark.parametrize("name", CASES)
def test_case(benchmark: Any, name: str) -> None:
    with made(name) as warm:
        warm()
    with made(name) as run:
        # once: a run may use up what it was made of
        benchmark.pedantic(run, rounds=1, iterations=1)
    if benchmark.enabled:
        each = benchmark.stats.stats.min / CASES[name].each
        benchmark.extra_info["µs each"] = round(each * 1e6, 2)
