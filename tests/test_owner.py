"""Who root is while it works with somebody's data."""

import os
import pwd
from pathlib import Path

import pytest

from fastsmtp import owner


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Root in a world where every change of identity is only noted."""
    noted: list[tuple[str, object]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getegid", lambda: 0)
    monkeypatch.setattr(owner.ctypes, "CDLL", lambda _: None)
    for name in (
        *("setegid", "seteuid", "setgroups", "initgroups"),
        *("setresgid", "setresuid"),
    ):
        monkeypatch.setattr(os, name, lambda *a, name=name: noted.append((name, a)))
    return noted


def owned_by(monkeypatch: pytest.MonkeyPatch, user: int, group: int) -> None:
    monkeypatch.setattr(owner, "_owner", lambda _: owner.Identity(user, group))


def test_meanwhile_and_back(
    calls: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, 1234, 5678)
    with owner.as_owner(Path("data")):
        assert calls == [("setegid", (5678,)), ("seteuid", (1234,))]
    assert calls[2:] == [("seteuid", (0,)), ("setegid", (0,))]


def test_for_good_it_is_all_ids_and_the_groups_first(
    calls: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, 4_000_000, 5678)
    owner.become(owner.identity("", Path("data")))
    assert calls == [
        ("setgroups", ([5678],)),
        ("setresgid", (5678, 5678, 5678)),
        ("setresuid", (4_000_000, 4_000_000, 4_000_000)),
    ]


def test_an_owner_with_a_name_has_its_groups(
    calls: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, 65534, 65534)
    monkeypatch.setattr(owner.pwd, "getpwuid", lambda _: owner.pwd.getpwnam("root"))
    owner.become(owner.identity("", Path("data")))
    assert calls[0] == ("initgroups", ("root", 65534))


def test_nothing_changes_for_others_or_for_what_is_roots(
    calls: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owner.become(owner.identity("", tmp_path / "absent"))
    owned_by(monkeypatch, 0, 0)
    owner.become(owner.identity("", tmp_path))
    owned_by(monkeypatch, 1234, 1234)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    owner.become(owner.identity("", tmp_path))
    with owner.as_owner(tmp_path):
        pass
    assert calls == []


def test_a_named_user_is_preferred(
    calls: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, 1234, 5678)
    nobody = pwd.getpwnam("nobody")
    assert owner.identity("nobody", Path("data")) == nobody[2:4]
    assert owner.identity("", Path("data")) == (1234, 5678)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(PermissionError, match="only root"):
        owner.identity("nobody", Path("data"))
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    assert owner.identity("nobody", Path("data")) == nobody[2:4]


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(OSError, match="no such user"):
        owner.identity("nobody-of-this-name", Path("data"))


def test_a_folder_is_made_for_its_user_alone(
    calls: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "chown", lambda *args: given.append(args))
    folder = tmp_path / "above" / "data"
    owner.make_folder(folder, owner.Identity(7, 8))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert given == [(folder, 7, 8)]
    owner.make_folder(folder, owner.Identity(9, 9))
    assert len(given) == 1
