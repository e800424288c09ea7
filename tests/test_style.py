"""House rules of size and naming; each exception is named here with its reason."""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

LONG_MODULES: dict[str, str] = {}
"""Modules over 600 lines: path -> reason."""

LONG_FUNCTIONS: dict[str, str] = {}
"""Functions over 60 lines: path:name -> reason."""

DEEP_FUNCTIONS: dict[str, str] = {}
"""Functions nested deeper than 3: path:name -> reason."""

MANY_PARAMETERS: dict[str, str] = {
    "ext/bodyscan.pxd:_lines": "inlined: what it is given stays in registers",
    "ext/smtp/shared.pxi:__init__": "whom a service asks and what it tells them",
    "ext/queue/encoded.pyx:encode_mail": "the fields of an Envelope",
    "fastsmtp/delivery/local.py:__init__": "where it delivers and whom it tells",
    "ext/trace/ring.pyx:attempt": "what is known of an attempt at a relay",
    "ext/wire/header.pyx:received": "the clauses of the field",
}
"""Functions of more than 6 parameters: path:name -> reason."""

SLEEPERS: dict[str, str] = {
    "tests/storebench.py": "polls, with a limit, for what another process does",
}
"""Tests that sleep: path -> reason."""

BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith),
    *(ast.Try, ast.Match),
)
CYTHON_BLOCKS = ("if ", "for ", "while ", "with ", "try:")


class Function(NamedTuple):
    name: str
    lines: int
    parameters: int
    nesting: int


def files(*suffixes: str) -> list[str]:
    """Everything git would keep with one of these suffixes."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = sorted(set(listed.stdout.split("\n")))
    return [n for n in names if n.endswith(suffixes) and (ROOT / n).is_file()]


def code(*suffixes: str) -> list[str]:
    return [n for n in files(*suffixes) if n.startswith(("fastsmtp/", "ext/"))]


def nesting(node: ast.AST, depth: int = 0) -> int:
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        elif_ = (
            isinstance(node, ast.If)
            and isinstance(child, ast.If)
            and child in node.orelse
        )
        block = isinstance(child, BLOCKS) and not elif_
        deepest = max(deepest, nesting(child, depth + block))
    return deepest


def python_functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            lines = (node.end_lineno or 0) - node.lineno + 1
            yield Function(node.name, lines, count, nesting(node))


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def cython_functions(text: str) -> Iterator[Function]:
    """Read by indentation: a header that ends in `:`, then what is indented more."""
    lines = text.split("\n")
    header = re.compile(r"\s*(?:async def|def|c(?:p)?def\b(?! class))[^=(]*?(\w+)\s*\(")
    for start, line in enumerate(lines):
        found = header.match(line)
        body = start
        while found and body < len(lines) and not lines[body].rstrip().endswith(":"):
            body += 1 if not lines[body].rstrip().endswith(";") else len(lines)
        if not found or body >= len(lines):
            continue
        end, deepest, open_blocks = body, 0, [indent(line)]
        for at in range(body + 1, len(lines)):
            text_ = lines[at].strip()
            if not text_:
                continue
            if indent(lines[at]) <= indent(line):
                break
            end = at
            while len(open_blocks) > 1 and open_blocks[-1] >= indent(lines[at]):
                open_blocks.pop()
            if text_.startswith(CYTHON_BLOCKS) and not text_.startswith("with nogil"):
                open_blocks.append(indent(lines[at]))
                deepest = max(deepest, len(open_blocks) - 1)
        inside = " ".join(lines[start : body + 1]).split("(", 1)[1]
        names = [p for p in inside.rsplit(")", 1)[0].split(",") if p.strip()]
        own = bool(names) and names[0].split()[-1] in ("self", "cls")
        yield Function(found[1], end - start + 1, len(names) - own, deepest)


def functions() -> Iterator[tuple[str, Function]]:
    for name in code(".py"):
        for function in python_functions((ROOT / name).read_text()):
            yield name, function
    for name in code(".pyx", ".pxd", ".pxi"):
        for function in cython_functions((ROOT / name).read_text()):
            yield name, function


def over(limit: int, field: str, exceptions: dict[str, str]) -> dict[str, int]:
    measured = {f"{path}:{f.name}": getattr(f, field) for path, f in functions()}
    return {k: v for k, v in measured.items() if v > limit and k not in exceptions}


def test_modules_are_short() -> None:
    names = code(".py", ".pyx", ".pxi")
    sizes = {n: (ROOT / n).read_text().count("\n") for n in names}
    long = {n: s for n, s in sizes.items() if s > 600 and n not in LONG_MODULES}
    assert long == {}
    assert statistics.median(sizes.values()) <= 150


def test_functions_are_short() -> None:
    assert over(60, "lines", LONG_FUNCTIONS) == {}
    lengths = sorted(f.lines for _, f in functions())
    assert statistics.median(lengths) <= 10
    assert lengths[int(len(lengths) * 0.9)] <= 35


def test_functions_are_flat() -> None:
    assert over(3, "nesting", DEEP_FUNCTIONS) == {}


def test_functions_take_few_parameters() -> None:
    assert over(6, "parameters", MANY_PARAMETERS) == {}


def test_exceptions_are_still_needed() -> None:
    names = {f"{path}:{f.name}": f for path, f in functions()}
    for field, limit, exceptions in (
        ("lines", 60, LONG_FUNCTIONS),
        ("nesting", 3, DEEP_FUNCTIONS),
        ("parameters", 6, MANY_PARAMETERS),
    ):
        for name, reason in exceptions.items():
            assert reason
            assert name in names, f"{name} is gone"
            assert getattr(names[name], field) > limit, f"{name} keeps the rule now"


def test_lines_fit_88_columns() -> None:
    wide = [
        f"{name}:{number}"
        for name in files(".py", ".pyi", ".pyx", ".pxd", ".pxi")
        for number, line in enumerate((ROOT / name).read_text().split("\n"), 1)
        if len(line) > 88
    ]
    assert wide == []


def test_modules_are_named_for_things() -> None:
    vague = re.compile(r"(utils?|helpers?|managers?|common|misc|base_.*)$")
    names = code(".py", ".pyx", ".pyi")
    parts = {p: n for n in names for p in Path(n).with_suffix("").parts}
    assert [n for p, n in parts.items() if vague.match(p)] == []


def test_tests_never_sleep() -> None:
    sleepers = []
    for name in files(".py"):
        if not name.startswith("tests/") or name in SLEEPERS:
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            zero = ast.unparse(node.args[0]) == "0" if node.args else False
            if called in ("time.sleep", "sleep") or (
                called == "asyncio.sleep" and not zero
            ):
                sleepers.append(f"{name}:{node.lineno}")
    assert sleepers == []


def test_waiting_with_a_limit_can_be_cancelled() -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes in the moment
    it has its result, and a server that ends waits for ever; `asyncio.timeout` not."""
    users = [p for p in files(".py") if p.startswith("fastsmtp/")]
    lost = [p for p in users if "asyncio.wait_for(" in (ROOT / p).read_text()]
    assert lost == []


def test_nothing_names_the_place_it_was_written_in() -> None:
    places = re.compile(
        r"(?<![\w.])/(?:work|tmp/" + r"venv)/|/tmp/" + r"venv\b|py" + r"pi\.|index-"
        r"url|PIP_" + r"INDEX|python" + r"hosted"
    )
    found = []
    for name in files(""):
        try:
            text = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {m[0]}" for m in places.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(self, a, b):\n    return a\n", Function("f", 2, 2, 0)),
        ("cdef inline int g(int a) noexcept nogil:\n    return a\n", ("g", 2, 1, 0)),
        (
            "cpdef h(\n    a,\n    b,\n):\n    if a:\n        for x in b:\n"
            "            pass\n    elif b:\n        pass\n",
            ("h", 9, 2, 2),
        ),
    ],
)
def test_cython_is_measured(text: str, expected: Function) -> None:
    assert list(cython_functions(text)) == [expected]
