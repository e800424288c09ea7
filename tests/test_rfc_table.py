"""docs/rfc.md names files and tests that exist."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split("|")]
    for line in (ROOT / "docs/rfc.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| RFC")
]


@lru_cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_a_file_and_a_test(row: list[str]) -> None:
    name, what, status, file, test = row
    assert name
    assert what
    assert status
    assert (ROOT / file.strip("`")).is_file()
    place, function = test.strip("`").split("::")
    assert function in functions(ROOT / place)


def test_every_extension_that_ehlo_can_show_has_a_row() -> None:
    shown = (ROOT / "fastsmtp/smtp/offers.py").read_text()
    for number in set(re.findall(r"RFC (\d+)", shown)):
        assert any(number in row[0] for row in ROWS), number


def test_the_table_is_not_empty() -> None:
    assert len(ROWS) >= 18
