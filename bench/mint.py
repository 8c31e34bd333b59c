"""Many tokens, made faster than the gateway makes them and stored in little room."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass

from bench.caller import Sent
from gateway import TokenCreator

_FIRST_UID = 1_000_000  # of seven digits, as all that follow, so that all tokens are equally long


@dataclass(frozen=True, slots=True)
class Minted:
    """Tokens of as many users, as the values of `Authorization`, one behind the other."""

    headers: bytes
    width: int

    def in_turn(self) -> Iterator[Sent]:
        """Send them one after the other, for ever."""
        headers, width = self.headers, self.width
        while True:
            for number, start in enumerate(range(0, len(headers), width), _FIRST_UID):
                yield headers[start : start + width], b"%d" % number


def minted(key: str, count: int) -> Minted:
    """Return so many tokens, each like one that the gateway makes with this key but for its uid and `sid`."""
    token = TokenCreator(token_key=key).create(uid=_FIRST_UID)
    headers = b"".join(_headers(token, key.encode("utf-8"), count))
    return Minted(headers, len(headers) // count)


def _headers(token: str, key: bytes, count: int) -> Iterator[bytes]:
    header, payload, _ = token.encode("ascii").split(b".")
    pattern = _pattern(payload)
    for number in range(count):
        signed = header + b"." + _b64encode(pattern % (_FIRST_UID + number, number))
        yield b"Bearer " + signed + b"." + _b64encode(hmac.digest(key, signed, "sha256"))


def _pattern(payload: bytes) -> bytes:
    """Return the claims of a token with two holes: one for the uid, one for a `sid` as long as its own."""
    claims = urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
    sid = json.loads(claims)["sid"].encode("ascii")
    return claims.replace(b"%d" % _FIRST_UID, b"%d", 1).replace(sid, b"%%0%dd" % len(sid), 1)


def _b64encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
