"""The app that the settings name is found, or is refused in one line that says why and where."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import webtest

from gateway import ConfigError, Settings, TokenCreator
from gateway.loading import build, load_app
from tests.support import KEY

Module = Callable[[str], str]

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from the app"]
"""
MUST = "; it must be module:callable, importable from the working directory or an installed package"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Return a function that makes an importable module of a source, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(source: str) -> str:
        name = f"made_{secrets.token_hex(8)}"
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        return name

    return made


def fault_of(spec: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_app(spec)
    (fault,) = caught.value.faults
    assert len(fault.splitlines()) == 1
    return fault


def test_an_app_is_found_by_module_and_name(module: Module) -> None:
    client = webtest.TestApp(load_app(f"{module(APP)}:app"))
    assert client.get("/").text == "from the app"


def test_an_app_is_found_by_an_attribute_path(module: Module) -> None:
    name = module(f"{APP}\nclass A:\n    class b:\n        c = staticmethod(app)\n")
    client = webtest.TestApp(load_app(f"{name}:A.b.c"))
    assert client.get("/").text == "from the app"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("no_such_module:app", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json.nothing:app", "ModuleNotFoundError: No module named 'json.nothing'"),
        ("json:app", "AttributeError: module 'json' has no attribute 'app'"),
        ("json:loads.app", "AttributeError: 'function' object has no attribute 'app'"),
    ],
)
def test_an_app_that_is_not_there_is_refused(spec: str, reason: str) -> None:
    assert fault_of(spec) == f"GATEWAY_APP is {spec!r}, which does not import: {reason}{MUST}"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("raise RuntimeError('no\\n  database')", "RuntimeError: no database"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import json; json.loads('{')", "JSONDecodeError: "),
    ],
)
def test_a_module_that_raises_is_refused_with_the_error(statement: str, reason: str, module: Module) -> None:
    name = module(f"\n{statement}\n")
    assert fault_of(f"{name}:app").startswith(f"GATEWAY_APP is '{name}:app', which does not import: {reason}")


def test_a_module_that_raises_is_refused_with_the_place(module: Module, tmp_path: Path) -> None:
    name = module("\n\nraise RuntimeError('no database')\n")
    assert fault_of(f"{name}:app").endswith(f"RuntimeError: no database ({tmp_path / name}.py, line 3){MUST}")


def test_a_module_that_python_cannot_read_is_refused_with_the_place(module: Module) -> None:
    name = module("\n\ndef\n")
    assert fault_of(f"{name}:app").endswith(f"SyntaxError: invalid syntax ({name}.py, line 3){MUST}")


def test_a_fault_deeper_down_is_placed_where_it_is(module: Module, tmp_path: Path) -> None:
    inner = module("\n1 / 0\n")
    outer = module(f"import {inner}\n")
    place = f"({tmp_path / inner}.py, line 2)"
    assert f"which does not import: ZeroDivisionError: division by zero {place};" in fault_of(f"{outer}:app")


def test_what_is_not_callable_is_refused(module: Module) -> None:
    name = module("app = {}\n")
    assert (
        fault_of(f"{name}:app") == f"GATEWAY_APP is '{name}:app', which is dict; it must be a WSGI callable"
    )


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def app():\n    return None\n", id="a factory"),
        pytest.param("def app(config):\n    return None\n", id="a factory with one argument"),
        pytest.param("class app:\n    pass\n", id="a class without arguments"),
        pytest.param("async def app(scope, receive, send):\n    pass\n", id="ASGI"),
        pytest.param(
            "class A:\n    async def __call__(self, scope, receive, send): ...\napp = A()\n", id="ASGI object"
        ),
    ],
)
def test_what_no_server_could_call_is_refused(source: str, module: Module) -> None:
    name = module(source)
    said = f"GATEWAY_APP is '{name}:app', which cannot be called with environ and start_response; it must be "
    assert fault_of(f"{name}:app").startswith(said)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("class app:\n    def __init__(self, environ, start_response): ...\n", id="a class"),
        pytest.param("import functools\napp = functools.partial(lambda a, e, s: None, 1)\n", id="partial"),
        pytest.param("app = lambda *_, **options: None\n", id="any arguments"),
        pytest.param("def app(environ, start_response, extra=None): ...\n", id="one more by default"),
        pytest.param(
            "class A:\n    __signature__ = 7\n    def __call__(self, *_): ...\napp = A()\n", id="unsaid"
        ),
    ],
)
def test_what_may_be_callable_is_left_to_the_first_request(source: str, module: Module) -> None:
    assert callable(load_app(f"{module(source)}:app"))


def test_the_named_app_is_built_behind_the_gateway(module: Module) -> None:
    client = webtest.TestApp(build(Settings(token_key=KEY, app=f"{module(APP)}:app")))
    client.get("/", status=400)
    token = TokenCreator(token_key=KEY).create(uid=12)
    answer = client.get("/", headers={"Authorization": f"Bearer {token}", "uid": "12"})
    assert answer.text == "from the app"


def test_without_a_name_the_demo_is_built_with_its_public_paths_besides_those_set() -> None:
    client = webtest.TestApp(build(Settings(token_key=KEY, public_paths=("/set",))))
    statuses = {path: client.get(path, expect_errors=True).status_int for path in ("/", "/set", "/secret")}
    assert statuses == {"/": 200, "/set": 404, "/secret": 400}


def test_the_building_of_an_app_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        build(Settings(token_key=KEY, app="no_such_module:app"))


def test_the_gateway_itself_is_no_app_to_wrap() -> None:
    with pytest.raises(ConfigError, match="the gateway itself"):
        load_app("gateway.wsgi:application")
