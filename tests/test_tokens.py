"""Tokens: made, renewed, verified."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from gateway import (
    ConfigError,
    ExpiredTokenError,
    GatewayError,
    InvalidClaimsError,
    InvalidTokenError,
    Settings,
    TokenCreator,
    TokenError,
)
from tests.support import KEY, MINUTE, NOW, Clock, claims, forge


def creator(**options: Any) -> Clock:
    return Clock(token_key=KEY, **options)


def read(token: str) -> dict[str, Any]:
    """The claims of a token, by another library and at any time."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


class TestCreate:
    def test_issues_uid_iat_exp_auth_time_and_sid(self) -> None:
        issued = read(creator(exp_time_min=30).create(uid=12))
        assert issued.pop("sid")
        assert issued == {"uid": 12, "iat": int(NOW), "exp": int(NOW) + 1800, "auth_time": NOW}

    def test_tells_two_sessions_apart(self) -> None:
        tokens = creator()
        assert read(tokens.create(uid=12))["sid"] != read(tokens.create(uid=12))["sid"]

    def test_writes_auth_time_to_the_microsecond(self) -> None:
        tokens = creator()
        tokens.time = 1_800_000_000.123_456_7
        assert read(tokens.create(uid=12))["auth_time"] == 1_800_000_000.123457

    def test_writes_issuer_and_audience_where_they_are_configured(self) -> None:
        issued = read(creator(issuer="me", audience="us").create(uid=12))
        assert (issued["iss"], issued["aud"]) == ("me", "us")

    def test_writes_the_uid_under_its_configured_name(self) -> None:
        issued = read(creator(uid_claim="sub").create(uid="ann"))
        assert issued["sub"] == "ann"
        assert "uid" not in issued

    @pytest.mark.parametrize(
        "more",
        [
            pytest.param({"claims": {"role": "x", "deep": {"a": [1, None]}}}, id="mapping"),
            pytest.param({"role": "x", "deep": {"a": [1, None]}}, id="keywords"),
        ],
    )
    def test_takes_extra_claims(self, more: dict[str, Any]) -> None:
        issued = read(creator().create(12, **more))
        assert (issued["role"], issued["deep"]) == ("x", {"a": [1, None]})

    @pytest.mark.parametrize(
        "uid",
        [
            *(None, True, 12.0, [12], "", "a b", "1,2", "é", "a" * 256, b"12"),
            pytest.param(10**255, id="256 digits"),
            pytest.param(10**5000, id="more digits than Python writes"),
        ],
    )
    def test_refuses_a_uid_that_would_be_refused_in_a_token(self, uid: Any) -> None:
        with pytest.raises(InvalidClaimsError):
            creator().create(uid=uid)

    @pytest.mark.parametrize("name", ["uid", "iat", "exp", "auth_time", "sid", "iss", "aud"])
    def test_refuses_an_extra_claim_named_like_an_issued_one(self, name: str) -> None:
        with pytest.raises(InvalidClaimsError, match=name):
            creator().create(12, {name: "x"})

    def test_refuses_an_extra_claim_named_like_the_configured_uid_claim(self) -> None:
        with pytest.raises(InvalidClaimsError, match="sub"):
            creator(uid_claim="sub").create(12, sub="x")

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(float("nan"), id="NaN"),
            pytest.param(float("inf"), id="infinity"),
            pytest.param([-float("inf")], id="infinity inside"),
            pytest.param(10**4300, id="4,301 digits"),
            pytest.param(b"x", id="bytes"),
            pytest.param({1, 2}, id="set"),
            pytest.param(object(), id="object"),
            pytest.param({1: "a", "1": "b"}, id="a member twice"),
        ],
    )
    def test_refuses_a_claim_that_would_be_refused_in_a_token(self, value: Any) -> None:
        with pytest.raises(InvalidClaimsError):
            creator().create(12, x=value)

    def test_refuses_a_claim_whose_name_is_no_text(self) -> None:
        with pytest.raises(InvalidClaimsError, match="must be text"):
            creator().create(12, {1: "x"})  # type: ignore[dict-item]

    def test_refuses_a_claim_that_is_given_twice(self) -> None:
        with pytest.raises(InvalidClaimsError, match="twice"):
            creator().create(12, {"x": 1}, x=1)

    def test_refuses_claims_nested_too_deep(self) -> None:
        nested: list[Any] = []
        for _ in range(2000):
            nested = [nested]
        with pytest.raises(InvalidClaimsError):
            creator().create(12, x=nested)

    @pytest.mark.parametrize("name", ["jti", "nbf"])
    def test_refuses_a_registered_claim_of_the_wrong_type(self, name: str) -> None:
        with pytest.raises(InvalidClaimsError, match=name):
            creator().create(12, {name: [1]})

    def test_can_make_a_token_that_is_good_later(self) -> None:
        tokens = creator()
        token = tokens.create(12, nbf=NOW + 60)
        with pytest.raises(InvalidClaimsError):
            tokens.decode_token(token)
        tokens.time += 60
        assert tokens.decode_token(token)["uid"] == 12

    def test_refuses_a_token_that_would_be_too_long_to_be_looked_at(self) -> None:
        with pytest.raises(InvalidClaimsError, match="8000"):
            creator().create(12, x="a" * 8000)

    def test_goes_by_the_clock_of_the_machine(self) -> None:
        before = time.time()
        token = TokenCreator(token_key=KEY).create(uid=12)
        assert before - 1 <= read(token)["auth_time"] <= time.time()


class TestRefresh:
    @pytest.mark.parametrize(
        ("age_min", "renewed"),
        [pytest.param(15 - 1 / 60, False, id="not yet"), pytest.param(15 + 1 / 60, True, id="due")],
    )
    def test_renews_when_fewer_minutes_are_left_than_the_window(self, age_min: float, renewed: bool) -> None:
        tokens = creator(exp_time_min=30, refresh_time_min=15)
        token = tokens.create(uid=12)
        tokens.time += age_min * MINUTE
        assert (tokens.refresh(token) != token) is renewed

    def test_does_not_renew_when_just_so_many_minutes_are_left(self) -> None:
        token = forge(claims(exp=NOW + 15 * MINUTE))
        assert creator().refresh(token) == token

    def test_never_renews_with_a_window_of_zero(self) -> None:
        tokens = creator(refresh_time_min=0)
        token = tokens.create(uid=12)
        tokens.time += 30 * MINUTE - 1
        assert tokens.refresh(token) == token

    def test_never_renews_with_a_window_of_zero_within_the_leeway_either(self) -> None:
        token = forge(claims(exp=NOW - 5))
        assert creator(refresh_time_min=0, leeway_sec=10).refresh(token) == token

    def test_keeps_every_claim_but_iat_and_exp(self) -> None:
        tokens = creator(issuer="me", audience="us")
        token = tokens.create(12, role="x", deep={"a": [1.5, None, "é"]}, jti="j", nbf=1)
        tokens.time += 20 * MINUTE
        old, new = read(token), read(tokens.refresh(token))
        now = int(tokens.time)
        assert new == old | {"iat": now, "exp": now + 30 * MINUTE}

    def test_gives_a_token_that_is_good(self) -> None:
        tokens = creator()
        token = tokens.create(uid=12)
        tokens.time += 20 * MINUTE
        renewed = tokens.refresh(token)
        tokens.time += 29 * MINUTE
        assert tokens.decode_token(renewed)["uid"] == 12

    def test_never_outlives_the_session(self) -> None:
        tokens = creator(exp_time_min=30, max_session_min=40)
        token = tokens.create(uid=12)
        tokens.time += 20 * MINUTE
        assert read(tokens.refresh(token))["exp"] == int(NOW + 40 * MINUTE)

    def test_makes_no_renewal_that_would_end_no_later(self) -> None:
        tokens = creator(exp_time_min=30, max_session_min=30)
        token = tokens.create(uid=12)
        tokens.time += 20 * MINUTE
        assert tokens.refresh(token) == token

    def test_makes_no_renewal_within_the_second_of_the_last(self) -> None:
        tokens = creator(exp_time_min=30, refresh_time_min=30)
        token = tokens.create(uid=12)
        tokens.time += 0.5
        assert tokens.refresh(token) == token

    def test_makes_no_renewal_too_long_to_be_looked_at(self) -> None:
        token = forge(claims(auth_time=..., exp=NOW + 60))
        assert creator(max_token_bytes=len(token)).refresh(token) == token

    def test_writes_down_when_a_session_began_that_only_said_iat(self) -> None:
        token = forge(claims(auth_time=..., iat=NOW - 60, exp=NOW + 60))
        assert read(creator().refresh(token))["auth_time"] == NOW - 60

    def test_never_renews_a_token_that_does_not_say_when_it_began(self) -> None:
        token = forge(claims(auth_time=..., iat=..., exp=NOW + 60))
        assert creator().refresh(token) == token

    def test_renews_a_token_that_is_over_by_less_than_the_leeway(self) -> None:
        token = forge(claims(exp=NOW - 5))
        assert read(creator(leeway_sec=10).refresh(token))["exp"] == int(NOW) + 30 * MINUTE

    def test_refuses_an_expired_token(self) -> None:
        with pytest.raises(ExpiredTokenError):
            creator().refresh(forge(claims(exp=NOW)))


class TestDecodeToken:
    def test_returns_the_claims(self) -> None:
        assert creator().decode_token(forge(claims(x=[1]))) == claims(x=[1])

    @pytest.mark.parametrize("token", ["", "a.b.c", None, 5, b"a.b.c", [], "x" * 100_000, "\ud800"])
    def test_refuses_what_is_no_token(self, token: Any) -> None:
        with pytest.raises(InvalidTokenError):
            creator().decode_token(token)

    def test_refuses_a_token_of_another_key(self) -> None:
        with pytest.raises(InvalidTokenError):
            creator().decode_token(forge(claims(), key="other" * 8))

    def test_refuses_a_token_that_pyjwt_would_take_without_exp(self) -> None:
        with pytest.raises(InvalidClaimsError):
            creator().decode_token(jwt.encode({"uid": 12}, KEY, algorithm="HS256"))


@pytest.mark.parametrize("error", [ExpiredTokenError, InvalidClaimsError, InvalidTokenError])
def test_what_is_wrong_with_a_token_is_the_callers_fault(error: type[TokenError]) -> None:
    assert issubclass(error, TokenError)
    assert issubclass(TokenError, GatewayError)
    assert not issubclass(TokenError, ConfigError)


def test_a_creator_can_be_made_from_settings() -> None:
    settings = Settings(token_key=KEY, exp_time_min=5)
    issued = read(Clock(settings).create(uid=12))
    assert issued["exp"] - issued["iat"] == 5 * MINUTE


def test_a_creator_takes_settings_or_keywords_and_not_both() -> None:
    with pytest.raises(TypeError, match="not both"):
        TokenCreator(Settings(token_key=KEY), exp_time_min=5)


def test_a_creator_says_what_settings_are_where_they_are_something_else() -> None:
    with pytest.raises(TypeError, match="must be Settings, not str"):
        TokenCreator(KEY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="no key"),
        pytest.param({"token_key": "short"}, id="weak key"),
        pytest.param({"token_key": KEY, "exp_time_min": 0}, id="no lifetime"),
        pytest.param({"token_key": KEY, "refresh_time_min": 31}, id="window beyond the lifetime"),
    ],
)
def test_a_creator_refuses_what_the_settings_refuse(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TokenCreator(**options)


def test_the_repr_of_a_creator_hides_the_key() -> None:
    assert KEY not in repr(creator())
