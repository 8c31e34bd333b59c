"""The pytest plugin, in a project as somebody else would have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.servers import ROOT, run

CONFTEST = 'pytest_plugins = ["gateway.testing.plugin"]\n'


def pytest_in(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on these files, each named without its suffix, with warnings as errors."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    options = ("-q", "-W", "error", "-p", "no:cacheprovider", "--strict-markers", "-c", "none.ini")
    (folder / "none.ini").write_text("[pytest]\n", "utf-8")
    return run(folder, sys.executable, "-m", "pytest", *options, PYTHONPATH=str(ROOT))


def test_the_clock_is_back_after_each_test(tmp_path: Path) -> None:
    ended = pytest_in(
        tmp_path,
        conftest=CONFTEST,
        test_clock="""\
import time
import pytest
from gateway import TokenCreator

creator = TokenCreator(token_key="k" * 32)

@pytest.mark.parametrize("turn", [1, 2])
def test_moved(gateway_clock, turn):
    assert creator.now() == gateway_clock.time() <= time.time()
    gateway_clock.move(days=1)
    assert creator.now() > time.time() + 80_000

def test_not_moved():
    assert creator.now() <= time.time()
""",
    )
    assert "3 passed" in ended.stdout, ended.stdout


def test_tokens_are_those_of_the_settings_and_no_test_has_anothers(tmp_path: Path) -> None:
    ended = pytest_in(
        tmp_path,
        conftest=CONFTEST,
        test_settings="""\
from gateway import TokenCreator
from gateway.testing import werkzeug_client

keys = []

def app(environ, start_response):
    start_response("200 OK", [])
    return [environ["REMOTE_USER"].encode()]

def check(settings, tokens):
    keys.append(settings.token_key)
    client = werkzeug_client(app, settings)
    assert client.with_token(tokens.good(12), 12).get("/").text == "12"
    assert client.with_token(tokens.expired(12), 12).get("/").status_code == 401

def test_one(gateway_settings, gateway_tokens):
    check(gateway_settings, gateway_tokens)

def test_two(gateway_settings, gateway_tokens):
    check(gateway_settings, gateway_tokens)
    assert keys[0] != keys[1]
""",
    )
    assert "2 passed" in ended.stdout, ended.stdout


def test_a_project_has_settings_of_its_own(tmp_path: Path) -> None:
    ended = pytest_in(
        tmp_path,
        conftest=f"""\
import pytest
from gateway.testing import settings_for_tests

{CONFTEST}
@pytest.fixture
def gateway_settings():
    return settings_for_tests(exp_time_min=7)
""",
        test_own="""\
from gateway import TokenCreator

def test_own(gateway_settings, gateway_tokens):
    claims = TokenCreator(gateway_settings).decode_token(gateway_tokens.good(12))
    assert claims["exp"] - claims["iat"] == 420
""",
    )
    assert "1 passed" in ended.stdout, ended.stdout


def test_nothing_loads_where_nobody_asks_for_it(tmp_path: Path) -> None:
    ended = pytest_in(
        tmp_path,
        test_none="""\
import sys

def test_none(request):
    assert not any(name.partition(".")[0] == "gateway" for name in sys.modules)
    assert not request.config.pluginmanager.has_plugin("gateway.testing.plugin")
""",
    )
    assert "1 passed" in ended.stdout, ended.stdout


def test_what_is_imported_by_name_is_not_taken_for_a_test(tmp_path: Path) -> None:
    names = "from gateway.testing import *\nfrom gateway.testing.flask import *\n"
    ended = pytest_in(tmp_path, conftest=CONFTEST, test_names=f"{names}\ndef test_one(): pass\n")
    assert "1 passed" in ended.stdout, ended.stdout
