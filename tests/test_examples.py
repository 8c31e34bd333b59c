"""The examples: one app in each framework, and all behave alike."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from wsgiref.types import WSGIApplication

import pytest
import webtest

from gateway import passwords
from tests.django_projects import in_force, project
from tests.integration.servers import ANY_PORT, ROOT, SCRIPTS, serving
from tests.support import KEY, MINUTE, Clock
from tests.test_passwords import CheapHasher

FOLDER = ROOT / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
PASSWORD = "correct horse battery stäple"
SETTINGS = {
    "TOKEN_KEY": KEY,
    "DEMO_PASSWORD": PASSWORD,
    "GATEWAY_POLICY_FILE": str(FOLDER / "policy.toml"),
}
SPOOFED = {"X-Refreshed-Token": "evil", "uid": "evil", "Remote-User": "evil", "Gateway.Claims": "evil"}
RUN = re.compile(r"^    export (.+)\n    (gunicorn .+)$", re.MULTILINE)


@functools.cache
def app_of(example: str, folder: Path) -> tuple[WSGIApplication, object]:
    """Import an example, once, and return it with its settings of Django. `folder` holds no `config.env`."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), project():
        warnings.filterwarnings("ignore", ".*pkg_resources")  # which Pyramid uses
        patch.chdir(folder)
        for variable, value in SETTINGS.items():
            patch.setenv(variable, value)
        app: WSGIApplication = importlib.import_module(f"examples.{example}").app
        return app, in_force()


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


class Visitor:
    """Calls an example, with WebTest's lint between."""

    def __init__(self, app: WSGIApplication) -> None:
        self._client = webtest.TestApp(app)

    def log_in(
        self, uid: object = "anna", password: object = PASSWORD, headers: Mapping[str, str] | None = None
    ) -> webtest.TestResponse:
        form = {"uid": uid, "password": password}
        return self._client.post("/login", form, headers=dict(headers or {}), expect_errors=True)

    def get(self, path: str, token: str | None = None, uid: str = "anna") -> webtest.TestResponse:
        headers = {} if token is None else {"Authorization": f"Bearer {token}", "uid": uid}
        return self._client.get(path, headers=headers, expect_errors=True)

    def post_raw(self, body: bytes, content_type: str) -> int:
        """Return the status of a login with this body."""
        answer = self._client.post("/login", body, content_type=content_type, expect_errors=True)
        status: int = answer.status_int
        return status


@pytest.fixture(params=EXAMPLES)
def visitor(
    request: pytest.FixtureRequest, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Visitor]:
    monkeypatch.setattr(passwords, "hasher", CheapHasher())
    app, configured = app_of(request.param, empty_folder)
    with project(configured):
        yield Visitor(app)


def token(scope: str | None = None, *, age_min: int = 0) -> str:
    """A token of anna's that was made so many minutes ago."""
    clock = Clock(token_key=KEY)
    clock.time = time.time() - age_min * MINUTE
    return clock.create("anna", {} if scope is None else {"scope": scope})


def test_there_is_one_for_each_framework() -> None:
    assert EXAMPLES == ["bottle_app", "django_app", "falcon_app", "flask_app", "plain_app", "pyramid_app"]


def test_the_right_password_gives_a_token_for_everything(visitor: Visitor) -> None:
    answer = visitor.log_in()
    assert (answer.status_int, answer.headers["Cache-Control"]) == (200, "no-store")
    assert visitor.get("/me", answer.json["token"]).json == {"uid": "anna"}
    assert visitor.get("/reports", answer.json["token"]).json == {
        "reader": "anna",
        "reports": ["spring", "autumn"],
    }


@pytest.mark.parametrize(
    ("uid", "password"),
    [
        pytest.param("anna", "another", id="wrong password"),
        pytest.param("anna", "", id="empty password"),
        pytest.param("ben", PASSWORD, id="nobody's uid"),
        pytest.param("None", "None", id="nobody's, called None"),
        pytest.param("anna\n", PASSWORD, id="almost her uid"),
    ],
)
def test_a_wrong_login_is_401_with_a_challenge(visitor: Visitor, uid: str, password: str) -> None:
    answer = visitor.log_in(uid, password)
    assert (answer.status_int, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="example"')
    assert "token" not in answer.json


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"", "application/x-www-form-urlencoded", id="nothing"),
        pytest.param(b"uid=anna", "application/x-www-form-urlencoded", id="no password"),
        pytest.param(b"uid=anna&uid=ben&password=x", "application/x-www-form-urlencoded", id="two uids"),
        pytest.param(b"uid=%ff&password=%ff", "application/x-www-form-urlencoded", id="no UTF-8"),
        pytest.param(b"uid=anna&password=%00", "application/x-www-form-urlencoded", id="a NUL"),
        pytest.param(b"[]", "application/json", id="JSON"),
        pytest.param(b"--x--\r\n", "multipart/form-data; boundary=x", id="empty parts"),
        pytest.param(
            b'--x\r\nContent-Disposition: form-data; name="uid"; filename="f"\r\n\r\nanna\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            id="a file",
        ),
    ],
)
def test_a_login_that_is_no_form_is_the_clients_fault(
    visitor: Visitor, body: bytes, content_type: str
) -> None:
    assert visitor.post_raw(body, content_type) in (400, 401, 415)


@pytest.mark.parametrize("path", ["/me", "/reports"])
def test_without_a_token_nothing_is_told(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    assert (answer.status_int, answer.json["code"]) == (400, "missing_credentials")


def test_whoever_has_a_token_is_told_the_uid(visitor: Visitor) -> None:
    assert visitor.get("/me", token()).json == {"uid": "anna"}


def test_with_anothers_uid_nothing_is_told(visitor: Visitor) -> None:
    assert visitor.get("/me", token(), uid="ben").json["code"] == "uid_mismatch"


@pytest.mark.parametrize("scope", ["reports:read", "other reports:read"])
def test_reports_are_for_whoever_has_the_scope(visitor: Visitor, scope: str) -> None:
    assert visitor.get("/reports", token(scope)).status_int == 200


@pytest.mark.parametrize("scope", [None, "", "reports:write", "reports"])
def test_reports_are_for_nobody_without_the_scope(visitor: Visitor, scope: str | None) -> None:
    answer = visitor.get("/reports", token(scope))
    assert (answer.status_int, answer.json["error"]) == (403, "Insufficient Scope")
    assert answer.json["code"] == "insufficient_scope"


@pytest.mark.parametrize("logged_in", [True, False])
def test_a_path_that_no_route_names_is_refused(visitor: Visitor, logged_in: bool) -> None:
    answer = visitor.get("/elsewhere", token() if logged_in else None)
    assert (answer.status_int, answer.json["code"]) == (403, "no_route")


def test_a_token_that_is_due_is_renewed(visitor: Visitor) -> None:
    answer = visitor.get("/me", token(age_min=20))
    assert answer.headers["Cache-Control"] == "no-store"
    assert visitor.get("/me", answer.headers["X-Refreshed-Token"]).json == {"uid": "anna"}


def test_what_only_the_gateway_may_set_reaches_no_app(visitor: Visitor) -> None:
    """The environ is the one that the app was called with."""
    answer = visitor.log_in(headers=SPOOFED)
    assert answer.status_int == 200
    assert "evil" not in answer.request.environ.values()


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_is_served_as_its_docstring_says(example: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    variables, command = command_of(example)
    program, *arguments = command
    with serving(
        tmp_path, SCRIPTS / program, *arguments, *ANY_PORT, PYTHONPATH=str(ROOT), **variables
    ) as server:
        assert server.ask("/me").refusal == (400, "missing_credentials")
        answer = server.ask("/me", f"Authorization: Bearer {token()}", "uid: anna")
        assert (answer.status, b'"anna"' in answer.body) == (200, True)


def command_of(example: str) -> tuple[dict[str, str], list[str]]:
    """The variables and the command in a docstring, with a value for each `...`."""
    (found,) = RUN.findall((FOLDER / f"{example}.py").read_text("utf-8"))
    exported, command = map(shlex.split, found)
    given = dict(assignment.split("=", 1) for assignment in exported)
    return {name: SETTINGS[name] if value == "..." else value for name, value in given.items()}, command


def test_the_readme_lists_every_file() -> None:
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    listed = set(re.findall(r"\]\(([^)#]+)", (FOLDER / "README.md").read_text("utf-8")))
    assert {name for name in files if "__pycache__" not in name} - {"README.md"} <= listed


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_docstring_and_the_readme_say_alike_how_it_is_served(example: str) -> None:
    _, command = command_of(example)
    assert f"| `{shlex.join(command)}` |" in (FOLDER / "README.md").read_text("utf-8")
    assert command[-1] == f"examples.{example}:app"
