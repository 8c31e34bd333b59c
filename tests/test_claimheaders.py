"""Claims that become headers: which values they get, which are refused, and that no client sets them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.claimheaders import ClaimHeaders
from gateway.errors import InvalidClaimsError
from tests.support import ROUTES, Guarded, Recorder, by_policy, claims, forge

LEGAL = re.compile(rb"[!-~\x80-\xff]+([ \t]+[!-~\x80-\xff]+)*|")  # RFC 9110 section 5.5
HEADERS = ClaimHeaders([("X-Role", "role")])


def value_of(claim: object) -> str:
    """What the header is set to, as an environ carries it."""
    ((header, value),) = HEADERS.values({"role": claim})
    assert header == ("X-Role", "HTTP_X_ROLE", "role")
    return value


def text_of(claim: object) -> str:
    """What the bytes of the header say."""
    return value_of(claim).encode("latin-1").decode("utf-8")


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        pytest.param("admin", "admin", id="a string"),
        pytest.param("a b", "a b", id="a string with a space"),
        pytest.param("", "", id="an empty string"),
        pytest.param("grüße", "grüße", id="a string beyond ASCII"),
        pytest.param("a, b", "a, b", id="a string with a comma"),
        pytest.param(12, "12", id="a number"),
        pytest.param(-0.5, "-0.5", id="a fraction"),
        pytest.param(1e300, "1e+300", id="a large one"),
        pytest.param(True, "true", id="true"),
        pytest.param(False, "false", id="false"),
        pytest.param(None, "null", id="null"),
        pytest.param([], "", id="no items"),
        pytest.param(["a"], "a", id="one item"),
        pytest.param(["a", "b c", "ü"], "a,b c,ü", id="items"),
        pytest.param([1, 2.5, True, "x"], "1,2.5,true,x", id="items of several types"),
        pytest.param({"a": ["b", None]}, '{"a": ["b", null]}', id="an object"),
        pytest.param(["a", ["b"]], '["a", ["b"]]', id="a list in a list"),
        pytest.param(["a", None], '["a", null]', id="null in a list"),
        pytest.param([{"a": "ü"}], '[{"a": "\\u00fc"}]', id="an object in a list"),
        pytest.param({"a": "x\ny"}, '{"a": "x\\ny"}', id="a newline in an object"),
    ],
)
def test_a_claim_is_written(claim: object, text: str) -> None:
    assert text_of(claim) == text


REFUSED = [
    *("a\nb", "a\r\nX-Admin: 1", "a\x00", "\x7f", "\x1b[31m", " a", "a ", "\ta", "a\t", "\n", " ", "\ud800"),
    *(["a,b"], ["a", "b,"], [","], ["a", ""], [""], [" a"], ["a", "b "], ["a\nb"], ["\u00a0a"], ["\ud800"]),
]


@pytest.mark.parametrize("claim", REFUSED, ids=ascii)
def test_what_no_header_can_hold_or_what_would_be_read_as_more_is_refused(claim: object) -> None:
    with pytest.raises(InvalidClaimsError, match=r"^role is to be a header, and ") as caught:
        value_of(claim)
    assert repr(claim) not in str(caught.value)


def test_a_claim_that_is_missing_sets_no_header() -> None:
    assert HEADERS.values({"roles": "admin", "Role": "admin"}) == []


def test_each_header_has_its_claim_and_each_claim_may_have_several() -> None:
    headers = ClaimHeaders([("X-A", "a"), ("X.B", "b"), ("X-C", "a")])
    assert headers.keys == ("HTTP_X_A", "HTTP_X.B", "HTTP_X_C")
    assert [(header.key, value) for header, value in headers.values({"a": 1, "b": 2})] == [
        ("HTTP_X_A", "1"),
        ("HTTP_X.B", "2"),
        ("HTTP_X_C", "1"),
    ]


TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.text(
    " ,\n\r\t\x00a\u00a0\u0085é", max_size=6
)
PLAIN = TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
JSON = st.recursive(
    PLAIN | st.none(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3)
)


@given(JSON)
def test_whatever_the_claim_the_value_is_legal_or_it_is_refused(claim: Any) -> None:
    try:
        value = value_of(claim)
    except InvalidClaimsError:
        return
    assert LEGAL.fullmatch(value.encode("latin-1"))


@given(st.lists(PLAIN, max_size=5))
def test_plain_items_are_always_read_back_as_the_same_items(items: list[Any]) -> None:
    try:
        text = text_of(items)
    except InvalidClaimsError:
        return
    read = [item.strip() for item in text.split(",") if item.strip()]
    assert read == [item if isinstance(item, str) else json.dumps(item) for item in items]


@given(st.lists(st.from_regex(r"[a-z0-9:/.é-]{1,8}", fullmatch=True), max_size=5))
def test_usual_items_are_never_refused(items: list[str]) -> None:
    assert text_of(items) == ",".join(items)


# Through the gateway


POLICY = f"""
[headers]
X-Role = "role"
X-Teams = "teams"
{ROUTES}"""
KEYS = ("HTTP_X_ROLE", "HTTP_X_TEAMS")
Make = Callable[..., Guarded]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(**options: Any) -> Guarded:
        return by_policy(tmp_path, POLICY, **options)

    return made


def seen(guarded: Guarded) -> list[str | None]:
    return [guarded.seen.get(key) for key in KEYS]


@pytest.mark.parametrize("path", ["/x", "/optional"])
def test_the_app_sees_the_claims_as_headers(make: Make, path: str) -> None:
    guarded = make()
    guarded.request(path, token=forge(claims(role="user", teams=["a", "ü"])))
    assert seen(guarded) == ["user", "a,Ã¼"]


def test_the_app_sees_no_header_of_a_claim_that_is_missing(make: Make) -> None:
    guarded = make()
    guarded.request(token=forge(claims(teams=[])), X_Role="admin")
    assert seen(guarded) == [None, ""]


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/public/x", "GET", {}),
        ("/optional", "GET", {}),
        ("/x", "OPTIONS", {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}),
    ],
)
def test_where_nobody_is_known_there_is_none_and_none_is_left(
    make: Make, path: str, method: str, headers: dict[str, str]
) -> None:
    guarded = make(allow_preflight=True)
    guarded.send(path, headers | {"X-Role": "admin", "X.Teams": "a", "x_teams": "b"}, method)
    assert seen(guarded) == [None, None]
    assert "HTTP_X.TEAMS" not in guarded.seen


def test_on_a_public_path_a_token_sets_none_either(make: Make) -> None:
    guarded = make()
    guarded.request("/public/x", token=forge(claims(role="a\nb")))
    assert seen(guarded) == [None, None]


@pytest.mark.parametrize("profile", ["classic", "rfc6750"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_claim_that_no_header_can_hold_is_refused_as_row_6(make: Make, profile: str, method: str) -> None:
    guarded = make(status_profile=profile)
    response = guarded.request(token=forge(claims(role="a\r\nX-Admin: 1")), method=method)
    assert response.status == "401 Unauthorized"
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="gateway", error="invalid_token"')
    body = b'{"error": "Token is invalid", "code": "invalid_claims"}'
    assert response.body == (b"" if method == "HEAD" else body)
    assert guarded.reached == 0


def test_it_is_refused_each_time(make: Make) -> None:
    guarded, token = make(), forge(claims(teams=["a,b"]))
    assert [guarded.request(token=token).status_int for _ in range(3)] == [401] * 3


def test_it_is_told_before_a_missing_scope(make: Make) -> None:
    assert make().request("/admin/x", token=forge(claims(role="\n"))).json["code"] == "invalid_claims"


def test_it_is_refused_without_a_renewed_token(make: Make) -> None:
    response = make().request(token=forge(claims(role="\n", exp=claims()["iat"] + 60)))
    assert (response.status_int, response.headers.get("X-Refreshed-Token")) == (401, None)


def test_what_the_app_does_to_the_claims_shows_in_no_later_header(make: Make) -> None:
    guarded, token = make(), forge(claims(teams=["a"]))
    guarded.request(token=token)
    guarded.seen["gateway.claims"]["teams"].append("admins")
    guarded.seen["HTTP_X_TEAMS"] = "admins"
    guarded.request(token=token)
    assert isinstance(guarded.app, Recorder)
    assert [guarded.app.calls[-1].get(key) for key in KEYS] == [None, "a"]
