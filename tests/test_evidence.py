"""Pages name the tests and benchmarks that show what they say: each name is one that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`((?:tests|benchmarks)/[\w/]+\.py)::(\w+)`")
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if NAMED.search(path.read_text()))


@cache
def defined(file):
    """The functions of a file, those in classes too; none where there is no such file."""
    if not (ROOT / file).is_file():
        return frozenset()
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tests_and_benchmarks_that_a_page_names_exist(page):
    missing = [f"{file}::{name}" for file, name in NAMED.findall(page.read_text()) if name not in defined(file)]
    assert not missing


def test_every_row_of_what_jnorm_has_names_its_evidence():
    text = (ROOT / "docs" / "comparison.md").read_text()
    rows = [line for line in text.partition("## What jnorm lacks")[0].splitlines() if re.match(r"\| (?!what \|)", line)]
    assert len(rows) > 20
    assert not [row for row in rows if not NAMED.search(row)]


def test_the_check_sees_a_name_that_is_none():
    assert "test_no_such_test" not in defined("tests/test_evidence.py")
    assert not defined("tests/no_such_file.py")
