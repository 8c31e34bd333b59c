"""Routes in force: rows 0 and 9 of what a request meets, in which order, and what routes leave alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway import Settings
from gateway.loading import build
from tests.support import KEY, MINUTE, NOW, Guarded, by_policy, claims, forge

POLICY = """
[[routes]]
path = "/public/*"
access = "public"

[[routes]]
path = "/page"
access = "optional"

[[routes]]
path = "/reports/*"
methods = ["GET"]
scopes = ["reports:read"]

[[routes]]
path = "/reports/*"
methods = ["POST", "PUT"]
scopes = ["reports:read", "reports:write"]

[[routes]]
path = "/either"
any_scope = ["a", "b"]

[[routes]]
path = "/staff/*"
claims = { role = "staff" }

[[routes]]
path = "/ours"
issuers = [""]

[[routes]]
path = "/known"
"""

Make = Callable[..., Guarded]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """What makes an app behind these routes, or behind others."""

    def made(policy: str = POLICY, **options: Any) -> Guarded:
        return by_policy(tmp_path, policy, **options)

    return made


def token(**changes: object) -> str:
    return forge(claims(**changes))


# Row 0


class Row(NamedTuple):
    """A path, and what it is answered with."""

    path: str
    status: int
    error: str
    code: str
    challenge: str


NO_ROUTE = (403, "Forbidden", "no_route", "insufficient_scope")
MALFORMED = (400, "Bad Request", "malformed_path", "invalid_request")
ROW_0 = [
    *(Row(path, *NO_ROUTE) for path in ("/none", "/public", "/")),
    *(Row(path, *MALFORMED) for path in ("/public//x", "/public/%2e%2e/known", "/known;x", "/kn%FFown")),
]


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
@pytest.mark.parametrize("row", ROW_0)
class TestRow0:
    @pytest.mark.parametrize("sent", ["", None])
    def test_is_answered_whatever_the_credentials(
        self, make: Make, profile: str, row: Row, sent: str | None
    ) -> None:
        guarded = make(status_profile=profile)
        response = guarded.request(row.path, token=sent)
        assert response.status_int == row.status
        assert response.json == {"error": row.error, "code": row.code}
        assert guarded.reached == 0

    def test_challenges_as_rfc6750_says_and_is_never_stored(self, make: Make, profile: str, row: Row) -> None:
        headers = make(status_profile=profile).send(row.path).headers
        assert headers["WWW-Authenticate"].startswith(
            f'Bearer realm="gateway", error="{row.challenge}", error_description="'
        )
        assert (headers["Content-Type"], headers["Cache-Control"]) == ("application/json", "no-store")

    def test_answers_head_with_the_headers_of_get_and_no_body(
        self, make: Make, profile: str, row: Row
    ) -> None:
        guarded = make(status_profile=profile)
        get, head = guarded.send(row.path), guarded.send(row.path, method="HEAD")
        assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH"])
def test_a_method_that_no_route_is_for_has_no_route(make: Make, method: str) -> None:
    response = make().request("/reports/x", token=token(scope="reports:read reports:write"), method=method)
    assert (response.status_int, response.json["code"]) == (403, "no_route")


def test_without_routes_such_paths_are_the_apps(tmp_path: Path) -> None:
    guarded = by_policy(tmp_path, '[headers]\nX-Role = "role"\n')
    assert guarded.request("/kn%FFown//x;y").status_int == 200


# Row 9


ROW_9 = [
    pytest.param("GET", "/reports/x", {}, id="no scope"),
    pytest.param("GET", "/reports", {"scope": "reports"}, id="another scope, above"),
    pytest.param("POST", "/reports/x", {"scope": "reports:read"}, id="one scope of two"),
    pytest.param("GET", "/either", {"scope": "c"}, id="none of any scope"),
    pytest.param("GET", "/staff/x", {"role": "guest"}, id="another value of the claim"),
    pytest.param("GET", "/staff/", {}, id="no claim"),
]


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
@pytest.mark.parametrize(("method", "path", "held"), ROW_9)
def test_what_a_token_lacks_is_answered_with_403(
    make: Make, profile: str, method: str, path: str, held: dict[str, object]
) -> None:
    guarded = make(status_profile=profile)
    response = guarded.request(path, token=token(**held), method=method)
    assert response.status_int == 403
    assert response.json == {"error": "Insufficient Scope", "code": "insufficient_scope"}
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="gateway", error="insufficient_scope",'
        ' error_description="The route asks for a scope or claim that the token lacks"'
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert guarded.reached == 0


def test_head_of_a_route_for_get_is_asked_the_same(make: Make) -> None:
    guarded = make()
    head, get = (guarded.request("/reports/x", token=token(), method=method) for method in ("HEAD", "GET"))
    assert (head.status_int, head.headerlist, head.body) == (403, get.headerlist, b"")
    assert guarded.request("/reports/x", token=token(scope="reports:read"), method="HEAD").status_int == 200


@pytest.mark.parametrize(
    ("method", "path", "held"),
    [
        ("GET", "/reports/x", {"scope": "reports:read"}),
        ("POST", "/reports/x", {"scope": "x reports:write reports:read"}),
        ("PUT", "/reports/x", {"scope": ["reports:write", "reports:read"]}),
        ("GET", "/either", {"scope": "b"}),
        ("GET", "/staff/x", {"role": ["guest", "staff"]}),
        ("GET", "/ours", {}),
        ("GET", "/known", {}),
    ],
)
def test_a_token_that_has_what_is_asked_for_passes(
    make: Make, method: str, path: str, held: dict[str, object]
) -> None:
    guarded = make()
    assert guarded.request(path, token=token(**held), method=method).status_int == 200
    assert guarded.seen["HTTP_UID"] == "12"


def test_a_token_that_was_seen_before_is_asked_by_each_route_anew(make: Make) -> None:
    guarded, reader = make(), token(scope="reports:read")
    answers = [
        guarded.request(path, token=reader, method=method).status_int
        for _ in range(2)
        for method, path in (
            ("GET", "/reports/x"),
            ("POST", "/reports/x"),
            ("GET", "/staff/x"),
            ("GET", "/known"),
        )
    ]
    assert answers == [200, 403, 403, 200] * 2


# Which comes first


BAD = [
    pytest.param("", "12", "missing_credentials", id="1"),
    pytest.param("a b", "12", "malformed_credentials", id="2"),
    pytest.param("a.b.c", "12", "invalid_token", id="4"),
    pytest.param(token(exp=int(NOW)), "12", "token_expired", id="5"),
    pytest.param(token(sid=1), "12", "invalid_claims", id="6"),
    pytest.param(token(), "13", "uid_mismatch", id="8"),
]


@pytest.mark.parametrize(("sent", "uid", "code"), BAD)
class TestOrder:
    @pytest.mark.parametrize("path", ["/none", "/known//x"])
    def test_row_0_comes_before_each_other(
        self, make: Make, path: str, sent: str, uid: str, code: str
    ) -> None:
        answer = make().request(path, token=sent, uid=uid).json["code"]
        assert answer == ("malformed_path" if "//" in path else "no_route")

    def test_row_9_comes_after_each_other(self, make: Make, sent: str, uid: str, code: str) -> None:
        assert make().request("/reports/x", token=sent, uid=uid).json["code"] == code

    def test_a_public_route_does_not_look_at_credentials(
        self, make: Make, sent: str, uid: str, code: str
    ) -> None:
        guarded = make()
        assert guarded.request("/public/x", token=sent, uid=uid).status_int == 200
        assert "HTTP_UID" not in guarded.seen

    def test_an_optional_route_refuses_bad_ones(self, make: Make, sent: str, uid: str, code: str) -> None:
        guarded = make()
        assert guarded.request("/page", token=sent, uid=uid).json["code"] == code
        assert guarded.reached == 0


def test_a_revoked_session_is_told_before_a_missing_scope(make: Make) -> None:
    guarded = make(state_url="memory://")
    made = guarded.clock.create(uid=12)
    assert guarded.request("/auth/revoke", token=made, method="POST").status_int == 204
    assert guarded.request("/reports/x", token=made).json["code"] == "token_revoked"


# Optional


IDENTITY = ("HTTP_UID", "REMOTE_USER", "AUTH_TYPE", "HTTP_X_REFRESHED_TOKEN", "gateway.claims")


@pytest.mark.parametrize("sent", [{}, {"Authorization": "", "uid": ""}])
def test_without_credentials_an_optional_route_is_passed_by_nobody(make: Make, sent: dict[str, str]) -> None:
    guarded = make()
    assert guarded.send("/page", sent).status_int == 200
    assert [key for key in IDENTITY if key in guarded.seen] == []
    assert guarded.seen["gateway.tokens"] is guarded.clock


def test_with_credentials_an_optional_route_is_passed_by_somebody(make: Make) -> None:
    guarded = make()
    assert guarded.request("/page").status_int == 200
    assert [key for key in IDENTITY if key not in guarded.seen] == []


@pytest.mark.parametrize(
    "sent", [{"uid": "12"}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic eDp5"}]
)
def test_half_of_the_credentials_are_bad_ones(make: Make, sent: dict[str, str]) -> None:
    assert make().send("/page", sent).status_int == 400


def test_where_no_uid_is_required_a_token_alone_is_enough_on_an_optional_route(make: Make) -> None:
    guarded = make(require_uid=False)
    assert guarded.request("/page", uid=None).status_int == 200
    assert guarded.seen["HTTP_UID"] == "12"


# What routes leave alone


DUE = int(NOW) - 20 * MINUTE


def test_a_token_is_renewed_on_a_route_whose_scope_it_has_and_keeps_it(make: Make) -> None:
    guarded = make()
    aged = token(iat=DUE, auth_time=DUE, exp=DUE + 30 * MINUTE, scope="reports:read")
    renewed = guarded.request("/reports/x", token=aged).headers["X-Refreshed-Token"]
    assert renewed != aged
    assert guarded.request("/reports/y", token=renewed).status_int == 200


def test_no_token_is_renewed_on_a_route_whose_scope_it_lacks(make: Make) -> None:
    response = make().request("/reports/x", token=token(iat=DUE, auth_time=DUE, exp=DUE + 30 * MINUTE))
    assert response.status_int == 403
    assert "X-Refreshed-Token" not in response.headers


@pytest.mark.parametrize("path", ["/auth/health", "/auth/verify", "/auth/none"])
def test_the_endpoints_are_subject_to_no_route(make: Make, path: str) -> None:
    assert make().send(path).json.get("code") not in ("no_route", "missing_credentials")


def test_a_route_for_everything_leaves_the_endpoints_alone(make: Make) -> None:
    guarded = make('[[routes]]\npath = "/*"\nscopes = ["x"]\n')
    assert guarded.send("/auth/health").json == {"status": "ok"}
    assert guarded.request("/author").json["code"] == "insufficient_scope"


PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}


@pytest.mark.parametrize("path", ["/reports/x", "/known"])
def test_a_preflight_passes_where_it_is_allowed_and_nowhere_else(make: Make, path: str) -> None:
    allowing, not_allowing = make(allow_preflight=True), make()
    assert allowing.send(path, PREFLIGHT, "OPTIONS").status_int == 200
    assert allowing.reached == 1
    assert not_allowing.send(path, PREFLIGHT, "OPTIONS").status_int in (400, 403)


def test_routes_are_for_paths_below_where_the_app_is_mounted(make: Make) -> None:
    guarded = make()
    answers = [
        guarded.hand_on(path, {"SCRIPT_NAME": mount}).status_int
        for mount, path in (("/mount", "/public/x"), ("/public", "/known"), ("/public", "/none"))
    ]
    assert answers == [200, 400, 403]


def test_a_query_is_no_part_of_a_path(make: Make) -> None:
    assert make().send("/public/x?a=//../;%2e").status_int == 200


# The demo


DEMO = """
[[routes]]
path = "/whoami"
scopes = ["me"]
"""


def test_with_routes_the_demo_has_no_public_paths_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(DEMO)
    guarded = Guarded()
    guarded.client.app = build(Settings(token_key=KEY, policy_file=str(path)))
    guarded.clock.time = time.time()
    refused = {path: guarded.request(path).json["code"] for path in ("/health-of-app", "/demo/x", "/whoami")}
    assert refused == {"/health-of-app": "no_route", "/demo/x": "no_route", "/whoami": "insufficient_scope"}
    token = guarded.clock.create(12, {"scope": "me"})
    assert guarded.request("/whoami", token=token).status_int == 200


def test_a_preflight_passes_if_a_route_is_for_what_it_asks_about(make: Make) -> None:
    guarded = make(allow_preflight=True)
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    answers = {
        path: guarded.send(path, asked, "OPTIONS") for path in ("/reports/x", "/nowhere", "//reports/x")
    }
    assert {path: answer.status_int for path, answer in answers.items()} == {
        "/reports/x": 200,
        "/nowhere": 403,
        "//reports/x": 400,
    }
    assert guarded.reached == 1


def test_a_route_before_them_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[routes]]\npath = "/*"\n')
    guarded = Guarded()
    guarded.client.app = build(Settings(token_key=KEY, policy_file=str(path)))
    assert guarded.send("/").json["code"] == "missing_credentials"
