"""The wheel: what is in it, and that what it declares suffices where nothing else is installed."""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from gateway import TokenCreator
from tests.integration.servers import ANY_PORT, ROOT, SHIPPED, run, serving
from tests.support import KEY

PROJECT = "wsgi-auth-gateway"
SOURCES = (
    "gateway",
    "tests",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "wsgi.py",
    "gunicorn.conf.py",
)
IMPORT_ALL = """\
import importlib, pkgutil, gateway
OF_EXTRAS = {"passwords", "users", "stores.redis", "connections", "upstream", "metrics"}
OF_OTHERS = {"flask", "traces", "testing.webtest", "testing.flask", "testing.django", "testing.plugin"}
for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
    if module.name.removeprefix("gateway.") not in OF_EXTRAS | OF_OTHERS:
        importlib.import_module(module.name)
"""


class Bare(NamedTuple):
    """A virtual environment without pip: its interpreter, and the command that the wheel installs."""

    python: Path
    gateway: Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources and without a network."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source, copy = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    built = run(folder, sys.executable, "-m", "build", "--wheel", "--no-isolation")
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = (folder / "dist").iterdir()
    return found


def installed(folder: Path, wheel: Path, extra: str) -> Bare:
    """A new environment with the wheel and what it declares for an extra, "" for none."""
    run(folder, sys.executable, "-m", "venv", "--without-pip", "bare").check_returncode()
    python = folder / "bare" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel)
    run(folder, *pip).check_returncode()
    (site,) = (folder / "bare" / "lib").glob("python3*/site-packages")
    (distribution,) = metadata.distributions(name=PROJECT, path=[str(site)])
    copy_requirements(distribution, {extra}, site)
    return Bare(python, python.with_name("gateway"))


def copy_requirements(distribution: metadata.Distribution, extras: set[str], site: Path) -> None:
    """Copy from this environment all that a distribution requires with these extras, however indirectly."""
    for requirement in map(Requirement, distribution.requires or ()):
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        required = metadata.distribution(requirement.name)
        if not list(metadata.distributions(name=requirement.name, path=[str(site)])):
            copy_files(required, site)
            copy_requirements(required, requirement.extras, site)


def copy_files(distribution: metadata.Distribution, site: Path) -> None:
    """Copy a distribution's files, save those beside the packages, as its commands."""
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(file.locate())), site / file)


@pytest.fixture(scope="module")
def bare_server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    return installed(tmp_path_factory.mktemp("server"), wheel, "server")


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    return installed(tmp_path_factory.mktemp("no_extra"), wheel, "")


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_and_nothing_else(names: set[str]) -> None:
    """No tests, and none of the checkout's doors."""
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == package


def test_the_wheel_says_that_it_is_typed(names: set[str]) -> None:
    assert "gateway/py.typed" in names


def test_the_wheel_holds_the_files_of_the_playground(names: set[str]) -> None:
    assert {"index.html", "playground.css", "playground.js", "icon.svg"} <= {
        name.removeprefix("gateway/demo/static/") for name in names
    }


def test_the_wheel_holds_the_license(names: set[str]) -> None:
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_package_works_without_an_extra(tmp_path: Path, bare: Bare) -> None:
    code = f"import gateway; print(gateway.TokenCreator(token_key={KEY!r}).create(uid=12))"
    made = run(tmp_path, bare.python, "-W", "error", "-c", code)
    assert TokenCreator(token_key=KEY).decode_token(made.stdout.strip())["uid"] == 12


def test_every_module_imports_with_the_extra(tmp_path: Path, bare_server: Bare) -> None:
    imported = run(tmp_path, bare_server.python, "-W", "error", "-c", IMPORT_ALL, TOKEN_KEY=KEY)
    assert (imported.returncode, imported.stderr) == (0, "")


@pytest.mark.parametrize(
    ("extra", "module"),
    [("metrics", "metrics"), ("redis", "stores.redis"), ("users", "users"), ("users", "passwords")],
)
def test_a_module_of_an_extra_imports_with_it(tmp_path: Path, wheel: Path, extra: str, module: str) -> None:
    with_extra = installed(tmp_path, wheel, extra)
    imported = run(tmp_path, with_extra.python, "-W", "error", "-c", f"import gateway.{module}")
    assert (imported.returncode, imported.stderr) == (0, "")


@pytest.mark.parametrize(
    ("extra", "variable", "url"),
    [
        ("redis", "GATEWAY_STATE_URL", "redis://127.0.0.1/0"),
        ("users", "GATEWAY_USERS_URL", "sqlite:///users.db"),
    ],
)
def test_an_address_without_the_extra_says_which_one_is_missing(
    tmp_path: Path, bare: Bare, extra: str, variable: str, url: str
) -> None:
    settings = {"TOKEN_KEY": KEY, "GATEWAY_STATE_URL": "sqlite:///state.db"} | {variable: url}
    ended = run(tmp_path, bare.gateway, "check", **settings)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: {variable} needs the extra {extra}: pip install 'wsgi-auth-gateway[{extra}]'\n"
    )


def test_sessions_in_a_file_need_no_extra(tmp_path: Path, bare: Bare) -> None:
    settings = {"TOKEN_KEY": KEY, "GATEWAY_STATE_URL": "sqlite:///state.db"}
    ended = run(tmp_path, bare.gateway, "sessions", "revoke", "--uid", "12", **settings)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_command_tells_the_version_of_the_wheel(tmp_path: Path, wheel: Path, bare: Bare) -> None:
    version = wheel.name.split("-")[1]
    assert run(tmp_path, bare.gateway, "--version").stdout == f"{PROJECT} {version}\n"


def test_serve_without_the_extra_says_which_one_is_missing(tmp_path: Path, bare: Bare) -> None:
    ended = run(tmp_path, bare.gateway, "serve", TOKEN_KEY=KEY)
    assert ended.returncode == 3
    assert ended.stderr == "error: gunicorn is not installed; pip install 'wsgi-auth-gateway[server]'\n"


def test_an_asymmetric_algorithm_without_the_extra_says_which_one_is_missing(
    tmp_path: Path, bare: Bare
) -> None:
    settings = {"GATEWAY_ALGORITHM": "EdDSA", "GATEWAY_KEY_DIR": "keys"}
    for command, code in (("check", 1), ("keys generate", 3)):
        ended = run(tmp_path, bare.gateway, *command.split(), **settings)
        assert ended.returncode == code
        assert ended.stderr == (
            "error: GATEWAY_ALGORITHM is 'EdDSA', which needs the extra crypto:"
            " pip install 'wsgi-auth-gateway[crypto]'\n"
        )


def test_from_init_to_a_request_that_is_served(tmp_path: Path, bare_server: Bare) -> None:
    """With nothing but the wheel: settings and a token by the command, and gunicorn to serve."""
    run(tmp_path, bare_server.gateway, "init").check_returncode()
    token = run(tmp_path, bare_server.gateway, "token", "create", "--uid", "12").stdout.strip()
    with serving(tmp_path, bare_server.python, "-m", "gunicorn", *ANY_PORT, *SHIPPED) as server:
        assert server.ask("/health-of-app").status == 200
        assert server.ask("/secret", f"Authorization: Bearer {token}", "uid: 12").json == {"data": token}
        assert server.ask("/secret").refusal == (400, "missing_credentials")
        assert b"<title>Playground" in server.ask("/", "Accept: text/html").body


def test_the_command_serves(tmp_path: Path, bare_server: Bare) -> None:
    with serving(tmp_path, bare_server.gateway, "serve", "--", *ANY_PORT, TOKEN_KEY=KEY) as server:
        assert server.ask("/auth/health").status == 200
