"""The client for browsers that the page about wrapping shows, in a real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from gateway import TokenCreator
from tests.integration.servers import ANY_PORT, GUNICORN, SHIPPED, Server, serving
from tests.pages import DOCS, blocks, name_of
from tests.support import KEY, in_use

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.system

# A page, the client, and an answer with the token that came.
SITE = """\
import pathlib

FILES = {
    "/": ("text/html", b"<!doctype html><title>a page</title>"),
    "/client.js": ("text/javascript", pathlib.Path("client.js").read_bytes()),
}

def app(environ, start_response):
    token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    kind, body = FILES.get(environ["PATH_INFO"], ("text/plain", token.encode()))
    status = "302 Found" if environ["PATH_INFO"] == "/away" else "200 OK"
    start_response(status, [("Content-Type", kind), ("Location", "http://elsewhere.example/")])
    return [body]
"""
ASK = """
async ([token, paths]) => {
  const { Client } = await import("/client.js");
  const client = new Client(location.href, "12", token);
  const said = [];
  for (const path of paths)
    said.push(await client.fetch(path).then((answer) => answer.text(), (error) => error.name));
  return said;
}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    (client,) = [text for _, text in blocks(DOCS / "wrapping.md") if name_of(text) == "client.js"]
    (folder / "client.js").write_text(client, "utf-8")
    (folder / "pages.py").write_text(SITE)
    settings = {"GATEWAY_APP": "pages:app", "GATEWAY_PUBLIC_PATHS": "/,/client.js", "TOKEN_KEY": KEY}
    with serving(folder, GUNICORN, *SHIPPED, *ANY_PORT, **settings) as server:
        yield server


def ask(page: Page, site: Server, token: str, *paths: str) -> Any:
    page.goto(f"http://127.0.0.1:{site.port}/")
    return page.evaluate(ASK, [token, list(paths)])


def test_it_goes_on_with_the_last_token_that_it_was_given(page: Page, site: Server) -> None:
    token = in_use(5)
    first, second, third = ask(page, site, token, "/me", "/me", "/me")
    assert first == token
    assert second == third != token
    assert TokenCreator(token_key=KEY).decode_token(second)["uid"] == 12


def test_it_gives_the_token_to_no_other_origin(page: Page, site: Server) -> None:
    assert ask(page, site, in_use(), "http://localhost/me", "//localhost/me", "/away") == ["TypeError"] * 3
