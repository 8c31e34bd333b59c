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
    *(
        "errors",
        "nearest",
        "forks",
        "breaker",
        "extras",
        "keys",
        "paths",
        "headers",
        "proxies",
        "envfile",
        "stores.urls",
    ),
    *("kinds", "table", "sources"),
    *("keyfolder", "policyfile", "policy", "crosschecks", "settings", "describe", "importing"),
    *("jws", "claims", "identity", "events", "cache", "issuers", "tokens"),
    *("stores", "stores.memory", "stores.sqlite", "stores.redis", "stores.bounded", "revocations"),
    *("passwords", "users", "directory", "throttle"),
    *("rejections", "responses", "claimheaders", "injection", "authentication", "login"),
    *("audit", "metrics", "traces", "watch"),
    *("crossorigin", "forwardauth", "openapi", "endpoints", "middleware", "flask"),
    *("forwarding", "connections", "upstream"),
    *("__init__", "demo.aging", "demo.facts", "demo.pages", "demo"),
    *("loading", "startup", "metricsfolder", "wsgi", "gunicorn_conf"),
    *("testing.clock", "testing.tokens", "testing.credentials", "testing.guarding"),
    *("testing.webtest", "testing.werkzeug", "testing.flask", "testing.django", "testing.clients"),
    *("testing", "testing.plugin"),
    *("cli_output", "cli_group", "cli_completion", "cli_claims", "cli_csv", "cli_verdicts"),
    *("cli_check", "cli_keys", "cli_sessions", "cli_users", "cli_tokens", "cli_explain", "cli"),
]


def path_of(module: str) -> Path:
    """Where a module of this package is."""
    path = PACKAGE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def names_of(imported: ast.ImportFrom) -> set[str]:
    """The modules that are meant: what is imported from a package may be one, or stand in it."""
    package = f"{imported.module}.".removeprefix("gateway.")
    return {
        f"{package}{alias.name}" if path_of(f"{package}{alias.name}").exists() else package.rstrip(".")
        for alias in imported.names
    }


def imported_by(module: str) -> set[str]:
    """The modules of this package that a module imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("gateway."):
            found |= names_of(node)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("gateway") for alias in node.names)
    return found


def modules() -> set[str]:
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


def test_every_module_has_its_place() -> None:
    assert sorted(LAYERS) == sorted(modules())


@pytest.mark.parametrize("module", LAYERS)
def test_a_module_imports_only_from_those_before_it(module: str) -> None:
    assert imported_by(module) <= set(LAYERS[: LAYERS.index(module)])


def test_what_is_offered_is_there() -> None:
    assert all(hasattr(gateway, name) for name in gateway.__all__)
    assert gateway.__all__ == sorted(gateway.__all__)


def loaded_by(statement: str) -> set[str]:
    """What is there of packages, and of modules of ours, once a fresh interpreter has run a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = printed.stdout.split()
    return {name for name in names if name.startswith("gateway.") or "." not in name}


def test_the_package_imports_no_more_than_its_base_dependencies() -> None:
    loaded = loaded_by("import gateway")
    assert not loaded & {
        *("gunicorn", "webtest", "flask", "django", "pytest"),
        *("redis", "sqlalchemy", "argon2", "urllib3", "prometheus_client", "opentelemetry"),
    }


def test_the_package_imports_nothing_for_tests() -> None:
    assert not any(name.startswith("gateway.testing") for name in loaded_by("import gateway"))


def test_helpers_for_tests_import_no_library_before_it_is_asked_for() -> None:
    assert not loaded_by("import gateway.testing") & {"pytest", "webtest", "flask", "django"}
