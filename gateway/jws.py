"""JSON Web Signatures in compact form, read strictly and in one way only (RFC 7515, RFC 8725).

This is the one place that decides what is a token: the letter of the RFCs where they leave a choice is
always the stricter one. Cryptography is PyJWT's.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from gateway.errors import InvalidTokenError
from gateway.keys import Key, KeyRing

DEEPEST = 64  # levels of JSON that are read; deeper ones would not survive a copy

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# The last characters that leave no bit set beyond the last byte, by how many stand in the last group.
_CANONICAL_LAST = {2: "AQgw", 3: "AEIMQUYcgkosw048"}
# Header members that change how a token is to be read: none of them is supported, so none may stand there.
_REFUSED_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})
_TYPES = frozenset({"jwt", "at+jwt"})  # RFC 7519 section 5.1, RFC 9068 section 2.1


class Header(NamedTuple):
    """What a token's header says of its key: the name (None: it names none) and the algorithm."""

    kid: str | None
    alg: str


class SignedToken:
    """A token in its parts, of the right form, and not yet verified.

    Raises:
        InvalidTokenError: it is not a compact JWS, its header is no JSON object in plain UTF-8, or the
            header asks for another type or for an extension.
    """

    __slots__ = ("_payload", "_signature", "_signed", "header")

    def __init__(self, token: str) -> None:
        header, self._payload, signature = _split(token)
        remembered = len(header) <= _LONGEST_REMEMBERED
        self.header = _remembered_header(header) if remembered else _read_header(header)
        self._signed = token[: -len(signature) - 1].encode("ascii")
        self._signature = _b64decode(signature)

    def signer(self, candidates: Iterable[Key]) -> Key | None:
        """Return the one of these keys that signed the token, if any did."""
        for key in candidates:
            if key.verify(self._signed, self._signature):
                return key
        return None

    def claims(self) -> dict[str, Any]:
        """Return the claims; a new dict on each call.

        Raises:
            InvalidTokenError: they are not a JSON object in plain UTF-8.
        """
        return _read_object(self._payload)


def decode(token: str, ring: KeyRing) -> dict[str, Any]:
    """Return the claims of a token that a key of `ring` signed; a new dict on each call.

    Raises:
        InvalidTokenError: it is not a compact JWS of JSON objects in plain UTF-8, or its header asks for
            another key, algorithm, type or extension, or its signature is not the key's.
    """
    signed = SignedToken(token)
    if signed.signer(ring.candidates(*signed.header)) is None:
        raise InvalidTokenError("the key is unknown or the signature is wrong")
    return signed.claims()


def encode(claims: Mapping[str, Any], key: Key) -> str:
    """Return a token with these claims, signed by `key`.

    Raises:
        ValueError, TypeError, RecursionError: the claims are not JSON.
    """
    header = {"alg": key.alg, "typ": "JWT"}
    if key.kid is not None:
        header["kid"] = key.kid
    signed = _write_object(header) + b"." + _write_object(claims)
    return (signed + b"." + _b64encode(key.sign(signed))).decode("ascii")


def peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims as they stand, unverified: to be shown to a person and never trusted.

    Raises:
        InvalidTokenError: they cannot be read.
    """
    header, payload, _ = _split(token)
    return _read_object(header), _read_object(payload)


def _split(token: str) -> tuple[str, str, str]:
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise InvalidTokenError("not three base64url segments")
    return parts[1], parts[2], parts[3]


def _read_header(segment: str) -> Header:
    header = _read_object(segment)
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str):
        raise InvalidTokenError("the header names no algorithm")
    if not _REFUSED_MEMBERS.isdisjoint(header):
        raise InvalidTokenError("the header asks for an extension")
    if "typ" in header and not _is_jwt_type(header["typ"]):
        raise InvalidTokenError("the type is not JWT")
    if "kid" in header and not isinstance(kid, str):
        raise InvalidTokenError("the key's name is not a string")
    return Header(kid, alg)


# The header of one key's tokens is always the same: nearly every one was read before.
_LONGEST_REMEMBERED = 300
_remembered_header = lru_cache(maxsize=256)(_read_header)


def _is_jwt_type(typ: object) -> bool:
    """RFC 7515 section 4.1.9: a media type, in any case, from which `application/` may be left out."""
    return isinstance(typ, str) and typ.lower().removeprefix("application/") in _TYPES


def _b64encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _b64decode(segment: str) -> bytes:
    """Decode base64url without padding, in its one canonical spelling (RFC 4648 section 3.5)."""
    last_group = len(segment) % 4
    if last_group and segment[-1] not in _CANONICAL_LAST.get(last_group, ""):
        raise InvalidTokenError("a segment is not canonical base64url")
    return a2b_base64(segment.replace("-", "+").replace("_", "/") + "=" * (-len(segment) % 4))


def _write_object(value: Mapping[str, Any]) -> bytes:
    return _b64encode(json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii"))


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member is named twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is beyond a double")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# RFC 8259, with what it leaves open refused: members named twice, NaN, Infinity, numbers beyond a double.
STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


def _loads(text: str) -> Any:
    """Parse JSON; what has no white space around it, as usual, without looking for any."""
    if not (text.startswith("{") and text.endswith("}")):
        return STRICT_JSON.decode(text)
    value, end = STRICT_JSON.raw_decode(text)
    if end < len(text):
        raise ValueError("more than one JSON value")
    return value


def _read_object(segment: str) -> dict[str, Any]:
    try:
        text = _b64decode(segment).decode("utf-8")
        value = _loads(text)
    except (ValueError, RecursionError):
        raise InvalidTokenError("a segment is not JSON in UTF-8") from None
    if type(value) is not dict or (
        text.count("{") + text.count("[") > DEEPEST and _is_deeper(value, DEEPEST)
    ):
        raise InvalidTokenError("a segment is not a JSON object, or nests too deep")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    """Tell whether objects and lists nest more than so many levels deep, without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [child for parent in layer for child in _children(parent)]
    return any(isinstance(value, dict | list) for value in layer)


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
