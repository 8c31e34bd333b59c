"""The README's snippets do what it says they do."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import webtest

from gateway import TokenCreator
from gateway.rejections import RULES
from tests.integration.servers import ANY_PORT, GUNICORN, ROOT, SCRIPTS, SHIPPED, run, serving
from tests.pages import as_pattern, blocks
from tests.support import KEY

README = ROOT / "README.md"
SNIPPETS = blocks(README)
SHOWN = "the-one-that-make-run-has-shown"
END_OF_STEP = "-- end of step --"


def walk() -> list[tuple[str, str]]:
    """Each shell snippet with the output that is shown below it."""
    steps = [(kind, text) for kind, text in SNIPPETS if kind in {"sh", "text"}]
    assert [kind for kind, _ in steps] == ["sh", "text"] * (len(steps) // 2)
    return list(zip((t for k, t in steps if k == "sh"), (t for k, t in steps if k == "text"), strict=True))


def test_the_walk_answers_as_shown(tmp_path: Path) -> None:
    assert shutil.which("curl"), "curl is needed: it is what the README uses"
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "gateway").symlink_to(SCRIPTS / "gateway")
    made = run(tmp_path, commands / "gateway", "init").stdout
    (password,) = re.findall(r"is shown only now, is (\S+)", made)
    steps = walk()
    script = "".join(f"{typed}\necho '{END_OF_STEP}'\n" for typed, _ in steps)
    with serving(tmp_path, GUNICORN, *SHIPPED, *ANY_PORT) as server:
        script = script.replace(":8000", f":{server.port}").replace(SHOWN, password)
        done = run(tmp_path, "bash", "-c", script)
    printed = done.stdout.replace("\r", "").split(f"{END_OF_STEP}\n")
    assert len(printed) == len(steps) + 1, done.stderr
    for (typed, shown), real in zip(steps, printed, strict=False):
        assert re.fullmatch(as_pattern(shown), real), f"{typed}\nshown:\n{shown}\nreal:\n{real}"


def snippet(marker: str) -> dict[str, Any]:
    """Run the one Python snippet that has `marker` in it, and return its names."""
    (code,) = [text for kind, text in SNIPPETS if kind == "python" and marker in text]
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN_KEY", KEY)


def test_a_flask_app_is_guarded_in_one_line() -> None:
    app = snippet("Flask(")["app"]
    app.add_url_rule("/", view_func=lambda: "from the view")
    check_guarded(app, b"from the view")


def test_a_bare_wsgi_app_is_guarded_in_one_line() -> None:
    client = webtest.TestApp(snippet("def app(")["app"])
    assert client.get("/", expect_errors=True).json["code"] == "missing_credentials"


def check_guarded(app: Any, body: bytes) -> None:
    """Check that an app is guarded, and answers with `body` to whom it should."""
    client = webtest.TestApp(app)
    assert client.get("/", expect_errors=True).json["code"] == "missing_credentials"
    token = TokenCreator(token_key=KEY).create(uid=12)
    assert client.get("/", headers={"Authorization": f"Bearer {token}", "uid": "12"}).body == body


DJANGO = """
import sys
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("from the view"))]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
from tests.test_readme import check_guarded, snippet
check_guarded(snippet("django")["application"], b"from the view")
"""


def test_a_django_app_is_guarded_in_one_line(tmp_path: Path) -> None:
    """In a process of its own: Django is configured once."""
    done = run(tmp_path, sys.executable, "-c", DJANGO, TOKEN_KEY=KEY, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr


def test_tokens_are_made_read_and_renewed() -> None:
    names = snippet("TokenCreator(")
    assert names["claims"]["role"] == "editor"
    assert names["next_token"] == names["token"]


def test_every_rejection_is_listed() -> None:
    text = README.read_text("utf-8")
    for rule in RULES:
        assert f"| {rule.status} | `{rule.error}` | `{rule.code}` |" in text
