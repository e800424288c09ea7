"""Instruction counts: what callgrind wrote is read, and compared with the baseline."""

import json
from pathlib import Path

import pytest

from fastsmtp_bench import instructions
from fastsmtp_bench.counted import CASES
from fastsmtp_bench.instructions import BASELINE, compared, read, table, worse


def dump(path: Path, case: str, total: int) -> None:
    path.write_text(
        f"version: 1\ndesc: Trigger: Client Request: {case}\nevents: Ir\n"
        f"summary: {total}\nfn=(1)\n0 5\ntotals: {total}\n"
    )


def test_the_least_of_the_first_thread_counts(tmp_path: Path) -> None:
    each = CASES["envelope"].each
    dump(tmp_path / "out.1-01", "envelope", 3000 * each)
    dump(tmp_path / "out.2-01", "envelope", 2900 * each)
    dump(tmp_path / "out.2-02", "envelope", 10 * each)
    dump(tmp_path / "out.3-01", "something else", 1)
    assert read(tmp_path, ["envelope"]) == {"envelope": 2900.0}


def test_more_than_the_spread_is_worse() -> None:
    before = {"envelope": 1000.0, "body, 4 KiB": 1000.0, "apply": 1000.0}
    now = {"envelope": 1031.0, "body, 4 KiB": 1029.0, "apply": 1100.0}
    assert worse(now, before) == ["envelope"]
    said = table(now | {"log, scan": 5.0}, before)
    assert said[0].endswith("MORE")
    assert said[3].endswith("not in the baseline")


def test_the_exit_status_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert compared({"envelope": 1.0}, {"counts": {"envelope": 1.0}}) == 0
    assert compared({"envelope": 2.0}, {"counts": {"envelope": 1.0}}) == 1
    assert "more instructions than the baseline: envelope" in capsys.readouterr().out


def test_a_missing_tool_is_a_reason_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert instructions.main([]) == 0
    said = capsys.readouterr().out
    assert said == "instructions are not compared: valgrind is not installed\n"


def test_the_baseline_has_every_case() -> None:
    assert json.loads(BASELINE.read_text())["counts"].keys() == CASES.keys()


def test_the_saved_seconds_are_of_every_case_and_of_nobody_s_machine() -> None:
    [path] = BASELINE.with_name("baseline").rglob("*.json")
    saved = json.loads(path.read_text())
    names = {one["name"] for one in saved["benchmarks"]}
    assert {f"test_case[{name}]" for name in CASES} <= names
    assert "node" not in saved["machine_info"]
    assert saved["commit_info"] == {}


def test_every_compiled_module_has_a_case() -> None:
    assert instructions.uncounted() == []


@pytest.mark.parametrize("name", CASES)
def test_every_case_runs(name: str) -> None:
    run = CASES[name].make()
    run()
    getattr(run, "close", lambda: None)()
