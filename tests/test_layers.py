"""Who may import whom: the table of the design, read from the syntax trees.

A row says which packages of ours and which third-party modules a package may import.
Leaves (`errors`, `options`, `cells`, and a package's own `options` and `counts`) import
nothing of ours but each other. Compiled modules are held to the same rows.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAVES = {"errors", "options", "cells"}
IO = {
    *("asyncio", "concurrent", "fcntl", "http", "logging", "mmap", "multiprocessing"),
    *("os", "pathlib", "select", "selectors", "shutil", "signal", "socket", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib"),
}
NO_IO: set[str] = set()

# package -> (our packages, third-party modules, IO of the standard library or not)
LOW = ("wire",)
STORE = ("store.base", "store.keys")
BELOW = (*LOW, "smtp", "auth", "queue", "mailbox", "policy", "store", "net", "pop3")
WATCH = (
    *(
        "facts",
        "live",
        "metrics",
        "pages",
        "pulse",
        "report",
        "scrape",
        "series",
        "trace",
    ),
)
EVERYTHING = ("*",)
TABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...], set[str]]] = {
    "errors": ((), (), NO_IO),
    "options": ((), (), NO_IO),
    "cells": ((), (), NO_IO),
    "wire": ((), (), NO_IO),
    "auth": (LOW, ("argon2", "msgspec"), NO_IO),
    "smtp": ((*LOW, "auth"), (), NO_IO),
    "store.base": (LOW, (), NO_IO),
    "store.keys": (LOW, (), NO_IO),
    "store": ((*LOW, *STORE), ("lmdb", "msgspec"), IO),
    "queue": ((*LOW, *STORE), ("msgspec",), NO_IO),
    "mailbox": ((*LOW, *STORE), ("msgspec",), NO_IO),
    "policy": ((*LOW, "auth", "mailbox"), (), NO_IO),
    "pop3": ((*LOW, "auth"), (), NO_IO),
    "net": ((), ("aiodns", "cryptography", "uvloop"), IO),
    "pages": ((), (), IO),
    "pulse": (("pages",), (), IO),
    "series": (("blocks",), (), NO_IO),
    "blocks": (("pulse",), (), NO_IO),
    "metrics": (("blocks", "pages", "pulse", "series"), (), NO_IO),
    "live": (("pages", "series"), (), NO_IO),
    "scrape": (("blocks", "live", "metrics", "pages", "pulse", "series"), (), IO),
    "glance": (
        ("blocks", "live", "metrics", "pages", "pulse", "scrape", "series"),
        (),
        IO,
    ),
    "facts": ((), ("msgspec",), NO_IO),
    "trace": ((), (), IO),
    "report": (("facts",), ("msgspec",), IO),
    "delivery": ((*BELOW, *WATCH), ("msgspec",), IO),
    "serve": ((*BELOW, *WATCH), ("httptools", "msgspec"), IO),
    "hooks": (
        (*LOW, "smtp", "store.base", "serve.checks", "serve.guest", "report"),
        ("httptools", "msgspec"),
        IO,
    ),
    "config": (EVERYTHING, ("msgspec",), IO),
    "doors": (EVERYTHING, (), IO),
    "ending": ((), (), IO),
    "outset": (EVERYTHING, (), IO),
    "owner": ((), (), IO),
    "queueing": (EVERYTHING, (), IO),
    "depths": (("blocks", "pages", "queue", "store"), (), IO),
    "ways": (("config", "policy", "queue"), (), IO),
    "roles": (EVERYTHING, (), IO),
    "accepting": (EVERYTHING, (), IO),
    "keeping": (EVERYTHING, (), IO),
    "people": (EVERYTHING, (), IO),
    "watching": (EVERYTHING, (), IO),
    "sending": (EVERYTHING, (), IO),
    "server": (EVERYTHING, ("uvloop",), IO),
    "single": (EVERYTHING, (), IO),
    "split": (EVERYTHING, (), IO),
    "steering": (EVERYTHING, ("msgspec",), IO),
    "supervisor": (EVERYTHING, ("msgspec", "uvloop"), IO),
    "worker": (EVERYTHING, ("msgspec", "uvloop"), IO),
    "cli": (EVERYTHING, ("msgspec", "uvloop"), IO),
}
MAY_READ_COUNTS = {"blocks", "glance", "metrics", "scrape"}
CYTHON = {"libc", "cpython", "posix", "cython"}


def package(module: str) -> str:
    """The row of a module: `store.base` has its own, `smtp.states` is in `smtp`."""
    parts = module.split(".")
    exact = ".".join(parts[:2])
    return exact if exact in TABLE else parts[0]


def python_imports(text: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            module = node.module or ""
            if module == "fastsmtp" or module.startswith("fastsmtp."):
                found |= {f"{module}.{alias.name}" for alias in node.names}
            else:
                found.add(module)
    return found


def cython_imports(text: str) -> set[str]:
    pattern = r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))"
    return {a or b for a, b in re.findall(pattern, text, re.M)}


def modules() -> list[tuple[str, Path]]:
    found = []
    for top, suffix in (("fastsmtp", "*.py"), ("ext", "*.pyx"), ("ext", "*.px[di]")):
        for path in sorted((ROOT / top).rglob(suffix)):
            parts = path.relative_to(ROOT / top).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            if parts and (top == "fastsmtp" or len(parts) > 1):
                found.append((".".join(parts), path))
    return found


def complaint(module: str, imported: str) -> str | None:
    """Why this import is not allowed, or None."""
    ours, third_party, io = TABLE[package(module)]
    parts = imported.split(".")
    if parts[0] != "fastsmtp":
        top = parts[0]
        if top in sys.stdlib_module_names:
            return f"does IO: {top}" if top in IO and top not in io else None
        if top in third_party or top in CYTHON or (ROOT / f"ext/{top}.pxd").exists():
            return None
        return f"third-party {top} is not in its row"
    name = ".".join(parts[1:])
    if not name or name.startswith("__") or parts[1] in LEAVES or ours == EVERYTHING:
        return None
    if package(name) == package(module):
        return None
    if len(parts) > 2 and parts[2] == "counts" and package(module) in MAY_READ_COUNTS:
        return None
    if any(name == row or name.startswith(f"{row}.") for row in ours):
        return None
    return f"{package(module)} may not import {name}"


def test_every_module_has_a_row() -> None:
    assert [m for m, _ in modules() if package(m) not in TABLE] == []


@pytest.mark.parametrize(("module", "path"), modules())
def test_imports_keep_to_the_layers(module: str, path: Path) -> None:
    text = path.read_text()
    read = python_imports if path.suffix == ".py" else cython_imports
    complaints = {name: complaint(module, name) for name in sorted(read(text))}
    assert {k: v for k, v in complaints.items() if v} == {}


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("wire.framing", "asyncio"),
        ("wire.framing", "msgspec"),
        ("smtp.session", "fastsmtp.store.base"),
        ("smtp.session", "socket"),
        ("pop3.session", "fastsmtp.smtp.door"),
        ("pop3.session", "fastsmtp.store.base"),
        ("pop3.session", "time"),
        ("queue.intake", "fastsmtp.mailbox.values"),
        ("queue.intake", "fastsmtp.store.lmdb"),
        ("store.lmdb", "fastsmtp.queue.message"),
        ("store.base", "fastsmtp.store.lmdb"),
        ("metrics", "fastsmtp.smtp.session"),
        ("serve.smtpd", "fastsmtp.delivery.local"),
        ("net.listener", "fastsmtp.metrics"),
    ],
)
def test_the_check_finds_what_is_forbidden(module: str, imported: str) -> None:
    assert complaint(module, imported)
