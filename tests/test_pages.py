"""A page that shows what is not so is found out."""

from __future__ import annotations

import configparser
import csv
import json
import os
import textwrap
from pathlib import Path

import pytest
import yaml
from sybil.example import SybilFailure

from gateway import ConfigError
from tests.pages import blocks, run_page

# A failed assertion, or what reads the block says what is wrong with it.
FAILURES = (
    AssertionError,
    ConfigError,
    SyntaxError,
    ValueError,
    configparser.Error,
    csv.Error,
    yaml.YAMLError,
)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def fence(language: str, *lines: str) -> str:
    return "\n".join((f"```{language}", *lines, "```", ""))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(fence("python", "assert 1 == 2, 'no'"), "no", id="python that fails"),
        pytest.param(
            fence("python", "a = 1") + fence("python", "assert a == 2, 'no'"), "no", id="over two blocks"
        ),
        pytest.param(fence("sh", "false", "true"), "exit code 1", id="a command that fails"),
        pytest.param(fence("sh", "false | true"), "exit code 1", id="a command in a pipe"),
        pytest.param(fence("sh", 'echo "$nothing"'), "unbound", id="a variable that is not set"),
        pytest.param(fence("sh", "echo a") + fence("text", "b"), "instead of\nb", id="another output"),
        pytest.param(fence("sh", "echo a") + fence("text", "a", "b"), "instead of", id="less output"),
        pytest.param(fence("sh", "echo a; echo b") + fence("text", "a"), "instead of", id="more output"),
        pytest.param(fence("sh", "echo a; echo b") + fence("text", "…"), "instead of", id="over two lines"),
        pytest.param(fence("klingon", "Qapla'"), "'klingon' is no language", id="a language nobody knows"),
        pytest.param(fence("", "what?"), "'' is no language", id="no language"),
        pytest.param(fence("klingon", "# a.txt", "x"), "'klingon' is no", id="a file in such a language"),
        pytest.param(fence("toml", "a ="), "Invalid value", id="toml"),
        pytest.param(fence("yaml", "a: [b"), "while parsing", id="yaml"),
        pytest.param(fence("json", "{'a': 1}"), "property name", id="json"),
        pytest.param(fence("ini", "a = 1"), "no section headers", id="ini"),
        pytest.param(fence("csv", '"a'), "unexpected end", id="csv"),
        pytest.param(fence("diff", "+a", "b"), "no line of a diff: b", id="diff"),
        pytest.param(fence("console", "apt-get"), "begin with `\\$ `", id="console"),
        pytest.param(fence("python", "# a.py", "a ="), "invalid syntax", id="a python file"),
        pytest.param(
            fence("toml", "# policy.toml", "[[rutes]]"), "the nearest is routes", id="a policy file"
        ),
        pytest.param(
            fence("toml", "# policy.toml", "[[issuers]]"), "jwks_url", id="without tokens of its own"
        ),
        pytest.param(fence("text", "# ../a.txt", "a"), "not in the page's folder", id="a file elsewhere"),
        pytest.param("<!-- not run: why -->\n\n" + fence("sh", "true"), "no block", id="a remark too early"),
        pytest.param("<!-- not run: -->\n" + fence("sh", "false"), "reason is missing", id="no reason"),
        pytest.param("<!-- server: PORT=x -->\n" + fence("sh", "true"), "PORT", id="no start"),
    ],
)
def test_what_is_not_so_fails(text: str, reason: str, page: Path, folder: Path) -> None:
    page.write_text(text, "utf-8")
    with pytest.raises(FAILURES, match=reason):
        run_page(page, folder)


def test_a_failure_tells_the_page_and_the_line(page: Path, folder: Path) -> None:
    page.write_text("# Title\n\n" + fence("sh", "exit 3"), "utf-8")
    with pytest.raises(SybilFailure, match=r"page\.md, line 3, .*\nexit code 3"):
        run_page(page, folder)


def done(text: str, page: Path, folder: Path) -> dict[str, object]:
    page.write_text(textwrap.dedent(text), "utf-8")
    return run_page(page, folder)


def test_python_has_one_namespace_and_the_files_before_it(page: Path, folder: Path) -> None:
    text = fence("python", "# pkg/mod.py", "x = 1") + fence("python", "from pkg.mod import x", "y = x + 1")
    assert done(text + fence("python", "z = y + 1"), page, folder)["z"] == 3


def test_exports_last_and_nothing_else_does(page: Path, folder: Path) -> None:
    text = fence("sh", "export A='1\n2'", "B=3") + fence("sh", 'echo "$A ${B-none}"')
    done(
        text + fence("text", "1", "2 none") + fence("python", "import os; assert os.environ['A']"),
        page,
        folder,
    )
    assert "A" not in os.environ


def test_an_ellipsis_is_anything_on_its_line(page: Path, folder: Path) -> None:
    done(fence("sh", "echo a b c; echo d") + fence("text", "a … c", "d"), page, folder)


def test_a_command_may_be_refused_where_its_output_is_shown(page: Path, folder: Path) -> None:
    done(fence("sh", "echo no; exit 1") + fence("text", "no"), page, folder)


def test_what_is_marked_so_is_not_run(page: Path, folder: Path) -> None:
    text = "<!-- not run: it ends the page -->\n" + fence("sh", "touch here") + fence("text", "none")
    done(text, page, folder)
    assert not (folder / "here").exists()


def test_a_file_is_the_block_and_json_is_without_its_name(page: Path, folder: Path) -> None:
    done(fence("json", "// a.json", "{}") + fence("ini", "; b/c.ini", "[d]"), page, folder)
    assert json.loads((folder / "a.json").read_text("utf-8")) == {}
    assert (folder / "b" / "c.ini").read_text("utf-8") == "; b/c.ini\n[d]\n"


def test_a_policy_file_is_read_by_a_gateway_with_the_key_of_the_page(page: Path, folder: Path) -> None:
    issuer = ('issuer = "https://a.example"', 'jwks_url = "https://a.example/jwks"', 'audience = "app"')
    policy = fence("toml", "# policy.toml", "[[issuers]]", *issuer)
    done(fence("sh", "export TOKEN_KEY=  # nothing is issued") + policy, page, folder)
    with pytest.raises(ConfigError, match="uid_prefix"):
        done(policy, page, folder)


def test_a_server_answers_until_the_next_one(page: Path, folder: Path) -> None:
    ask = 'curl -s -o /dev/null -w "%{http_code} %{url}" http://127.0.0.1:8000/health-of-app'
    closed = "<!-- server: GATEWAY_APP=gateway.forwardauth:nothing -->\n"
    done(
        "<!-- server: WEB_CONCURRENCY=1 -->\n"
        + fence("sh", ask, "echo")
        + fence("text", "200 http://127.0.0.1:8000/health-of-app")
        + closed
        + fence("sh", ask, "echo")
        + fence("text", "400 http://127.0.0.1:8000/health-of-app"),
        page,
        folder,
    )


def test_blocks_are_found_with_their_languages(page: Path) -> None:
    page.write_text(fence("sh", "a") + "text\n\n" + fence("", "b"), "utf-8")
    assert blocks(page) == [("sh", "a\n"), ("", "b\n")]
