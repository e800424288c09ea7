"""Each compiled module and its `.pyi` have the same names and the same parameters."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "ext").rglob("*.pyx"))


def stub_of(source: Path) -> Path:
    return ROOT / "fastsmtp" / source.relative_to(ROOT / "ext").with_suffix(".pyi")


def module_of(source: Path) -> str:
    parts = source.relative_to(ROOT / "ext").with_suffix("").parts
    return ".".join(("fastsmtp", *parts))


Signature = list[str] | None
"""Parameters with the marks of their kind, `=` for a default; None: not a function."""


def of_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature:
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    optional = {x.arg for x in plain[len(plain) - len(a.defaults) :]}
    optional |= {
        x.arg for x, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d is not None
    }
    names = [x.arg for x in plain]
    names += ["*" + a.vararg.arg] if a.vararg else []
    names += ["/" + x.arg for x in a.kwonlyargs]
    names += ["**" + a.kwarg.arg] if a.kwarg else []
    return [n + "=" if n.lstrip("/") in optional else n for n in names]


def of_built(function: Any) -> Signature:
    marks = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
        inspect.Parameter.KEYWORD_ONLY: "/",
    }
    return [
        marks.get(p.kind, "") + p.name + ("=" if p.default is not p.empty else "")
        for p in inspect.signature(function).parameters.values()
    ]


def text_of(source: Path) -> str:
    """A source with what it includes put in place."""

    def included(found: re.Match[str]) -> str:
        beside = source.parent / found[1]
        return text_of(beside if beside.exists() else ROOT / "ext" / found[1])

    return re.sub(r'^include "(.*)"$', included, source.read_text(), flags=re.M)


def of_source(text: str, owner: str) -> Signature:
    """`__init__` or `__cinit__` of a class: compiled, they have no signature."""
    body = re.search(rf"^(?:cdef )?class {owner}\b.*?(?=^\S|\Z)", text, re.M | re.S)
    header = r"^\s+def __c?init__\(((?:[^()]|\([^()]*\))*)\)"
    found = re.findall(header, body[0], re.M) if body else []
    return max(map(parameters, found), key=len, default=["self"])


def parameters(text: str) -> list[str]:
    names = []
    for parameter in re.split(r",(?![^\[(]*[\])])", re.sub(r"#.*", "", text)):
        name, equals, _ = parameter.partition("=")
        if name.strip() not in ("", "*", "/"):
            words = re.sub(r"\b(not|or) None\b", "", name.split(":")[0]).split()
            names.append(words[-1] + ("=" if equals else ""))
    return names


def declared(stub: Path) -> dict[str, Signature]:
    """name or class.name -> signature, as the stub has it."""
    found: dict[str, Signature] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                plain = any(ast.unparse(d) == "property" for d in node.decorator_list)
                found[prefix + node.name] = None if plain else of_stub(node)
            elif isinstance(node, ast.ClassDef):
                found[node.name] = None
                walk(node.body, f"{node.name}.")
            elif isinstance(node, ast.AnnAssign):
                found[prefix + ast.unparse(node.target)] = None

    walk(ast.parse(stub.read_text()).body, "")
    return found


def public(owner: Any) -> list[str]:
    return [n for n in vars(owner) if not n.startswith("_")]


def built(module: ModuleType, text: str) -> dict[str, Signature]:
    """name or class.name -> signature, as compiled."""
    found: dict[str, Signature] = {}
    for name in public(module):
        value = getattr(module, name)
        home = getattr(value, "__module__", module.__name__)
        if isinstance(value, ModuleType) or home != module.__name__:
            continue
        found[name] = of_built(value) if inspect.isroutine(value) else None
        if isinstance(value, type):
            members = {f"{name}.{part}": getattr(value, part) for part in public(value)}
            found[f"{name}.__init__"] = of_source(text, name)
            found |= {
                path: of_built(member)
                if inspect.isroutine(member) and not inspect.isgetsetdescriptor(member)
                else None
                for path, member in members.items()
            }
    return found


def faces(source: Path) -> tuple[dict[str, Signature], dict[str, Signature]]:
    """What the stub says and what the module has, where the two can be compared.

    Python's own protocols have no names of ours. A named tuple's methods are not
    ours, and what a Python class sets in `__init__` is seen in the source alone."""
    text = text_of(source)
    module = built(importlib.import_module(module_of(source)), text)
    stub = {
        name: signature
        for name, signature in declared(stub_of(source)).items()
        if not re.search(r"\.__(?!init__)", name)
    }
    for name, signature in list(module.items()):
        owner, _, member = name.partition(".")
        silent = member == "__init__" and signature == ["self"] and name not in stub
        tuples = member in ("count", "index") and f"class {owner}(NamedTuple)" in text
        imported = re.search(rf"^from .* import (?:.*[, ])?{name}\b", text, re.M)
        if silent or tuples or imported:
            del module[name]
    for name, signature in stub.items():
        member = name.partition(".")[2]
        if signature is None and member and f"self.{member} = " in text:
            module.setdefault(name, None)
    return stub, module


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_the_stub_is_the_module(source: Path) -> None:
    stub, module = faces(source)
    assert set(module) ^ set(stub) == set()
    assert module == stub


def test_every_stub_has_its_source() -> None:
    stubs = sorted((ROOT / "fastsmtp").rglob("*.pyi"))
    assert stubs == sorted(map(stub_of, SOURCES))
