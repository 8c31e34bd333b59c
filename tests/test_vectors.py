"""Wycheproof's JSON Web Signatures, each judged as the key ring judges a token's signature.

Their payloads are no claims: what is compared is the verdict on form, header, key and signature.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jwt
import pytest
import webtest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.utils import base64url_decode

from gateway import AuthGateway, InvalidTokenError, Settings, issuers, jws
from gateway.keys import ASYMMETRIC, Key, KeyRing
from tests.support import KEY, Recorder, b64, forge

FILE = Path(__file__).parent / "vectors" / "wycheproof" / "json_web_signature_test.json"
GROUPS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))["testGroups"]
TESTS: dict[int, dict[str, Any]] = {test["tcId"]: test for group in GROUPS for test in group["tests"]}
GROUP_OF: dict[int, dict[str, Any]] = {test["tcId"]: group for group in GROUPS for test in group["tests"]}

_EMPTY = "right, over an empty payload: refused at sight, since no token has no claims"
_RS384 = "right, by RS384, which is none of our algorithms: refused"
_RS512 = "right, by RS512, which is none of our algorithms: refused"
_PS384 = "right, by PS384, which is none of our algorithms: refused"
_PS512 = "right, by PS512, which is none of our algorithms: refused"

# Where the answer here is not the one in the file, and why. With a star: the file contradicts a
# specification or its own comment (wycheproof issue 236).
DEVIATIONS = {
    259: _EMPTY,
    264: _RS384,
    265: _RS384,
    266: _RS384,
    267: _RS384,
    268: _RS512,
    269: _RS512,
    270: _RS512,
    271: _RS512,
    272: _EMPTY,
    320: _PS384,
    321: _PS384,
    322: _PS384,
    323: _PS384,
    325: _PS512,
    326: _PS512,
    327: _PS512,
    328: _PS512,
    346: "* called valid, though signed by PS384 and its key is for PS256 alone (RFC 7517 4.4): refused",
    347: "* called valid, though signed by ES512 and its key is for ES521, which does not exist: refused",
    350: "* as 346, with key_ops instead of use: refused",
    351: "* as 347, with key_ops instead of use: refused",
    367: "* called invalid for its padding, of which there is none: byte for byte the valid 357, so taken",
    370: "* called invalid for the payload's padding, of which there is none: again 357, so taken",
    372: "* called valid, with a ? in its header, which its comment calls an invalid character: refused",
    373: "* called valid, with a ? in its payload, which its comment calls an invalid character: refused",
    375: "a right MAC over a payload with trailing bits set: refused, but only when the payload is read",
}
CONTRADICTORY = {346, 347, 350, 351, 367, 370, 372, 373}


def jwk_of(group: dict[str, Any]) -> dict[str, Any]:
    jwk: dict[str, Any] = group["public"] if "public" in group else group["private"]
    return jwk


def ring_of(jwk: dict[str, Any]) -> KeyRing:
    """A ring of the key in a JWK, made as the gateway makes it: of a secret, or of an issuer's set."""
    if jwk["kty"] == "oct":
        return KeyRing([Key.secret(base64url_decode(jwk["k"]), alg=jwk["alg"], kid=jwk["kid"])])
    return KeyRing(key for _, key in issuers._usable({"keys": [jwk]}, ASYMMETRIC, {}))


def is_taken(token: str, ring: KeyRing) -> bool:
    try:
        signed = jws.SignedToken(token)
    except InvalidTokenError:
        return False
    return signed.signer(ring.candidates(*signed.header)) is not None


def test_the_file_is_whole() -> None:
    assert len(TESTS) == 401
    assert sum(test["result"] == "valid" for test in TESTS.values()) == 46


@pytest.mark.parametrize(
    "number", [pytest.param(number, id=f"{number}-{test['comment']}") for number, test in TESTS.items()]
)
def test_a_signature_is_judged_as_the_file_says_or_as_explained(number: int) -> None:
    ring = ring_of(jwk_of(GROUP_OF[number]))
    says_valid = TESTS[number]["result"] == "valid"
    assert is_taken(TESTS[number]["jws"], ring) is (says_valid != (number in DEVIATIONS))


def test_what_the_file_contradicts_itself_about_is_starred() -> None:
    assert {number for number, why in DEVIATIONS.items() if why.startswith("*")} == CONTRADICTORY


def test_nothing_called_invalid_is_taken_but_what_is_explained() -> None:
    taken = {number for number in DEVIATIONS if TESTS[number]["result"] == "invalid"}
    assert taken == {367, 370, 375}


@pytest.mark.parametrize("number", [number for number, why in DEVIATIONS.items() if why == _EMPTY])
def test_explained_an_empty_payload(number: int) -> None:
    assert ".." in TESTS[number]["jws"]


@pytest.mark.parametrize(
    ("number", "signed_by", "key_for"),
    [(346, "PS384", "PS256"), (347, "ES512", "ES521"), (350, "PS384", "PS256"), (351, "ES512", "ES521")],
)
def test_explained_a_key_for_another_algorithm(number: int, signed_by: str, key_for: str) -> None:
    assert jws.SignedToken(TESTS[number]["jws"]).header.alg == signed_by
    assert jwk_of(GROUP_OF[number])["alg"] == key_for


@pytest.mark.parametrize("number", [367, 370])
def test_explained_the_same_token_as_a_valid_one(number: int) -> None:
    assert TESTS[number]["jws"] == TESTS[357]["jws"]
    assert TESTS[357]["result"] == "valid"


@pytest.mark.parametrize(("number", "segment"), [(372, 0), (373, 1)])
def test_explained_a_character_outside_the_alphabet(number: int, segment: int) -> None:
    assert "?" in TESTS[number]["jws"].split(".")[segment]


def test_explained_a_payload_in_another_spelling_is_refused_when_it_is_read() -> None:
    header, payload, _ = forge({"uid": 1}).split(".")
    assert payload[-1] == "Q"
    for last, taken in (("Q", True), ("R", False)):
        signed = f"{header}.{payload[:-1]}{last}"
        token = f"{signed}.{b64(Key.secret(KEY).sign(signed.encode()))}"
        with nullcontext() if taken else pytest.raises(InvalidTokenError):
            jws.decode(token, KeyRing([Key.secret(KEY)]))


UNSUPPORTED = [group for group in GROUPS if jwk_of(group).get("alg") not in (None, "HS256", *ASYMMETRIC)]


@pytest.mark.parametrize("group", [pytest.param(group, id=jwk_of(group)["alg"]) for group in UNSUPPORTED])
def test_another_algorithm_is_refused_with_a_key_that_names_none(group: dict[str, Any]) -> None:
    ring = ring_of({name: value for name, value in jwk_of(group).items() if name != "alg"})
    assert bool(ring.keys) is (jwk_of(group)["kty"] == "RSA")
    right = [test["jws"] for test in group["tests"] if test["result"] == "valid"]
    assert right
    assert not any(is_taken(token, ring) for token in right)


@pytest.mark.parametrize("number", [353, 354, 355, 356])
def test_a_key_for_encryption_is_passed_over(number: int) -> None:
    assert not ring_of(jwk_of(GROUP_OF[number])).keys


def of_another_secret(group: dict[str, Any], tmp_path: Path) -> Settings:
    return Settings(token_key=KEY)


def of_its_secret(group: dict[str, Any], tmp_path: Path) -> Settings:
    return Settings(token_key=base64url_decode(group["private"]["k"]))


def of_its_private_key(group: dict[str, Any], tmp_path: Path) -> Settings:
    """A gateway whose own key is the group's, with its name."""
    jwk = group["private"]
    alg = jwk.get("alg", "RS256" if jwk["kty"] == "RSA" else "ES256")
    key: Any = jwt.get_algorithm_by_name(alg).from_jwk(jwk)
    file = tmp_path / f"20260101T000000Z.{alg}.{jwk['kid']}.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Settings(algorithm=alg, key_dir=str(tmp_path))


def has_its_private_key(group: dict[str, Any]) -> bool:
    jwk = jwk_of(group)
    return jwk["kty"] != "oct" and group not in UNSUPPORTED and "@" not in jwk["kid"]


GATEWAYS = [
    pytest.param(group, make, id=f"{number}-{make.__name__}")
    for number, group in enumerate(GROUPS)
    for make, feasible in (
        (of_another_secret, True),
        (of_its_secret, "public" not in group),
        (of_its_private_key, has_its_private_key(group)),
    )
    if feasible
]


def assert_none_passes(group: dict[str, Any], settings: Settings) -> None:
    app = Recorder()
    client = webtest.TestApp(AuthGateway(app, settings))
    for test in group["tests"]:
        headers = {"Authorization": f"Bearer {test['jws']}", "uid": "12"}
        answer = client.get("/", headers=headers, expect_errors=True)
        # 400 for what the header's grammar does not allow: spaces, JSON, nothing at all.
        assert answer.status_int in (400, 498), test
    assert not app.calls


@pytest.mark.parametrize(("group", "make"), GATEWAYS)
def test_no_vector_passes_a_gateway(
    group: dict[str, Any], make: Callable[[dict[str, Any], Path], Settings], tmp_path: Path
) -> None:
    assert_none_passes(group, make(group, tmp_path))


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(group, id=f"{number}-{group['comment']}")
        for number, group in enumerate(GROUPS)
        if "public" in group
    ],
)
def test_no_vector_passes_a_gateway_that_takes_the_keys_of_an_issuer(
    group: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = threading.Event()

    def fetch_once(
        alive: weakref.ref[issuers.FetchedKeys], asked: threading.Event, refresh_sec: float
    ) -> None:
        keys = alive()
        assert keys is not None
        keys.refresh()
        fetched.set()

    monkeypatch.setattr(issuers, "_fetched", lambda url: {"keys": [jwk_of(group)]})
    monkeypatch.setattr(issuers, "_keep_up", fetch_once)
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[issuers]]\nissuer = "https://a.example"\naudience = "gateway"\n'
        f'jwks_url = "https://a.example/keys"\nalgorithms = {json.dumps(ASYMMETRIC)}\n'
    )
    assert_none_passes(group, Settings(policy_file=str(policy)))
    assert fetched.wait(10)
