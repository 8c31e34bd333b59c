"""How a renewed token is announced in the app's response."""

from __future__ import annotations

import pytest

from gateway.responses import Announcer

Headers = list[tuple[str, str]]
ADDED = [("Cache-Control", "no-store"), ("X-Refreshed-Token", "new")]


def announced(headers: Headers) -> Headers:
    return Announcer("X-Refreshed-Token").announced(headers, "new")


def test_the_token_is_added_and_the_rest_stays_in_order() -> None:
    headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert announced(headers) == headers + ADDED


def test_the_apps_own_list_is_left_alone() -> None:
    headers = [("Cache-Control", "public")]
    announced(headers)
    assert headers == [("Cache-Control", "public")]


@pytest.mark.parametrize(
    "name",
    [
        *("Cache-Control", "cache-control", "CDN-Cache-Control", "Surrogate-Control"),
        *("Cloudflare-CDN-Cache-Control", "Fastly-Surrogate-Control", "X-Accel-Expires", "Edge-Control"),
    ],
)
def test_no_rule_of_the_apps_lets_a_shared_cache_keep_the_token(name: str) -> None:
    assert announced([(name, "public, max-age=600"), (name, "x")]) == ADDED


def test_a_header_that_only_ends_like_such_a_rule_stays() -> None:
    assert announced([("X-Knowledge-Control", "x")]) == [("X-Knowledge-Control", "x"), *ADDED]


def test_a_token_header_of_the_apps_own_gives_way() -> None:
    assert announced([("x-refreshed-token", "old")]) == ADDED


ORIGIN = ("Access-Control-Allow-Origin", "https://app.example")


@pytest.mark.parametrize(
    ("exposed", "expected"),
    [
        pytest.param([], "X-Refreshed-Token", id="none yet"),
        pytest.param([""], "X-Refreshed-Token", id="an empty list"),
        pytest.param(["X-A, X-B"], "X-A, X-B, X-Refreshed-Token", id="others"),
        pytest.param(["X-A", "X-B"], "X-A, X-B, X-Refreshed-Token", id="in two headers"),
        pytest.param(["x-refreshed-token, X-A"], "x-refreshed-token, X-A", id="this one already"),
        pytest.param(["*"], "*, X-Refreshed-Token", id="all, which says nothing with credentials"),
    ],
)
def test_a_page_of_another_origin_may_read_the_token(exposed: list[str], expected: str) -> None:
    headers = [ORIGIN, *(("access-control-expose-headers", value) for value in exposed)]
    assert announced(headers) == [ORIGIN, ("Access-Control-Expose-Headers", expected), *ADDED]


def test_nothing_is_exposed_where_the_app_did_not_answer_another_origin() -> None:
    assert "Access-Control-Expose-Headers" not in dict(announced([("Vary", "Origin")]))
