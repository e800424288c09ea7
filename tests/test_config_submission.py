"""The [submission] and [auth] tables: what is read, and what lets nobody in."""

from pathlib import Path

import pytest
from certificate import pair

from fastsmtp.config import Config, check, load
from fastsmtp.config.meaning_submission import senders
from fastsmtp.config.source import read_source

SMALL = """\
hostname = "mx.example.test"
data = "data"

[domains."example.test"]
aliases = { postmaster = ["alice@example.test"] }
"""
TLS = '[tls]\ncertificates = [{ certificate = "tls.crt", key = "tls.key" }]\n'


def write(folder: Path, text: str) -> Path:
    pair(folder, "mx.example.test", days=80)
    path = folder / "fastsmtp.toml"
    path.write_text(SMALL + text)
    return path


def said(folder: Path, text: str, **environ: str) -> list[str]:
    found = check(write(folder, text), environ)[1]
    return [f"{p.key}: {p.text}" for p in found if p.severity == "error"]


def test_everything_may_be_set(tmp_path: Path) -> None:
    text = (
        f'{TLS}[submission]\nlisten = ["127.0.0.1:587"]\n'
        'listen_tls = ["127.0.0.1:465"]\ncheck_from = false\n'
        'senders = { "alice@example.test" = ["a@b.test", "@c.test", "*"] }\n'
        '[auth]\nmechanisms = ["PLAIN"]\nthreads = 1\nremember = "0"\n'
    )
    config = load(write(tmp_path, text), {})
    assert config.submission.senders == {
        "alice@example.test": ["a@b.test", "@c.test", "*"]
    }
    assert config.auth.mechanisms == ["PLAIN"]
    assert config.listeners["submission"] == ["127.0.0.1:587"]
    assert config.listeners["submissions"] == ["127.0.0.1:465"]
    assert Config.from_json(config.to_json()) == config


def test_mechanisms_from_the_environment(tmp_path: Path) -> None:
    name = "FASTSMTP_AUTH__MECHANISMS"
    config = load(write(tmp_path, ""), {name: "PLAIN, LOGIN"})
    assert config.auth.mechanisms == ["PLAIN", "LOGIN"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[auth]\nmechanisms = ["NTLM"]', "auth.mechanisms[0]: is not one of the"),
        ('[auth]\nmechanisms = ["PLAIN", "PLAIN"]', "auth.mechanisms: names one"),
        ('[auth]\nmechanisms = "PLAIN"', "auth.mechanisms: is not a list"),
        ("[submission]\nsenders = 1", "submission.senders: is not a table"),
        (
            '[submission]\nsenders = { alice = ["*"] }',
            "submission.senders.alice: stands for an account and has no @domain",
        ),
        (
            '[submission]\nsenders = { "a@b.test" = ["c"] }',
            'submission.senders."a@b.test"[0]: has no @domain',
        ),
        (
            '[submission]\nsenders = { "a@b.test" = ["@-"] }',
            'submission.senders."a@b.test"[0]: has the part',
        ),
        (
            '[submission]\nlisten_tls = ["127.0.0.1:465"]',
            "submission.listen_tls: begins with TLS, and there is no certificate",
        ),
        (
            '[submission]\nlisten = ["127.0.0.1:587"]',
            "submission.listen: lets nobody log in",
        ),
        (
            f'{TLS}[smtp]\nstarttls = false\n[submission]\nlisten = ["127.0.0.1:587"]',
            "submission.listen: lets nobody log in",
        ),
        (
            "[auth]\non_smtp = true\nmechanisms = []",
            "auth.mechanisms: is empty: nobody could log in",
        ),
        (
            f'{TLS}[submission]\nlisten = ["127.0.0.1:2525"]',
            "submission.listen[0]: needs the same port as smtp.listen[0]",
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, problem: str) -> None:
    found = said(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


def test_loopback_without_tls_is_a_way_in(tmp_path: Path) -> None:
    text = (
        '[submission]\nlisten = ["127.0.0.1:587"]\n'
        "[auth]\nwithout_tls_on_loopback = true\n"
    )
    assert said(tmp_path, text) == []


def test_senders_of_nobody_are_a_warning(tmp_path: Path) -> None:
    text = '[submission]\nsenders = { "Alice@example.test" = ["*"] }'
    path = write(tmp_path, text)
    config, source = load(path, {}), read_source(path, {})
    assert list(senders(config, source, {"alice@example.test"}.__contains__)) == []
    (problem,) = senders(config, source, lambda name: False)
    assert problem.severity == "warning"
    assert "`fastsmtp user add Alice@example.test`" in problem.advice
