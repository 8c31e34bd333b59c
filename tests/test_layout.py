"""The package's shape: who may import whom, and what happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(gateway.__file__).parent
# Bottom up: a module imports only from those before it.
LAYERS = [
    *("errors", "forks", "keys", "paths", "headers", "envfile", "kinds", "table", "sources"),
    *("keyfolder", "policyfile", "crosschecks", "settings", "describe"),
    *("jws", "claims", "identity", "cache", "issuers", "tokens"),
    *("rejections", "responses", "authentication", "endpoints", "middleware"),
    *("__init__", "demo", "loading", "startup", "wsgi", "gunicorn_conf", "cli_keys", "cli"),
]


def imported_by(module: str) -> set[str]:
    """The modules of this package that a module imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gateway":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gateway."):
            found.add(node.module.removeprefix("gateway."))
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("gateway") for alias in node.names)
    return found


def test_every_module_has_its_place() -> None:
    assert sorted(LAYERS) == sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("module", LAYERS)
def test_a_module_imports_only_from_those_before_it(module: str) -> None:
    assert imported_by(module) <= set(LAYERS[: LAYERS.index(module)])


def test_what_is_offered_is_there() -> None:
    assert all(hasattr(gateway, name) for name in gateway.__all__)
    assert gateway.__all__ == sorted(gateway.__all__)


def test_the_package_imports_no_more_than_its_base_dependencies() -> None:
    code = "import sys, gateway; print(*{name.partition('.')[0] for name in sys.modules})"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"gunicorn", "webtest", "flask", "django"}.intersection(printed.stdout.split())
