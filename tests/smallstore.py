"""A configuration with small files, and cheap passwords, for tests of commands."""

from pathlib import Path
from typing import Final

import argon2
import pytest

FILE: Final = """\
hostname = "mx.example.test"
data = "data"
[store]
reserve = 0
min_free = 0
segment_size = "1 MiB"
[domains."example.test"]
"""


def configured(folder: Path) -> Path:
    """The file, beside an empty data folder."""
    path = folder / "fastsmtp.toml"
    path.write_text(FILE)
    (folder / "data").mkdir(mode=0o700)
    return path


def cheapen_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a good hash costs is not what these tests are about."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("fastsmtp.auth.passwords._HASHER", hasher)
