"""The table of what hooks cost, and the modules that are measured."""

from pathlib import Path

import pytest

from fastsmtp.hooks.modules import load
from fastsmtp_bench.client import Run
from fastsmtp_bench.hooks import MODULES, NONE, table


def ran(rate: float, cpu: float) -> Run:
    fields = dict.fromkeys(Run.__dataclass_fields__, 0.0)
    return Run(**{**fields, "rate": rate, "server_cpu": cpu})  # type: ignore[arg-type]


def test_differences_are_taken_inside_a_round() -> None:
    done = {NONE: [ran(1, 50), ran(1, 90)], "async rcpt": [ran(1, 60), ran(1, 100)]}
    assert table(done).split("\n")[-1] == "| async rcpt | 1 | 80.0 | +10.0 |"


@pytest.mark.parametrize("name", [name for name in MODULES if name != NONE])
def test_what_is_measured_is_a_hook(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bench_hook.py"
    path.write_text(MODULES[name])
    load("bench", str(path))
