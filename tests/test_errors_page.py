"""The page about errors knows every code that a client can meet, and no other."""

from __future__ import annotations

import re

import pytest

from tests.integration.servers import ROOT
from tests.pages import DOCS
from tools.errors_table import refusals

PAGE = (DOCS / "errors.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
OF_PROXIES = re.compile(r'"code": "(\w+)"')


def codes_of_proxies() -> set[str]:
    """What the proxies answer by themselves, where their files are the shipped ones."""
    files = (ROOT / "examples" / name for name in ("nginx.conf", "Caddyfile"))
    return {code for file in files for code in OF_PROXIES.findall(file.read_text("utf-8"))}


def test_every_code_is_explained_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(refusals().keys() | codes_of_proxies())


def test_no_code_is_explained_twice() -> None:
    headings = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("code", SECTIONS)
def test_a_code_tells_client_and_operator_what_to_do(code: str) -> None:
    said = re.findall(r"^- \*\*(\w+):\*\*", SECTIONS[code], re.MULTILINE)
    assert said == ["Client", "Operator", "Often"]
