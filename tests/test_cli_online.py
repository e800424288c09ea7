"""`fastsmtp check --online` in worlds of our own making."""

import ctypes
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastsmtp.cli import main, online
from fastsmtp.cli.lookup import NoAnswer, NoSuchName
from fastsmtp.cli.online import Result, World, examine
from fastsmtp.config import Config, load
from fastsmtp.net import certificates

FILE = """\
hostname = "mx.example.test"
data = "data"
[domains."example.test"]
aliases = { postmaster = ["a@example.test"] }
"""
GOOD = {
    ("mx.example.test", "A"): ["192.0.2.7"],
    ("example.test", "MX"): ["10 mx.example.test"],
    ("7.2.0.192.in-addr.arpa", "PTR"): ["mx.example.test"],
}
GREETING = "220 mx.example.test ESMTP"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(FILE)
    (tmp_path / "data").mkdir(mode=0o700)
    return load(path)


def world(greeting: str | OSError = GREETING, **changed: list[str]) -> World:
    """The good one, but for records given as MX_example_test=[...]."""
    records = dict(GOOD)
    for key, value in changed.items():
        kind, _, name = key.partition("_")
        records[name.replace("_", "."), kind] = value

    def ask(name: str, kind: str) -> list[str]:
        if not any(known == name for known, _ in records):
            raise NoSuchName(name)
        return records.get((name, kind), [])

    def greet(name: str) -> str:
        if isinstance(greeting, OSError):
            raise greeting
        return greeting

    return World(ask, greet)


def about(config: Config, what: str, world: World) -> list[Result]:
    return [
        result for result in examine(config, world) if result.check.startswith(what)
    ]


def test_a_world_in_order(config: Config) -> None:
    levels = {result.check: result.level for result in examine(config, world())}
    levels.pop("clock")
    levels.pop("fdatasync", None)
    assert levels.pop("certificate") == "warning"
    assert set(levels.values()) == {"ok"}
    assert {"resolver", "hostname", "PTR", "MX of example.test"} <= set(levels)


@pytest.mark.parametrize(
    ("records", "level", "text"),
    [
        (["10 mx.example.test"], "ok", "leads here (mx.example.test)"),
        (["5 far.test", "10 mx.example.test"], "ok", "far.test is asked before"),
        (["5 far.test"], "error", "leads to far.test, not here"),
        (["10 alias.test"], "ok", "leads here (alias.test)"),
        (["0 ."], "error", "takes no mail (RFC 7505)"),
        ([], "warning", "there is none"),
    ],
)
def test_where_mail_goes(
    config: Config, records: list[str], level: str, text: str
) -> None:
    (found,) = about(
        config,
        "MX",
        world(MX_example_test=records, A_alias_test=["192.0.2.7"], A_far_test=["::1"]),
    )
    assert found.level == level
    assert text in found.text
    assert (found.advice == "add: example.test. MX 10 mx.example.test.") == (
        level != "ok"
    )


@pytest.mark.parametrize(
    ("names", "level"),
    [
        ([], "error"),
        (["mx.example.test"], "ok"),
        (["other.test"], "warning"),
        (["far.test"], "error"),
    ],
)
def test_names_of_our_addresses(config: Config, names: list[str], level: str) -> None:
    (found,) = about(
        config,
        "PTR",
        world(**{"PTR_7_2_0_192_in-addr_arpa": names, "A_other_test": ["192.0.2.7"]}),
    )
    assert found.level == level


def test_a_name_without_address(config: Config) -> None:
    (found,) = about(config, "hostname", world(A_mx_example_test=[]))
    assert found.level == "error"


@pytest.mark.parametrize(
    ("greeting", "level", "text"),
    [
        (GREETING, "ok", "220 mx"),
        ("220 other.test", "error", "says '220 other.test'"),
        ("554 no", "error", "says '554 no'"),
        (TimeoutError(), "warning", "no answer in 5 s"),
        (ConnectionRefusedError(111, "Connection refused"), "error", "refused"),
    ],
)
def test_whether_the_port_is_ours(
    config: Config, greeting: str | OSError, level: str, text: str
) -> None:
    (found,) = about(config, "port 25", world(greeting))
    assert found.level == level
    assert text in found.text


def test_without_a_resolver_nothing_else_is_asked(config: Config) -> None:
    def ask(name: str, kind: str) -> list[str]:
        raise NoAnswer("192.0.2.53: no answer in time")

    found = list(examine(config, World(ask, lambda name: "")))
    assert found[0] == Result(
        *("resolver", "error", "192.0.2.53: no answer in time"),
        "see nameserver in /etc/resolv.conf; without DNS nothing else is asked",
    )
    assert not any(result.check.startswith(("MX", "PTR", "port")) for result in found)
    assert any(result.check == "free space" for result in found)


@pytest.mark.parametrize(
    ("days", "name", "levels"),
    [
        (90, "mx.example.test", ["ok"]),
        (5, "mx.example.test", ["warning"]),
        (-1, "mx.example.test", ["error"]),
        (90, "other.test", ["ok", "warning"]),
    ],
)
def test_how_long_certificates_last(
    days: int, name: str, levels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = certificates.Facts((name,), time.time() + days * 86400)
    monkeypatch.setattr(certificates, "facts", lambda pair: facts)
    config: Any = SimpleNamespace(
        hostname="mx.example.test", tls=SimpleNamespace(certificates=["a pair"])
    )
    assert [r.level for r in online.certificates(config, World())] == levels


def test_the_clock_is_asked_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for state, level in ((0, "ok"), (5, "warning"), (-1, "warning")):
        library = SimpleNamespace(adjtimex=lambda _, state=state: state)
        monkeypatch.setattr(ctypes, "CDLL", lambda _, library=library: library)
        (found,) = online.clock()
        assert found.level == level


def test_it_is_a_part_of_check(
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = [Result("PTR", "ok", "fine"), Result("MX", "error", "bad", "do this")]

    def told(config: Config) -> Iterator[Result]:
        yield from results

    monkeypatch.setattr(online, "examine", told)
    file = str(tmp_path / "fastsmtp.toml")
    assert main(["check", "--online", "-c", file]) == 1
    out = capsys.readouterr().out
    assert "error   MX: bad\n        do this" in out
    assert main(["check", "--online", "--json", "-c", file]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == {"check": "PTR", "level": "ok", "text": "fine", "advice": ""}
    results.pop()
    assert main(["check", "--online", "-c", file]) == 0
    assert main(["check", "-c", file]) == 0
    Path(file).write_text("")
    assert main(["check", "--online", "-c", file]) == 2
