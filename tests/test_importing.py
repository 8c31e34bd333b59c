"""The login function that the settings name is found, or refused in one line that says why and where."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import ConfigError, Settings, kinds
from gateway.directory import load_login
from gateway.importing import imported
from gateway.loading import faults_of_imports
from tests.support import KEY
from tests.test_cli import fail, run, succeed

Module = Callable[[str], str]

CHECK = """
def check(uid, password):
    return {"role": "editor"}
"""
MUST = "; it must be module:callable, importable from the working directory or an installed package"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Return a function that makes an importable module of a source, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def made(source: str) -> str:
        name = f"made_{secrets.token_hex(8)}"
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        return name

    return made


def faults_of(login: str | None, app: str | None = None) -> list[str]:
    settings = Settings(token_key=KEY, state_url="memory://", login=login, app=app)
    return faults_of_imports(settings)


def fault_of(login: str) -> str:
    (fault,) = faults_of(login)
    assert len(fault.splitlines()) == 1
    with pytest.raises(ConfigError) as caught:
        load_login(login)
    assert caught.value.faults == (fault,)
    return fault


def test_a_function_is_found_by_module_and_name(module: Module) -> None:
    assert load_login(f"{module(CHECK)}:check")(12, "x") == {"role": "editor"}


def test_a_function_is_found_by_an_attribute_path(module: Module) -> None:
    name = module(f"{CHECK}\nclass A:\n    class b:\n        c = staticmethod(check)\n")
    assert load_login(f"{name}:A.b.c")(12, "x") == {"role": "editor"}


def test_an_object_that_can_be_called_is_a_function(module: Module) -> None:
    name = module("class A:\n    def __call__(self, uid, password):\n        return {}\ncheck = A()\n")
    assert load_login(f"{name}:check")(12, "x") == {}


def test_a_function_that_imports_has_no_fault(module: Module) -> None:
    assert faults_of(f"{module(CHECK)}:check") == []


def test_nothing_that_is_named_is_no_fault() -> None:
    assert faults_of_imports(Settings(token_key=KEY)) == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("no_such_module:check", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json.nothing:check", "ModuleNotFoundError: No module named 'json.nothing'"),
        ("json:check", "AttributeError: module 'json' has no attribute 'check'"),
        ("json:loads.check", "AttributeError: 'function' object has no attribute 'check'"),
    ],
)
def test_a_function_that_is_not_there_is_refused(spec: str, reason: str) -> None:
    assert fault_of(spec) == f"GATEWAY_LOGIN is {spec!r}, which does not import: {reason}{MUST}"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("raise RuntimeError('no\\n  database')", "RuntimeError: no database"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import json; json.loads('{')", "JSONDecodeError: "),
        ("raise ValueError('ünï\\udcff')", "ValueError: "),
    ],
)
def test_a_module_that_raises_is_refused_with_the_error(statement: str, reason: str, module: Module) -> None:
    name = module(f"\n{statement}\n")
    (fault,) = faults_of(f"{name}:check")
    assert fault.startswith(f"GATEWAY_LOGIN is '{name}:check', which does not import: {reason}")


def test_a_module_that_raises_is_refused_with_the_place(module: Module, tmp_path: Path) -> None:
    name = module("\n\nraise RuntimeError('no database')\n")
    expected = f"RuntimeError: no database ({tmp_path / name}.py, line 3){MUST}"
    assert fault_of(f"{name}:check").endswith(expected)


def test_a_module_that_python_cannot_read_is_refused_with_the_place(module: Module) -> None:
    name = module("\n\ndef\n")
    assert fault_of(f"{name}:check").endswith(f"SyntaxError: invalid syntax ({name}.py, line 3){MUST}")


def test_a_fault_deeper_down_is_placed_where_it_is(module: Module, tmp_path: Path) -> None:
    inner = module("\n1 / 0\n")
    outer = module(f"import {inner}\n")
    place = f"({tmp_path / inner}.py, line 2)"
    assert f"which does not import: ZeroDivisionError: division by zero {place};" in fault_of(
        f"{outer}:check"
    )


def test_an_error_whose_text_fails_is_refused_by_its_type(module: Module) -> None:
    name = module("class E(Exception):\n    def __str__(self):\n        1 / 0\nraise E\n")
    assert "which does not import: E:" in fault_of(f"{name}:check")


@pytest.mark.parametrize("value", ["{}", "None", "'text'", "5"])
def test_what_is_not_callable_is_refused(value: str, module: Module) -> None:
    name = module(f"check = {value}\n")
    kind = type(eval(value)).__name__
    assert fault_of(f"{name}:check") == (
        f"GATEWAY_LOGIN is '{name}:check', which is {kind}; it must be a function of uid and password"
    )


@pytest.mark.parametrize("statement", ["import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_a_module_that_ends_the_process_is_refused(statement: str, module: Module) -> None:
    name = module(f"{statement}\n")
    assert faults_of(f"{name}:check") == [
        f"GATEWAY_LOGIN is '{name}:check', whose import ended the process; it must be module:callable"
    ]


def test_what_an_import_changes_is_not_changed_here(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANGED_BY_IMPORT", raising=False)
    name = module(f"import os\nos.environ['CHANGED_BY_IMPORT'] = 'yes'\n{CHECK}")
    assert faults_of(f"{name}:check") == []
    assert "CHANGED_BY_IMPORT" not in os.environ
    assert name not in sys.modules


def test_both_are_reported() -> None:
    faults = faults_of("no_such_login:check", "no_such_app:app")
    assert [fault.split()[0] for fault in faults] == ["GATEWAY_APP", "GATEWAY_LOGIN"]


def test_each_is_called_by_its_own_variable() -> None:
    with pytest.raises(ConfigError, match=r"^A_VARIABLE is 'json:__all__', which is list; it must be red$"):
        imported("A_VARIABLE", "json:__all__", "red")


# gateway check


@pytest.fixture(name="environ")
def _environ(module: Module, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_STATE_URL", "memory://")
    return monkeypatch


def test_check_imports_the_function(module: Module, environ: pytest.MonkeyPatch) -> None:
    spec = f"{module(CHECK)}:check"
    environ.setenv("GATEWAY_LOGIN", spec)
    environ.setenv("WEB_CONCURRENCY", "1")
    assert f"{spec}  (environment)" in succeed("check")


def test_check_refuses_a_function_that_does_not_import(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("GATEWAY_LOGIN", "no_such_module:check")
    (fault,) = fail("check")
    assert fault.startswith("GATEWAY_LOGIN is 'no_such_module:check', which does not import: ")


def test_check_imports_nothing_that_is_no_name(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("GATEWAY_LOGIN", "check")
    assert fail("check") == [f"GATEWAY_LOGIN is 'check'; it must be {kinds.LOGIN.must}"]


def test_check_imports_the_function_though_another_setting_is_bad(
    module: Module, environ: pytest.MonkeyPatch
) -> None:
    name = module("1 / 0\n")
    environ.setenv("GATEWAY_LOGIN", f"{name}:check")
    environ.setenv("PORT", "many")
    assert [fault.split()[0] for fault in fail("check")] == ["PORT", "GATEWAY_LOGIN"]
    assert run("check").exit_code == 1
