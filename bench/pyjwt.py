"""PyJWT's cases: what a token costs without anything around it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bench.caller import Timer
from gateway import TokenCreator

_PRIVATE_KEYS: dict[str, Callable[[], Any]] = {
    "RS256": partial(rsa.generate_private_key, public_exponent=65537, key_size=2048),
    "ES256": partial(ec.generate_private_key, ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def encode() -> Timer:
    """Time `jwt.encode` of the claims of a token of ours."""
    secret = secrets.token_urlsafe(48)
    return _repeated(partial(jwt.encode, _claims(secret), secret.encode("ascii"), algorithm="HS256"))


def decode() -> Timer:
    """Time `jwt.decode` of a token of ours."""
    secret = secrets.token_urlsafe(48)
    token = TokenCreator(token_key=secret).create(uid=12)
    return _repeated(partial(jwt.decode, token, secret.encode("ascii"), algorithms=["HS256"]))


def decode_asymmetric(algorithm: str) -> Timer:
    """Time `jwt.decode` of the same claims, signed by another algorithm, with a key made ready before."""
    private = _PRIVATE_KEYS[algorithm]()
    token = jwt.encode(_claims(secrets.token_urlsafe(48)), private, algorithm=algorithm)
    return _repeated(partial(jwt.decode, token, private.public_key(), algorithms=[algorithm]))


def _claims(secret: str) -> dict[str, Any]:
    tokens = TokenCreator(token_key=secret)
    return tokens.decode_token(tokens.create(uid=12))


def _repeated(call: Callable[[], object]) -> Timer:
    def timed(loops: int) -> float:
        began = perf_counter()
        for _ in repeat(None, loops):
            call()
        return perf_counter() - began

    return timed
