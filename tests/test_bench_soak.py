"""The soak: faults strike, and the books say what came of it."""

import argparse
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from fastsmtp_bench import soak
from fastsmtp_bench.interrupt import INTERRUPTED
from fastsmtp_bench.soak import Stretch, faults, judge, sentence

MIB = 1 << 20


def stretches(memory: list[int], files: list[int]) -> list[Stretch]:
    return [
        Stretch(n, "none", memory=m * MIB, descriptors=f, acknowledged=10)
        for n, (m, f) in enumerate(zip(memory, files, strict=True))
    ]


def test_what_stays_as_it_is_is_well() -> None:
    assert judge(stretches([20, 60, 61, 60, 62], [40, 50, 50, 51, 50])) == []


def test_the_first_stretch_warms_up() -> None:
    assert judge(stretches([20, 100, 100, 100], [10, 50, 50, 50])) == []


def test_memory_and_descriptors_that_grow_are_named() -> None:
    memory = judge(stretches([60, 60, 70, 80, 90], [50] * 5))
    assert memory == ["memory grew from 60.0 to 90.0 MiB"]
    files = judge(stretches([60] * 5, [50, 50, 60, 70, 80]))
    assert files == ["descriptors grew from 50 to 80"]


def test_losses_doubles_and_a_queue_are_named() -> None:
    found = stretches([60, 60], [50, 50])
    found[0].lost, found[1].doubled, found[1].queue = ["a", "b"], ["c"], 3
    wrong = judge(found)
    assert wrong == [
        *("2 messages lost", "1 messages doubled", "3 messages left in the queue"),
    ]
    assert sentence(found, 60.0, wrong).endswith("3 messages left in the queue")
    assert "nothing lost" in sentence(found, 60.0, [])


def test_only_faults_that_there_are() -> None:
    assert faults("full,slow") == ["full", "slow"]
    with pytest.raises(argparse.ArgumentTypeError, match="flood is not one of none"):
        faults("full,flood")


def stop_at_once(self: soak.Soak, number: int, fault: str) -> Stretch:
    os.kill(os.getpid(), signal.SIGINT)
    return Stretch(number, fault, acknowledged=7, memory=MIB)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_ctrl_c_ends_it_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak.Soak, "stretch", stop_at_once)
    words = ["--hours", "9", "--directory", str(tmp_path)]
    assert soak.main([*words, "--output", str(tmp_path / "r.json")]) == INTERRUPTED
    assert "0 faults, 7 messages acknowledged" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "r.json").read_text())["stretches"]) == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_nothing_is_lost_by_any_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--seconds", "1", "--stretch", "3", "--rate", "200"]
    words += ["--directory", str(tmp_path), "--output", str(tmp_path / "r.json")]
    for fault in ("kill-receive", "kill-all", "full", "slow"):
        assert soak.main([*words, "--faults", fault]) == 0, capsys.readouterr()
        [one] = json.loads((tmp_path / "r.json").read_text())["stretches"]
        assert one["acknowledged"] > 100
        struck = {
            "kill-receive": one["broken"],
            "kill-all": one["broken"],
            "full": one["refused"],
            "slow": one["p99"] * 1000 > soak.SLOW_MS,
        }
        assert struck[fault], one
