"""The gateway's own endpoints."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from gateway.keyfolder import LAG_SEC, LOOK_SEC, KeyFile, generate, read_folder
from gateway.keys import ASYMMETRIC, SYMMETRIC
from tests.support import KEY, NOW, Guarded, as_bytes


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
        *("/auth/jwks.json", "/auth/verify/", "/auth/revoke", "/auth/%FF"),
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


# The public keys

JWKS = "/auth/jwks.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two keys, of which the older signs."""
    for age in (10_000, 0):
        generate(tmp_path, "ES256", NOW - age)
    return tmp_path


@pytest.fixture
def guarded(folder: Path) -> Guarded:
    return Guarded(algorithm="ES256", key_dir=folder)


def files_of(folder: Path) -> list[KeyFile]:
    return read_folder(folder, "ES256", 600).files


def kids_at(guarded: Guarded) -> set[str]:
    return {jwk["kid"] for jwk in guarded.send(JWKS).json["keys"]}


def test_the_public_keys_are_a_jwk_set(guarded: Guarded, folder: Path) -> None:
    response = guarded.send(JWKS)
    expected = sorted((file.key.public_jwk() for file in files_of(folder)), key=lambda jwk: jwk["kid"])
    assert response.status_int == 200
    assert response.headers["Content-Type"] == "application/jwk-set+json"
    assert response.json == {"keys": expected}


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_the_public_keys_have_no_private_member(alg: str, tmp_path: Path) -> None:
    generate(tmp_path, alg, NOW)
    (jwk,) = Guarded(algorithm=alg, key_dir=tmp_path).send(JWKS).json["keys"]
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}.intersection(jwk)
    assert (jwk["use"], jwk["alg"]) == ("sig", alg)


def test_the_public_keys_hold_nothing_of_the_private_ones(guarded: Guarded, folder: Path) -> None:
    body = guarded.send(JWKS).text
    for file in files_of(folder):
        private = jwt.get_algorithm_by_name("ES256").prepare_key(file.path.read_bytes())
        assert jwt.get_algorithm_by_name("ES256").to_jwk(private, as_dict=True)["d"] not in body


def test_another_library_verifies_our_tokens_by_the_public_keys(guarded: Guarded) -> None:
    keys = jwt.PyJWKSet.from_dict(guarded.send(JWKS).json)
    token = guarded.clock.create(uid=12)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, options={"verify_exp": False, "verify_iat": False})["uid"] == 12


def test_public_keys_of_another_algorithm_are_among_them(guarded: Guarded, folder: Path) -> None:
    other = generate(folder, "EdDSA", NOW)
    guarded.clock.time += LOOK_SEC
    assert other.key.kid in kids_at(guarded)
    assert len(kids_at(guarded)) == 3


def test_the_public_keys_need_no_credentials(guarded: Guarded) -> None:
    assert guarded.request(JWKS, token="bad").status_int == 200


def test_a_new_key_is_among_the_public_ones_before_it_signs(guarded: Guarded, folder: Path) -> None:
    before = kids_at(guarded)
    new = generate(folder, "ES256", guarded.clock.time)
    guarded.clock.time += LOOK_SEC
    assert kids_at(guarded) == before | {new.key.kid}


def test_a_deleted_key_is_no_longer_among_the_public_ones(guarded: Guarded, folder: Path) -> None:
    before = kids_at(guarded)
    gone = files_of(folder)[0]
    gone.path.unlink()
    guarded.clock.time += LOOK_SEC
    assert kids_at(guarded) == before - {gone.key.kid}


@pytest.mark.parametrize(
    ("activation", "kept"),
    [(600, 300), (310, 300), (309, 299), (60, 50), (LAG_SEC + 1, 1), (LAG_SEC, 0), (5, 0), (0, 0)],
)
def test_others_keep_the_public_keys_for_less_time_than_a_new_key_needs_to_sign(
    activation: int, kept: int, folder: Path
) -> None:
    response = Guarded(algorithm="ES256", key_dir=folder, key_activation_sec=activation).send(JWKS)
    assert response.headers["Cache-Control"] == f"public, max-age={kept}"


def test_the_public_keys_are_sent_again_only_when_they_changed(guarded: Guarded, folder: Path) -> None:
    first = guarded.send(JWKS)
    asked = {"If-None-Match": first.headers["ETag"]}
    same = guarded.send(JWKS, asked)
    assert (same.status_int, same.body) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    assert same.headers["Cache-Control"] == first.headers["Cache-Control"]
    generate(folder, "ES256", NOW)
    guarded.clock.time += LOOK_SEC
    changed = guarded.send(JWKS, asked)
    assert changed.status_int == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_two_workers_tag_the_same_public_keys_alike(guarded: Guarded, folder: Path) -> None:
    other = Guarded(algorithm="ES256", key_dir=folder)
    assert other.send(JWKS).headers["ETag"] == guarded.send(JWKS).headers["ETag"]


def test_the_public_keys_give_head_the_same_headers_and_no_body(guarded: Guarded) -> None:
    get, head = guarded.send(JWKS), guarded.send(JWKS, method="HEAD")
    assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")
    assert head.headers["Content-Length"] == str(len(get.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_public_keys_are_for_get_alone(method: str, guarded: Guarded) -> None:
    response = guarded.send(JWKS, method=method)
    assert response.status_int == 405
    assert response.json == {"error": "Method Not Allowed", "code": "method_not_allowed"}
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("alg", SYMMETRIC)
def test_there_are_no_public_keys_of_a_secret(alg: str) -> None:
    response = Guarded(algorithm=alg, previous_keys=["k" * 64]).send(JWKS)
    assert response.status_int == 404
    assert response.json == {"error": "Not Found", "code": "not_found"}


def test_a_secret_that_is_not_used_is_not_among_the_public_keys(guarded: Guarded) -> None:
    assert KEY not in guarded.send(JWKS).text
    assert all(jwk["kty"] == "EC" for jwk in guarded.send(JWKS).json["keys"])


def test_the_public_keys_are_under_the_prefix(folder: Path) -> None:
    guarded = Guarded(algorithm="ES256", key_dir=folder, prefix="/_gateway")
    assert guarded.send("/_gateway/jwks.json").status_int == 200
    assert guarded.send(JWKS).status_int == 400


def test_the_body_of_the_public_keys_is_json_in_ascii(guarded: Guarded) -> None:
    response = guarded.send(JWKS)
    assert response.body == as_bytes(response.json)
    assert response.headers["Content-Length"] == str(len(response.body))
