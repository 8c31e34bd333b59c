"""The table of settings as an example file, as a Markdown table, and with the values in effect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import Settings, describe
from gateway.envfile import assignments
from gateway.settings import TABLE
from gateway.sources import Found
from tests.support import KEY

VARIABLES = [row.variable for row in TABLE]


def names(text: str) -> list[str]:
    return [assigned.name for assigned in assignments(Path("x.env"), text)]


def uncommented(text: str) -> str:
    """Put the assignments that are commented out into effect."""
    return re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE)


def in_effect(environ: dict[str, str]) -> dict[str, str]:
    """The values in effect and where they are from, by variable."""
    found = Found.in_environment(TABLE, {"TOKEN_KEY": KEY, **environ})
    rows = describe.effective(Settings.from_env({"TOKEN_KEY": KEY, **environ}), found)
    return {variable: f"{value} ({source})" for variable, value, source in rows}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_example_sets_only_what_is_required() -> None:
    assert names(describe.example({})) == ["TOKEN_KEY"]


def test_the_example_has_every_setting() -> None:
    assert names(uncommented(describe.example({}))) == VARIABLES


def test_the_example_shows_the_defaults() -> None:
    Path("config.env").write_text(uncommented(describe.example({"TOKEN_KEY": KEY})), "utf-8")
    assert Settings.from_env({}) == Settings(token_key=KEY)


def test_the_example_takes_values() -> None:
    text = describe.example({"TOKEN_KEY": "k", "PORT": "1"})
    found = [(assigned.name, assigned.value) for assigned in assignments(Path("x.env"), text)]
    assert found == [("TOKEN_KEY", "k"), ("PORT", "1")]


def test_the_example_says_what_each_setting_means() -> None:
    words = " ".join(describe.example({}).replace("\n# ", " ").split())
    assert [row.variable for row in TABLE if row.meaning not in words] == []


def test_the_markdown_table_has_a_row_of_three_cells_for_each_setting() -> None:
    head, rule, *rows = describe.markdown_table().splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert (head, rule) == ("| variable | default | meaning |", "|---|---|---|")
    assert [cell[0] for cell in cells] == [f"`{variable}`" for variable in VARIABLES]
    assert [row.count("|") for row in rows] == [4] * len(VARIABLES)


@pytest.mark.parametrize(
    ("variable", "default"),
    [
        ("TOKEN_KEY", "required for HS256, HS384 and HS512, unless the policy file names issuers"),
        ("EXP_TIME_MIN", "`30`"),
        ("REFRESH_TIME_MIN", "15, or EXP_TIME_MIN if that is less"),
        ("GATEWAY_APP", "the demo"),
        ("GATEWAY_PUBLIC_PATHS", "none"),
        ("GATEWAY_ALLOW_PREFLIGHT", "`false`"),
        ("GATEWAY_ISSUER", "none"),
    ],
)
def test_the_markdown_table_shows_a_default_as_one_would_set_it(variable: str, default: str) -> None:
    assert f"\n| `{variable}` | {default} | " in describe.markdown_table()


def test_every_setting_is_among_the_values_in_effect() -> None:
    assert list(in_effect({})) == VARIABLES


def test_a_secret_in_effect_is_masked() -> None:
    assert in_effect({})["TOKEN_KEY"] == f"{len(KEY)} bytes, not shown (environment)"


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("EXP_TIME_MIN", "20 (config.env)"),
        ("REFRESH_TIME_MIN", "15 (default)"),
        ("GATEWAY_APP", "the demo (default)"),
        ("GATEWAY_PUBLIC_PATHS", "/a,/b/* (config.env)"),
        ("GATEWAY_ALLOW_PREFLIGHT", "true (environment)"),
        ("GATEWAY_PREFIX", "none (environment)"),
        ("GATEWAY_ISSUER", "'\\x1b[31m' (config.env)"),
        ("GATEWAY_AUDIENCE", "none (default)"),
    ],
)
def test_a_value_in_effect_is_shown_with_its_source(variable: str, line: str) -> None:
    text = "EXP_TIME_MIN=20\nGATEWAY_PUBLIC_PATHS=/a, /b/*\nGATEWAY_ISSUER=\x1b[31m\nGATEWAY_PREFIX=/x\n"
    Path("config.env").write_text(text, "utf-8")
    assert in_effect({"GATEWAY_ALLOW_PREFLIGHT": "yes", "GATEWAY_PREFIX": ""})[variable] == line
