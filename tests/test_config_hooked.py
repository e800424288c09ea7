"""Hooks in the configuration: their modules are looked into before they are used."""

from pathlib import Path

import pytest
from test_config import SMALL, only, problems, write

from fastsmtp.config import Config, check, load

RCPT = "async def rcpt(facts, address):\n    return None\n"
TYPED = """\
from dataclasses import dataclass
from pathlib import Path
from fastsmtp.options import DURATION, PATH, REQUIRED, option

@dataclass(frozen=True, kw_only=True)
class Options:
    url: str = option(REQUIRED, "where")
    wait: float = option(1.0, "how long", DURATION, high=60)
    secret_file: Path = option(Path(), "what", PATH)

class Hook:
    def __init__(self, options):
        if options.url == "no":
            raise ValueError("url is no URL")
    async def mail(self, facts):
        return None
"""


def hooks(*lines: str) -> str:
    return SMALL + "\n[hooks.mine]\n" + "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def modules(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RCPT)
    (tmp_path / "typed.py").write_text(TYPED)


def test_a_hook_and_its_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, hooks('module = "mine.py"')), {})
    hook = config.hooks["mine"]
    assert hook.module == str(tmp_path / "mine.py")
    assert (hook.deadline, hook.on_failure, hook.at_most) == (5.0, "defer", 100)
    assert hook.listeners == ["smtp"]
    assert Config.from_json(config.to_json()) == config


def test_hooks_keep_the_order_of_the_file(tmp_path: Path) -> None:
    text = SMALL + "".join(f'[hooks.{n}]\nmodule = "mine.py"\n' for n in "zbya")
    config = load(write(tmp_path, text), {})
    assert list(config.hooks) == list("zbya")
    assert list(Config.from_json(config.to_json()).hooks) == list("zbya")


def test_options_are_read_as_the_module_says(tmp_path: Path) -> None:
    lines = 'options = { url = "u", wait = "2 min", secret_file = "s" }'
    (problem,) = problems(tmp_path, hooks('module = "typed.py"', lines))
    assert (problem.key, problem.text) == ("hooks.mine.options.wait", "is too large")
    assert problem.line == 9
    good = hooks('module = "typed.py"', lines.replace("2 min", "2 s"))
    environ = {"FASTSMTP_HOOKS__MINE__OPTIONS__URL": "v"}
    config, found = check(write(tmp_path, good), environ)
    assert (found, config is None) == ([], False)
    assert config is not None
    secret = str(tmp_path / "s")
    wanted = {"url": "v", "wait": 2.0, "secret_file": secret}
    assert config.hooks["mine"].options == wanted


@pytest.mark.parametrize(
    ("lines", "key", "text", "advice"),
    [
        (['modul = "mine.py"'], "hooks.mine.modul", "is not a", "mean module?"),
        (['module = "a b"'], "hooks.mine.module", "is neither a .py file", ""),
        (['module = "no.py"'], "hooks.mine.module", "does not exist", ""),
        (['module = "no.such"'], "hooks.mine.module", "is not an installed", ""),
        (['module = "mine.py"', "at_most = 0"], "hooks.mine.at_most", "too small", ""),
        (
            ['module = "mine.py"', 'on_failure = "fail"'],
            "hooks.mine.on_failure",
            "is not one of the words",
            "",
        ),
        (
            ['module = "mine.py"', 'listeners = ["smtp", "imap"]'],
            "hooks.mine.listeners[1]",
            "is not one of the words",
            "",
        ),
        (
            ['module = "mine.py"', "options = { a = 1 }"],
            "hooks.mine.options",
            "has no class Hook",
            "",
        ),
        (
            ['module = "typed.py"', 'options = { urll = "x", url = "u" }'],
            "hooks.mine.options.urll",
            "is not a setting",
            "did you mean url?",
        ),
        (['module = "typed.py"'], "hooks.mine.options.url", "is missing", ""),
        (
            ['module = "typed.py"', 'options = { url = "no" }'],
            "hooks.mine.options",
            "url is no URL",
            "",
        ),
    ],
)
def test_mistakes(
    tmp_path: Path, lines: list[str], key: str, text: str, advice: str
) -> None:
    found = problems(tmp_path, hooks(*lines))
    problem = next(p for p in found if p.key == key)
    assert text in problem.text
    assert advice in problem.advice
    assert problem.source == str(tmp_path / "fastsmtp.toml")
    assert problem.line >= 6


def test_a_hook_without_a_module(tmp_path: Path) -> None:
    assert only(tmp_path, hooks("at_most = 3")).key == "hooks.mine.module"


def test_a_mistake_in_a_module_is_told_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("\n\ndef rcpt(address): ...\n")
    problem = only(tmp_path, hooks('module = "mine.py"'))
    assert (problem.source, problem.line) == (str(tmp_path / "mine.py"), 3)
    assert str(problem).startswith(f"{tmp_path}/mine.py:3:1: error: hooks.mine.module")


def test_a_doubt_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RCPT + "def rctp(facts): ...\n")
    problem = only(tmp_path, hooks('module = "mine.py"'))
    assert (problem.severity, problem.line) == ("warning", 3)


@pytest.mark.parametrize("name", ['"a b"', '"-x"', f'"{"x" * 33}"', '"é"', '"1"'])
def test_names_of_hooks_are_plain(tmp_path: Path, name: str) -> None:
    problem = only(tmp_path, SMALL + f'[hooks.{name}]\nmodule = "mine.py"\n')
    assert problem.text == "is no name for a hook"


def test_there_are_so_many_hooks(tmp_path: Path) -> None:
    text = SMALL + "".join(f'[hooks.h{n}]\nmodule = "mine.py"\n' for n in range(17))
    problem = only(tmp_path, text)
    assert (problem.key, "one hook too many" in problem.text) == ("hooks.h16", True)


def test_a_command_that_does_not_serve_looks_into_no_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nothing_of_this_name\n")
    path = write(tmp_path, hooks('module = "mine.py"'))
    assert check(path, {})[0] is None
    assert list(load(path, {}).hooks) == ["mine"]
