"""What the claims of a rightly signed token must say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import ExpiredTokenError, InvalidClaimsError, Settings
from gateway.claims import Facts, OwnRules, is_time, uid_text
from tests.support import KEY, MINUTE, NOW, claims


def judge(payload: dict[str, Any], now: float = NOW, **options: Any) -> Facts:
    return OwnRules(Settings(token_key=KEY, **options)).judge(payload, now)


NOT_TIMES: dict[str, object] = {
    "null": None,
    "true": True,
    "false": False,
    "digits in a string": "1800000000",
    "empty": "",
    "list": [1],
    "object": {},
    "16 digits": 10**15,
    "16 digits, negative": -(10**15),
    "400 digits": 10**400,
    "beyond 15 digits": 1e15,
    "the largest double": 1.7e308,
}


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in NOT_TIMES.items()])
@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
def test_a_time_must_be_a_number_of_at_most_15_digits(name: str, value: object) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(**{name: value}))


@pytest.mark.parametrize("value", [0, -1, 1.5, -0.0, 10**15 - 1, 999_999_999_999_999.0])
def test_a_number_of_15_digits_is_a_time(value: float) -> None:
    assert is_time(value)


def test_exp_may_have_a_fraction() -> None:
    assert judge(claims(exp=NOW + 0.5)).exp == NOW + 0.5


@pytest.mark.parametrize("name", ["exp", "uid"])
def test_a_claim_without_which_there_is_no_judging_is_required(name: str) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(**{name: ...}))


NOT_UIDS: dict[str, object] = {
    "null": None,
    "true": True,
    "false": False,
    "float": 12.0,
    "list": [12],
    "object": {"uid": 12},
    "empty": "",
    "space": "1 2",
    "space before": " 12",
    "newline after": "12\n",
    "NUL": "12\x00",
    "DEL": "12\x7f",
    "comma": "12,13",
    "beyond ASCII": "é",
    "digits beyond ASCII": "١٢",
    "lone surrogate": "\ud800",
    "256 characters": "a" * 256,
    "256 digits": 10**255,
    "4,300 digits": 10**4299,
}


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in NOT_UIDS.items()])
def test_a_uid_must_be_an_integer_or_255_visible_characters(value: object) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(uid=value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-1, "-1"),
        (10**254, "1" + "0" * 254),
        ("a" * 255, "a" * 255),
        ("!~+-./", "!~+-./"),
        ("012", "012"),
    ],
)
def test_a_uid_has_one_text(value: object, text: str) -> None:
    assert uid_text(value) == text


@pytest.mark.parametrize("value", [None, 5, True, [], {}])
@pytest.mark.parametrize("name", ["sid", "jti", "iss"])
def test_a_name_must_be_a_string(name: str, value: object) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(**{name: value}))


@pytest.mark.parametrize("name", ["iat", "nbf", "auth_time"])
@pytest.mark.parametrize(
    ("leeway", "ahead", "good"),
    [(0, 10, True), (0, 10.5, False), (5, 10, True), (30, 30, True), (30, 30.5, False)],
)
def test_a_time_may_lie_ahead_by_the_leeway_or_by_ten_seconds(
    name: str, leeway: int, ahead: float, good: bool
) -> None:
    payload = claims(**{name: NOW + ahead})
    if good:
        assert judge(payload, leeway_sec=leeway).uid == "12"
    else:
        with pytest.raises(InvalidClaimsError):
            judge(payload, leeway_sec=leeway)


@pytest.mark.parametrize("issuer", [..., "", "ME", "me ", "me/", "them"])
def test_another_issuer_than_the_configured_one_is_refused(issuer: object) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(iss=issuer), issuer="me")


def test_any_issuer_is_good_where_none_is_configured() -> None:
    assert judge(claims(iss="anyone")).uid == "12"


@pytest.mark.parametrize("audience", ["us", "", None, [], ["us"], 0, {}])
def test_an_audience_is_refused_where_none_is_configured(audience: object) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(aud=audience))


@pytest.mark.parametrize(
    "audience",
    [..., None, "", "US", "us ", "u", [], ["them"], [["us"]], ["us", 1], ["us", None], {"us": 1}, 5],
)
def test_an_audience_that_does_not_name_the_configured_one_is_refused(audience: object) -> None:
    with pytest.raises(InvalidClaimsError):
        judge(claims(aud=audience), audience="us")


@pytest.mark.parametrize("audience", ["us", ["us"], ["them", "us"]])
def test_an_audience_that_names_the_configured_one_is_good(audience: object) -> None:
    assert judge(claims(aud=audience), audience="us").uid == "12"


HOUR = 60 * MINUTE


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(claims(auth_time=NOW - HOUR), id="by auth_time"),
        pytest.param(claims(auth_time=..., iat=NOW - HOUR), id="by iat"),
        pytest.param(claims(auth_time=NOW - HOUR, iat=int(NOW)), id="by auth_time before iat"),
        pytest.param(claims(auth_time=..., iat=..., exp=NOW + HOUR), id="by its end, with neither"),
    ],
)
def test_a_session_is_good_up_to_its_longest_and_no_longer(payload: dict[str, Any]) -> None:
    assert judge(payload, max_session_min=60).uid == "12"
    late = payload | {"exp": NOW + HOUR + 0.5}
    with pytest.raises(InvalidClaimsError):
        judge(late, now=NOW + (0.5 if "iat" in payload else 0), max_session_min=60)


def test_a_token_that_does_not_say_when_it_began_is_good_until_its_end() -> None:
    assert judge(claims(auth_time=..., iat=...)).began is None


def test_the_session_began_at_auth_time_before_iat() -> None:
    assert judge(claims(auth_time=NOW - 5, iat=NOW)).began == NOW - 5


def test_expiry_is_told_before_any_other_fault() -> None:
    with pytest.raises(ExpiredTokenError):
        judge({"exp": 1, "uid": None, "iat": "x", "aud": 5})


def test_an_error_carries_the_claims_of_a_rightly_signed_token() -> None:
    payload = claims(sid=5)
    with pytest.raises(InvalidClaimsError) as caught:
        judge(payload)
    assert caught.value.claims == payload
