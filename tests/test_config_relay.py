"""[relay_domains], [[relay]] and [destinations]: read, and every mistake told."""

from pathlib import Path

import pytest

from fastsmtp.config import Config, check, load
from fastsmtp.config.meaning_relay import read_secret
from fastsmtp.policy.recipients import Passed
from fastsmtp.policy.relaying import Relaying
from fastsmtp.ways import passed

HEAD = (
    'hostname = "mx.example.test"\ndata = "data"\n[smtp]\n'
    'listen = ["127.0.0.1:2525"]\n[domains."example.test"]\n'
    'aliases = { postmaster = ["a@example.test"] }\n'
)
LINES = HEAD.count("\n")
RELAYED = '[relay_domains."far.test"]\nnext_hop = "lmtp:///run/far.sock"\n'
SMART = '[[relay]]\nvia = "smtp://smart.test:587"\nlogin = "me"\n'
SECRET = 'secret_file = "secret"\n'


def problems(folder: Path, more: str) -> list[str]:
    """ "severity line key text" of each finding; lines are counted from `more`."""
    (folder / "secret").write_text("word\n")
    (folder / "empty").write_text("")
    (folder / "names").write_text("alice\nbob@far.test\n")
    (folder / "bad names").write_text("alice\nx y\nbob@near.test\n")
    file = folder / "fastsmtp.toml"
    file.write_text(HEAD + more)
    return [
        f"{p.severity} {p.line - LINES * (p.source == str(file))} {p.key} {p.text}"
        for p in check(file, {})[1]
    ]


@pytest.mark.parametrize(
    "more",
    [
        RELAYED,
        f'{RELAYED}recipients_file = "names"\nrecipients = ["carol"]\n',
        f"{RELAYED}call_ahead = true\nwhen_silent = 'defer'\n",
        f"{SMART}{SECRET}",
        f'{SMART}{SECRET}tls = "encrypt"\nto = ["a.test", ".a.test", "*"]\n'
        'senders = ["<>", "@b.test", "c@b.test"]\n',
        '[[relay]]\nvia = "smtp://127.0.0.1:587"\nlogin = "me"\ntls = "none"\n'
        f"{SECRET}",
        '[[relay]]\nto = ["a.test"]\nvia = "refuse"\n[[relay]]\nvia = "mx"\n',
        '[destinations."*"]\nrate = 10\n[destinations.".a.test"]\nreuse = 1\n'
        '[destinations."192.0.2.1"]\n[destinations."/run/x"]\n[destinations."b"]\n'
        'tls = "verify"\n',
        "[call_ahead]\ntimeout = 1\n",
    ],
)
def test_good_tables(tmp_path: Path, more: str) -> None:
    assert problems(tmp_path, more) == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            '[relay_domains."far.test"]\n',
            'error 1 relay_domains."far.test".next_hop is missing and has no default',
        ),
        (
            '[relay_domains."far.test"]\nnext_hop = "far.test"\n',
            'error 2 relay_domains."far.test".next_hop is none of "mx"',
        ),
        (
            '[relay_domains."far.test"]\nnext_hop = "discard"\n',
            'error 2 relay_domains."far.test".next_hop is no server that could',
        ),
        (
            '[relay_domains."far.test"]\nnext_hop = "smtp://127.0.0.1:2525"\n',
            'error 2 relay_domains."far.test".next_hop is this server itself',
        ),
        (
            f'{RELAYED}recipients = ["a", "b@far.test"]\n',
            'error 3 relay_domains."far.test".recipients[1] has a local-part that',
        ),
        (
            f'{RELAYED}recipients_file = "nowhere"\n',
            'error 3 relay_domains."far.test".recipients_file cannot be read: No such',
        ),
        (
            f'{RELAYED}recipients_file = "empty"\n',
            'warning 3 relay_domains."far.test".recipients_file holds no name',
        ),
        (
            f'{RELAYED}tls = "encrypt"\n',
            'error 3 relay_domains."far.test".tls cannot be had through a Unix socket',
        ),
        (
            '[relay_domains."far.test"]\nnext_hop = "smtp://a.test"\n'
            'call_ahead = true\n[send]\ntls = "encrypt"\n',
            'error 3 relay_domains."far.test".call_ahead asks in clear',
        ),
        (
            '[relay_domains."example.test"]\nnext_hop = "mx"\n'
            '[domains."b.test"]\ncatch_all = "x@example.test"\n'
            '[relay_domains."b.test"]\nnext_hop = "mx"\n',
            'warning 4 domains."b.test".catch_all never takes anything',
        ),
        (
            '[relay_domains."_x.test"]\nnext_hop = "mx"\n',
            'error 1 relay_domains."_x.test" has the part "_x"',
        ),
        ('[relay]\nvia = "mx"\n', "error 1 relay is a list of tables"),
        ("[[relay]]\n", "error 1 relay[0].via is missing and has no default"),
        ('[[relay]]\nvai = "mx"\nvia = "mx"\n', "error 2 relay[0].vai is not a sett"),
        (
            '[[relay]]\nvia = "mx"\n[[relay]]\nvia = "smtp://"\n',
            "error 4 relay[1].via has no host",
        ),
        (
            '[[relay]]\nvia = "mx"\nto = ["a.test", "a test"]\n',
            'error 3 relay[0].to[1] has the part "a test"',
        ),
        (
            '[[relay]]\nvia = "mx"\nsenders = ["me"]\n',
            "error 3 relay[0].senders[0] has no @domain",
        ),
        (SMART, "error 3 relay[0].login needs secret_file beside it"),
        (
            f'[[relay]]\nvia = "mx://a.test"\n{SECRET}',
            "error 3 relay[0].secret_file needs login beside it",
        ),
        (
            f'[[relay]]\nvia = "mx"\nlogin = "me"\n{SECRET}',
            "error 3 relay[0].login is for one host",
        ),
        (
            f'{SMART}{SECRET}tls = "may"\n',
            "error 5 relay[0].tls lets the password be sent in clear",
        ),
        (
            f'{SMART}secret_file = "empty"\n',
            "error 4 relay[0].secret_file names an empty file",
        ),
        (
            f'{SMART}secret_file = "nowhere"\n',
            "error 4 relay[0].secret_file cannot be read: No such file",
        ),
        (
            '[[relay]]\nvia = "smtps://a.test"\ntls = "none"\n',
            "error 3 relay[0].tls contradicts smtps://",
        ),
        (
            '[[relay]]\nvia = "refuse"\ntls = "may"\n',
            "warning 3 relay[0].tls has no effect",
        ),
        (
            '[[relay]]\nvia = "mx"\nto = ["*"]\n[[relay]]\nvia = "discard"\n',
            "warning 4 relay[1] is never reached: the first [[relay]] fits all",
        ),
        (
            '[[relay]]\nvia = "mx"\nto = ["Example.test"]\n',
            "warning 3 relay[0].to[0] is in [domains]",
        ),
        (
            '[destinations."a b"]\n',
            'error 1 destinations."a b" has the part "a b"',
        ),
    ],
)
def test_mistakes_are_told(tmp_path: Path, more: str, expected: str) -> None:
    (found,) = problems(tmp_path, more)
    assert found.startswith(expected)


def test_mistakes_in_a_file_of_recipients_have_its_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, f'{RELAYED}recipients_file = "bad names"\n')
    assert found == [
        'error 2 far.test holds more than one word: "x y"',
        'error 3 far.test "bob@near.test" is not in far.test',
    ]


def test_a_server_may_have_relay_domains_alone(tmp_path: Path) -> None:
    file = tmp_path / "fastsmtp.toml"
    text = f'hostname = "mx.example.test"\ndata = "data"\n{RELAYED}'
    file.write_text(text)
    assert check(file, {})[1] == []
    config = load(file, {})
    assert not config.domains
    assert list(config.relay_domains) == ["far.test"]


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    more = f'{RELAYED}recipients_file = "names"\n{SMART}{SECRET}'
    assert problems(tmp_path, more) == []
    config = load(tmp_path / "fastsmtp.toml", {})
    assert config.relay_domains["far.test"].recipients_file == str(tmp_path / "names")
    assert config.relay[0].secret_file == str(tmp_path / "secret")
    assert Config.from_json(config.to_json()) == config
    table = Relaying(
        config.domains, config.relay_domains, config.relay, config.destinations
    )
    hop = table.next_hop("", "x@anywhere.test")
    name, file = table.logins[hop.credentials]
    assert (name, read_secret(file)) == ("me", "word")


def test_what_is_known_of_recipients(tmp_path: Path) -> None:
    more = (
        f'{RELAYED}recipients_file = "names"\nrecipients = ["Carol"]\n'
        '[relay_domains."all.test"]\nnext_hop = "mx"\n'
        '[relay_domains."ask.test"]\nnext_hop = "mx"\ncall_ahead = true\n'
    )
    assert problems(tmp_path, more) == []
    config = load(tmp_path / "fastsmtp.toml", {})
    failed: list[str] = []
    known = passed(config.relay_domains, lambda what, error: failed.append(what))
    assert known == {
        "far.test": Passed(frozenset({"alice", "bob", "carol"})),
        "all.test": Passed(),
        "ask.test": Passed(ask=True),
    }
    assert not failed
    (tmp_path / "names").unlink()  # our trouble: nobody is refused for it
    known = passed(config.relay_domains, lambda what, error: failed.append(what))
    assert known["far.test"] == Passed()
    assert failed == ["the recipients of far.test"]
