"""A key carries its algorithm and hides its secret; a ring finds it by what a token's header says."""

from __future__ import annotations

import base64
import hmac
import math
import traceback
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.keys import (
    ASYMMETRIC,
    SYMMETRIC,
    FixedKeys,
    Key,
    KeyRing,
    UnfitKeyError,
    fits,
)
from tests.support import KEY

PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"


def test_a_key_verifies_what_it_signed() -> None:
    key = Key.secret(KEY.encode())
    assert key.verify(b"data", key.sign(b"data"))


def test_a_key_does_not_verify_what_another_signed() -> None:
    assert not Key.secret(KEY.encode()).verify(b"data", Key.secret(b"other" * 8).sign(b"data"))


def test_its_repr_hides_the_secret() -> None:
    assert repr(Key.secret(KEY.encode(), kid="k1")) == "Key(alg='HS256', kid='k1')"


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("", id="empty"),
        pytest.param(PEM, id="PEM"),
        pytest.param("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDExMTExMTExMTExMTEx", id="SSH"),
        pytest.param('{"kty": "oct", "k": "c2VjcmV0"}', id="JWK"),
    ],
)
def test_a_secret_that_others_may_know_is_refused_without_its_text(secret: str) -> None:
    with pytest.raises(UnfitKeyError) as caught:
        Key.secret(secret.encode())
    assert "empty or the text of a PEM" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize("alg", SYMMETRIC)
def test_a_secret_signs_as_rfc_7518_says(alg: str) -> None:
    secret = KEY * 2
    key = Key.secret(secret, alg=alg)
    token = jwt.encode({}, secret, algorithm=alg)
    signed, _, signature = token.rpartition(".")
    assert base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b"=").decode() == signature


def test_the_text_of_a_secret_stands_for_its_utf_8_bytes() -> None:
    assert Key.secret("é" * 20).verify(b"data", Key.secret("é".encode() * 20).sign(b"data"))


@pytest.mark.parametrize("alg", SYMMETRIC)
def test_the_signature_of_a_secret_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, alg: str
) -> None:
    compared: list[bytes] = []

    def compare(*pair: bytes) -> bool:
        compared.extend(pair)
        return False

    key = Key.secret(KEY * 2, alg=alg)
    right = key.sign(b"data")
    wrong = bytes([right[0] ^ 1]) + right[1:]
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert not key.verify(b"data", right)  # so nothing else has compared them
    assert not key.verify(b"data", wrong)
    assert sorted(compared) == sorted([right, right, right, wrong])


# Asymmetric keys


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key, of which making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


MAKERS: dict[str, Callable[[], Any]] = {
    "RS256": rsa_key,
    "PS256": rsa_key,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def pem_of(
    key: Any,
    encoding: Encoding = Encoding.PEM,
    form: PrivateFormat = PrivateFormat.PKCS8,
    password: bytes | None = None,
) -> bytes:
    """Write a private key down."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    pem: bytes = key.private_bytes(encoding, form, encryption)
    return pem


def private(alg: str, kid: str = "k1") -> Key:
    return Key.private(pem_of(MAKERS[alg]()), alg=alg, kid=kid)


def refused(make: Callable[[], Key]) -> str:
    """The reason why no key is made, after a look at that the error has no other one behind it."""
    with pytest.raises(UnfitKeyError) as caught:
        make()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_each_asymmetric_algorithm_is_tried_here() -> None:
    assert tuple(MAKERS) == ASYMMETRIC


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_private_key_verifies_what_it_signed(alg: str) -> None:
    key = private(alg)
    assert key.verify(b"data", key.sign(b"data"))


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_private_key_verifies_nothing_else(alg: str) -> None:
    key = private(alg)
    signature = key.sign(b"data")
    assert not key.verify(b"other data", signature)
    assert not key.verify(b"data", signature[:-1])
    assert not key.verify(b"data", bytes([signature[0] ^ 1]) + signature[1:])


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_a_private_key_does_not_verify_what_another_signed(alg: str) -> None:
    assert not private(alg).verify(b"data", private(alg).sign(b"data"))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_a_private_key_is_read_in_either_form_of_pem(alg: str, form: PrivateFormat) -> None:
    key = Key.private(pem_of(MAKERS[alg](), form=form), alg=alg, kid="k1")
    assert key.verify(b"data", key.sign(b"data"))


def test_one_rsa_key_is_not_of_two_algorithms() -> None:
    pem = pem_of(rsa_key())
    pkcs, pss = (Key.private(pem, alg=alg, kid="k1") for alg in ("RS256", "PS256"))
    assert not pss.verify(b"data", pkcs.sign(b"data"))
    assert not pkcs.verify(b"data", pss.sign(b"data"))


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_the_repr_of_a_private_key_shows_its_algorithm_and_name_alone(alg: str) -> None:
    assert repr(private(alg)) == f"Key(alg={alg!r}, kid='k1')"


OTHERS: dict[str, Callable[[], bytes]] = {
    "RSA": lambda: pem_of(rsa_key()),
    "P-256": lambda: pem_of(ec.generate_private_key(ec.SECP256R1())),
    "P-384": lambda: pem_of(ec.generate_private_key(ec.SECP384R1())),
    "P-521": lambda: pem_of(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": lambda: pem_of(ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": lambda: pem_of(ed25519.Ed25519PrivateKey.generate()),
    "Ed448": lambda: pem_of(ed448.Ed448PrivateKey.generate()),
    "X25519": lambda: pem_of(x25519.X25519PrivateKey.generate()),
}
OWN = {"RS256": "RSA", "PS256": "RSA", "ES256": "P-256", "EdDSA": "Ed25519"}


@pytest.mark.parametrize(
    ("alg", "other"), [(alg, other) for alg in ASYMMETRIC for other in OTHERS if other != OWN[alg]]
)
def test_a_private_key_of_another_type_or_curve_is_refused_without_its_text(alg: str, other: str) -> None:
    pem = OTHERS[other]()
    reason = refused(lambda: Key.private(pem, alg=alg, kid="k1"))
    assert reason in {f"no private key for {alg} in PEM without a password", f"no key for {alg}"}


def written_publicly(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda key: b"", id="nothing"),
        pytest.param(lambda key: b"hunter2", id="text"),
        pytest.param(lambda key: b"\xff\xfe\x00", id="no text"),
        pytest.param(lambda key: pem_of(key, Encoding.DER), id="DER"),
        pytest.param(lambda key: pem_of(key, password=b"password"), id="encrypted"),
        pytest.param(written_publicly, id="public"),
        pytest.param(lambda key: pem_of(key)[:-40], id="cut off"),
    ],
)
def test_what_is_no_private_key_in_pem_is_refused_without_its_text(
    alg: str, write: Callable[[Any], bytes]
) -> None:
    text = write(MAKERS[alg]())
    with pytest.raises(UnfitKeyError) as caught:
        Key.private(text, alg=alg, kid="k1")
    assert str(caught.value) == f"no private key for {alg} in PEM without a password"
    trace = "".join(traceback.format_exception(caught.value))
    assert not any(line in trace for line in text.decode("latin-1").splitlines() if len(line) > 6)


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
def test_a_short_rsa_key_is_refused(alg: str) -> None:
    pem = pem_of(rsa_key(1024))
    line = "an RSA key of 1024 bits, and under 2048 none is taken"
    assert refused(lambda: Key.private(pem, alg=alg, kid="k1")) == line


# Public keys

MEMBERS = {
    "RS256": {"kty", "n", "e"},
    "PS256": {"kty", "n", "e"},
    "ES256": {"kty", "crv", "x", "y"},
    "EdDSA": {"kty", "crv", "x"},
}


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_public_jwk_has_no_private_member(alg: str) -> None:
    assert private(alg).public_jwk().keys() == MEMBERS[alg] | {"use", "alg", "kid"}


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_public_jwk_says_what_it_is_for(alg: str) -> None:
    jwk = private(alg).public_jwk()
    assert (jwk["use"], jwk["alg"], jwk["kid"]) == ("sig", alg, "k1")
    assert fits(jwk, alg)


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_public_key_verifies_what_its_private_one_signed(alg: str) -> None:
    key = private(alg)
    public = Key.public(key.public_jwk(), alg=alg, kid="k2")
    assert public.verify(b"data", key.sign(b"data"))
    assert not public.verify(b"other data", key.sign(b"data"))
    assert public.public_jwk() == key.public_jwk() | {"kid": "k2"}


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_another_library_verifies_by_a_public_jwk(alg: str) -> None:
    key = private(alg)
    other = jwt.PyJWK(key.public_jwk())
    assert other.Algorithm.verify(b"data", other.key, key.sign(b"data"))


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_the_repr_of_a_public_key_shows_its_algorithm_and_name_alone(alg: str) -> None:
    assert repr(Key.public(private(alg).public_jwk(), alg=alg, kid=None)) == f"Key(alg={alg!r}, kid=None)"


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_the_private_members_of_a_jwk_are_not_read(alg: str) -> None:
    jwk = jwt.get_algorithm_by_name(alg).to_jwk(MAKERS[alg](), as_dict=True)
    assert "d" in jwk
    assert not {"d", "p", "q"}.intersection(Key.public(jwk, alg=alg, kid="k1").public_jwk())


@pytest.mark.parametrize(
    ("alg", "other"), [(alg, other) for alg in ASYMMETRIC for other in ASYMMETRIC if OWN[alg] != OWN[other]]
)
def test_a_public_key_of_another_type_is_refused(alg: str, other: str) -> None:
    jwk = private(other).public_jwk()
    assert refused(lambda: Key.public(jwk, alg=alg, kid=None)) == f"no public key for {alg}"


def jwk_of(key: Any, alg: str) -> dict[str, Any]:
    jwk: dict[str, Any] = jwt.get_algorithm_by_name(alg).to_jwk(key.public_key(), as_dict=True)
    return jwk


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        pytest.param("ES256", lambda: jwk_of(ec.generate_private_key(ec.SECP384R1()), "ES384"), id="P-384"),
        pytest.param("ES256", lambda: jwk_of(ec.generate_private_key(ec.SECP256K1()), "ES256K"), id="K-256"),
        pytest.param("EdDSA", lambda: jwk_of(ed448.Ed448PrivateKey.generate(), "EdDSA"), id="Ed448"),
        pytest.param("RS256", lambda: jwk_of(rsa_key(1024), "RS256"), id="RSA 1024"),
    ],
)
def test_a_public_key_of_another_curve_or_size_is_refused(
    alg: str, key: Callable[[], dict[str, Any]]
) -> None:
    jwk = key()
    reason = refused(lambda: Key.public(jwk, alg=alg, kid=None))
    assert reason in {
        f"no public key for {alg}",
        f"no key for {alg}",
        "an RSA key of 1024 bits, and under 2048 none is taken",
    }


@pytest.mark.parametrize(
    ("alg", "changes"),
    [
        pytest.param("EdDSA", {"x": "hunter2"}, id="wrong length"),
        pytest.param("EdDSA", {"x": 5}, id="number"),
        pytest.param("EdDSA", {"x": None}, id="null"),
        pytest.param("EdDSA", {"x": "é"}, id="beyond ASCII"),
        pytest.param("EdDSA", {"crv": ["Ed25519"]}, id="curve of the wrong type"),
        pytest.param("EdDSA", {"crv": "X25519"}, id="X25519"),
        pytest.param("ES256", {"y": "AAAA"}, id="short coordinate"),
        pytest.param("ES256", {"y": "A" * 43}, id="point off the curve"),
        pytest.param("ES256", {"x": [1]}, id="list"),
        pytest.param("ES256", {"kty": "oct", "k": "aHVudGVyMg"}, id="symmetric"),
        pytest.param("RS256", {"n": ""}, id="empty"),
        pytest.param("RS256", {"n": 5}, id="modulus of the wrong type"),
        pytest.param("RS256", {"e": "AQ"}, id="exponent 1"),
        pytest.param("RS256", {"e": "BA"}, id="exponent 4"),
    ],
)
def test_a_jwk_that_is_no_public_key_is_refused_without_its_text(alg: str, changes: dict[str, Any]) -> None:
    jwk = private(alg).public_jwk() | changes
    assert refused(lambda: Key.public(jwk, alg=alg, kid=None)) == f"no public key for {alg}"


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_jwk_without_a_member_is_refused(alg: str) -> None:
    whole = private(alg).public_jwk()
    for missing in MEMBERS[alg]:
        jwk = {name: value for name, value in whole.items() if name != missing}
        assert refused(partial(Key.public, jwk, alg=alg, kid=None)) == f"no public key for {alg}"


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_point_under_which_any_signature_passes_is_refused(y: int, sign: int) -> None:
    x = base64.urlsafe_b64encode((y | sign << 255).to_bytes(32, "little")).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
    reason = refused(lambda: Key.public(jwk, alg="EdDSA", kid=None))
    assert reason == "a point of small order, under which any signature passes"


@pytest.mark.parametrize(
    ("jwk", "fitting"),
    [
        ({"kty": "RSA"}, {"RS256", "PS256"}),
        ({"kty": "RSA", "crv": "P-256"}, {"RS256", "PS256"}),
        ({"kty": "EC", "crv": "P-256"}, {"ES256"}),
        ({"kty": "EC", "crv": "P-384"}, set()),
        ({"kty": "EC"}, set()),
        ({"kty": "OKP", "crv": "Ed25519"}, {"EdDSA"}),
        ({"kty": "OKP", "crv": "Ed448"}, set()),
        ({"kty": "oct"}, set()),
        ({"kty": None}, set()),
        ({}, set()),
    ],
)
def test_a_jwk_fits_by_its_type_and_curve(jwk: dict[str, Any], fitting: set[str]) -> None:
    assert {alg for alg in ASYMMETRIC if fits(jwk, alg)} == fitting


# Rings


def named(kid: str | None, alg: str = "HS256") -> Key:
    return Key.secret(KEY, alg=alg, kid=kid)


def test_a_name_finds_the_key_that_bears_it() -> None:
    one, two = named("k1"), named("k2")
    ring = KeyRing([one, two])
    assert [ring.candidates(kid, "HS256") for kid in ("k1", "k2")] == [(one,), (two,)]


@pytest.mark.parametrize("kid", ["k3", "K1", "", "k1 "])
def test_an_unknown_name_finds_no_key(kid: str) -> None:
    assert KeyRing([named("k1")]).candidates(kid, "HS256") == ()


def test_a_name_finds_no_key_without_one() -> None:
    assert KeyRing([named(None)]).candidates("k1", "HS256") == ()


@pytest.mark.parametrize("kid", ["k1", None])
@pytest.mark.parametrize("alg", ["HS512", "none", "", "hs256"])
def test_another_algorithm_finds_no_key(kid: str | None, alg: str) -> None:
    assert KeyRing([named("k1")]).candidates(kid, alg) == ()


def test_a_name_that_two_algorithms_bear_is_told_apart_by_them() -> None:
    short, long = named("k1"), named("k1", "HS512")
    ring = KeyRing([short, long])
    assert ring.candidates("k1", "HS256") == (short,)
    assert ring.candidates("k1", "HS512") == (long,)


def test_two_keys_of_one_name_are_both_tried_in_order() -> None:
    keys = (named("k1"), named("k1"))
    assert KeyRing(keys).candidates("k1", "HS256") == keys


def test_no_name_finds_the_only_key() -> None:
    key = named("k1")
    assert KeyRing([key]).candidates(None, "HS256") == (key,)


def test_no_name_finds_the_only_key_of_its_algorithm() -> None:
    short, long = named("k1"), named("k2", "HS512")
    assert KeyRing([short, long]).candidates(None, "HS512") == (long,)


def test_no_name_finds_none_of_several_keys_with_names() -> None:
    assert KeyRing([named("k1"), named("k2")]).candidates(None, "HS256") == ()


def test_no_name_finds_all_keys_without_one_in_order() -> None:
    keys = (named(None), named(None), named(None))
    assert KeyRing(keys).candidates(None, "HS256") == keys


def test_no_name_does_not_find_a_key_with_one_beside_those_without() -> None:
    nameless = named(None)
    assert KeyRing([named("k1"), nameless]).candidates(None, "HS256") == (nameless,)


def test_a_ring_without_keys_finds_none() -> None:
    assert KeyRing([]).candidates(None, "HS256") == ()


def test_a_ring_holds_its_keys_and_is_good_for_ever_unless_told() -> None:
    keys = [named("k1"), named(None)]
    assert KeyRing(iter(keys)).keys == set(keys)
    assert KeyRing(keys).good_until == math.inf
    assert KeyRing(keys, 5.0).good_until == 5.0


def test_of_fixed_keys_the_first_signs_and_all_verify() -> None:
    keys = [named(None), named(None)]
    fixed = FixedKeys(*keys)
    assert fixed.signing_key(0) is fixed.signing_key(1e12) is keys[0]
    assert fixed.candidates(None, "HS256") == tuple(keys)


def test_fixed_keys_stay_the_same() -> None:
    fixed = FixedKeys(named(None))
    ring = fixed.ring
    fixed.keep_up(1e12)
    assert fixed.ring is ring
