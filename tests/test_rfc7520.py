"""The JOSE cookbook's signatures and keys (RFC 7520), and its example for the curves of RFC 8037."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.utils import base64url_decode

from gateway import InvalidTokenError, jws
from gateway.issuers import _usable
from gateway.keys import ASYMMETRIC, Key, KeyRing, UnfitKeyError
from tests.support import b64

FOLDER = Path(__file__).parent / "vectors" / "rfc7520"
RS256 = "jws/4_1.rsa_v15_signature.json"
PS384 = "jws/4_2.rsa-pss_signature.json"
ES512 = "jws/4_3.ecdsa_signature.json"
HS256 = "jws/4_4.hmac-sha2_integrity_protection.json"
DETACHED = "jws/4_5.signature_with_detached_content.json"
SEVERAL = "jws/4_8.multiple_signatures.json"
ED25519 = "curve25519/jws.json"
X25519 = "curve25519/ecdh-es.json"
RSA, RSA_PRIVATE = "jwk/3_3.rsa_public_key.json", "jwk/3_4.rsa_private_key.json"
EC, EC_PRIVATE = "jwk/3_1.ec_public_key.json", "jwk/3_2.ec_private_key.json"
MAC, ENCRYPTION = "jwk/3_5.symmetric_key_mac_computation.json", "jwk/3_6.symmetric_key_encryption.json"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text("utf-8"))
    return found


def compact(name: str) -> str:
    token: str = read(name)["output"]["compact"]
    return token


def of_ed25519() -> dict[str, Any]:
    jwk: dict[str, Any] = read(ED25519)["input"]["key"]
    return jwk


def without_private(jwk: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name != "d"}


def usable(*jwks: dict[str, Any]) -> list[Key]:
    return [key for _, key in _usable({"keys": list(jwks)}, ASYMMETRIC, {})]


def secret() -> Key:
    jwk = read(MAC)
    return Key.secret(base64url_decode(jwk["k"]), alg=jwk["alg"], kid=jwk["kid"])


def every_key() -> KeyRing:
    return KeyRing([secret(), *usable(read(RSA), read(EC), without_private(of_ed25519()))])


def private(jwk: dict[str, Any], alg: str) -> Key:
    """A private JWK as the gateway takes it: from a PEM."""
    of_its_type = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[jwk["kty"]]
    if jwk.get("crv") == "P-521":
        of_its_type = "ES512"
    key: Any = jwt.get_algorithm_by_name(of_its_type).from_jwk(jwk)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Key.private(pem, alg=alg, kid="k")


def signer(token: str) -> Key | None:
    signed = jws.SignedToken(token)
    return signed.signer(every_key().candidates(*signed.header))


@pytest.mark.parametrize(
    ("name", "alg"),
    [
        pytest.param(RS256, "RS256", id="RS256"),
        pytest.param(HS256, "HS256", id="HS256"),
        pytest.param(ED25519, "EdDSA", id="EdDSA"),
    ],
)
def test_a_signature_verifies_with_its_key(name: str, alg: str) -> None:
    key = signer(compact(name))
    assert key is not None
    assert key.alg == alg


@pytest.mark.parametrize("name", [RS256, HS256, ED25519])
def test_a_signature_over_another_payload_does_not(name: str) -> None:
    header, _, signature = compact(name).split(".")
    assert signer(f"{header}.{b64(b'{}')}.{signature}") is None


@pytest.mark.parametrize(
    "name", [pytest.param(PS384, id="PS384"), pytest.param(ES512, id="ES512 with P-521")]
)
def test_an_algorithm_that_is_none_of_ours_is_refused(name: str) -> None:
    assert signer(compact(name)) is None


@pytest.mark.parametrize(
    "name", [pytest.param(DETACHED, id="a detached payload"), pytest.param(X25519, id="a JWE")]
)
def test_another_compact_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidTokenError):
        jws.SignedToken(compact(name))


def test_a_detached_payload_put_back_verifies() -> None:
    header, nothing, signature = compact(DETACHED).split(".")
    payload = read(DETACHED)["input"]["payload"].encode()
    assert nothing == ""
    assert signer(f"{header}.{b64(payload)}.{signature}") is not None


JSON_FORMS = [
    pytest.param(name, form, id=f"{name.split('/')[1][:3]}-{form}")
    for name in sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.json"))
    for form in ("json", "json_flat")
    if form in read(name).get("output", {})
]


@pytest.mark.parametrize(("name", "form"), JSON_FORMS)
def test_a_json_serialization_is_refused(name: str, form: str) -> None:
    with pytest.raises(InvalidTokenError):
        jws.SignedToken(json.dumps(read(name)["output"][form]))


def test_of_several_signatures_one_made_compact_verifies() -> None:
    serialized = read(SEVERAL)["output"]["json"]
    first = serialized["signatures"][0]
    key = signer(f"{first['protected']}.{serialized['payload']}.{first['signature']}")
    assert key is not None
    assert key.alg == "RS256"


@pytest.mark.parametrize(
    ("jwk", "public", "alg"),
    [
        pytest.param(read(RSA_PRIVATE), read(RSA), "RS256", id="RS256"),
        pytest.param(read(RSA_PRIVATE), read(RSA), "PS256", id="PS256"),
        pytest.param(of_ed25519(), without_private(of_ed25519()), "EdDSA", id="EdDSA"),
    ],
)
def test_a_private_key_signs_what_its_public_key_verifies(
    jwk: dict[str, Any], public: dict[str, Any], alg: str
) -> None:
    signature = private(jwk, alg).sign(b"data")
    assert Key.public(public, alg=alg, kid="k").verify(b"data", signature)


@pytest.mark.parametrize("name", [RS256, HS256, ED25519])
def test_a_reproducible_signature_comes_out_the_same(name: str) -> None:
    vector = read(name)
    alg = vector["input"]["alg"]
    key = secret() if alg == "HS256" else private(vector["input"]["key"], alg)
    assert vector["reproducible"]
    assert b64(key.sign(vector["signing"]["sig-input"].encode())) == vector["signing"]["sig"]


def test_a_private_key_on_p_521_is_unfit() -> None:
    with pytest.raises(UnfitKeyError):
        private(read(EC_PRIVATE), "ES256")


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param(read(EC), id="on P-521"),
        pytest.param(read(EC_PRIVATE), id="private on P-521"),
        pytest.param(read(RSA_PRIVATE), id="private RSA"),
        pytest.param(of_ed25519(), id="private Ed25519"),
        pytest.param(read(MAC), id="symmetric"),
        pytest.param(read(ENCRYPTION), id="symmetric, for encryption"),
        pytest.param(read(X25519)["input"]["key"], id="private X25519"),
        pytest.param(read(X25519)["encrypting_content"]["protected"]["epk"], id="X25519"),
    ],
)
def test_a_key_that_is_not_for_others_to_verify_with_is_passed_over(jwk: dict[str, Any]) -> None:
    assert usable(jwk) == []
