"""The commented file and the page, made from the same texts."""

import re
from pathlib import Path

from fastsmtp.config import check, load
from fastsmtp.config.document import defaults, markdown
from fastsmtp.config.reader import known_settings

ROOT = Path(__file__).parent.parent


def test_defaults_are_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(defaults())
    config = load(path, {})
    assert config.hostname == "mx.example.org"
    assert list(config.domains) == ["example.org"]


def test_defaults_stay_the_same_when_the_comments_are_opened(tmp_path: Path) -> None:
    closed, opened = tmp_path / "closed.toml", tmp_path / "opened.toml"
    closed.write_text(defaults())
    opened.write_text(re.sub(r"(?m)^# (?!run)(\w+ = )", r"\1", defaults()))
    assert load(closed, {}) == load(opened, {})


TABLES = ("dnsbl", "domains", "hooks", "relay", "relay_domains", "destinations")


def test_defaults_hold_every_setting() -> None:
    text = defaults()
    for name in known_settings():
        if name not in TABLES:
            assert re.search(rf"(?m)^(# )?{name.split('.')[-1]} = ", text), name


def test_given_values_are_set(tmp_path: Path) -> None:
    path = tmp_path / "fastsmtp.toml"
    aliases = {"postmaster": ["alice@a.test"], "odd.name": ["alice@a.test"]}
    path.write_text(
        defaults(
            {
                "hostname": "mx.a.test",
                "data": tmp_path / 'd "x"',
                "smtp.max_message_size": 3 * 1024 * 1024,
                "smtp.listen": ["127.0.0.1:0"],
                "store.pin": 90.0,
                "domains": {"a.test": {"aliases": aliases}, "b.test": {}},
            }
        )
    )
    config, problems = check(path, {})
    assert config is not None
    assert [problem.key for problem in problems] == ['domains."b.test"']
    assert config.data == tmp_path / 'd "x"'
    assert config.smtp.max_message_size == 3 * 1024 * 1024
    assert (config.smtp.listen, config.store.pin) == (["127.0.0.1:0"], 90.0)
    assert config.domains["a.test"].aliases == aliases


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs/configure.md").read_text()
    assert page == markdown(), "python -m fastsmtp.config > docs/configure.md"
