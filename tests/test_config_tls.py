"""The [tls] table: how it is written, and what `check` finds in the files it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from certificate import pair

from fastsmtp.config import Config, Problem, check
from fastsmtp.config.document import defaults
from fastsmtp.net.options import CertificatePair

HEAD = 'hostname = "mx.example.test"\ndata = "data"\n'
DOMAIN = '[domains."example.test"]\ncatch_all = "a@example.test"\n'


def read(folder: Path, tls: str) -> tuple[Config | None, list[Problem]]:
    file = folder / "fastsmtp.toml"
    file.write_text(f"{HEAD}{DOMAIN}[tls]\n{tls}\n")
    return check(file, {})


def texts(folder: Path, tls: str) -> list[str]:
    return [f"{p.severity}: {p.key}: {p.text}" for p in read(folder, tls)[1]]


PAIR = 'certificates = [{ certificate = "tls.crt", key = "tls.key" }]'


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    pair(tmp_path, "mx.example.test")
    config, problems = read(tmp_path, PAIR)
    assert problems == []
    assert config is not None
    assert config.tls.certificates == [
        CertificatePair(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    ]
    assert Config.from_json(config.to_json()) == config


def test_pairs_come_from_the_environment(tmp_path: Path) -> None:
    pair(tmp_path, "mx.example.test")
    (tmp_path / "fastsmtp.toml").write_text(HEAD + DOMAIN)
    text = PAIR.partition(" = ")[2]
    environment = {"FASTSMTP_TLS__CERTIFICATES": text}
    config, _ = check(tmp_path / "fastsmtp.toml", environment)
    assert config is not None
    assert config.tls.certificates[0].key == tmp_path / "tls.key"


def test_a_written_file_names_its_pairs(tmp_path: Path) -> None:
    pair(tmp_path, "mx.example.org")
    mine = CertificatePair(certificate=Path("tls.crt"), key=Path("tls.key"))
    text = defaults({"tls.certificates": [mine], "data": "data"})
    assert PAIR in text
    (tmp_path / "fastsmtp.toml").write_text(text)
    config, _ = check(tmp_path / "fastsmtp.toml", {})
    assert config is not None
    assert len(config.tls.certificates) == 1


@pytest.mark.parametrize(
    ("written", "key", "said"),
    [
        ('certificates = "tls.crt"', "tls.certificates", "is not a list"),
        ('certificates = ["tls.crt"]', "tls.certificates[0]", "is not a table"),
        (
            'certificates = [{ certificate = "a" }]',
            "tls.certificates[0]",
            "names no key",
        ),
        (
            'certificates = [{ certificate = "a", key = 1 }]',
            "tls.certificates[0].key",
            "is not text",
        ),
        (
            'certificates = [{ certificate = "a", key = "b", name = "c" }]',
            "tls.certificates[0].name",
            "is not a setting",
        ),
        ('minimum_version = "1.1"', "tls.minimum_version", "is not one of the words"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, written: str, key: str, said: str) -> None:
    _, problems = read(tmp_path, written)
    assert [(p.key, said in p.text) for p in problems] == [(key, True)]


def test_files_are_looked_into(tmp_path: Path) -> None:
    (missing,) = texts(tmp_path, PAIR)
    assert missing == (
        "error: tls.certificates[0].certificate: cannot be read: "
        "No such file or directory"
    )
    certificate, key = pair(tmp_path, "mx.example.test")
    pair(tmp_path, "mx.example.test", stem="other")
    (tmp_path / "other.key").rename(key)
    (mismatch,) = texts(tmp_path, PAIR)
    assert mismatch == (
        f"error: tls.certificates[0].key: is not the key of {certificate}"
    )


def test_what_nobody_will_believe_is_a_warning(tmp_path: Path) -> None:
    pair(tmp_path, "mx.example.test", days=-3)
    assert "expired on" in texts(tmp_path, PAIR)[0]
    pair(tmp_path, "mx.example.test", days=3)
    (soon,) = texts(tmp_path, PAIR)
    assert soon.startswith("warning: tls.certificates[0].certificate: ends soon, on ")
    _, key = pair(tmp_path, "other.example.test")
    key.chmod(0o644)
    config, problems = read(tmp_path, PAIR)
    assert config is not None
    assert [p.text for p in problems] == [
        "does not name mx.example.test, but other.example.test",
        "may be read by every user of this machine",
    ]


def test_a_pair_that_is_never_chosen_is_told(tmp_path: Path) -> None:
    pair(tmp_path, "mx.example.test")
    twice = PAIR.replace("]", ', { certificate = "tls.crt", key = "tls.key" }]')
    (told,) = texts(tmp_path, twice)
    assert "is never used: an earlier one names mx.example.test" in told


def test_weak_ciphers_are_refused(tmp_path: Path) -> None:
    pair(tmp_path, "mx.example.test")
    (told,) = texts(tmp_path, f'{PAIR}\nciphers = "AES128-SHA"')
    assert told == ("error: tls.ciphers: has AES128-SHA, which is not ECDHE with AEAD")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_are_read_as_the_owner_of_the_data(tmp_path: Path) -> None:
    """Root could read the key now, and the server not when it is renewed."""
    pair(tmp_path, "mx.example.test")
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    (told,) = texts(tmp_path, PAIR)
    assert told == "error: tls.certificates[0].key: cannot be read: Permission denied"
