"""The files of a process: kept while it lives, gone when they are old."""

import asyncio
import os
from pathlib import Path

from fastsmtp.trace import keeping
from fastsmtp.trace.options import WhyOptions
from fastsmtp.trace.ring import scan

OPTIONS = WhyOptions(size=16384, keep=100.0)


def live(tmp_path: Path, options: WhyOptions, id: int) -> tuple[bool, list[str]]:
    """A process that notes one thing; whether it could, and what it complained of."""
    said: list[str] = []

    async def run() -> bool:
        with keeping.kept(tmp_path, "receive-1", options, said.append) as trace:
            trace.moved(id, "held", "by hand")
            await asyncio.sleep(0)
            return trace.on

    return asyncio.run(run()), said


def test_what_a_process_notes_outlives_it(tmp_path: Path) -> None:
    for id in (1, 2):
        assert live(tmp_path, OPTIONS, id) == (True, [])
    rows, _ = scan((tmp_path / "why" / "receive-1.mail").read_bytes())
    assert [row[2] for row in rows] == [1, 2]
    assert (tmp_path / "why").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "why" / "receive-1.mail").stat().st_mode & 0o777 == 0o600


def test_without_its_files_a_process_works_as_well(tmp_path: Path) -> None:
    (tmp_path / "why").write_text("in the way")
    on, said = live(tmp_path, OPTIONS, 1)
    assert not on
    assert len(said) == 1
    assert "fastsmtp why" in said[0]


def test_switched_off_it_leaves_nothing(tmp_path: Path) -> None:
    assert live(tmp_path, WhyOptions(size=0), 1) == (False, [])
    assert list((tmp_path / "why").iterdir()) == []


def test_files_of_processes_that_are_no_more_go(tmp_path: Path) -> None:
    keeping.tidy(tmp_path, OPTIONS)
    folder = tmp_path / "why"
    folder.mkdir()
    for name, age in (("receive-9.mail", 101), ("receive-1.mail", 99)):
        (folder / name).touch()
        then = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (then, then))
    keeping.tidy(tmp_path, OPTIONS)
    assert [path.name for path in folder.iterdir()] == ["receive-1.mail"]
    keeping.tidy(tmp_path, WhyOptions(size=0))
    assert list(folder.iterdir()) == []
