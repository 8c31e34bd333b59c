"""The threat model names, for each attack, tests that there are."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.integration.servers import ROOT
from tests.pages import DOCS

PAGE = DOCS / "security.md"
REFERENCE = re.compile(r"\[([\w/]+\.py)::(\w+)\]\((\S+)\)")


def attacks() -> list[list[str]]:
    """The rows of the tables about attacks, each as its cells."""
    section = PAGE.read_text("utf-8").partition("\n## Attacks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [row.split(" | ") for row in rows if not row.startswith("attack |")]


def references() -> list[tuple[str, str, str]]:
    """Each test that is named anywhere on the page: its file, itself, and where the link leads."""
    return REFERENCE.findall(PAGE.read_text("utf-8"))


@functools.cache
def functions_in(path: Path) -> frozenset[str]:
    """The names of the tests of a file, those in classes among them."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def test_each_attack_has_a_test() -> None:
    rows = attacks()
    assert len(rows) >= 45
    for attack, _, shown_by in rows:
        assert REFERENCE.search(shown_by), attack


def test_no_attack_is_told_twice() -> None:
    told = [attack for attack, _, _ in attacks()]
    assert sorted(set(told)) == sorted(told)


@pytest.mark.parametrize(("file", "test", "target"), sorted(set(references())))
def test_a_test_that_is_named_is_there(file: str, test: str, target: str) -> None:
    path = (PAGE.parent / target).resolve()
    assert path.relative_to(ROOT / "tests").as_posix().endswith(file)
    assert test.startswith("test_")
    assert test in functions_in(path)
