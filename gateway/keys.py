"""Keys that carry their algorithm, so that no token can choose another, and rings of such keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

import jwt
from jwt.algorithms import Algorithm, has_crypto

MIN_HMAC_BYTES = 32  # RFC 7518 section 3.2
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3

SYMMETRIC = ("HS256", "HS384", "HS512")
# What a JWK of each says of itself (RFC 7518 section 6, RFC 8037 section 2): its type and its curve.
_KINDS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
ASYMMETRIC = tuple(_KINDS)
# RFC 7518 section 6: what of a JWK is public, and what nobody else may know.
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# Ed25519 points of small order, under which anybody's signature passes, in each encoding of theirs.
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)


# Without cryptography there are no asymmetric keys, and so nothing of its own to go wrong.
_LIBRARY_ERRORS: tuple[type[Exception], ...] = (
    jwt.PyJWTError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
)
if has_crypto:
    from cryptography.exceptions import UnsupportedAlgorithm

    _LIBRARY_ERRORS += (UnsupportedAlgorithm,)


class UnfitKeyError(ValueError):
    """Something is not the key that it should be. The message says why, and nothing of the key."""


class Key:
    """One key, prepared once for one algorithm (RFC 7518 section 3.1): see the three ways to make one.

    `kid` is its name in a token's header, or None for a key without one.
    """

    __slots__ = ("_algorithm", "_private", "_public", "alg", "kid")

    def __init__(self, algorithm: Algorithm, alg: str, kid: str | None, public: Any, private: Any) -> None:
        self.alg = alg
        self.kid = kid
        self._algorithm = algorithm
        self._public = public
        self._private = private

    @classmethod
    def secret(cls, secret: str | bytes, *, alg: str = "HS256", kid: str | None = None) -> Self:
        """Make a key of an HMAC secret, which signs and verifies; text stands for its UTF-8 bytes.

        Raises:
            UnfitKeyError: the secret is empty, or is the text of an asymmetric key, certificate or JWK,
                which others may know.
        """
        algorithm = jwt.get_algorithm_by_name(alg)
        try:
            prepared = algorithm.prepare_key(secret)
        except jwt.InvalidKeyError:
            # Without the cause: a library's key error may print the key.
            raise UnfitKeyError("empty or the text of a PEM, SSH, DER or JWK key") from None
        return cls(algorithm, alg, kid, prepared, prepared)

    @classmethod
    def private(cls, pem: bytes, *, alg: str, kid: str) -> Self:
        """Make a key of a private one in PEM (PKCS #8), which signs and verifies.

        Raises:
            UnfitKeyError: it is no private key for this algorithm, or an RSA key under 2048 bits.
        """
        algorithm = jwt.get_algorithm_by_name(alg)
        try:
            private = algorithm.prepare_key(pem)
            public = private.public_key()
        except _LIBRARY_ERRORS:
            raise UnfitKeyError(f"no private key for {alg} in PEM without a password") from None
        _check(algorithm, alg, public)
        return cls(algorithm, alg, kid, public, private)

    @classmethod
    def public(cls, jwk: Mapping[str, Any], *, alg: str, kid: str | None) -> Self:
        """Make a key of the public members of a JWK (RFC 7517), which verifies alone.

        Raises:
            UnfitKeyError: it is no public key for this algorithm, or an RSA key under 2048 bits.
        """
        algorithm = jwt.get_algorithm_by_name(alg)
        try:
            public = algorithm.from_jwk({name: jwk[name] for name in _PUBLIC_MEMBERS.intersection(jwk)})
        except _LIBRARY_ERRORS:
            raise UnfitKeyError(f"no public key for {alg}") from None
        _check(algorithm, alg, public)
        return cls(algorithm, alg, kid, public, None)

    def __repr__(self) -> str:
        return f"Key(alg={self.alg!r}, kid={self.kid!r})"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        return self._algorithm.sign(data, self._private)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over `data`; where the key is secret, in constant time."""
        return self._algorithm.verify(data, self._public, signature)

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key of an asymmetric one as a JWK (RFC 7517 section 4)."""
        return {
            **_public_members(self._algorithm, self._public),
            "use": "sig",
            "alg": self.alg,
            "kid": self.kid,
        }


def fits(jwk: Mapping[str, Any], alg: str) -> bool:
    """Tell whether a JWK is of the type and curve of an asymmetric algorithm, by what it says of itself."""
    kty, crv = _KINDS[alg]
    return jwk.get("kty") == kty and (crv is None or jwk.get("crv") == crv)


def _public_members(algorithm: Algorithm, public: Any) -> dict[str, Any]:
    jwk = algorithm.to_jwk(public, as_dict=True)
    return {name: jwk[name] for name in sorted(_PUBLIC_MEMBERS.intersection(jwk))}


def _check(algorithm: Algorithm, alg: str, public: Any) -> None:
    jwk = _public_members(algorithm, public)
    if not fits(jwk, alg):
        raise UnfitKeyError(f"no key for {alg}")
    if jwk["kty"] == "RSA" and public.key_size < MIN_RSA_BITS:
        raise UnfitKeyError(f"an RSA key of {public.key_size} bits, and under {MIN_RSA_BITS} none is taken")
    if jwk["kty"] == "OKP" and public.public_bytes_raw() in _SMALL_ORDER:
        raise UnfitKeyError("a point of small order, under which any signature passes")


class KeyRing:
    """Keys that verify, looked up by what a token's header says. It never changes.

    `keys` holds them all, and at `good_until`, in seconds since 1970, they are too old to be believed. A
    token that names no key is tried with those that have no name; where all have one, with the only key of
    its algorithm, if there is no more than one.
    """

    __slots__ = ("_by_header", "good_until", "keys")

    def __init__(self, keys: Iterable[Key], good_until: float = math.inf) -> None:
        in_order = tuple(keys)
        self.keys = frozenset(in_order)
        self.good_until = good_until
        self._by_header: dict[tuple[str | None, str], tuple[Key, ...]] = {}
        for key in in_order:
            same = self._by_header.get((key.kid, key.alg), ())
            self._by_header[key.kid, key.alg] = (*same, key)
        for alg in {key.alg for key in in_order}:
            of_alg = tuple(key for key in in_order if key.alg == alg)
            if len(of_alg) == 1:
                self._by_header.setdefault((None, alg), of_alg)

    def candidates(self, kid: str | None, alg: str) -> tuple[Key, ...]:
        """Return the keys that may have signed a token with this `kid` (None: it names none) and `alg`."""
        return self._by_header.get((kid, alg), ())


class KeySource(Protocol):
    """Where the keys of one issuer come from."""

    @property
    def ring(self) -> KeyRing:
        """The keys as they are now: always whole, and swapped for another ring when they change."""

    def candidates(self, kid: str | None, alg: str) -> tuple[Key, ...]:
        """Return the keys that may have signed a token, as `KeyRing.candidates`.

        Raises:
            KeysUnavailableError: there are none that can be believed.
        """

    def keep_up(self, now: float) -> None:
        """Take in what has changed since, if it is time to look."""


class OwnKeys(KeySource, Protocol):
    """Keys of our own, one of which signs."""

    def signing_key(self, now: float) -> Key:
        """Return the key that signs at `now`."""


class FixedKeys:
    """Keys that stay the same: the first signs, all verify."""

    def __init__(self, signing: Key, *others: Key) -> None:
        self._signing = signing
        self.ring: KeyRing = KeyRing((signing, *others))
        self.candidates = self.ring.candidates

    def signing_key(self, now: float) -> Key:
        """Return the key that signs, at any time."""
        return self._signing

    def keep_up(self, now: float) -> None:
        """Nothing changes."""
