"""Root acts as the owner of the data directory."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastsmtp.cli import Failure, main
from fastsmtp.cli.access import operations
from fastsmtp.config import load
from fastsmtp.owner import as_owner

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(
        'hostname = "mx.example.test"\ndata = "data"\n'
        '[store]\nreserve = 0\nmin_free = 0\n[domains."example.test"]\n'
    )
    (tmp_path / "data").mkdir(mode=0o700)
    return path


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can reach, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@needs_root
def test_root_acts_as_the_owner_and_is_root_again(public: Path) -> None:
    os.chown(public, 4711, 4712)
    with as_owner(public):
        (public / "made").touch()
    status = (public / "made").stat()
    assert (status.st_uid, status.st_gid) == (4711, 4712)
    assert (os.geteuid(), os.getegid()) == (0, 0)


@needs_root
def test_no_file_belongs_to_root(file: Path, public: Path) -> None:
    data = public / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 4711, 4712)
    file.write_text(file.read_text().replace('"data"', f'"{data}"'))
    address = "alice@example.test"
    assert main(["user", "add", address, "--generate", "-c", str(file)]) == 0
    assert main(["user", "list", "-c", str(file)]) == 0
    made = [data, *data.rglob("*")]
    assert len(made) > 3
    assert {(p.stat().st_uid, p.stat().st_gid) for p in made} == {(4711, 4712)}


def test_others_act_as_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "seteuid", None)
    with as_owner(tmp_path), as_owner(tmp_path / "absent"):
        pass


def test_a_socket_of_another_user(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*args: object, **rest: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", refused)

    async def story() -> None:
        async with operations(load(file, {})):
            pass

    with pytest.raises(Failure, match="is not yours to use"):
        asyncio.run(story())
