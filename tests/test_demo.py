"""The demo app, behind the gateway."""

from __future__ import annotations

import json
import re
from typing import Any

import jwt
import pytest
import webtest

from gateway import AuthGateway, Settings, TokenCreator
from gateway.demo import Demo
from gateway.demo.aging import MOST_BODY_BYTES
from gateway.loading import as_served, build
from gateway.rejections import every_rejection
from gateway.testing import standing_clock
from tests.support import KEY, MINUTE, NOW, Clock, Recorder, claims, forge


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


@pytest.mark.parametrize(
    "path", ["/", "/health-of-app", "/secret", "/whoami", "/demo/playground.js", "/demo/settings.json"]
)
def test_a_wrong_method_is_405(path: str, visitor: Visitor) -> None:
    answer = visitor.get(path, method="POST")
    assert (answer.status_int, sorted(answer.headers["Allow"].split(", "))) == (405, ["GET", "HEAD"])


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "[::1", "a/b", "<x>", "a:b:c", "a..b", ".", "x" * 300, "\xff", "xn--a"]
)
@pytest.mark.parametrize("path", ["/", "/secret", "/nothing"])
def test_a_bad_host_header_is_no_500(path: str, host: str, visitor: Visitor) -> None:
    assert visitor.get(path, Host=host).status_int in (200, 400, 404)


# The playground


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
FILES = {
    "/demo/playground.css": "text/css; charset=utf-8",
    "/demo/playground.js": "text/javascript; charset=utf-8",
    "/demo/experiments.js": "text/javascript; charset=utf-8",
    "/demo/elements.js": "text/javascript; charset=utf-8",
    "/demo/times.js": "text/javascript; charset=utf-8",
    "/demo/token.js": "text/javascript; charset=utf-8",
    "/demo/wire.js": "text/javascript; charset=utf-8",
    "/demo/icon.svg": "image/svg+xml; charset=utf-8",
}
PAGE = {"/": "text/html; charset=utf-8", **FILES}
OPEN = {**PAGE, "/demo/settings.json": "application/json"}


def browse(visitor: Visitor, path: str = "/", method: str = "GET", **headers: str) -> webtest.TestResponse:
    headers = {"Accept": BROWSER} | {name.replace("_", "-"): value for name, value in headers.items()}
    return visitor.get(path, signed_in=False, method=method, **headers)


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/plain;q=0.5, text/html"])
def test_a_browser_is_shown_the_playground(visitor: Visitor, accept: str) -> None:
    assert browse(visitor, Accept=accept).content_type == "text/html"


@pytest.mark.parametrize(
    "accept", ["*/*", "", "text/plain", "text/*", "application/json", "text/html;q=0", "x"]
)
def test_anybody_else_is_welcomed_in_plain_text(visitor: Visitor, accept: str) -> None:
    assert browse(visitor, Accept=accept).content_type == "text/plain"


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
def test_caches_are_told_that_there_are_two_welcomes(visitor: Visitor, accept: str) -> None:
    assert browse(visitor, Accept=accept).headers["Vary"] == "Accept"


@pytest.mark.parametrize(("path", "content_type"), OPEN.items())
def test_what_the_page_needs_is_public_and_of_its_type(
    visitor: Visitor, path: str, content_type: str
) -> None:
    answer = browse(visitor, path)
    assert (answer.status_int, answer.headers["Content-Type"]) == (200, content_type)


def test_all_that_the_page_names_is_there(visitor: Visitor) -> None:
    named = set(re.findall(r'(?:src|href)="(demo/[^"]+)"', browse(visitor).text))
    assert named == {"demo/playground.css", "demo/playground.js", "demo/icon.svg"}
    for script in [path for path in FILES if path.endswith(".js")]:
        imported = re.findall(r'from "\./([^"]+)"', browse(visitor, script).text)
        assert {f"/demo/{name}" for name in imported} <= FILES.keys()


@pytest.mark.parametrize("path", OPEN)
def test_the_page_may_do_no_more_than_it_must(visitor: Visitor, path: str) -> None:
    headers = browse(visitor, path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "microphone=()" in headers["Permissions-Policy"]


def test_nothing_is_inline(visitor: Visitor) -> None:
    page = browse(visitor).text
    assert not re.search(r"\son\w+=|style=|javascript:|<style|<script(?! type=\"module\" src=)", page)
    assert "http:" not in page
    assert "https:" not in page


@pytest.mark.parametrize("path", FILES)
def test_text_is_never_read_as_html(visitor: Visitor, path: str) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", browse(visitor, path).text
    )


@pytest.mark.parametrize("path", FILES)
def test_nothing_is_kept_or_logged_by_the_page(visitor: Visitor, path: str) -> None:
    found = r"localStorage|sessionStorage|indexedDB|\bcookie\b|history\.|pushState|console\."
    assert not re.search(found, browse(visitor, path).text)


@pytest.mark.parametrize("path", PAGE)
def test_a_browser_asks_each_time_and_is_told_if_it_has_the_newest(visitor: Visitor, path: str) -> None:
    first = browse(visitor, path)
    again = browse(visitor, path, If_None_Match=first.headers["ETag"])
    assert (first.headers["Cache-Control"], again.status_int, again.body) == ("no-cache", 304, b"")
    assert browse(visitor, path, If_None_Match='"another"').status_int == 200


def test_a_condition_that_does_not_hold_is_412(visitor: Visitor) -> None:
    assert browse(visitor, If_Match='"another"').status_int == 412


@pytest.mark.parametrize("path", OPEN)
def test_head_answers_as_get_without_a_body(visitor: Visitor, path: str) -> None:
    with standing_clock():  # so that the settings tell the same time twice
        got, head = browse(visitor, path), browse(visitor, path, method="HEAD")
    assert (head.status_int, head.body) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("path", ["/demo/", "/demo/index.html", "/demo/__init__.py", "/demo/playground.css/"])
def test_there_is_nothing_else_below_the_demo(visitor: Visitor, path: str) -> None:
    assert browse(visitor, path).status_int == 404


@pytest.mark.parametrize("path", ["/demo/../setup.cfg", "/demo//playground.js", "/demo/%2e%2e/aging.py"])
def test_no_path_leads_out_of_it(visitor: Visitor, path: str) -> None:
    assert browse(visitor, path).json["code"] == "missing_credentials"


# What the page is told


def told(**options: Any) -> dict[str, Any]:
    answer = browse(Visitor(**options), "/demo/settings.json")
    assert answer.headers["Cache-Control"] == "no-store"
    facts: dict[str, Any] = answer.json
    return facts


def test_the_page_is_told_how_long_things_last() -> None:
    facts = told(exp_time_min=10, refresh_time_min=4, max_session_min=60, leeway_sec=5)
    assert (facts["life_sec"], facts["refresh_sec"], facts["session_sec"]) == (600, 240, 3600)
    assert facts["leeway_sec"] == 5


def test_the_page_is_told_the_time_of_the_server() -> None:
    settings = Settings(token_key=KEY)
    gateway = AuthGateway(Demo(settings), as_served(settings), tokens=Clock(settings))
    assert webtest.TestApp(gateway).get("/demo/settings.json").json["now"] == NOW


def test_the_page_is_told_the_names_in_use() -> None:
    facts = told(prefix="/_g", token_header="X-Next", uid_claim="sub", status_profile="rfc6750")
    names = ("prefix", "token_header", "token_key", "uid_claim", "profile")
    assert [facts[name] for name in names] == ["/_g", "X-Next", "HTTP_X_NEXT", "sub", "rfc6750"]


def check(uid: int | str, password: str) -> None:
    """Know nobody."""


STATE = {"state_url": "memory://"}


@pytest.mark.parametrize(
    ("options", "login", "state"),
    [
        pytest.param({}, False, False, id="neither"),
        pytest.param(STATE, False, True, id="a state store"),
        pytest.param({**STATE, "login": check}, True, True, id="both"),
        pytest.param({**STATE, "login": check, "prefix": ""}, False, True, id="no endpoints"),
    ],
)
def test_the_page_is_told_whether_one_can_log_in_and_out(
    options: dict[str, Any], login: bool, state: bool
) -> None:
    facts = told(**options)
    assert (facts["login"], facts["state"]) == (login, state)


def test_the_page_has_a_sentence_for_every_code() -> None:
    assert told()["rules"].keys() == every_rejection("classic").keys()


def test_the_page_has_a_phrase_for_every_status() -> None:
    refused = {str(rejection.status) for rejection in every_rejection("classic").values()}
    assert refused | {"200", "204", "431"} <= told()["reasons"].keys()
    assert told()["reasons"]["498"] == "Invalid Token"


def test_the_page_is_told_nothing_secret() -> None:
    secret = "redis://somebody:hidden@127.0.0.1:1/0"
    facts = json.dumps(told(state_url=secret, login=check, previous_keys=[KEY[::-1]]))
    assert not [word for word in (KEY, KEY[::-1], "hidden", "127.0.0.1") if word in facts]


# Aging


class Owner:
    """Has a token aged, at a time that stands still."""

    def __init__(self, **options: Any) -> None:
        settings = Settings(**{"token_key": KEY, **options})
        self.clock = Clock(settings)
        self.client = webtest.TestApp(AuthGateway(Demo(settings), as_served(settings), tokens=self.clock))

    def ask(self, path: str, token: str, body: bytes | None = None, uid: str = "12") -> webtest.TestResponse:
        """Send a request; with a body it is a POST."""
        headers = {"Authorization": f"Bearer {token}", "uid": uid}
        method = "GET" if body is None else "POST"
        return self.client.request(path, method=method, headers=headers, body=body or b"", expect_errors=True)

    def aged(self, token: str, left: str) -> str:
        answer = self.ask("/age", token, json.dumps({"left": left}).encode())
        assert (answer.status_int, answer.headers["Cache-Control"]) == (200, "no-store")
        aged: str = answer.json["token"]
        return aged

    def refusal(self, token: str, left: str = "near", uid: str = "12") -> tuple[int, str]:
        answer = self.ask("/age", token, json.dumps({"left": left}).encode(), uid)
        return answer.status_int, answer.json["code"]


def read(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


NEAR = int(NOW) + 15 * MINUTE // 2


@pytest.mark.parametrize(("left", "exp"), [("expired", int(NOW) - MINUTE), ("near", NEAR)])
def test_an_aged_token_is_the_same_with_an_earlier_end(left: str, exp: int) -> None:
    owner = Owner()
    token = owner.clock.create(uid=12, role="editor", nested={"a": [1.5, None]})
    aged = owner.aged(token, left)
    assert read(aged) == read(token) | {"exp": exp}
    assert jwt.get_unverified_header(aged) == jwt.get_unverified_header(token)


@pytest.mark.parametrize("leeway", [0, 300])
def test_an_expired_one_is_refused(leeway: int) -> None:
    owner = Owner(leeway_sec=leeway)
    assert owner.ask("/whoami", owner.aged(forge(claims()), "expired")).json["code"] == "token_expired"


@pytest.mark.parametrize(("exp_min", "refresh_min"), [(30, 15), (30, 30), (1, 1)])
def test_one_near_its_end_is_renewed(exp_min: int, refresh_min: int) -> None:
    owner = Owner(exp_time_min=exp_min, refresh_time_min=refresh_min)
    aged = owner.aged(owner.clock.create(uid=12), "near")
    answer = owner.ask("/whoami", aged)
    assert read(answer.headers["X-Refreshed-Token"])["exp"] == int(NOW) + exp_min * MINUTE


def test_a_token_that_is_nearer_its_end_is_not_made_to_live_longer() -> None:
    token = forge(claims(exp=int(NOW) + MINUTE))
    assert Owner().aged(token, "near") == token


def test_a_token_that_is_renewed_meanwhile_is_aged_itself() -> None:
    """What the app is handed then would give one with a later end than the caller had."""
    owner = Owner(refresh_time_min=30, exp_time_min=30)
    token = forge(claims(exp=int(NOW) + 5 * MINUTE, iat=int(NOW) - 25 * MINUTE))
    answer = owner.ask("/age", token, b'{"left": "near"}')
    assert "X-Refreshed-Token" in answer.headers
    assert answer.json["token"] == token


def test_no_renewal_of_an_aged_token_outlives_the_session() -> None:
    owner = Owner(max_session_min=30)
    token = forge(claims(auth_time=NOW - 20 * MINUTE, exp=int(NOW) + 10 * MINUTE))
    answer = owner.ask("/whoami", owner.aged(token, "near"))
    assert read(answer.headers["X-Refreshed-Token"])["exp"] == int(NOW) + 10 * MINUTE


@pytest.mark.parametrize(
    ("token", "uid", "refusal"),
    [
        pytest.param(forge(claims(exp=NOW)), "12", (401, "token_expired"), id="expired"),
        pytest.param(forge(claims()), "13", (400, "uid_mismatch"), id="another's uid"),
        pytest.param(forge(claims()), "", (400, "missing_credentials"), id="no uid"),
        pytest.param(forge(claims(), key=KEY[::-1]), "12", (498, "invalid_token"), id="forged"),
        pytest.param(forge(claims(), {"alg": "none"}), "12", (498, "invalid_token"), id="unsigned"),
        pytest.param(forge(claims(iss="x", aud="y")), "12", (401, "invalid_claims"), id="of elsewhere"),
    ],
)
@pytest.mark.parametrize("left", ["near", "expired"])
def test_what_the_gateway_refuses_is_not_aged(
    token: str, uid: str, refusal: tuple[int, str], left: str
) -> None:
    assert Owner().refusal(token, left, uid) == refusal


def test_a_token_whose_session_was_ended_is_not_aged() -> None:
    owner = Owner(**STATE)
    token = owner.clock.create(uid=12)
    assert owner.ask("/auth/revoke", token, b"{}").status_int == 204
    assert owner.refusal(token) == (401, "token_revoked")


def test_an_aged_token_ends_with_its_session() -> None:
    owner = Owner(**STATE)
    token = owner.clock.create(uid=12)
    aged = owner.aged(token, "near")
    owner.ask("/auth/revoke", token, b"{}")
    assert owner.refusal(aged) == (401, "token_revoked")


def test_nothing_is_aged_where_nobody_was_asked_who_they_are() -> None:
    assert Owner(public_paths=("/*",)).refusal(forge(claims())) == (403, "not_signed_in")


def test_a_token_of_a_key_that_signs_no_more_is_not_aged() -> None:
    owner = Owner(previous_keys=[KEY[::-1]])
    assert owner.refusal(forge(claims(), key=KEY[::-1])) == (409, "not_aged")


def test_without_renewals_nothing_is_near_its_end() -> None:
    owner = Owner(refresh_time_min=0)
    assert owner.refusal(forge(claims())) == (409, "never_renewed")
    assert read(owner.aged(forge(claims()), "expired"))["exp"] == int(NOW) - MINUTE


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"near", id="no JSON"),
        pytest.param(b'["near"]', id="no object"),
        pytest.param(b"{}", id="nothing said"),
        pytest.param(b'{"left": "longer"}', id="unknown"),
        pytest.param(b'{"left": null}', id="null"),
        pytest.param(b'{"left": ["near"]}', id="a list"),
        pytest.param(b'{"left": "near", "exp": 9999999999}', id="more"),
        pytest.param(b'{"left": "near", "left": "expired"}', id="twice"),
        pytest.param(b'{"left": "near\xff"}', id="no UTF-8"),
        pytest.param(b"[" * MOST_BODY_BYTES, id="deep"),
        pytest.param(b'{"left": "near"}'.ljust(MOST_BODY_BYTES + 1), id="long"),
    ],
)
def test_a_body_that_says_anything_else_is_told_what_to_say(body: bytes) -> None:
    answer = Owner().ask("/age", forge(claims()), body)
    assert answer.status_int == 422
    assert answer.json == {
        "error": 'the body must be {"left": "expired"} or {"left": "near"}',
        "code": "invalid_body",
    }


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_token_is_aged_by_a_post_alone(method: str) -> None:
    headers = {"Authorization": f"Bearer {forge(claims())}", "uid": "12"}
    answer = Owner().client.request("/age", method=method, headers=headers, expect_errors=True)
    assert (answer.status_int, answer.headers["Allow"]) == (405, "POST")


def test_an_app_that_is_wrapped_has_neither_page_nor_aging() -> None:
    app = Recorder()
    client = webtest.TestApp(AuthGateway(app, Settings(token_key=KEY)))
    for path in ("/", "/demo/playground.js", "/demo/settings.json", "/age"):
        assert client.get(path, status=400).json["code"] == "missing_credentials"
    assert app.calls == []
