"""A signing key that carries its algorithm, so that no token can choose another."""

from __future__ import annotations

import jwt

from gateway.errors import ConfigError

MIN_HMAC_BYTES = 32  # RFC 7518 section 3.2: a key as long as the hash at least


class Key:
    """One key, prepared once for one algorithm.

    Args:
        secret: the HMAC secret; text stands for its UTF-8 bytes.
        alg: the JWS algorithm (RFC 7518 section 3.1).
        kid: the key's name in a token's header, or None for a key without one.

    Raises:
        ConfigError: the secret is empty, or is the text of an asymmetric key, certificate or JWK,
            which others may know.
    """

    __slots__ = ("_algorithm", "_secret", "alg", "kid")

    def __init__(self, secret: str | bytes, *, alg: str = "HS256", kid: str | None = None) -> None:
        self.alg = alg
        self.kid = kid
        self._algorithm = jwt.get_algorithm_by_name(alg)
        try:
            self._secret = self._algorithm.prepare_key(secret)
        except jwt.InvalidKeyError:
            # Without the cause: a library's key error may print the key.
            raise ConfigError(
                "an HMAC secret is empty or the text of a PEM, SSH, DER or JWK key;"
                " it must be a random secret"
            ) from None

    def __repr__(self) -> str:
        return f"Key(alg={self.alg!r}, kid={self.kid!r})"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        return self._algorithm.sign(data, self._secret)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over `data`, in constant time."""
        return self._algorithm.verify(data, self._secret, signature)
