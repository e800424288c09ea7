"""Modules of hooks: what is found in them, and where a mistake is."""

import sys
from pathlib import Path
from typing import Any

import pytest

from fastsmtp.hooks.modules import BadModule, functions, load

RCPT = "async def rcpt(facts, address):\n    return None\n"


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def bad(folder: Path, text: str, options: dict[str, Any] | None = None) -> BadModule:
    with pytest.raises(BadModule) as caught:
        load("x", write(folder, text)).made(options or {})
    return caught.value


def test_functions_are_found_by_the_names_of_stages(tmp_path: Path) -> None:
    path = write(tmp_path, RCPT + "def message(facts, body): ...\n_helo = 1\n")
    loaded = load("x", path)
    assert list(functions(loaded.made({}))) == ["rcpt", "message"]
    assert loaded.doubtful == ()


def test_a_class_is_made_with_its_options(tmp_path: Path) -> None:
    text = (
        "class Hook:\n    def __init__(self, options): self.options = options\n"
        "    async def mail(self, facts): return None\n"
    )
    made = load("x", write(tmp_path, text)).made({"a": 1})
    assert made.options == {"a": 1}
    assert list(functions(made)) == ["mail"]


def test_options_that_a_dataclass_describes(tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        "from fastsmtp.options import PATH, DURATION, option\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Options:\n"
        "    wait: float = option(1.0, 'how long', DURATION)\n"
        "    file: Path = option(Path(), 'which', PATH)\n"
        "class Hook:\n    def __init__(self, options): self.options = options\n"
        "    async def mail(self, facts): return None\n"
    )
    loaded = load("x", write(tmp_path, text))
    made = loaded.made({"wait": 2.0, "file": "/a/b"})
    assert (made.options.wait, made.options.file) == (2.0, Path("/a/b"))


def test_two_hooks_of_one_file_share_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "seen = []\n" + RCPT)
    first, second = load("a", path).module, load("b", path).module
    assert first.seen is not second.seen
    assert {first.__name__, second.__name__} <= set(sys.modules)


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    load("x", write(tmp_path, RCPT))
    path = write(tmp_path, "async def helo(facts): return None  # longer than before\n")
    assert list(functions(load("x", path).made({}))) == ["helo"]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("import nothing_of_this_name\n" + RCPT, 1, "No module named"),
        (RCPT + "\nx = undefined\n", 4, "NameError"),
        ("def rcpt(facts, address)\n    return\n", 1, "is not Python"),
        (
            "def rcpt(facts):\n    return\n",
            1,
            "rcpt is called with (facts, address) and takes (facts)",
        ),
        ("\nasync def helo(facts, name): ...\n", 2, "(facts) and takes (facts, name)"),
        (
            "class Hook:\n    def __init__(self, o): ...\n\n    def mail(facts): ...\n",
            4,
            "mail is called with (self, facts) and takes (facts)",
        ),
        ("x = 1\n", 1, "decides nothing"),
        ("\nclass Hook:\n    def reject(self): ...\n", 2, "decides nothing"),
        ("Options = 3\n" + RCPT, 1, "Options is not a dataclass"),
        (
            "class Hook:\n    def __init__(self, options):\n        1 / 0\n"
            "    def mail(self, facts): ...\n",
            3,
            "ZeroDivisionError",
        ),
    ],
)
def test_a_mistake_has_its_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    found = bad(tmp_path, text)
    assert (found.file, found.line) == (str(tmp_path / "mine.py"), line)
    assert says in found.text


def test_a_mistake_deeper_down_has_the_line_that_called(tmp_path: Path) -> None:
    found = bad(tmp_path, "import json\n\nsettings = json.loads('{')\n" + RCPT)
    assert (found.line, found.file) == (3, str(tmp_path / "mine.py"))
    assert found.text.startswith("JSONDecodeError")


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (RCPT, {"a": 1}, "has no class Hook that could take them"),
        (
            "class Hook:\n    def __init__(self, options):\n"
            "        raise ValueError('a is too much')\n"
            "    def mail(self, facts): ...\n",
            {"a": 1},
            "ValueError: a is too much",
        ),
        (
            "class Hook:\n    def __init__(self, options): options['b']\n"
            "    def mail(self, facts): ...\n",
            {"a": 1},
            "KeyError: 'b'",
        ),
    ],
)
def test_options_that_are_not_taken(
    tmp_path: Path, text: str, options: dict[str, Any], says: str
) -> None:
    found = bad(tmp_path, text, options)
    assert (found.key, found.file) == ("options", "")
    assert says in found.text


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("nowhere/x.py", "does not exist"),
        ("fastsmtp.hooks.nowhere", "is not an installed module"),
        ("nowhere_at_all.x", "is not an installed module"),
        ("json", "decides nothing"),
    ],
)
def test_a_module_that_is_not_there(module: str, says: str) -> None:
    with pytest.raises(BadModule, match=says):
        load("x", module)


def test_a_name_that_is_nearly_a_stage_is_doubtful(tmp_path: Path) -> None:
    path = write(tmp_path, RCPT + "\ndef mesage(facts, body): ...\ndef lookup(): ...\n")
    (doubt,) = load("x", path).doubtful
    assert doubt.line == 4
    assert doubt.text.endswith("did you mean message?")
