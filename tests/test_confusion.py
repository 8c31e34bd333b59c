"""Attacks that confuse keys, algorithms and issuers, each sent through the gateway."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import queue
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NoReturn

import jwt
import pytest
import webtest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway import ConfigError, InvalidClaimsError, Settings, issuers
from gateway.keyfolder import generate
from gateway.keys import ASYMMETRIC, Key, UnfitKeyError
from tests.support import KEY, MINUTE, NOW, Guarded, as_bytes, b64, claims, forge

A, B, UNKNOWN = "https://a.example", "https://b.example", "https://c.example"
INVALID_TOKEN, INVALID_CLAIMS = (498, "invalid_token"), (401, "invalid_claims")
OK = 200, None


@dataclass(frozen=True)
class Signer:
    """Somebody with a key, an HMAC secret or a private one, that is known by a name or by none."""

    alg: str
    kid: str | None
    key: Any

    def token(self, payload: object, **header: Any) -> str:
        """A token signed by this key, whatever its header says; a member that is `...` is left out."""
        members = {"alg": self.alg, "typ": "JWT", "kid": self.kid or ..., **header}
        head = {name: value for name, value in members.items() if value is not ...}
        signed = f"{b64(as_bytes(head))}.{b64(as_bytes(payload))}"
        algorithm = jwt.get_algorithm_by_name(self.alg)
        return f"{signed}.{b64(algorithm.sign(signed.encode(), self.key))}"

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as an issuer publishes it, with changes; a member that is `...` is left out."""
        public = jwt.get_algorithm_by_name(self.alg).to_jwk(self.key.public_key(), as_dict=True)
        members = {**public, "kid": self.kid, "alg": self.alg, "use": "sig", **changes}
        return {name: value for name, value in members.items() if value is not ...}

    def pem(self) -> bytes:
        """The private key in PEM."""
        pem: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem


MAKERS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
OUR_SECRET = Signer("HS256", None, KEY.encode())


@cache
def keys_of(owner: str, alg: str = "RS256") -> Signer:
    """The key of somebody for an algorithm: the same on each call."""
    return Signer(alg, f"{owner}-{alg}", MAKERS[alg]())


@dataclass(frozen=True)
class Folder:
    """A folder with a key of ours for each algorithm."""

    path: Path
    keys: dict[str, Signer]

    def guarded(self, alg: str = "RS256", **options: Any) -> Guarded:
        """An app behind a gateway that signs with this folder, and has a TOKEN_KEY too."""
        return Guarded(algorithm=alg, key_dir=str(self.path), **options)

    @cached_property
    def shared(self) -> Guarded:
        """One for many tests, as reading RSA keys takes long."""
        return self.guarded()


def filled(path: Path, *algs: str) -> dict[str, Signer]:
    """Put a new key for each algorithm into a folder."""
    made = [generate(path, alg, NOW) for alg in algs]
    return {
        str(file.key.kid): Signer(
            file.key.alg, file.key.kid, load_pem_private_key(file.path.read_bytes(), None)
        )
        for file in made
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    path = tmp_path_factory.mktemp("folder") / "keys"
    return Folder(path, {signer.alg: signer for signer in filled(path, *ASYMMETRIC).values()})


class Issuers:
    """Other issuers, whose key sets are fetched once, from nowhere: `sets` by their address."""

    def __init__(self, tmp_path: Path) -> None:
        self.sets: dict[str, list[Any]] = {}
        self.fetched: list[str] = []
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._policy = tmp_path / "policy.toml"
        self._policy.write_text("")

    def add(self, issuer: str, *jwks: Any, **options: Any) -> None:
        """Name an issuer that publishes these keys in the policy file."""
        rules = {"jwks_url": f"{issuer}/keys", "audience": "gateway", "uid_prefix": f"{issuer[8:9]}:"}
        rules |= {"issuer": issuer, **options}
        self.sets[str(rules["jwks_url"])] = list(jwks)
        lines = [f"{name} = {json.dumps(value)}" for name, value in rules.items()]
        with self._policy.open("a") as file:
            file.write("\n".join(["[[issuers]]", *lines, ""]))

    def options(self) -> dict[str, Any]:
        return {"policy_file": str(self._policy)}

    def guarded(self, make: Callable[..., Guarded] = Guarded, **options: Any) -> Guarded:
        """An app behind a gateway that takes the tokens of these issuers too, and has their keys."""
        guarded = make(**self.options(), **options)
        guarded.clock.keep_up()
        for _ in self.sets:
            self._done.get(timeout=30)
        return guarded

    def fetch(self, url: str) -> dict[str, Any]:
        self.fetched.append(url)
        return {"keys": self.sets[url]}

    def fetch_once(
        self, alive: weakref.ref[issuers.FetchedKeys], asked: threading.Event, refresh_sec: float
    ) -> None:
        keys = alive()
        assert keys is not None
        keys.refresh()
        self._done.put(None)


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Issuers:
    made = Issuers(tmp_path)
    monkeypatch.setattr(issuers, "_fetched", made.fetch)
    monkeypatch.setattr(issuers, "_keep_up", made.fetch_once)
    return made


def foreign(iss: object, **changes: Any) -> dict[str, Any]:
    """Good claims of an issuer."""
    return {"iss": iss, "aud": "gateway", "sub": "12", "exp": int(NOW) + 30 * MINUTE, **changes}


def both(iss: object) -> dict[str, Any]:
    """Claims that are good wherever they come from, save for their `iss` and their `aud`."""
    return {**claims(iss=iss), "sub": "12"}


def verdict(response: webtest.TestResponse) -> tuple[int, str | None]:
    """Status and code of an answer, which has none if it is the app's."""
    return response.status_int, None if response.status_int == 200 else response.json["code"]


@dataclass(frozen=True)
class Target:
    """A gateway, and somebody whose tokens it takes."""

    guarded: Guarded
    signer: Signer
    payload: dict[str, Any]
    uid: str

    def answer(self, token: str) -> tuple[int, str | None]:
        before = self.guarded.reached
        answered = verdict(self.guarded.request(token=token, uid=self.uid))
        assert self.guarded.reached - before == (answered == OK)
        return answered

    def attacked(self, **header: Any) -> tuple[int, str | None]:
        """What is answered to a token that is rightly signed under another header."""
        return self.answer(self.signer.token(self.payload, **header))


def by_secret(folder: Folder, others: Issuers) -> Target:
    return Target(Guarded(), OUR_SECRET, claims(), "12")


def by_folder(folder: Folder, others: Issuers) -> Target:
    return Target(folder.shared, folder.keys["RS256"], claims(), "12")


def by_issuer(folder: Folder, others: Issuers) -> Target:
    others.add(A, keys_of(A).jwk())
    return Target(others.guarded(), keys_of(A), foreign(A), "a:12")


@pytest.fixture(params=[by_secret, by_folder, by_issuer], ids=lambda make: make.__name__)
def target(request: pytest.FixtureRequest, folder: Folder, others: Issuers) -> Target:
    made: Target = request.param(folder, others)
    return made


@pytest.fixture(params=[by_folder, by_issuer], ids=lambda make: make.__name__)
def public_target(request: pytest.FixtureRequest, folder: Folder, others: Issuers) -> Target:
    made: Target = request.param(folder, others)
    return made


def test_each_target_takes_its_tokens(target: Target) -> None:
    assert target.attacked() == OK


# An asymmetric public key as an HMAC secret


def pem_of(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


SECRETS: dict[str, Callable[[Signer], bytes]] = {
    "PEM": lambda signer: pem_of(signer.key.public_key()),
    "PEM without its last line break": lambda signer: pem_of(signer.key.public_key()).strip(),
    "PEM, PKCS 1": lambda signer: signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "DER": lambda signer: signer.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ),
    "DER, PKCS 1": lambda signer: signer.key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1),
    "JWK": lambda signer: json.dumps(signer.jwk()).encode(),
    "JWK, compact": lambda signer: json.dumps(signer.jwk(), separators=(",", ":")).encode(),
    "modulus": lambda signer: base64.urlsafe_b64decode(signer.jwk()["n"] + "=="),
    "modulus in base64url": lambda signer: signer.jwk()["n"].encode(),
    "empty": lambda signer: b"",
    "its name": lambda signer: str(signer.kid).encode(),
}


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("secret", [pytest.param(secret, id=name) for name, secret in SECRETS.items()])
def test_a_public_key_is_no_hmac_secret(
    public_target: Target, secret: Callable[[Signer], bytes], alg: str
) -> None:
    signer = public_target.signer
    attacker = Signer(alg, signer.kid, secret(signer))
    assert public_target.answer(attacker.token(public_target.payload)) == INVALID_TOKEN
    assert public_target.answer(attacker.token(public_target.payload, kid=...)) == INVALID_TOKEN


def test_an_issuer_cannot_be_given_a_symmetric_algorithm(others: Issuers) -> None:
    others.add(A, algorithms=["RS256", "HS256"])
    with pytest.raises(ConfigError, match="algorithms"):
        Guarded(**others.options())


# No signature, and algorithms by other names


@pytest.mark.parametrize("signature", ["empty", "missing", "kept", "one byte"])
@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "", "null"])
def test_none_is_no_algorithm(target: Target, alg: str, signature: str) -> None:
    signed, _, kept = target.signer.token(target.payload, alg=alg).rpartition(".")
    token = {"empty": f"{signed}.", "missing": signed, "kept": f"{signed}.{kept}", "one byte": f"{signed}.AA"}
    assert target.answer(token[signature]) == INVALID_TOKEN


def test_a_signature_taken_off_is_missed(target: Target) -> None:
    signed = target.signer.token(target.payload).rpartition(".")[0]
    assert target.answer(f"{signed}.") == INVALID_TOKEN


OTHER_NAMES: list[object] = [
    *(256, 0, True, None, [], {}, [None], "RS", "SHA256withRSA", "sha256WithRSAEncryption", "1.2.840.113549"),
    *("RS1", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"),
    *("Ed25519", "Ed448", "HS1", "HS384", "HS512", "RSA-OAEP", "A128KW", "dir"),
]


@pytest.mark.parametrize("alg", [pytest.param(alg, id=json.dumps(alg)) for alg in OTHER_NAMES])
def test_a_right_signature_under_another_algorithms_name_is_wrong(target: Target, alg: object) -> None:
    assert target.attacked(alg=alg) == INVALID_TOKEN


SPELLINGS: dict[str, Callable[[str], object]] = {
    "lower case": str.lower,
    "small first letter": lambda alg: alg[0].lower() + alg[1:],
    "space before": lambda alg: f" {alg}",
    "space after": lambda alg: f"{alg} ",
    "line break after": lambda alg: f"{alg}\n",
    "zero byte after": lambda alg: f"{alg}\0",
    "in a list": lambda alg: [alg],
    "in an object": lambda alg: {alg: alg},
    "full-width digits": lambda alg: alg.replace("256", "\uff12\uff15\uff16"),
    "without its size": lambda alg: alg[:2],
    "missing": lambda alg: ...,
}


@pytest.mark.parametrize("spell", [pytest.param(spell, id=name) for name, spell in SPELLINGS.items()])
def test_an_algorithms_name_is_spelled_in_one_way(target: Target, spell: Callable[[str], object]) -> None:
    assert target.attacked(alg=spell(target.signer.alg)) == INVALID_TOKEN


def test_hmac_is_refused_where_our_keys_are_rsa_though_there_is_a_token_key(folder: Folder) -> None:
    assert verdict(folder.shared.request(token=forge(claims()))) == INVALID_TOKEN


@pytest.mark.parametrize("alg", ["HS384", "HS512"])
def test_our_secret_signs_by_one_algorithm_alone(alg: str) -> None:
    token = Signer(alg, None, KEY.encode()).token(claims())
    assert verdict(Guarded().request(token=token)) == INVALID_TOKEN
    assert verdict(Guarded(algorithm=alg).request(token=token)) == OK


def test_previous_secrets_are_none_of_an_rsa_gateway(folder: Folder) -> None:
    old = "an old secret that was good enough once."
    guarded = folder.guarded(previous_keys=[old])
    assert verdict(guarded.request(token=forge(claims(), key=old))) == INVALID_TOKEN


# One key's name over another key's signature


@pytest.mark.parametrize("named", ASYMMETRIC)
@pytest.mark.parametrize("signing", ASYMMETRIC)
def test_a_name_belongs_to_one_key_of_our_folder(folder: Folder, named: str, signing: str) -> None:
    token = folder.keys[signing].token(claims(), kid=folder.keys[named].kid)
    assert verdict(folder.shared.request(token=token)) == (OK if named == signing else INVALID_TOKEN)


@pytest.mark.parametrize("named", ASYMMETRIC)
@pytest.mark.parametrize("signing", ASYMMETRIC)
def test_a_name_belongs_to_one_key_of_an_issuers_set(others: Issuers, named: str, signing: str) -> None:
    others.add(A, *(keys_of(A, alg).jwk() for alg in ASYMMETRIC), algorithms=ASYMMETRIC)
    token = keys_of(A, signing).token(foreign(A), kid=keys_of(A, named).kid)
    answer = others.guarded().request(token=token, uid="a:12")
    assert verdict(answer) == (OK if named == signing else INVALID_TOKEN)


@pytest.mark.parametrize(("says", "signs"), [("RS256", "PS256"), ("PS256", "RS256")])
def test_a_key_for_one_rsa_algorithm_does_not_sign_by_the_other(
    folder: Folder, says: str, signs: str
) -> None:
    token = replace(folder.keys[says], alg=signs).token(claims())
    assert verdict(folder.shared.request(token=token)) == INVALID_TOKEN


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_swapped_names_of_two_keys_are_refused(tmp_path: Path, alg: str) -> None:
    first, second = filled(tmp_path / "keys", alg, alg).values()
    guarded = Folder(tmp_path / "keys", {}).guarded(alg)
    assert verdict(guarded.request(token=first.token(claims(), kid=second.kid))) == INVALID_TOKEN
    assert verdict(guarded.request(token=second.token(claims(), kid=first.kid))) == INVALID_TOKEN
    assert verdict(guarded.request(token=first.token(claims()))) == OK
    assert verdict(guarded.request(token=second.token(claims()))) == OK


def test_a_token_without_a_name_is_refused_where_two_keys_are_of_its_algorithm(tmp_path: Path) -> None:
    first, _ = filled(tmp_path / "keys", "EdDSA", "EdDSA").values()
    guarded = Folder(tmp_path / "keys", {}).guarded("EdDSA")
    assert verdict(guarded.request(token=first.token(claims(), kid=...))) == INVALID_TOKEN


@dataclass(frozen=True)
class Three:
    """We, by a folder, and two issuers besides; each with a key for ES256."""

    guarded: Guarded
    keys: dict[str | None, Signer]


@pytest.fixture
def three(tmp_path: Path, others: Issuers) -> Three:
    (ours,) = filled(tmp_path / "keys", "ES256").values()
    keys = {None: ours, A: keys_of(A, "ES256"), B: keys_of(B, "ES256")}
    for issuer in (A, B):
        others.add(issuer, keys[issuer].jwk(), algorithms=["ES256"])
    return Three(others.guarded(Folder(tmp_path / "keys", {}).guarded, alg="ES256"), keys)


FORGERIES = [
    pytest.param(iss, source, name, id=f"{says}-signed by {signs}-named as {names}")
    for iss, says in ((None, "ours"), (A, "of A"), (B, "of B"), (UNKNOWN, "of none"))
    for source, signs in ((None, "us"), (A, "A"), (B, "B"))
    for name, names in ((None, "ours"), (A, "A's"), (B, "B's"), (UNKNOWN, "nobody's"), (..., "nothing"))
    if iss != source and not (iss == UNKNOWN and source is None)
]


@pytest.mark.parametrize(("iss", "source", "name"), FORGERIES)
def test_nobody_signs_for_another(three: Three, iss: str | None, source: str | None, name: Any) -> None:
    payload = claims() if iss is None else foreign(iss)
    kid = three.keys[name].kid if name in three.keys else name
    assert verdict(three.guarded.request(token=three.keys[source].token(payload, kid=kid))) == INVALID_TOKEN


@pytest.mark.parametrize(("iss", "uid"), [(None, "12"), (A, "a:12"), (B, "b:12")])
def test_everybody_signs_for_themselves(three: Three, iss: str | None, uid: str) -> None:
    payload = claims() if iss is None else foreign(iss)
    assert verdict(three.guarded.request(token=three.keys[iss].token(payload), uid=uid)) == OK
    assert three.guarded.seen.get("gateway.issuer") == iss


def test_a_name_that_all_share_makes_no_key_shared(others: Issuers) -> None:
    mine, theirs = replace(keys_of(A), kid="k"), replace(keys_of(B), kid="k")
    others.add(A, mine.jwk())
    others.add(B, theirs.jwk())
    guarded = others.guarded()
    assert verdict(guarded.request(token=theirs.token(foreign(A)), uid="a:12")) == INVALID_TOKEN
    assert verdict(guarded.request(token=mine.token(foreign(A)), uid="a:12")) == OK


def test_our_secret_signs_for_no_issuer(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk())
    guarded = others.guarded()
    for header in ({}, {"kid": keys_of(A).kid}):
        token = OUR_SECRET.token(both(A), **header)
        assert verdict(guarded.request(token=token)) == INVALID_TOKEN


def test_an_issuers_key_signs_by_no_algorithm_that_its_rules_leave_out(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk(), keys_of(A, "ES256").jwk(), algorithms=["RS256"])
    token = keys_of(A, "ES256").token(foreign(A))
    assert verdict(others.guarded().request(token=token, uid="a:12")) == INVALID_TOKEN


OTHER_ISS: list[object] = [[A], [A, B], {A: A}, {"iss": A}, 0, 1, 1.5, True, False, None, [], {}, [[A]]]
OTHER_ISS_PARAMS = [pytest.param(iss, id=json.dumps(iss)) for iss in OTHER_ISS]


@pytest.mark.parametrize("iss", OTHER_ISS_PARAMS)
def test_an_iss_that_is_no_string_names_no_issuer(others: Issuers, iss: object) -> None:
    others.add(A, keys_of(A).jwk())
    token = keys_of(A).token(foreign(iss))
    assert verdict(others.guarded().request(token=token, uid="a:12")) == INVALID_TOKEN


@pytest.mark.parametrize(
    ("name", "iss"), [("1", 1), ("1.5", 1.5), ("None", None), ("True", True), ("[]", [])]
)
def test_an_iss_that_only_looks_like_an_issuers_name_is_not(others: Issuers, name: str, iss: object) -> None:
    others.add(name, keys_of(A).jwk(), jwks_url=f"{A}/keys", uid_prefix="a:")
    guarded = others.guarded()
    assert verdict(guarded.request(token=keys_of(A).token(foreign(name)), uid="a:12")) == OK
    assert verdict(guarded.request(token=keys_of(A).token(foreign(iss)), uid="a:12")) == INVALID_TOKEN


@pytest.mark.parametrize("iss", OTHER_ISS_PARAMS)
def test_an_iss_that_is_no_string_is_no_claim_of_ours(others: Issuers, iss: object) -> None:
    others.add(A, keys_of(A).jwk())
    token = OUR_SECRET.token(claims(iss=iss))
    assert verdict(others.guarded().request(token=token)) == INVALID_CLAIMS


@pytest.mark.parametrize("iss", [f"{A}/", A.upper(), f" {A}", f"{A}\0", "http://a.example", "a.example"])
def test_an_iss_that_is_nearly_an_issuers_is_not(others: Issuers, iss: str) -> None:
    others.add(A, keys_of(A).jwk())
    token = keys_of(A).token(foreign(iss))
    assert verdict(others.guarded().request(token=token, uid="a:12")) == INVALID_TOKEN


# Keys that come with the token


def certificate(signer: Signer) -> str:
    """A certificate of a key by itself, as `x5c` holds it."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "attacker")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.not_valid_before(begins).not_valid_after(begins + datetime.timedelta(days=3650))
    made = builder.public_key(signer.key.public_key()).sign(signer.key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


def thumbprint(signer: Signer) -> str:
    return b64(hashlib.sha256(base64.b64decode(certificate(signer))).digest())


EMBEDDED: dict[str, Callable[[Signer], dict[str, Any]]] = {
    "jwk": lambda attacker: {"jwk": attacker.jwk()},
    "jwk of the same name": lambda attacker: {"jwk": attacker.jwk(kid="k")},
    "jwk, symmetric": lambda attacker: {"jwk": {"kty": "oct", "k": b64(KEY.encode())}},
    "jku": lambda attacker: {"jku": "https://attacker.example/keys"},
    "jku on loopback": lambda attacker: {"jku": "http://127.0.0.1:9/keys"},
    "jku of the issuer": lambda attacker: {"jku": f"{A}/keys"},
    "jku of a file": lambda attacker: {"jku": "file:///etc/passwd"},
    "x5u": lambda attacker: {"x5u": "https://attacker.example/certificate"},
    "x5c": lambda attacker: {"x5c": [certificate(attacker)]},
    "x5t#S256": lambda attacker: {"x5t#S256": thumbprint(attacker)},
}
EMBEDDED_PARAMS = [pytest.param(members, id=name) for name, members in EMBEDDED.items()]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nobody connect anywhere, and fail if somebody tried."""
    tried: list[object] = []

    def refuse(*args: object, **options: object) -> NoReturn:
        tried.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not tried


@pytest.mark.parametrize("name", ["none", "theirs", "the attacker's"])
@pytest.mark.parametrize("members", EMBEDDED_PARAMS)
@pytest.mark.usefixtures("offline")
def test_a_key_that_comes_with_the_token_is_never_used(
    public_target: Target, others: Issuers, members: Callable[[Signer], dict[str, Any]], name: str
) -> None:
    attacker = keys_of("attacker")
    fetched = list(others.fetched)
    kid = {"none": ..., "theirs": public_target.signer.kid, "the attacker's": attacker.kid}[name]
    token = attacker.token(public_target.payload, kid=kid, **members(attacker))
    assert len(token) < 8000
    assert public_target.answer(token) == INVALID_TOKEN
    assert others.fetched == fetched


@pytest.mark.parametrize("members", EMBEDDED_PARAMS)
@pytest.mark.usefixtures("offline")
def test_a_key_that_comes_with_a_good_token_is_passed_over(
    public_target: Target, others: Issuers, members: Callable[[Signer], dict[str, Any]]
) -> None:
    fetched = list(others.fetched)
    assert public_target.attacked(**members(keys_of("attacker"))) == OK
    assert others.fetched == fetched


# Keys that are unfit


@cache
def unfit() -> dict[str, Signer]:
    """Keys of the right type for an algorithm, and unfit for it; by the algorithm's name and a reason."""
    return {
        "RSA with 1024 bits": Signer("RS256", "k", rsa.generate_private_key(65537, 1024)),
        "RSA with 1024 bits for PS256": Signer("PS256", "k", rsa.generate_private_key(65537, 1024)),
        "P-384": Signer("ES256", "k", ec.generate_private_key(ec.SECP384R1())),
        "P-521": Signer("ES256", "k", ec.generate_private_key(ec.SECP521R1())),
        "secp256k1": Signer("ES256", "k", ec.generate_private_key(ec.SECP256K1())),
        "Ed448": Signer("EdDSA", "k", ed448.Ed448PrivateKey.generate()),
    }


UNFIT = ["RSA with 1024 bits", "RSA with 1024 bits for PS256", "P-384", "P-521", "secp256k1", "Ed448"]


def with_file(path: Path, name: str, pem: bytes) -> str:
    path.mkdir(mode=0o700)
    (path / name).touch(mode=0o600)
    (path / name).write_bytes(pem)
    return str(path)


@pytest.mark.parametrize("reason", UNFIT)
def test_an_unfit_key_in_the_folder_ends_the_start(tmp_path: Path, reason: str) -> None:
    signer = unfit()[reason]
    folder = with_file(tmp_path / "keys", f"20260101T000000Z.{signer.alg}.k.pem", signer.pem())
    with pytest.raises(ConfigError, match=r"GATEWAY_KEY_DIR: .*k\.pem is (an RSA key of 1024 bits|no )"):
        Settings(algorithm=signer.alg, key_dir=folder)


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        pytest.param("RS256", lambda: keys_of(A, "ES256").key, id="EC as RS256"),
        pytest.param("PS256", lambda: keys_of(A, "EdDSA").key, id="Ed25519 as PS256"),
        pytest.param("ES256", lambda: keys_of(A, "RS256").key, id="RSA as ES256"),
        pytest.param("EdDSA", lambda: keys_of(A, "ES256").key, id="EC as EdDSA"),
        pytest.param("EdDSA", x25519.X25519PrivateKey.generate, id="X25519 as EdDSA"),
    ],
)
def test_a_key_of_another_type_in_the_folder_ends_the_start(
    tmp_path: Path, alg: str, key: Callable[[], Any]
) -> None:
    pem = Signer(alg, "k", key()).pem()
    folder = with_file(tmp_path / "keys", f"20260101T000000Z.{alg}.k.pem", pem)
    with pytest.raises(ConfigError, match=rf"k\.pem is no (private )?key for {alg}"):
        Settings(algorithm=alg, key_dir=folder)


def test_a_public_key_in_the_folder_ends_the_start(tmp_path: Path) -> None:
    pem = pem_of(keys_of(A).key.public_key())
    folder = with_file(tmp_path / "keys", "20260101T000000Z.RS256.k.pem", pem)
    with pytest.raises(ConfigError, match=r"k\.pem is no private key for RS256"):
        Settings(algorithm="RS256", key_dir=folder)


def answer_beside_a_good_key(
    others: Issuers, jwk: Any, token: str, algorithms: tuple[str, ...] = ASYMMETRIC
) -> tuple[int, str | None]:
    """What a token gets where its key stands in an issuer's set beside a good one, which is taken."""
    good = keys_of(A)
    others.add(A, jwk, good.jwk(kid="good"), algorithms=algorithms)
    guarded = others.guarded()
    fine = guarded.request(token=good.token(foreign(A), kid="good"), uid="a:12")
    assert verdict(fine) == OK
    return verdict(guarded.request(token=token, uid="a:12"))


@pytest.mark.parametrize("reason", UNFIT)
def test_an_unfit_key_in_a_set_is_passed_over(others: Issuers, reason: str) -> None:
    signer = unfit()[reason]
    token = signer.token(foreign(A))
    assert answer_beside_a_good_key(others, signer.jwk(), token) == INVALID_TOKEN


@pytest.mark.parametrize(
    ("reason", "says"),
    [("P-384", "P-256"), ("P-521", "P-256"), ("secp256k1", "P-256"), ("Ed448", "Ed25519")],
)
def test_an_unfit_key_that_calls_itself_fit_is_passed_over(others: Issuers, reason: str, says: str) -> None:
    signer = unfit()[reason]
    token = signer.token(foreign(A))
    assert answer_beside_a_good_key(others, signer.jwk(crv=says), token) == INVALID_TOKEN


def test_a_set_of_unfit_keys_alone_is_none(others: Issuers) -> None:
    signer = unfit()["RSA with 1024 bits"]
    others.add(A, signer.jwk())
    answer = others.guarded().request(token=signer.token(foreign(A)), uid="a:12")
    assert verdict(answer) == (503, "keys_unavailable")


CHANGES: dict[str, dict[str, Any]] = {
    "use enc": {"use": "enc"},
    "use null": {"use": None},
    "use in a list": {"use": ["sig"]},
    "key_ops sign": {"key_ops": ["sign"]},
    "key_ops empty": {"key_ops": []},
    "key_ops encrypt, though use is sig": {"key_ops": ["encrypt"]},
    "key_ops a string": {"key_ops": "verify"},
    "key_ops null": {"key_ops": None},
    "alg of another hash": {"alg": "RS512"},
    "alg PS256": {"alg": "PS256"},
    "alg for encryption": {"alg": "RSA-OAEP"},
    "alg none": {"alg": "none"},
    "alg HS256": {"alg": "HS256"},
    "alg null": {"alg": None},
    "alg in a list": {"alg": ["RS256"]},
    "kty missing": {"kty": ...},
    "kty oct": {"kty": "oct"},
    "kty EC": {"kty": "EC"},
    "kty in a list": {"kty": ["RSA"]},
    "kid a number": {"kid": 1},
    "kid a list": {"kid": ["a"]},
    "kid of another": {"kid": "another"},
    "exponent 1": {"e": "AQ"},
    "exponent 2": {"e": "Ag"},
    "modulus missing": {"n": ...},
    "modulus a number": {"n": 5},
    "modulus null": {"n": None},
    "modulus empty": {"n": ""},
}


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in CHANGES.items()])
def test_a_key_that_is_not_for_this_signature_is_passed_over(
    others: Issuers, changes: dict[str, Any]
) -> None:
    signer = keys_of(B)
    token = signer.token(foreign(A))
    assert answer_beside_a_good_key(others, signer.jwk(**changes), token) == INVALID_TOKEN


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"use": ..., "key_ops": ..., "alg": ...}, id="nothing said"),
        pytest.param({"use": ..., "key_ops": ["verify"]}, id="key_ops verify"),
        pytest.param({"x5u": f"{B}/certificate", "extra": [1]}, id="members that nobody knows"),
    ],
)
def test_a_key_that_is_for_signatures_is_taken(others: Issuers, changes: dict[str, Any]) -> None:
    signer = keys_of(B)
    token = signer.token(foreign(A))
    assert answer_beside_a_good_key(others, signer.jwk(**changes), token) == OK


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_private_key_that_an_issuer_published_is_passed_over(others: Issuers, alg: str) -> None:
    signer = keys_of(B, alg)
    private = jwt.get_algorithm_by_name(alg).to_jwk(signer.key, as_dict=True)
    jwk = signer.jwk(d=private["d"])
    assert answer_beside_a_good_key(others, jwk, signer.token(foreign(A))) == INVALID_TOKEN


@pytest.mark.parametrize("says", ["HS256", "RS256", ...], ids=["HS256", "RS256", "nothing"])
@pytest.mark.parametrize("kid", ["k", ...], ids=["named", "without a name"])
def test_a_symmetric_key_in_a_set_is_passed_over(others: Issuers, says: Any, kid: Any) -> None:
    secret = b"a symmetric key that was published somehow"
    members = {"kty": "oct", "k": b64(secret), "use": "sig", "alg": says, "kid": kid}
    jwk = {name: value for name, value in members.items() if value is not ...}
    token = Signer("HS256", None, secret).token(foreign(A), kid=kid)
    assert answer_beside_a_good_key(others, jwk, token) == INVALID_TOKEN


@pytest.mark.parametrize(
    "thing", [None, 1, "k", [], {}, [{}]], ids=["null", "number", "string", "list", "object", "nested"]
)
def test_what_is_no_key_in_a_set_is_passed_over(others: Issuers, thing: Any) -> None:
    token = keys_of(B).token(foreign(A))
    assert answer_beside_a_good_key(others, thing, token) == INVALID_TOKEN


P = 2**255 - 19
# The y of each point of small order, in every number below 2**255 that stands for it.
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = [
    pytest.param((y | sign << 255).to_bytes(32, "little"), id=f"{name}, sign {sign}")
    for name, y in {
        "0": 0,
        "1": 1,
        "order 8": _ORDER_8,
        "order 8, negative": P - _ORDER_8,
        "-1": P - 1,
        "p": P,
        "p + 1": P + 1,
    }.items()
    for sign in (0, 1)
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_point_of_small_order_is_no_key(others: Issuers, point: bytes) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(point), "kid": "k"}
    with pytest.raises(UnfitKeyError):
        Key.public(jwk, alg="EdDSA", kid="k")
    # R is the neutral point and S is 0: under the neutral point, that signs anything.
    header = {"alg": "EdDSA", "kid": "k"}
    signature = b64(b"\1" + bytes(63))
    token = f"{b64(as_bytes(header))}.{b64(as_bytes(foreign(A)))}.{signature}"
    assert answer_beside_a_good_key(others, jwk, token) == INVALID_TOKEN


# One uid for two people


def uid_of(guarded: Guarded, token: str) -> str:
    """The uid that the app sees, where none is sent."""
    answered = guarded.request(token=token, uid=None)
    assert verdict(answered) == OK
    uid: str = guarded.seen["REMOTE_USER"]
    return uid


@pytest.mark.parametrize(("iss", "uid"), [(A, "a:12"), (B, "b:12")])
def test_the_same_sub_of_two_issuers_is_two_uids(others: Issuers, iss: str, uid: str) -> None:
    others.add(A, keys_of(A).jwk())
    others.add(B, keys_of(B).jwk())
    guarded = others.guarded(require_uid=False)
    assert uid_of(guarded, keys_of(iss).token(foreign(iss))) == uid


@pytest.mark.parametrize("uid", ["12", "b:12", "A:12", "a:a:12"])
def test_an_issuers_token_is_for_no_other_uid(others: Issuers, uid: str) -> None:
    others.add(A, keys_of(A).jwk())
    others.add(B, keys_of(B).jwk())
    answer = others.guarded().request(token=keys_of(A).token(foreign(A)), uid=uid)
    assert verdict(answer) == (400, "uid_mismatch")


def test_an_issuers_uid_claim_is_its_own_and_not_ours(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk())
    guarded = others.guarded(require_uid=False)
    assert uid_of(guarded, keys_of(A).token(foreign(A, sub="13", uid=12))) == "a:13"


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_two_issuers_of_one_prefix_end_the_start(others: Issuers, prefix: str) -> None:
    others.add(A, uid_prefix=prefix)
    others.add(B, uid_prefix=prefix)
    with pytest.raises(ConfigError, match="uid_prefix"):
        Settings(**others.options())


def test_an_issuer_without_a_prefix_ends_the_start_beside_tokens_of_ours(others: Issuers) -> None:
    others.add(A, uid_prefix="")
    with pytest.raises(ConfigError, match="our own tokens"):
        Settings(token_key=KEY, **others.options())


@pytest.mark.parametrize("iss", [A, B])
def test_two_issuers_share_uids_where_both_say_so(others: Issuers, iss: str) -> None:
    for issuer in (A, B):
        others.add(issuer, keys_of(issuer).jwk(), uid_prefix="", shared_uids=True)
    guarded = others.guarded(require_uid=False)
    assert uid_of(guarded, keys_of(iss).token(foreign(iss))) == "12"


def test_one_issuer_alone_cannot_say_that_uids_are_shared(others: Issuers) -> None:
    others.add(A, uid_prefix="x:", shared_uids=True)
    others.add(B, uid_prefix="x:")
    with pytest.raises(ConfigError, match="uid_prefix"):
        Settings(**others.options())


@pytest.mark.parametrize("uid", ["a:12", "a:", "a:b:12"])
def test_we_issue_no_uid_of_an_issuer(others: Issuers, uid: str) -> None:
    others.add(A, keys_of(A).jwk())
    guarded = others.guarded()
    with pytest.raises(InvalidClaimsError):
        guarded.clock.create(uid=uid)


@pytest.mark.parametrize("uid", ["a:12", "a:", "a:b:12"])
def test_our_token_for_a_uid_of_an_issuer_is_refused(others: Issuers, uid: str) -> None:
    others.add(A, keys_of(A).jwk())
    answer = others.guarded().request(token=OUR_SECRET.token(claims(uid=uid)), uid=uid)
    assert verdict(answer) == INVALID_CLAIMS


def test_our_number_that_begins_as_the_uids_of_an_issuer_is_refused(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk(), uid_prefix="1")
    answer = others.guarded().request(token=OUR_SECRET.token(claims(uid=12)))
    assert verdict(answer) == INVALID_CLAIMS


@pytest.mark.parametrize(
    ("prefix", "sub"),
    [pytest.param("", "b:12", id="no prefix"), pytest.param("b", ":12", id="beginning of the other's")],
)
def test_an_issuer_makes_no_uid_of_another(others: Issuers, prefix: str, sub: str) -> None:
    others.add(A, keys_of(A).jwk(), uid_prefix=prefix, shared_uids=True)
    others.add(B, keys_of(B).jwk(), uid_prefix="b:")
    answer = others.guarded().request(token=keys_of(A).token(foreign(A, sub=sub)), uid="b:12")
    assert verdict(answer) == INVALID_CLAIMS


def test_an_issuer_by_our_own_name_ends_the_start(others: Issuers) -> None:
    others.add(A)
    with pytest.raises(ConfigError, match="our own name"):
        Settings(token_key=KEY, issuer=A, **others.options())


def test_an_issuers_token_for_another_audience_is_refused(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk())
    token = keys_of(A).token(foreign(A, aud="another"))
    assert verdict(others.guarded().request(token=token, uid="a:12")) == INVALID_CLAIMS


def test_an_issuers_token_is_never_renewed_as_ours(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk())
    guarded = others.guarded(refresh_time_min=30)
    token = keys_of(A).token(foreign(A, iat=int(NOW), exp=int(NOW) + MINUTE))
    answer = guarded.request(token=token, uid="a:12")
    assert verdict(answer) == OK
    assert guarded.seen["HTTP_X_REFRESHED_TOKEN"] == token
    assert "X-Refreshed-Token" not in answer.headers


# Secrets of before

OLD = "the secret of before, 40 bytes long too."


def test_a_previous_secret_verifies() -> None:
    assert verdict(Guarded(previous_keys=[OLD]).request(token=forge(claims(), key=OLD))) == OK


def test_a_previous_secret_signs_no_new_token() -> None:
    token = Guarded(previous_keys=[OLD]).clock.create(uid=12)
    assert verdict(Guarded().request(token=token)) == OK
    assert verdict(Guarded(previous_keys=[KEY.replace("a", "b")]).request(token=token)) == OK


def test_a_previous_secret_signs_no_renewed_token() -> None:
    due = claims(exp=int(NOW) + MINUTE)
    renewed = Guarded(previous_keys=[OLD]).request(token=forge(due, key=OLD)).headers["X-Refreshed-Token"]
    assert verdict(Guarded().request(token=renewed)) == OK


def test_a_secret_that_is_no_previous_one_any_more_is_refused() -> None:
    assert verdict(Guarded().request(token=forge(claims(), key=OLD))) == INVALID_TOKEN


def test_a_previous_secret_signs_for_no_issuer(others: Issuers) -> None:
    others.add(A, keys_of(A).jwk())
    guarded = others.guarded(previous_keys=[OLD])
    assert verdict(guarded.request(token=forge(both(A), key=OLD))) == INVALID_TOKEN


def test_a_token_of_ours_names_its_key(folder: Folder) -> None:
    token = folder.shared.clock.create(uid=12)
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": folder.keys["RS256"].kid}
