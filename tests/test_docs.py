"""What the documents show works as it stands there, and their links lead somewhere."""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webtest
from markdown_it import MarkdownIt

from gateway import Settings, TokenCreator
from gateway.upstream import Upstream
from tests.integration.servers import ROOT, run
from tests.pages import DOCS, blocks, name_of, run_page
from tests.support import KEY

PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
ALL = [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / "examples" / "README.md"]
MARKDOWN = MarkdownIt("commonmark").enable("table")
LEADING = {"link_open", "image"}
ELSEWHERE = re.compile(r"[a-z]+:")  # a link with a scheme


def called(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=called)
def test_what_a_page_shows_is_so(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_block_of_a_page_is_looked_at(page: Path) -> None:
    """None is indented, and so without a language."""
    tokens = MARKDOWN.parse(page.read_text("utf-8"))
    assert blocks(page) == [(t.info, t.content) for t in tokens if t.type in {"fence", "code_block"}]


@functools.cache
def anchors(path: Path) -> frozenset[str]:
    """What the headings of a file are called in links, as forges and the built pages call them."""
    tokens = MARKDOWN.parse(path.read_text("utf-8"))
    titles = [title for token, title in itertools.pairwise(tokens) if token.type == "heading_open"]
    plain = ("".join(part.content for part in title.children or ()) for title in titles)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain)


def targets(path: Path) -> Iterator[str]:
    """Where the links and pictures of a file lead."""
    parts = (part for token in MARKDOWN.parse(path.read_text("utf-8")) for part in token.children or ())
    return (str(part.attrs.get("href") or part.attrs["src"]) for part in parts if part.type in LEADING)


@pytest.mark.parametrize("page", ALL, ids=called)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in itertools.filterfalse(ELSEWHERE.match, targets(page)):
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def shown(page: str, language: str) -> list[str]:
    """What the blocks of a page in this language hold."""
    return [source for spoken, source in blocks(DOCS / page) if spoken == language]


def test_the_policy_file_that_is_shown_keeps_issuers_apart(tmp_path: Path) -> None:
    (policy,) = shown("keys.md", "toml")
    (tmp_path / "policy.toml").write_text(policy, "utf-8")
    settings = Settings(token_key=KEY, policy_file=str(tmp_path / "policy.toml"))
    assert [rules.uid_prefix for rules in settings.issuers] == ["staff:", "partner:"]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names of the page on sessions, where its own login is public."""
    return run_page(DOCS / "sessions.md", tmp_path_factory.mktemp("sessions"), GATEWAY_PUBLIC_PATHS="/login")


def test_the_login_function_that_is_shown_knows_its_user_alone(sessions: dict[str, Any]) -> None:
    check = sessions["check"]
    assert check(12, "correct horse battery staple") == {"role": "editor"}
    assert (
        check(12, "another")
        is check(13, "")
        is check(12, "é")
        is check("12", "correct horse battery staple")
        is None
    )


def test_the_login_of_the_apps_own_that_is_shown_makes_tokens(sessions: dict[str, Any]) -> None:
    sessions["known_to_my_app"] = lambda user, password: password == "right"
    client = webtest.TestApp(sessions["app"])
    form = {"user": "anna", "password": "right"}
    token = client.post("/login", form).json["token"]
    assert TokenCreator(token_key=KEY).decode_token(token)["role"] == "editor"
    assert client.post("/login", form | {"password": "wrong"}, status=401)
    client.get("/", headers={"Authorization": f"Bearer {token}", "uid": "anna"}, status=404)


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
    tests = shown("testing.md", "python")
    files: dict[str, str] = {str(name_of(text)): text for text in tests}
    assert len(files) == len(tests)
    (tmp_path / "mysite").mkdir()
    for name, text in {**files, **DJANGO, "pytest.ini": "[pytest]\n"}.items():
        (tmp_path / name).write_text(text, "utf-8")
    warnings = ("-W", "error", "-W", "ignore:'cgi' is deprecated:DeprecationWarning")
    ended = run(tmp_path, sys.executable, "-m", "pytest", "-q", *warnings, PYTHONPATH=str(ROOT))
    expected = sum(text.count("\ndef test_") for text in tests)
    assert f"{expected} passed" in ended.stdout, ended.stdout


def test_the_module_that_is_shown_holds_a_server_elsewhere(tmp_path: Path) -> None:
    assert isinstance(run_page(DOCS / "upstream.md", tmp_path)["app"], Upstream)
