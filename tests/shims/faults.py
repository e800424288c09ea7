"""Builds faults.c and steers it: system calls of a program under test that fail.

faults = Faults.build(tmp_path, on=".log")
subprocess.Popen(command, env=faults.environment())
faults.set("fdatasync", errno.EIO)     # from now on, the next one
faults.clear()
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest

SOURCE = Path(__file__).with_name("faults.c")
COMMAND = "cc -O1 -shared -fPIC -Wall -D_FORTIFY_SOURCE=0 -o {} {} -ldl -pthread"


class Faults:
    """One program's faults; `set` and `clear` act while it runs."""

    def __init__(self, library: Path, on: str) -> None:
        self.library = library
        self.control = library.with_suffix(".rule")
        self.on = on
        self.serial = 0

    @classmethod
    def build(cls, directory: Path, on: str) -> Self:
        """`on`: a piece of the paths of the files that it acts on. Skips without cc."""
        if shutil.which("cc") is None:
            pytest.skip("needs a C compiler")
        library = directory / "faults.so"
        command = COMMAND.format(library, SOURCE)
        subprocess.run(command.split(), check=True)
        faults = cls(library, on)
        faults.clear()
        return faults

    def environment(self) -> dict[str, str]:
        """For the program under test, ours included."""
        return os.environ | {
            "LD_PRELOAD": str(self.library),
            "FAULTS_PATH": self.on,
            "FAULTS_CONTROL": str(self.control),
        }

    def set(
        self, call: str, error: int, first: int = 1, count: int = 1, on: str = "/"
    ) -> None:
        """Calls number `first` … `first + count - 1` from now on fail; count 0: all.

        error 0 makes short writes, -9 kills the process, once; `on` is another piece
        that the path must have."""
        self.serial += 1
        self._write(f"{call} {error} {first} {count} {self.serial} {on}\n")

    def clear(self) -> None:
        self._write("")

    def _write(self, rule: str) -> None:
        fresh = self.control.with_suffix(".next")
        fresh.write_text(rule)
        fresh.rename(self.control)  # a reader sees the old rule or the new one
