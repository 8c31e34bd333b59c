"""A page in a real browser reads the gateway's answers if its origin may, and not otherwise."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.servers import ANY_PORT, GUNICORN, SHIPPED, Server, serving
from tests.support import KEY

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.system

# What a script of the page can see of an answer; the name of the error where that is nothing.
FETCH = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    return {
      status: answer.status,
      body: await answer.text(),
      challenge: answer.headers.get("WWW-Authenticate"),
    };
  } catch (error) {
    return error.name;
  }
}
"""
UNREADABLE = "TypeError"


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def page_server() -> Iterator[str]:
    """An origin of its own with an empty page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def origins() -> Iterator[tuple[str, str]]:
    """An origin with leave, and one without."""
    with page_server() as allowed, page_server() as other:
        yield allowed, other


@pytest.fixture(scope="module")
def gateway(origins: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("gateway")
    variables = {
        "TOKEN_KEY": KEY,
        "GATEWAY_STATE_URL": "sqlite:///state.db",
        "GATEWAY_LOGIN": "login:check",
        "GATEWAY_CORS_ORIGINS": origins[0],
    }
    (folder / "login.py").write_text(
        "def check(uid, password):\n    return {} if password == 'right' else None\n"
    )
    with serving(folder, GUNICORN, *SHIPPED, *ANY_PORT, **variables) as server:
        yield server


class Pages:
    """Asks the gateway from pages of both origins."""

    def __init__(self, page: Page, origins: tuple[str, str], gateway: Server) -> None:
        self._page = page
        self._origins = origins
        self._gateway = gateway

    def ask(self, path: str, *, leave: bool, **options: Any) -> Any:
        """What a page with or without leave sees of an answer."""
        self._page.goto(self._origins[0 if leave else 1])
        return self._page.evaluate(FETCH, [f"http://127.0.0.1:{self._gateway.port}{path}", options])

    def log_in(self, password: str, *, leave: bool) -> Any:
        body = f'{{"uid": 12, "password": "{password}"}}'
        headers = {"Content-Type": "application/json"}  # by which the browser asks first
        return self.ask("/auth", leave=leave, method="POST", headers=headers, body=body)


@pytest.fixture
def pages(page: Page, origins: tuple[str, str], gateway: Server) -> Pages:
    return Pages(page, origins, gateway)


def test_a_page_with_leave_reads_a_rejection(pages: Pages) -> None:
    assert pages.ask("/secret", leave=True) == {
        "status": 400,
        "body": '{"error": "Bad Request", "code": "missing_credentials"}',
        "challenge": 'Bearer realm="gateway"',
    }


def test_any_other_page_reads_nothing_of_it(pages: Pages) -> None:
    assert pages.ask("/secret", leave=False) == UNREADABLE


def test_a_page_with_leave_reads_an_endpoint(pages: Pages) -> None:
    assert pages.ask("/auth/health", leave=True)["body"] == '{"status": "ok"}'
    assert pages.ask("/auth/health", leave=False) == UNREADABLE


def test_a_page_with_leave_logs_in_and_out(pages: Pages) -> None:
    answer = pages.log_in("right", leave=True)
    assert answer["status"] == 200
    token = answer["body"].split('"')[3]
    headers = {"Authorization": f"Bearer {token}", "uid": "12"}
    assert pages.ask("/auth/revoke", leave=True, method="POST", headers=headers)["status"] == 204


def test_a_page_with_leave_reads_why_a_login_failed(pages: Pages) -> None:
    assert pages.log_in("wrong", leave=True)["status"] == 401


def test_any_other_page_cannot_log_in(pages: Pages) -> None:
    assert pages.log_in("right", leave=False) == UNREADABLE
