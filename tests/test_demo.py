"""The demo app, behind the gateway."""

from __future__ import annotations

from typing import Any

import pytest
import webtest

from gateway import Settings, TokenCreator
from gateway.loading import build
from tests.support import KEY


class Visitor:
    """Calls the demo, with a good token where asked to."""

    def __init__(self, **options: Any) -> None:
        settings = Settings(**{"token_key": KEY, **options})
        self.token = TokenCreator(settings).create(uid=12, role="editor")
        self.client = webtest.TestApp(build(settings))

    def get(
        self, path: str, signed_in: bool = True, method: str = "GET", **headers: str
    ) -> webtest.TestResponse:
        if signed_in:
            headers |= {"Authorization": f"Bearer {self.token}", "uid": "12"}
        return self.client.request(path, method=method, headers=headers, expect_errors=True)


@pytest.fixture
def visitor() -> Visitor:
    return Visitor()


def test_the_welcome_page_is_public_and_says_how_to_call_the_rest(visitor: Visitor) -> None:
    answer = visitor.get("/", signed_in=False)
    assert (answer.status_int, answer.content_type) == (200, "text/plain")
    assert (
        'curl -i -H "Authorization: Bearer $TOKEN" -H "uid: admin" http://localhost:80/secret' in answer.text
    )


def test_the_health_page_is_public(visitor: Visitor) -> None:
    assert visitor.get("/health-of-app", signed_in=False).json == {"status": "ok"}


@pytest.mark.parametrize("path", ["/secret", "/whoami", "/nothing"])
def test_any_other_page_asks_for_credentials(path: str, visitor: Visitor) -> None:
    assert visitor.get(path, signed_in=False).json["code"] == "missing_credentials"


def test_the_secret_page_answers_the_token_to_use_next(visitor: Visitor) -> None:
    assert visitor.get("/secret").json == {"data": visitor.token}


def test_the_token_to_use_next_is_found_under_any_header_name() -> None:
    visitor = Visitor(token_header="X-Next-Token")
    assert visitor.get("/secret").json == {"data": visitor.token}


def test_the_whoami_page_answers_what_the_gateway_told_the_app(visitor: Visitor) -> None:
    answer = visitor.get("/whoami").json
    claims = answer.pop("gateway.claims")
    assert (claims["uid"], claims["role"]) == (12, "editor")
    assert answer == {
        "HTTP_X_REFRESHED_TOKEN": visitor.token,
        "HTTP_UID": "12",
        "REMOTE_USER": "12",
        "AUTH_TYPE": "Bearer",
    }


@pytest.mark.parametrize(("path", "signed_in"), [("/nothing", True), ("/demo/nothing", False)])
def test_an_unknown_path_is_404(path: str, signed_in: bool, visitor: Visitor) -> None:
    assert visitor.get(path, signed_in).status_int == 404


@pytest.mark.parametrize("path", ["/", "/health-of-app", "/secret", "/whoami"])
def test_a_wrong_method_is_405(path: str, visitor: Visitor) -> None:
    answer = visitor.get(path, method="POST")
    assert (answer.status_int, sorted(answer.headers["Allow"].split(", "))) == (405, ["GET", "HEAD"])


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "[::1", "a/b", "<x>", "a:b:c", "a..b", ".", "x" * 300, "\xff", "xn--a"]
)
@pytest.mark.parametrize("path", ["/", "/secret", "/nothing"])
def test_a_bad_host_header_is_no_500(path: str, host: str, visitor: Visitor) -> None:
    assert visitor.get(path, Host=host).status_int in (200, 400, 404)
