"""The gateway's own endpoints."""

from __future__ import annotations

import pytest

from tests.support import Guarded


def test_health_says_ok_without_credentials() -> None:
    response = Guarded().send("/auth/health")
    assert (response.status_int, response.json) == (200, {"status": "ok"})


def test_health_is_json_not_to_be_stored() -> None:
    response = Guarded().send("/auth/health")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Length"] == str(len(response.body))


def test_health_gives_head_the_same_headers_and_no_body() -> None:
    guarded = Guarded()
    get, head = guarded.send("/auth/health"), guarded.send("/auth/health", method="HEAD")
    assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")


def test_credentials_make_no_difference() -> None:
    assert Guarded().request("/auth/health", token="bad").status_int == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_told_the_right_ones(method: str) -> None:
    response = Guarded().send("/auth/health", method=method)
    assert response.status_int == 405
    assert response.json == {"error": "Method Not Allowed", "code": "method_not_allowed"}
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        *("/auth", "/auth/", "/auth/nothing", "/auth/health/", "/auth/health/x", "/auth//health"),
        *("/auth/../secret", "/auth/%2e%2e/secret", "/auth/HEALTH", "/auth/health;x", "/auth/he%00alth"),
        *("/auth/jwks.json", "/auth/verify", "/auth/revoke", "/auth/%FF"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_path_at_or_under_the_prefix_is_not_found(path: str, method: str) -> None:
    guarded = Guarded(public_paths=["/*"])
    response = guarded.send(path, method=method)
    assert response.status_int == 404
    assert response.json == {"error": "Not Found", "code": "not_found"}
    assert guarded.reached == 0


@pytest.mark.parametrize("path", ["/authx", "/AUTH/health", "/x/auth/health", "//auth/health", "/health"])
def test_a_path_beside_the_prefix_is_the_apps(path: str) -> None:
    guarded = Guarded()
    assert guarded.request(path).body == b"from the app"


def test_the_prefix_can_be_another() -> None:
    guarded = Guarded(prefix="/_gateway/v1")
    assert guarded.send("/_gateway/v1/health").json == {"status": "ok"}
    assert guarded.request("/auth/health").body == b"from the app"


def test_an_empty_prefix_turns_all_endpoints_off() -> None:
    guarded = Guarded(prefix="")
    assert guarded.send("/auth/health").status_int == 400
    assert guarded.request("/health").body == b"from the app"


def test_the_prefix_counts_below_the_mount_point() -> None:
    response = Guarded().client.get("/auth/health", extra_environ={"SCRIPT_NAME": "/mounted"})
    assert response.json == {"status": "ok"}
