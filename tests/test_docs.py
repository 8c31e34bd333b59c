"""What the documents show works as it stands there."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import webtest

from gateway import Settings, TokenCreator
from gateway.upstream import Upstream
from tests.integration.servers import ROOT, SCRIPTS, run
from tests.support import KEY

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
SESSIONS = PYTHON.findall((ROOT / "docs" / "sessions.md").read_text("utf-8"))
UPSTREAM = PYTHON.findall((ROOT / "docs" / "upstream.md").read_text("utf-8"))


def test_the_policy_file_that_is_shown_is_sound(tmp_path: Path) -> None:
    (shown,) = TOML.findall((ROOT / "docs" / "keys.md").read_text("utf-8"))
    (tmp_path / "policy.toml").write_text(shown, "utf-8")
    settings = Settings(token_key=KEY, policy_file=str(tmp_path / "policy.toml"))
    assert [rules.uid_prefix for rules in settings.issuers] == ["staff:", "partner:"]


def test_the_explanations_that_are_shown_are_given(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "policy.md").read_text("utf-8")
    (tmp_path / "policy.toml").write_text("".join(TOML.findall(page)), "utf-8")
    (typed,), (shown,) = SHELL.findall(page), TEXT.findall(page)
    variables = {
        "TOKEN_KEY": KEY,
        "GATEWAY_POLICY_FILE": "policy.toml",
        "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
    }
    done = run(tmp_path, "bash", "-c", typed, **variables)
    assert done.stdout == shown
    assert done.returncode == 1  # of the last, which is refused


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def names_of(shown: str, **given: Any) -> dict[str, Any]:
    """Run what is shown, and return its names."""
    names: dict[str, Any] = {"__name__": "shown", **given}
    exec(compile(shown, "docs", "exec"), names)
    return names


def test_the_login_function_that_is_shown_knows_its_user_alone() -> None:
    check = names_of(SESSIONS[0])["check"]
    assert check(12, "correct horse battery staple") == {"role": "editor"}
    assert (
        check(12, "another")
        is check(13, "")
        is check(12, "é")
        is check("12", "correct horse battery staple")
        is None
    )


def test_the_login_of_the_apps_own_that_is_shown_makes_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", KEY)
    monkeypatch.setenv("GATEWAY_PUBLIC_PATHS", "/login")
    known = {"known_to_my_app": lambda user, password: password == "right"}
    client = webtest.TestApp(names_of(SESSIONS[1], **known)["app"])
    form = {"user": "anna", "password": "right"}
    token = client.post("/login", form).json["token"]
    assert TokenCreator(token_key=KEY).decode_token(token)["role"] == "editor"
    assert client.post("/login", form | {"password": "wrong"}, status=401)
    client.get("/", headers={"Authorization": f"Bearer {token}", "uid": "anna"}, status=404)


NAMED = re.compile(r"# (\w+\.py)\n")
DJANGO = {
    "mysite/urls.py": """\
from django.http import JsonResponse
from django.urls import path

urlpatterns = [path("reports", lambda request: JsonResponse({"reader": request.META["REMOTE_USER"]}))]
""",
    "mysite/wsgi.py": f"""\
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from gateway import AuthGateway, Settings

settings.configure(ROOT_URLCONF="mysite.urls", SECRET_KEY="secret", ALLOWED_HOSTS=["*"])
application = AuthGateway(get_wsgi_application(), Settings(token_key={KEY!r}))
""",
}


def test_the_tests_that_are_shown_pass(tmp_path: Path) -> None:
    shown = PYTHON.findall((ROOT / "docs" / "testing.md").read_text("utf-8"))
    files = {NAMED.match(text)[1]: text for text in shown}  # type: ignore[index]
    assert len(files) == len(shown)
    (tmp_path / "mysite").mkdir()
    for name, text in {**files, **DJANGO, "pytest.ini": "[pytest]\n"}.items():
        (tmp_path / name).write_text(text, "utf-8")
    warnings = ("-W", "error", "-W", "ignore:'cgi' is deprecated:DeprecationWarning")
    ended = run(tmp_path, sys.executable, "-m", "pytest", "-q", *warnings, PYTHONPATH=str(ROOT))
    expected = sum(text.count("\ndef test_") for text in shown)
    assert f"{expected} passed" in ended.stdout, ended.stdout


def test_the_module_that_is_shown_holds_a_server_elsewhere() -> None:
    (shown,) = UPSTREAM
    assert isinstance(names_of(shown)["app"], Upstream)
