"""Tokens: made, renewed, verified."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
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
from gateway.keyfolder import LOOK_SEC, KeyFile, generate
from gateway.keys import ASYMMETRIC, SYMMETRIC
from tests.support import HEADER, KEY, MINUTE, NOW, Clock, claims, forge

LONG = KEY * 2  # enough for HS512
OLD = "an older secret for tests alone, 47 bytes long."


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


class TestShortened:
    def test_ends_earlier_and_is_otherwise_the_same(self) -> None:
        token = creator().create(uid=12, role="editor")
        shortened = creator().shortened(token, int(NOW) + MINUTE)
        assert read(shortened) == read(token) | {"exp": int(NOW) + MINUTE}
        assert jwt.get_unverified_header(shortened) == jwt.get_unverified_header(token)

    def test_is_rightly_signed(self) -> None:
        shortened = creator().shortened(forge(claims()), int(NOW) + MINUTE)
        assert creator().decode_token(shortened) == claims(exp=int(NOW) + MINUTE)

    def test_may_have_ended(self) -> None:
        shortened = creator().shortened(forge(claims()), int(NOW) - MINUTE)
        with pytest.raises(ExpiredTokenError):
            creator().decode_token(shortened)

    @pytest.mark.parametrize("later", [0, 1, 10**9])
    def test_never_ends_later_than_the_token_that_came_nor_with_it(self, later: int) -> None:
        with pytest.raises(InvalidClaimsError, match="must be earlier"):
            creator().shortened(forge(claims()), int(NOW) + 30 * MINUTE + later)

    def test_is_not_had_of_an_expired_token(self) -> None:
        with pytest.raises(ExpiredTokenError):
            creator().shortened(forge(claims(exp=NOW)), int(NOW) - MINUTE)

    @pytest.mark.parametrize("token", ["", "x", forge(claims(), key=OLD), forge(claims(), {"alg": "none"})])
    def test_is_not_had_of_what_is_no_token_of_ours(self, token: str) -> None:
        with pytest.raises(InvalidTokenError):
            creator().shortened(token, int(NOW))

    def test_is_not_signed_by_a_key_that_signs_no_more(self) -> None:
        with pytest.raises(InvalidTokenError, match="signs no more"):
            creator(previous_keys=[OLD]).shortened(forge(claims(), key=OLD), int(NOW))

    def test_is_not_made_longer_than_what_is_looked_at(self) -> None:
        written_short = json.dumps(claims(name="é" * 250), ensure_ascii=False).encode()
        with pytest.raises(InvalidClaimsError, match="max_token_bytes"):
            creator(max_token_bytes=1000).shortened(forge(written_short), int(NOW))


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


# Algorithms


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, KeyFile]:
    """One key for each asymmetric algorithm, in a folder of its own."""
    return {alg: generate(tmp_path_factory.mktemp(alg), alg, NOW - 10_000) for alg in ASYMMETRIC}


@pytest.fixture(params=(*SYMMETRIC, *ASYMMETRIC))
def alg(request: pytest.FixtureRequest) -> str:
    """Each algorithm in turn."""
    found: str = request.param
    return found


@pytest.fixture
def tokens(alg: str, files: Mapping[str, KeyFile]) -> Clock:
    """A creator of tokens by each algorithm in turn."""
    if alg in SYMMETRIC:
        return Clock(token_key=LONG, algorithm=alg)
    return Clock(algorithm=alg, key_dir=files[alg].path.parent)


UNTIMED = {"verify_exp": False, "verify_iat": False}


def read_elsewhere(token: str, keys: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims of a token that another library verified by one of our public keys."""
    by_name = {jwk["kid"]: jwt.PyJWK(dict(jwk)) for jwk in keys}
    key = by_name[jwt.get_unverified_header(token)["kid"]]
    found: dict[str, Any] = jwt.decode(token, key, options=UNTIMED)  # type: ignore[arg-type]
    return found


class TestAlgorithms:
    def test_a_token_is_made_and_read(self, tokens: Clock) -> None:
        assert tokens.decode_token(tokens.create(12, role="x"))["role"] == "x"

    def test_a_token_is_renewed(self, tokens: Clock) -> None:
        token = tokens.create(uid=12)
        tokens.time += 20 * MINUTE
        renewed = tokens.refresh(token)
        assert renewed != token
        assert tokens.decode_token(renewed) == tokens.decode_token(token) | {
            "iat": int(tokens.time),
            "exp": int(tokens.time) + 30 * MINUTE,
        }

    def test_the_header_names_the_algorithm_and_a_key_that_has_a_name(
        self, tokens: Clock, alg: str, files: Mapping[str, KeyFile]
    ) -> None:
        names = {"kid": files[alg].key.kid} if alg in ASYMMETRIC else {}
        assert jwt.get_unverified_header(tokens.create(uid=12)) == {"alg": alg, "typ": "JWT"} | names

    def test_a_token_with_another_signature_is_refused(self, tokens: Clock) -> None:
        one, other = tokens.create(uid=12), tokens.create(uid=13)
        with pytest.raises(InvalidTokenError):
            tokens.decode_token(one[: one.rindex(".")] + other[other.rindex(".") :])

    @pytest.mark.parametrize("alg", SYMMETRIC, indirect=True)
    def test_another_library_reads_our_token_by_the_secret(self, tokens: Clock, alg: str) -> None:
        token = tokens.create(uid=12)
        found = jwt.decode(token, LONG, algorithms=[alg], options=UNTIMED)  # type: ignore[arg-type]
        assert found == tokens.decode_token(token)

    @pytest.mark.parametrize("alg", ASYMMETRIC, indirect=True)
    def test_another_library_reads_our_token_by_the_public_key(self, tokens: Clock) -> None:
        token = tokens.create(uid=12)
        assert read_elsewhere(token, tokens.public_keys()["keys"]) == tokens.decode_token(token)

    @pytest.mark.parametrize("alg", SYMMETRIC, indirect=True)
    def test_a_token_that_another_library_made_by_the_secret_is_read(self, tokens: Clock, alg: str) -> None:
        assert tokens.decode_token(jwt.encode(claims(), LONG, algorithm=alg)) == claims()

    @pytest.mark.parametrize("alg", ASYMMETRIC, indirect=True)
    @pytest.mark.parametrize("named", [True, False])
    def test_a_token_that_another_library_made_by_the_private_key_is_read(
        self, tokens: Clock, alg: str, named: bool, files: Mapping[str, KeyFile]
    ) -> None:
        headers = {"kid": files[alg].key.kid} if named else {}
        token = jwt.encode(claims(), files[alg].path.read_bytes(), algorithm=alg, headers=headers)
        assert tokens.decode_token(token) == claims()

    @pytest.mark.parametrize("kid", ["unknown", "", None, 5])
    def test_a_token_that_names_another_key_is_refused(self, kid: object) -> None:
        with pytest.raises(InvalidTokenError):
            creator().decode_token(forge(claims(), HEADER | {"kid": kid}))

    @pytest.mark.parametrize("other", SYMMETRIC)
    @pytest.mark.parametrize("alg", SYMMETRIC, indirect=True)
    def test_a_token_of_another_algorithm_by_the_same_secret_is_refused(
        self, tokens: Clock, alg: str, other: str
    ) -> None:
        token = jwt.encode(claims(), LONG, algorithm=other)
        if other == alg:
            assert tokens.decode_token(token) == claims()
        else:
            with pytest.raises(InvalidTokenError):
                tokens.decode_token(token)

    def test_a_token_of_another_algorithm_by_the_same_rsa_key_is_refused(
        self, files: Mapping[str, KeyFile]
    ) -> None:
        file = files["RS256"]
        tokens = Clock(algorithm="RS256", key_dir=file.path.parent)
        token = jwt.encode(
            claims(), file.path.read_bytes(), algorithm="PS256", headers={"kid": str(file.key.kid)}
        )
        with pytest.raises(InvalidTokenError):
            tokens.decode_token(token)

    def test_the_repr_of_a_creator_hides_its_keys(self, tokens: Clock) -> None:
        assert KEY not in repr(tokens)
        assert "PRIVATE" not in repr(tokens)


class TestPreviousKeys:
    def test_they_verify(self) -> None:
        assert creator(previous_keys=["k" * 32, OLD]).decode_token(forge(claims(), key=OLD)) == claims()

    def test_they_verify_beside_the_secret(self) -> None:
        assert creator(previous_keys=[OLD]).decode_token(forge(claims())) == claims()

    def test_they_never_sign(self) -> None:
        token = creator(previous_keys=[OLD]).create(uid=12)
        assert creator().decode_token(token)["uid"] == 12
        with pytest.raises(InvalidTokenError):
            Clock(token_key=OLD).decode_token(token)

    def test_a_renewal_is_signed_by_the_secret_of_now(self) -> None:
        tokens = creator(previous_keys=[OLD])
        renewed = tokens.refresh(forge(claims(exp=NOW + 60), key=OLD))
        assert creator().decode_token(renewed)["exp"] == int(NOW) + 30 * MINUTE

    def test_a_token_of_one_that_was_taken_out_is_refused(self) -> None:
        with pytest.raises(InvalidTokenError):
            creator(previous_keys=["k" * 32]).decode_token(forge(claims(), key=OLD))

    def test_they_are_of_the_configured_algorithm(self) -> None:
        tokens = creator(algorithm="HS512", previous_keys=[OLD * 2])
        assert tokens.decode_token(jwt.encode(claims(), OLD * 2, algorithm="HS512")) == claims()
        with pytest.raises(InvalidTokenError):
            tokens.decode_token(jwt.encode(claims(), OLD * 2, algorithm="HS256"))

    def test_a_previous_key_may_be_the_secret_itself(self) -> None:
        assert creator(previous_keys=[KEY]).decode_token(forge(claims())) == claims()

    def test_keys_of_secrets_do_not_change(self) -> None:
        tokens = creator(previous_keys=[OLD])
        tokens.keep_up()
        assert not tokens.keys_change


class TestKeysOfAFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A folder with one key."""
        generate(tmp_path, "EdDSA", NOW - 10_000)
        return tmp_path

    @pytest.fixture
    def tokens(self, folder: Path) -> Clock:
        return Clock(algorithm="EdDSA", key_dir=folder, exp_time_min=30, key_activation_sec=600)

    def test_they_change(self, tokens: Clock) -> None:
        assert tokens.keys_change

    def test_a_token_made_elsewhere_with_a_new_key_is_read_at_once(self, folder: Path, tokens: Clock) -> None:
        tokens.decode_token(tokens.create(uid=12))
        generate(folder, "EdDSA", NOW)
        elsewhere = Clock(algorithm="EdDSA", key_dir=folder, key_activation_sec=0)
        tokens.time += 1
        assert tokens.decode_token(elsewhere.create(uid=13))["uid"] == 13

    def test_a_new_key_signs_once_it_is_active(self, folder: Path, tokens: Clock) -> None:
        first = tokens.create(uid=12)
        new = generate(folder, "EdDSA", NOW)
        tokens.time = new.made + 599.9
        assert kid_of(tokens.create(uid=12)) == kid_of(first)
        tokens.time = new.made + 600
        assert kid_of(tokens.create(uid=12)) == new.key.kid

    def test_a_token_of_the_key_before_is_read_and_renewed_with_the_new_one(
        self, folder: Path, tokens: Clock
    ) -> None:
        token = tokens.create(uid=12)
        new = generate(folder, "EdDSA", NOW)
        tokens.time += 20 * MINUTE
        assert kid_of(tokens.refresh(token)) == new.key.kid

    def test_a_token_of_a_retired_key_is_refused(self, folder: Path, tokens: Clock) -> None:
        token = tokens.create(uid=12)
        generate(folder, "EdDSA", NOW)
        next(path for path in folder.iterdir() if kid_of(token) in path.name).unlink()
        tokens.time += LOOK_SEC
        with pytest.raises(InvalidTokenError):
            tokens.decode_token(token)

    def test_a_token_that_names_none_of_several_keys_is_refused(self, folder: Path, tokens: Clock) -> None:
        path = generate(folder, "EdDSA", NOW).path
        tokens.time += LOOK_SEC
        with pytest.raises(InvalidTokenError):
            tokens.decode_token(jwt.encode(claims(), path.read_bytes(), algorithm="EdDSA"))

    def test_a_token_of_another_algorithm_in_the_folder_is_read(self, folder: Path, tokens: Clock) -> None:
        other = generate(folder, "ES256", NOW)
        headers = {"kid": str(other.key.kid)}
        token = jwt.encode(claims(), other.path.read_bytes(), algorithm="ES256", headers=headers)
        tokens.time += LOOK_SEC
        assert tokens.decode_token(token) == claims()

    def test_the_secret_is_not_used(self, folder: Path) -> None:
        tokens = creator(algorithm="EdDSA", key_dir=folder, previous_keys=[OLD])
        for key in (KEY, OLD):
            with pytest.raises(InvalidTokenError):
                tokens.decode_token(forge(claims(), key=key))


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


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
