"""The configuration: what is read, and each sentence about a mistake once."""

import errno
import os
from pathlib import Path

import pytest

from fastsmtp.config import Config, ConfigErrors, Problem, check, find, load

SMALL = """\
hostname = "mx.example.test"
data = "data"

[domains."example.test"]
aliases = { postmaster = ["alice@example.test"] }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "fastsmtp.toml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, **environ: str) -> list[Problem]:
    return check(write(folder, text), environ)[1]


def only(folder: Path, text: str, **environ: str) -> Problem:
    found = problems(folder, text, **environ)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def set_smtp(line: str) -> str:
    return f"{SMALL}\n[smtp]\n{line}\n"


def test_the_smallest_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, SMALL), {})
    assert config.hostname == "mx.example.test"
    assert config.data == tmp_path / "data"
    assert config.run == tmp_path / "data" / "run"
    assert config.smtp.max_message_size == 50 * 1024 * 1024
    assert config.domains["example.test"].aliases == {
        "postmaster": ["alice@example.test"]
    }
    assert config.processes.mode == "split"


def test_json_carries_everything(tmp_path: Path) -> None:
    config = load(write(tmp_path, SMALL), {"FASTSMTP_STORE__PIN": "11 min"})
    assert Config.from_json(config.to_json()) == config
    assert b"\n" not in config.to_json()


def test_every_kind_of_value(tmp_path: Path) -> None:
    text = SMALL + (
        '\n[smtp]\nlisten = ["[::]:25", "0.0.0.0:25"]\nmax_message_size = "1.5 MiB"\n'
        'max_line = 1000\ndata_timeout = "2 min"\nreply_timeout = 7.5\nvrfy = false\n'
        'eight_bit = "reject"\nmemory_per_message = "100 kB"\n'
    )
    smtp = load(write(tmp_path, text), {}).smtp
    assert smtp.listen == ["[::]:25", "0.0.0.0:25"]
    assert (smtp.max_message_size, smtp.memory_per_message) == (1572864, 100_000)
    assert (smtp.data_timeout, smtp.reply_timeout, smtp.max_line) == (120.0, 7.5, 1000)
    assert (smtp.vrfy, smtp.eight_bit) == (False, "reject")


def test_domains_are_lower_cased(tmp_path: Path) -> None:
    config = load(write(tmp_path, SMALL.replace('"example.test"', '"Example.TEST"')))
    assert list(config.domains) == ["example.test"]


@pytest.mark.parametrize(
    ("line", "text", "allowed"),
    [
        (
            'max_message_size = "50 XB"',
            'has the unknown unit "XB"; there are KiB, KB, …',
            '"50 MiB"',
        ),
        ('max_message_size = "large"', "is not a size", 'at least "64 KiB"'),
        ("max_message_size = 1", "is too small", 'at least "64 KiB"'),
        ('max_line = "0.3 B"', "is not a whole number of octets", "octets"),
        ("max_line = 1.5", "is not a whole number", "octets"),
        ("max_errors = true", "is not a whole number", "at least 1"),
        ("max_errors = 0", "is too small", "at least 1"),
        (
            'command_timeout = "5 minutes"',
            'has the unknown unit "minutes"; there are ms, s, sec, min, h, d, w',
            "5 min",
        ),
        ('command_timeout = "soon"', "is not a duration", "5 min"),
        ("command_timeout = inf", "is not a duration", "5 min"),
        ("command_timeout = false", "is not a duration", "5 min"),
        ("command_timeout = -1", "is too small", 'at least "1 s"'),
        ('vrfy = "yes"', "is neither true nor false", "true or false"),
        ('eight_bit = "maybe"', "is not one of the words allowed", '"declared"'),
        ("banner = 5", "is not text", "text in quotes"),
        ('banner = "a\\nb"', "holds a control character", "text in quotes"),
        ('listen = "0.0.0.0:25"', "is not a list", "[::]:25"),
        ('listen = ["0.0.0.0"]', "has no port", "[::]:25"),
        ('listen = ["0.0.0.0:smtp"]', "has a port that is not a number", "[::]:25"),
        ('listen = ["0.0.0.0:70000"]', "has a port that is not a number", "[::]:25"),
        ('listen = ["::1:25"]', "is an IPv6 address without its brackets", "[::]:25"),
        ('listen = ["[10.0.0.1]:25"]', "has brackets around what is not", "[::]:25"),
        ('listen = [":25"]', "has no host", "[::]:25"),
        ('listen = ["300.1.1.1:25"]', "has a host that is no IPv4 address", "[::]:25"),
        ('listen = ["10.1:25"]', "has a host that is no IPv4 address", "[::]:25"),
        ('listen = ["[::g]:25"]', "has brackets around what is not", "[::]:25"),
        ("listen = []", "is empty: no mail would come in", ""),
    ],
)
def test_a_bad_value(tmp_path: Path, line: str, text: str, allowed: str) -> None:
    problem = only(tmp_path, set_smtp(line))
    assert problem.text.startswith(text)
    assert allowed in problem.allowed
    assert problem.line == 8
    assert problem.key.startswith("smtp." + line.split()[0])
    assert problem.severity == "error"


def test_too_large(tmp_path: Path) -> None:
    problem = only(tmp_path, f"{SMALL}[store]\ncompact_below = 100\n")
    assert (problem.text, problem.line) == ("is too large", 7)
    assert problem.allowed.endswith("at most 99")


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        'hostname = "mx_1.example.test"\n'
        'data = ""\n'
        "[smtp]\n"
        'listen = [\n  "127.0.0.1:25",\n  "nowhere",\n]\n'
        "max_mesage_size = 1\n"
        '[domains."example.test"]\n'
        'aliases = { postmaster = "a@far test", b = ["b"], c = [] }\n'
    )
    with pytest.raises(ConfigErrors) as caught:
        load(write(tmp_path, text), {"FASTSMTP_LOG__LEVEL": "loud"})
    found = caught.value.problems
    assert [(problem.line, problem.column, problem.key) for problem in found] == [
        (1, 1, "hostname"),
        (2, 1, "data"),
        (6, 3, "smtp.listen[1]"),
        (8, 1, "smtp.max_mesage_size"),
        (10, 13, 'domains."example.test".aliases.postmaster[0]'),
        (10, 45, 'domains."example.test".aliases.b[0]'),
        (10, 51, 'domains."example.test".aliases.c'),
        (0, 0, "log.level"),
    ]
    assert str(found[0]).startswith(
        f'{tmp_path}/fastsmtp.toml:1:1: error: hostname = "mx_1.example.test": has'
    )
    assert "allowed: a full host name" in str(caught.value)


def test_unknown_settings_name_the_nearest(tmp_path: Path) -> None:
    near = only(tmp_path, set_smtp("max_mesage_size = 1"))
    assert (near.text, near.line) == ("is not a setting", 8)
    assert near.advice == "did you mean max_message_size?"
    moved = only(tmp_path, set_smtp('hostname = "x.test"'))
    assert moved.advice == "hostname belongs to the top of the file, before any [table]"
    other = only(tmp_path, set_smtp('level = "info"'))
    assert other.advice == "level belongs to [log]"
    far = only(tmp_path, f"{SMALL}[log]\nqqq = 1\n")
    assert far.advice == "known here: level"
    table = only(tmp_path, f"{SMALL}[smpt]\n")
    assert (table.line, table.advice) == (6, "did you mean smtp?")
    within = only(tmp_path, f"{SMALL}[domians.x]\n")
    assert (within.line, within.advice) == (6, "did you mean domains?")


def test_missing_settings(tmp_path: Path) -> None:
    found = problems(tmp_path, "")
    assert [problem.key for problem in found] == ["hostname", "data", "domains"]
    assert {problem.text for problem in found} == {"is missing and has no default"}
    assert found[0].advice == "add hostname = …"
    assert found[2].advice.startswith('add [domains."example.org"]')


def test_a_value_where_a_table_belongs(tmp_path: Path) -> None:
    problem = only(tmp_path, f"smtp = 5\n{SMALL}")
    assert problem.text == "is a table, not a value"
    assert problem.advice == "write [smtp]"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mx_1.test", 'has the part "mx_1"'),
        ("a..test", "has two dots in a row"),
        ("mx.test.", "ends with a dot"),
        ("", "is empty"),
        ("a." * 130 + "test", "is longer than 255 octets"),
        ("münchen.test", "has letters outside ASCII"),
        ("10.0.0.1", "is an IP address"),
        ("[10.0.0.1]", "is an IP address"),
    ],
)
def test_names_of_hosts_and_domains(tmp_path: Path, name: str, text: str) -> None:
    host = only(tmp_path, SMALL.replace("mx.example.test", name))
    assert host.text.startswith(text)
    assert host.key == "hostname"
    domain = only(tmp_path, f'{SMALL}[domains."{name}"]\n')
    assert domain.text.startswith(text)
    assert domain.line == 6


def test_domain_twice(tmp_path: Path) -> None:
    problem = only(tmp_path, f'{SMALL}[domains."EXAMPLE.test"]\n')
    assert problem.text == "stands twice; case does not count"


@pytest.mark.parametrize(
    ("aliases", "text"),
    [
        ("5", "is not a table"),
        ("{ a = [] }", "leads nowhere: its list is empty"),
        ("{ a = 5 }", "is not a list"),
        ("{ a = [5] }", "is not text"),
        ('{ a = [""] }', "is empty"),
        ('{ a = ["bob"] }', "has no @domain"),
        ('{ a = ["b c@example.test"] }', "has a local-part that is not plain words"),
        ('{ a = ["b@example_.test"] }', 'has the part "example_"'),
        ('{ "a@example.test" = ["b@example.test"] }', "names its domain twice"),
        ('{ "a b" = ["b@example.test"] }', "has a local-part that is not plain words"),
        ('{ "" = ["b@example.test"] }', "is empty"),
        (f'{{ {"a" * 65} = ["b@example.test"] }}', "is longer than 64 octets"),
        ('{ a = "b@example.test", A = "c@example.test" }', "is the same name as a"),
    ],
)
def test_bad_aliases(tmp_path: Path, aliases: str, text: str) -> None:
    whole = (
        'hostname = "mx.test"\ndata = "d"\n[domains."example.test"]\n'
        f'catch_all = "c@example.test"\naliases = {aliases}\n'
    )
    problem = only(tmp_path, whole)
    assert problem.text.startswith(text)
    assert problem.line == 5


def test_alias_loops(tmp_path: Path) -> None:
    text = SMALL + (
        '[domains."b.test".aliases]\n'
        'postmaster = "postmaster@example.test"\n'
        'one = "two@b.test"\n'
        'two = ["alice@b.test", "Three@B.test"]\n'
        'three = "ONE@b.test"\n'
        'alice = ["alice@b.test", "bob@b.test"]\n'
    )
    problem = only(tmp_path, text)
    assert problem.text == (
        "leads back to itself: one@b.test → two@b.test → three@b.test → one@b.test"
    )
    assert (problem.line, problem.advice) == (8, "let one of them lead to an account")


def test_aliases_and_catch_all_may_lead_to_other_servers(tmp_path: Path) -> None:
    more = 'catch_all = "a@far.test"\naliases.postmaster = "b@far.test"\n'
    text = f'{SMALL}[domains."b.test"]\n{more}'
    assert check(write(tmp_path, text), {})[1] == []
    assert load(write(tmp_path, f'{SMALL}catch_all = ""\n'), {})


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1:25", "127.0.0.1:25", True),
        ("0.0.0.0:25", "127.0.0.1:25", True),
        ("[::]:25", "[::1]:25", True),
        ("localhost:25", "localhost:25", True),
        ("[::]:25", "0.0.0.0:25", False),
        ("localhost:25", "127.0.0.1:25", False),
        ("127.0.0.2:25", "127.0.0.1:25", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:25", "127.0.0.1:26", False),
    ],
)
def test_listeners_collide(tmp_path: Path, one: str, other: str, collide: bool) -> None:
    both = problems(tmp_path, set_smtp(f'listen = ["{one}", "{other}"]'))
    assert [problem.text for problem in both] == (
        [f"needs the same port as smtp.listen[0] ({one})"] if collide else []
    )
    crossed = set_smtp(f'listen = ["{one}"]\n[metrics]\nlisten = "{other}"')
    assert len(problems(tmp_path, crossed)) == collide


def test_no_metrics_endpoint(tmp_path: Path) -> None:
    config = load(write(tmp_path, f'{SMALL}[metrics]\nlisten = ""\n'), {})
    assert config.metrics.listen == ""


def test_folders(tmp_path: Path) -> None:
    write(tmp_path, "").with_name("data").write_text("")
    problem = only(tmp_path, SMALL)
    assert (problem.key, problem.text) == ("data", "is a file, not a folder")


def test_a_folder_that_one_may_not_look_into_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`user list` by somebody else: data has mode 0700, and run is in it."""
    path, real = write(tmp_path, SMALL), Path.stat

    def stat(self: Path, **how: bool) -> os.stat_result:
        if self.name == "run":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, **how)

    monkeypatch.setattr(Path, "stat", stat)
    assert load(path, {}).run == tmp_path / "data" / "run"


def test_only_who_serves_needs_its_user_and_certificates(tmp_path: Path) -> None:
    text = 'user = "nobody-has-this-name"\n' + SMALL
    pair = '{ certificate = "absent.crt", key = "absent.key" }'
    path = write(tmp_path, f"{text}[tls]\ncertificates = [{pair}]\n")
    config, found = check(path, {})
    assert config is None
    assert [(problem.key, problem.text) for problem in found] == [
        ("user", "is no user of this machine"),
        (
            "tls.certificates[0].certificate",
            "cannot be read: No such file or directory",
        ),
    ]
    assert load(path, {}).hostname == "mx.example.test"


def test_run_path_fits_a_socket(tmp_path: Path) -> None:
    problem = only(tmp_path, f'run = "/{"r" * 96}"\n{SMALL}')
    assert problem.text == "is too long for a Unix socket by 3 octets"
    assert problem.advice == 'set run to a short path, such as "/run/fastsmtp"'
    assert not problems(tmp_path, f'run = "/{"r" * 93}"\n{SMALL}')


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (SMALL.replace("mx.example.test", "localhost"), "hostname", "has no domain"),
        (
            SMALL.replace("postmaster", "info"),
            'domains."example.test"',
            "postmaster@example.test is read by nobody",
        ),
        (
            f'{SMALL}[processes]\nmode = "one"\nreceivers = 2\n',
            "processes.receivers",
            "has no effect",
        ),
        (
            set_smtp("max_connections = 10"),
            "smtp.max_connections_per_network",
            "is above max_connections",
        ),
    ],
)
def test_warnings_do_not_stop(tmp_path: Path, text: str, key: str, words: str) -> None:
    problem = only(tmp_path, text)
    assert (problem.severity, problem.key) == ("warning", key)
    assert problem.text.startswith(words)
    assert load(tmp_path / "fastsmtp.toml", {})


@pytest.mark.parametrize(
    ("text", "line", "column", "advice"),
    [
        ("hostname = mx.example.test\n", 1, 12, "text stands in quotes"),
        ('a = 1\na = "b"\n', 2, 8, "this key is set twice"),
        ("[a]\n[a]\n", 2, 3, "this table stands twice"),
        ('a = "b\nc"\n', 1, 7, "a line ended inside quotes"),
        ("a = 1 b = 2\n", 1, 7, "one setting a line"),
        ("max size = 1\n", 1, 5, "a line reads: name ="),
        ("a = [1, 2\nb = 3", 2, 1, "a list or table is not closed"),
    ],
)
def test_not_toml(
    tmp_path: Path, text: str, line: int, column: int, advice: str
) -> None:
    problem = only(tmp_path, text)
    assert problem.text.startswith("not TOML: ")
    assert (problem.line, problem.column) == (line, column)
    assert problem.advice.startswith(advice)


def test_unreadable_files(tmp_path: Path) -> None:
    for path, text, advice in (
        (tmp_path / "none.toml", "No such file", "quickstart"),
        (tmp_path, "Is a directory", "name the file in it"),
    ):
        with pytest.raises(ConfigErrors) as caught:
            load(path, {})
        (problem,) = caught.value.problems
        assert problem.text.startswith(f"cannot be read: {text}")
        assert advice in problem.advice
    (tmp_path / "latin.toml").write_bytes(b'hostname = "mx"\n# caf\xe9\n')
    (problem,) = check(tmp_path / "latin.toml", {})[1]
    assert (problem.text, problem.line, problem.column) == (
        "octet 0xe9 is not UTF-8",
        2,
        6,
    )


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("debug\n")
    config = load(
        write(tmp_path, SMALL),
        {
            "FASTSMTP_HOSTNAME": "other.example.test",
            "FASTSMTP_SMTP__MAX_MESSAGE_SIZE": "1 MiB",
            "FASTSMTP_SMTP__MAX_ERRORS": "7",
            "FASTSMTP_SMTP__VRFY": "false",
            "FASTSMTP_SMTP__LISTEN": "0.0.0.0:25, [::]:25",
            "FASTSMTP_LOG__LEVEL_FILE": "secret",
            "FASTSMTP_DOMAINS": "b.test, C.test",
            "FASTSMTP_DOMAINS__B.TEST__CATCH_ALL": "x@b.test",
            "FASTSMTP_DOMAINS__EXAMPLE.TEST__ALIASES": '{ a = ["b@b.test"] }',
            "FASTSMTP_DATA": "elsewhere",
            "PATH": "/bin",
        },
    )
    assert config.hostname == "other.example.test"
    assert config.data == tmp_path / "elsewhere"
    assert (config.smtp.max_message_size, config.smtp.max_errors) == (1 << 20, 7)
    assert (config.smtp.vrfy, config.log.level) == (False, "debug")
    assert config.smtp.listen == ["0.0.0.0:25", "[::]:25"]
    assert list(config.domains) == ["example.test", "b.test", "c.test"]
    assert config.domains["b.test"].catch_all == "x@b.test"
    assert config.domains["example.test"].aliases == {"a": ["b@b.test"]}


def test_environment_alone_may_hold_what_is_needed(tmp_path: Path) -> None:
    environ = {
        "FASTSMTP_HOSTNAME": "mx.b.test",
        "FASTSMTP_DATA": "d",
        "FASTSMTP_DOMAINS": "b.test",
    }
    assert load(write(tmp_path, ""), environ).hostname == "mx.b.test"


def test_lists_from_the_environment_as_toml(tmp_path: Path) -> None:
    environ = {"FASTSMTP_SMTP__LISTEN": '["[::]:25"]'}
    assert load(write(tmp_path, SMALL), environ).smtp.listen == ["[::]:25"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("FASTSMTP_SMTP__MAX_ERRORS", "many", "is not a whole number"),
        ("FASTSMTP_SMTP__LISTEN", "[::]", "has no port"),
        ("FASTSMTP_LOG__LEVEL_FILE", "absent", "cannot be read: No such file"),
        ("FASTSMTP_LOG__LEVEL_FILE", "binary", "is not UTF-8 text"),
        ("FASTSMTP_DOMAINS", "a_b.test", '"a_b.test" has the part "a_b"'),
    ],
)
def test_bad_variables(tmp_path: Path, name: str, value: str, text: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    problem = only(tmp_path, SMALL, **{name: value})
    assert problem.text.startswith(text)
    assert problem.source == f"environment {name}"
    assert str(problem).startswith(f"environment {name}: error: ")


def test_content_of_a_secret_file_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    problem = only(tmp_path, SMALL, FASTSMTP_LOG__LEVEL_FILE="secret")
    assert "hunter2" not in str(problem)


def test_unknown_variables_are_a_warning(tmp_path: Path) -> None:
    problem = only(tmp_path, SMALL, FASTSMTP_SMTP__MAX_EROR="1", FASTSMTP_BUILD="debug")
    assert (problem.severity, problem.text) == (
        "warning",
        "names no setting and is ignored",
    )
    assert problem.advice == "did you mean FASTSMTP_SMTP__MAX_ERRORS?"
    joined = only(tmp_path, SMALL, FASTSMTP_SMTP_LISTEN="127.0.0.1:25")
    assert joined.advice == "did you mean FASTSMTP_SMTP__LISTEN?"
    assert (
        only(tmp_path, SMALL, FASTSMTP_PORT="tcp://10.0.0.1:25").severity == "warning"
    )


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("x.toml") == Path("x.toml")
    monkeypatch.setattr("fastsmtp.config.PLACES", ("fastsmtp.toml", "etc/f.toml"))
    with pytest.raises(ConfigErrors, match="not found: neither"):
        find(None)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/f.toml").touch()
    assert find(None) == Path("etc/f.toml")
    (tmp_path / "fastsmtp.toml").touch()
    assert find(None) == Path("fastsmtp.toml")


def test_long_values_are_shortened(tmp_path: Path) -> None:
    problem = only(tmp_path, set_smtp(f'eight_bit = "{"x" * 500}"'))
    assert len(problem.value) == 60
    assert problem.value.endswith("…")


def test_problem_as_a_dictionary(tmp_path: Path) -> None:
    found = only(tmp_path, set_smtp("max_errors = 0")).to_dict()
    assert found["key"] == "smtp.max_errors"
    assert found["value"] == "0"
    assert found["line"] == 8


def test_networks(tmp_path: Path) -> None:
    text = set_smtp('proxy_protocol = ["192.0.2.1", "10.0.0.0/8", "2001:DB8::/32"]')
    smtp = load(write(tmp_path, text), {}).smtp
    assert smtp.proxy_protocol == ["192.0.2.1/32", "10.0.0.0/8", "2001:db8::/32"]
    environ = {"FASTSMTP_SMTP__PROXY_PROTOCOL": "10.0.0.0/8, ::1"}
    smtp = load(write(tmp_path, SMALL), environ).smtp
    assert smtp.proxy_protocol == ["10.0.0.0/8", "::1/128"]
    wrong = only(tmp_path, set_smtp('proxy_protocol = ["10.0.0.1/8"]'))
    assert wrong.text == "has bits behind its prefix"
    assert wrong.advice == 'write "10.0.0.0/8"'
    wrong = only(tmp_path, set_smtp('proxy_protocol = ["everybody"]'))
    assert wrong.text == "is not a network"


def test_lmtp_may_listen_on_a_path(tmp_path: Path) -> None:
    text = SMALL + '[lmtp]\nlisten = ["unix:/run/mail/lmtp", "127.0.0.1:24"]\n'
    config = load(write(tmp_path, text), {})
    assert config.listeners["lmtp"] == ["unix:/run/mail/lmtp", "127.0.0.1:24"]
    for wrong, words in (
        ("unix:lmtp", "is not a whole path"),
        ("unix:/" + "x" * 107, "is longer than 107 octets"),
        ("unix", "has no port"),
    ):
        found = only(tmp_path, SMALL + f'[lmtp]\nlisten = ["{wrong}"]\n')
        assert words in found.text


def test_one_path_is_for_one_listener(tmp_path: Path) -> None:
    text = SMALL + '[lmtp]\nlisten = ["unix:/run/a", "unix:/run/b", "unix:/run/a"]\n'
    assert "needs the same port as lmtp.listen[0]" in only(tmp_path, text).text


def test_the_token_of_the_status_page_can_be_read(tmp_path: Path) -> None:
    text = f'{SMALL}\n[metrics]\ntoken_file = "token"\n'
    assert "No such file" in only(tmp_path, text).text
    (tmp_path / "token").write_text("\n")
    assert only(tmp_path, text).text == "names an empty file"
    (tmp_path / "token").write_text("secret\n")
    assert load(write(tmp_path, text), {}).metrics.token_file == str(tmp_path / "token")
