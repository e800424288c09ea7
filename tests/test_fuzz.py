"""The fuzz targets run and can fail; `python -m tests.fuzz` is the long run."""

import subprocess
import sys

import pytest

from tests.fuzz.corpus import PURE, TARGETS
from tests.fuzz.targets import FACES, Mutations


@pytest.mark.parametrize("target", FACES)
def test_mutated_input_breaks_no_law(target: str) -> None:
    mutations = Mutations(*{**TARGETS, **PURE}[target], seed=1)
    for _ in range(5000):
        FACES[target](next(mutations))


def fuzz(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seed", "1", *arguments],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_sanitizers_find_nothing() -> None:
    run = fuzz("--executions", "200000")
    assert run.returncode == 0, run.stderr[-4000:]
    assert run.stdout.count("executions") == len(TARGETS)


@pytest.mark.slow
def test_the_sanitizers_find_an_octet_too_far() -> None:
    run = fuzz("control")
    assert run.returncode != 0
    assert "heap-buffer-overflow" in run.stderr
