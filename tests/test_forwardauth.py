"""Forward-auth: whose question is answered, about which request, and with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import webtest

from gateway.rejections import FORWARD, RULES, Rule, rejections, status_of
from tests.support import MINUTE, NOW, ROUTES, Guarded, by_policy, claims, forge

PROXY = "10.0.0.7"
POLICY = f"""
[headers]
X-Role = "role"
X-Teams = "teams"
{ROUTES}"""
GOOD = forge(claims(role="user", teams=["a", "ü"]))
DUE = forge(claims(exp=int(NOW) + MINUTE))
PAIRS = {
    "forwarded": ("HTTP_X_FORWARDED_METHOD", "HTTP_X_FORWARDED_URI"),
    "original": ("HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URI"),
}
NOT_FORWARDED = (403, "not_forwarded")
Make = Callable[..., Guarded]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """What makes a gateway with these routes that trusts one proxy."""

    def made(policy: str = POLICY, **options: Any) -> Guarded:
        return by_policy(tmp_path, policy, **{"trusted_proxies": [PROXY], **options})

    return made


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    return PAIRS[request.param]


def credentials(token: str = GOOD, uid: str = "12") -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {token}", "HTTP_UID": uid}


def original(target: str, method: str = "GET", pair: tuple[str, str] = PAIRS["original"]) -> dict[str, str]:
    """What the proxy says of the request that it asks about."""
    return {"REMOTE_ADDR": PROXY, pair[0]: method, pair[1]: target}


def ask(guarded: Guarded, environ: Mapping[str, str], method: str = "GET") -> webtest.TestResponse:
    response = guarded.hand_on("/auth/verify", environ, method)
    assert guarded.reached == 0
    return response


def verdict(response: webtest.TestResponse) -> tuple[int, str | None]:
    """The status, and the code where it is a refusal."""
    return response.status_int, (response.json["code"] if response.body else None)


def identity(response: webtest.TestResponse) -> dict[str, str]:
    """What an answer tells of somebody."""
    names = ("uid", "X-Refreshed-Token", "X-Renewed-Token", "X-Role", "X-Teams")
    return {name: response.headers[name] for name in names if name in response.headers}


# What is answered


def test_a_good_token_passes_with_uid_token_and_claims(make: Make, pair: tuple[str, str]) -> None:
    response = ask(make(), original("/x", pair=pair) | credentials())
    assert (response.status, response.body) == ("200 OK", b"")
    assert identity(response) == {
        "uid": "12",
        "X-Refreshed-Token": GOOD,
        "X-Role": "user",
        "X-Teams": "a,Ã¼",
    }
    assert (response.headers["Content-Length"], response.headers["Cache-Control"]) == ("0", "no-store")


def test_a_claim_that_is_missing_has_no_header(make: Make) -> None:
    response = ask(make(), original("/x") | credentials(forge(claims())) | {"HTTP_X_ROLE": "admin"})
    assert identity(response).keys() == {"uid", "X-Refreshed-Token"}


def test_a_renewed_token_is_there_once_more_for_the_client(make: Make) -> None:
    guarded = make()
    told = identity(ask(guarded, original("/x") | credentials(DUE)))
    assert told["X-Renewed-Token"] == told["X-Refreshed-Token"] != DUE
    assert guarded.clock.decode_token(told["X-Renewed-Token"])["uid"] == 12


def test_a_renewed_token_is_for_the_proxy_alone_where_responses_are_left_alone(make: Make) -> None:
    told = identity(ask(make(token_in_response=False), original("/x") | credentials(DUE)))
    assert "X-Renewed-Token" not in told
    assert told["X-Refreshed-Token"] != DUE


def test_the_header_of_the_token_has_its_configured_name(make: Make) -> None:
    response = ask(make(token_header="X-Next"), original("/x") | credentials())
    assert response.headers["X-Next"] == GOOD
    assert "X-Refreshed-Token" not in response.headers


@pytest.mark.parametrize("sent", [{}, credentials(), credentials("a.b.c")])
def test_a_public_path_passes_with_nothing_said(make: Make, sent: dict[str, str]) -> None:
    response = ask(make(), original("/public/x") | sent)
    assert (response.status_int, identity(response)) == (200, {})


@pytest.mark.parametrize(
    ("sent", "status", "uid"),
    [
        ({}, 200, None),
        (credentials(), 200, "12"),
        (credentials("a.b.c"), 401, None),
        ({"HTTP_UID": "1"}, 401, None),
    ],
)
def test_an_optional_route_is_passed_by_nobody_or_by_somebody_good(
    make: Make, sent: dict[str, str], status: int, uid: str | None
) -> None:
    response = ask(make(), original("/optional") | sent)
    assert (response.status_int, response.headers.get("uid")) == (status, uid)


@pytest.mark.parametrize(("allowed", "status"), [(True, 200), (False, 401)])
def test_a_preflight_passes_where_it_is_allowed(make: Make, allowed: bool, status: int) -> None:
    asked = {"HTTP_ORIGIN": "https://a.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "PUT"}
    response = ask(make(allow_preflight=allowed), original("/x", "OPTIONS") | asked)
    assert (response.status_int, identity(response)) == (status, {})


def test_it_is_the_original_method_that_makes_a_preflight(make: Make) -> None:
    asked = {"HTTP_ORIGIN": "https://a.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "PUT"}
    assert ask(make(allow_preflight=True), original("/x", "GET") | asked).status_int == 401


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 200), ("DELETE", 403), ("delete", 403), ("HEAD", 200)]
)
def test_it_is_the_original_method_that_finds_the_route(make: Make, method: str, status: int) -> None:
    policy = '[[routes]]\npath = "/x"\nmethods = ["DELETE"]\nscopes = ["x"]\n[[routes]]\npath = "/*"\n'
    assert ask(make(policy), original("/x", method) | credentials()).status_int == status


def test_head_has_the_headers_of_get(make: Make) -> None:
    guarded = make()
    for sent in (original("/x") | credentials(), original("/x"), original("/admin/x") | credentials(), {}):
        get, head = ask(guarded, sent), ask(guarded, sent, "HEAD")
        assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
def test_any_other_method_of_the_question_is_wrong(make: Make, method: str) -> None:
    response = ask(make(), original("/x") | credentials(), method)
    assert (response.status_int, response.headers["Allow"]) == (405, "GET, HEAD")


# Which statuses


@pytest.mark.parametrize("rule", RULES, ids=[rule.code for rule in RULES])
def test_each_refusal_has_a_status_that_every_proxy_takes_for_one(rule: Rule) -> None:
    refusals = {"malformed_path", "no_route", "uid_mismatch", "insufficient_scope"}
    outages = {"keys_unavailable", "state_unavailable"}
    expected = 403 if rule.code in refusals else 503 if rule.code in outages else 401
    assert status_of(rule, FORWARD) == rejections(FORWARD)[rule.code].status == expected


REFUSALS = [
    ("/x//", credentials(), (403, "malformed_path")),
    ("/x", {}, (401, "missing_credentials")),
    ("/x", {"HTTP_AUTHORIZATION": "Basic eDp5", "HTTP_UID": "12"}, (401, "malformed_credentials")),
    ("/x", credentials("a.b.c"), (401, "invalid_token")),
    ("/x", credentials(forge(claims(exp=int(NOW)))), (401, "token_expired")),
    ("/x", credentials(forge(claims(sid=1))), (401, "invalid_claims")),
    ("/x", credentials(forge(claims(role="\n"))), (401, "invalid_claims")),
    ("/x", credentials(uid="13"), (403, "uid_mismatch")),
    ("/admin/x", credentials(), (403, "insufficient_scope")),
]


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
@pytest.mark.parametrize(("target", "sent", "refusal"), REFUSALS)
def test_a_refusal_is_the_same_in_each_profile(
    make: Make, profile: str, target: str, sent: dict[str, str], refusal: tuple[int, str]
) -> None:
    response = ask(make(status_profile=profile), original(target) | sent)
    assert verdict(response) == refusal
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="gateway"')
    assert response.headers["Cache-Control"] == "no-store"
    assert identity(response) == {}


def test_a_path_without_a_route_is_refused(make: Make) -> None:
    assert verdict(ask(make('[[routes]]\npath = "/a"\n'), original("/x") | credentials())) == (
        403,
        "no_route",
    )


def test_an_ended_session_is_refused(make: Make) -> None:
    guarded = make(state_url="memory://")
    token = guarded.clock.create(uid=12)
    assert ask(guarded, original("/x") | credentials(token)).status_int == 200
    assert guarded.request("/auth/revoke", token=token, method="POST").status_int == 204
    assert verdict(ask(guarded, original("/x") | credentials(token))) == (401, "token_revoked")


# Whose question, and about which request


@pytest.mark.parametrize("peer", ["10.0.0.8", "127.0.0.1", "::ffff:10.0.0.8", "proxy", ""])
def test_nobody_but_a_trusted_proxy_is_believed(make: Make, peer: str) -> None:
    sent = original("/public/x") | credentials() | {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": PROXY}
    response = ask(make(), sent)
    assert verdict(response) == NOT_FORWARDED
    assert identity(response) == {}


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [("10.0.0.0/8", PROXY), ("10.0.0.7", "::ffff:10.0.0.7"), ("unix", ""), ("::1", "::1")],
)
def test_a_trusted_proxy_is_believed_wherever_it_is(make: Make, trusted: str, peer: str) -> None:
    sent = original("/x") | credentials() | {"REMOTE_ADDR": peer}
    assert ask(make(trusted_proxies=[trusted]), sent).status_int == 200


def test_without_trusted_proxies_nobody_is(tmp_path: Path) -> None:
    guarded = by_policy(tmp_path, POLICY)
    assert verdict(ask(guarded, original("/public/x") | credentials())) == NOT_FORWARDED


@pytest.mark.parametrize("left", [(), (0,), (1,)])
def test_half_a_pair_or_none_is_not_enough(make: Make, pair: tuple[str, str], left: tuple[int, ...]) -> None:
    sent = {pair[index]: ("GET", "/public/x")[index] for index in left}
    assert verdict(ask(make(), {"REMOTE_ADDR": PROXY} | sent)) == NOT_FORWARDED


@pytest.mark.parametrize("more", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("value", [None, ""])
def test_one_pair_and_anything_of_the_other_is_too_much(
    make: Make, pair: tuple[str, str], more: tuple[int, ...], value: str | None
) -> None:
    (other,) = (each for each in PAIRS.values() if each != pair)
    added = {other[index]: ("GET", "/public/x")[index] if value is None else value for index in more}
    assert verdict(ask(make(), original("/x", pair=pair) | credentials() | added)) == NOT_FORWARDED


def test_the_halves_of_two_pairs_are_no_pair(make: Make) -> None:
    sent = {"REMOTE_ADDR": PROXY, PAIRS["original"][0]: "GET", PAIRS["forwarded"][1]: "/public/x"}
    assert verdict(ask(make(), sent)) == NOT_FORWARDED


@pytest.mark.parametrize(
    ("method", "target"),
    [
        pytest.param("GET", "/public/x,/x", id="two targets"),
        pytest.param("GET", "/public/x, /x", id="two targets, with a space"),
        pytest.param("GET", "/x,/public/x", id="two targets, the public one last"),
        pytest.param("GET", "/public/x,/public/x", id="the same target twice"),
        pytest.param("GET", "/public/x?a=b,/x", id="two targets, one with a query"),
        pytest.param("GET", "/public/x,", id="a target and nothing"),
        pytest.param("GET", "/public/x, ", id="a target and a space"),
        pytest.param("GET", ",/public/x", id="nothing and a target"),
        pytest.param("GET", "x,/public/x", id="something and a target"),
        pytest.param("GET,GET", "/public/x", id="two methods"),
        pytest.param("GET, POST", "/public/x", id="two methods, with a space"),
        pytest.param("GET,", "/public/x", id="a method and nothing"),
        pytest.param("", "/public/x", id="an empty method"),
        pytest.param("GET ", "/public/x", id="a method with a space"),
        pytest.param("GÉT", "/public/x", id="a method beyond ASCII"),
        pytest.param("GET", "", id="an empty target"),
        pytest.param("GET", "*", id="an asterisk"),
        pytest.param("GET", "public/x", id="no slash"),
        pytest.param("GET", "http://host/public/x", id="absolute form"),
        pytest.param("GET", "host:443", id="authority form"),
        pytest.param("GET", "/public/x#/../../x", id="a fragment"),
        pytest.param("GET", "/public/x y", id="a space"),
        pytest.param("GET", "/public/x\ty", id="a tab"),
        pytest.param("GET", "/public/x\n", id="a newline"),
        pytest.param("GET", "/public/x\x00", id="NUL"),
        pytest.param("GET", "/public/x\x7f", id="DEL"),
        pytest.param("GET", "/public/\u20ac", id="no byte"),
    ],
)
def test_what_is_no_request_or_more_than_one_is_not_believed(
    make: Make, pair: tuple[str, str], method: str, target: str
) -> None:
    assert verdict(ask(make(), original(target, method, pair) | credentials())) == NOT_FORWARDED


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/public/x?a=//..;%00", 200),
        ("/%70ublic/x", 200),
        ("/public/a,b", 200),
        ("/public/caf%C3%A9", 200),
        ("/public/caf\xc3\xa9", 200),
        ("/public?/x", 401),
        ("/Public/x", 401),
        ("/public%3F/x", 401),
        ("/public/../x", 403),
        ("/public/%2e%2e/x", 403),
        ("/public/%2E%2E%2Fx", 403),
        ("/public/%252e%252e/x", 403),
        ("/public/%5c..%5cx", 403),
        ("/public//x", 403),
        ("//host/public/x", 403),
        ("/public/x;y", 403),
        ("/public/%00", 403),
        ("/public/%", 403),
        ("/public/%zz", 403),
        ("/public/caf%E9", 403),
        ("/public/caf\xe9", 403),
        ("/public/x,http://host/x", 403),
        ("/public/x\\y", 403),
    ],
)
def test_a_target_is_read_as_a_server_would_read_it_and_decoded_once(
    make: Make, pair: tuple[str, str], target: str, status: int
) -> None:
    assert ask(make(), original(target, pair=pair)).status_int == status


@pytest.mark.parametrize("target", ["/static/../x", "/static/%252e", "/static//x", "/static", "/static/%FF"])
def test_without_routes_what_is_not_normal_needs_a_token(target: str) -> None:
    guarded = Guarded(trusted_proxies=[PROXY], public_paths=["/static/*"])
    assert ask(guarded, original("/static/x")).status_int == 200
    assert verdict(ask(guarded, original(target))) == (401, "missing_credentials")
    assert ask(guarded, original(target) | credentials()).status_int == 200


def test_a_path_under_the_prefix_is_judged_like_any_other(make: Make) -> None:
    assert verdict(ask(make(), original("/auth/health"))) == (401, "missing_credentials")


def test_there_is_none_without_a_prefix(make: Make) -> None:
    guarded = make(prefix="")
    assert guarded.hand_on("/auth/verify", original("/public/x")).json["code"] == "missing_credentials"
