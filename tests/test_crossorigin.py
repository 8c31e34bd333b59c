"""Pages of other origins: which may read the gateway's own answers, and what they are told beforehand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import webtest

from tests.support import NOW, Guarded, Recorder, by_policy, claims, forge

ALLOWED = "https://app.example"
OTHER = "http://localhost:3000"
ORIGINS = (ALLOWED, OTHER)
STRANGERS = [
    *("https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example:443"),
    *("https://app.example.evil.example", "https://evil-app.example", "https://APP.example"),
    *("https://app.example/", "null", "*", f"{ALLOWED},{ALLOWED}", f"{ALLOWED}, {OTHER}", f" {ALLOWED}", ""),
]
EXPOSED = "X-Refreshed-Token, WWW-Authenticate, Retry-After"
GRANTS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods")


def guarded(**options: Any) -> Guarded:
    return Guarded(**{"cors_origins": ORIGINS, **options})


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method}


def grants(response: webtest.TestResponse) -> dict[str, str]:
    """What is granted, and `Vary`."""
    return {name: response.headers[name] for name in (*GRANTS, "Vary") if name in response.headers}


READABLE = {"Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"}
REFUSED = [
    pytest.param({}, 400, id="row 1"),
    pytest.param({"Authorization": "x", "uid": "12"}, 400, id="row 2"),
    pytest.param({"Authorization": "Bearer a.b.c", "uid": "12"}, 498, id="row 4"),
    pytest.param({"Authorization": f"Bearer {forge(claims(exp=int(NOW)))}", "uid": "12"}, 401, id="row 5"),
    pytest.param({"Authorization": f"Bearer {forge(claims())}", "uid": "13"}, 400, id="row 8"),
]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(("sent", "status"), REFUSED)
def test_a_page_of_an_allowed_origin_can_read_a_rejection(
    origin: str, sent: dict[str, str], status: int
) -> None:
    response = guarded().send("/x", sent | {"Origin": origin})
    assert response.status_int == status
    assert grants(response) == READABLE | {"Access-Control-Allow-Origin": origin}
    assert response.json["code"]


@pytest.mark.parametrize("origin", STRANGERS)
@pytest.mark.parametrize("path", ["/x", "/auth/health", "/auth/none"])
def test_any_other_is_granted_nothing(origin: str, path: str) -> None:
    assert grants(guarded().send(path, {"Origin": origin})) == {"Vary": "Origin"}


@pytest.mark.parametrize("path", ["/x", "/auth/health", "/auth/none"])
def test_caches_are_told_of_the_difference_where_no_origin_is_named_too(path: str) -> None:
    assert grants(guarded().send(path)) == {"Vary": "Origin"}


@pytest.mark.parametrize("path", ["/x", "/auth/health", "/auth/none"])
def test_without_allowed_origins_nothing_is_said(path: str) -> None:
    assert grants(Guarded().send(path, {"Origin": ALLOWED})) == {}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/auth/health", "GET", 200),
        ("/auth/health", "HEAD", 200),
        ("/auth/ready", "GET", 200),
        ("/auth/health", "POST", 405),
        ("/auth/none", "GET", 404),
        ("/auth/verify", "GET", 403),
        ("/auth/revoke", "POST", 400),
        ("/auth", "GET", 405),
    ],
)
def test_an_allowed_page_can_read_the_endpoints(path: str, method: str, status: int) -> None:
    gateway = guarded(state_url="memory://", login=lambda uid, password: None)
    response = gateway.send(path, {"Origin": ALLOWED}, method)
    assert response.status_int == status
    assert grants(response) == READABLE | {"Access-Control-Allow-Origin": ALLOWED}


def test_an_allowed_page_can_log_in_and_out() -> None:
    gateway = guarded(state_url="memory://", login=lambda uid, password: {})
    login = gateway.client.post("/auth", json.dumps({"uid": 12, "password": "x"}), {"Origin": ALLOWED})
    logout = gateway.request("/auth/revoke", token=login.json["token"], method="POST", Origin=ALLOWED)
    assert (login.status_int, logout.status_int) == (200, 204)
    assert grants(login) == grants(logout) == READABLE | {"Access-Control-Allow-Origin": ALLOWED}


def test_the_header_of_the_token_is_exposed_by_its_name() -> None:
    response = guarded(token_header="X-Next").send("/x", {"Origin": ALLOWED})
    assert response.headers["Access-Control-Expose-Headers"] == "X-Next, WWW-Authenticate, Retry-After"


def test_no_credentials_of_the_browser_are_asked_for() -> None:
    for path in ("/x", "/auth/health"):
        assert "Access-Control-Allow-Credentials" not in guarded().send(path, {"Origin": ALLOWED}).headers


@pytest.mark.parametrize("origin", [ALLOWED, STRANGERS[0]])
def test_the_apps_own_answers_are_left_alone(origin: str) -> None:
    gateway = Guarded(Recorder(headers=[("Vary", "Cookie")]), cors_origins=ORIGINS)
    response = gateway.request(Origin=origin)
    assert (response.status_int, grants(response)) == (200, {"Vary": "Cookie"})


def test_of_many_workers_with_a_state_of_one_the_refusal_can_be_read() -> None:
    gateway = guarded(state_url="memory://")
    request = webtest.TestRequest.blank("/x", {"HTTP_ORIGIN": ALLOWED, "wsgi.multiprocess": True})
    response = gateway.client.request(request, expect_errors=True)
    assert response.status_int == 503
    assert response.headers["Access-Control-Allow-Origin"] == ALLOWED


def test_what_claims_or_routes_refuse_can_be_read(tmp_path: Any) -> None:
    policy = '[headers]\nX-Role = "role"\n[[routes]]\npath = "/x"\n'
    gateway = by_policy(tmp_path, policy, cors_origins=ORIGINS)
    answers = [
        gateway.request("/x", token=forge(claims(role="\n")), Origin=ALLOWED),
        gateway.request("/none", Origin=ALLOWED),
        gateway.request("/x//", Origin=ALLOWED),
    ]
    assert [answer.status_int for answer in answers] == [401, 403, 400]
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {ALLOWED}


# Preflights of the endpoints


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/auth", "POST"),
        ("/auth/revoke", "POST"),
        ("/auth/health", "GET, HEAD"),
        ("/auth/verify", "GET, HEAD"),
    ],
)
def test_an_endpoint_answers_a_preflight_of_an_allowed_origin(path: str, methods: str) -> None:
    gateway = guarded(state_url="memory://", login=lambda uid, password: None)
    response = gateway.send(path, preflight(OTHER), "OPTIONS")
    assert (response.status, response.body) == ("204 No Content", b"")
    assert grants(response) == READABLE | {
        "Access-Control-Allow-Origin": OTHER,
        "Access-Control-Allow-Methods": methods,
    }
    assert response.headers["Access-Control-Allow-Headers"] == "Authorization, uid, Content-Type"
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert "Content-Type" not in response.headers


@pytest.mark.parametrize("origin", STRANGERS)
def test_it_answers_no_other_origins(origin: str) -> None:
    response = guarded().send("/auth/health", preflight(origin), "OPTIONS")
    assert response.status_int == 405
    assert grants(response) == {"Vary": "Origin"}


def test_it_answers_none_without_allowed_origins() -> None:
    response = Guarded(allow_preflight=True).send("/auth/health", preflight(ALLOWED), "OPTIONS")
    assert (response.status_int, grants(response)) == (405, {})


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"Origin": ALLOWED}),
        ("OPTIONS", {"Access-Control-Request-Method": "POST"}),
        ("OPTIONS", preflight(ALLOWED, "")),
        ("PUT", preflight(ALLOWED)),
    ],
)
def test_what_is_no_preflight_is_a_wrong_method(method: str, headers: dict[str, str]) -> None:
    response = guarded().send("/auth/health", headers, method)
    assert (response.status_int, response.headers["Allow"]) == (405, "GET, HEAD")


def test_an_endpoint_that_is_not_there_answers_no_preflight() -> None:
    assert guarded().send("/auth/revoke", preflight(ALLOWED), "OPTIONS").status_int == 404


@pytest.mark.parametrize(("allowed", "status"), [(True, 200), (False, 400)])
def test_a_preflight_of_the_app_is_the_apps_where_that_is_allowed(allowed: bool, status: int) -> None:
    gateway = guarded(allow_preflight=allowed)
    response = gateway.send("/x", preflight(ALLOWED), "OPTIONS")
    assert (response.status_int, gateway.reached) == (status, int(allowed))
    assert ("Access-Control-Allow-Origin" in response.headers) is not allowed
