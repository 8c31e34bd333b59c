"""Who somebody is, by a token that was verified: facts about it, never a decision on it."""

from __future__ import annotations

import marshal
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from gateway.claims import Facts
from gateway.keys import Key, KeySource

_RECORD_BYTES = 500  # what one takes besides its text and its claims, its place in a table included
# Members of claims that are kept as a dict, and characters of their names, which are counted as shared by
# all tokens. More take less room packed.
_MOST_PLAIN = 16
_MOST_NAMES = 256
_PLAIN = frozenset({str, int, float, bool, type(None)})


BEARER = "Bearer "  # as nearly all clients spell it
TOKEN_PART = slice(len(BEARER), None)


class Identity:
    """Who sends a request, by a token whose signature was checked.

    `uid` is the canonical text of the uid, and `issuer` the name of another issuer than us. `renewed` tells
    whether the `token` to use next is a new one. `claims()` returns the claims as a new dict; of one that is
    kept (`pack`), it shares nothing with another that can be changed.

    Times are in seconds since 1970: it is good from `earliest` and before `until`, its next token is a
    renewed one after `due`, and before `settled_until` neither is so: nothing is left to be decided.

    `bearer` is the token as it stands in a header, and `renewal` the `iat`, the key and the `bearer` of
    the renewal made last, so that requests of one second are given the same.
    """

    __slots__ = (
        "_key",
        "_keys",
        "bearer",
        "began",
        "claims",
        "due",
        "earliest",
        "exp",
        "issuer",
        "renewal",
        "renewed",
        "session",
        "settled_until",
        "size",
        "uid",
        "until",
    )

    def __init__(self, token: str, claims: dict[str, Any], facts: Facts, key: Key, keys: KeySource) -> None:
        self.bearer = BEARER + token
        self.uid = facts.uid
        self.issuer = facts.issuer
        self.exp = facts.exp
        self.began = facts.began
        self.session = facts.session
        self.earliest = facts.earliest
        self.until = min(facts.expires, math.nextafter(facts.latest, math.inf), keys.ring.good_until)
        self.due = facts.due
        self.settled_until = min(self.until, self.due)
        self.claims: Callable[[], dict[str, Any]] = claims.copy
        self.renewal: tuple[int, Key, str] | None = None
        self.renewed = False
        self.size = 0
        self._key = key
        self._keys = keys

    def __repr__(self) -> str:
        return f"Identity(uid={self.uid!r}, issuer={self.issuer!r}, exp={self.exp!r})"

    @property
    def token(self) -> str:
        """The token to use next."""
        return self.bearer[TOKEN_PART]

    @property
    def kid(self) -> str | None:
        """The name of the key that signed."""
        return self._key.kid

    def is_good(self, now: float) -> bool:
        """Tell whether it is good at `now`."""
        return self.earliest <= now < self.until

    def is_current(self) -> bool:
        """Tell whether the key that signed still verifies."""
        return self._key in self._keys.ring.keys

    def with_next(self, bearer: str) -> Self:
        """Return the same identity with a renewed token to use next, as it stands in a header."""
        changed = type(self).__new__(type(self))
        for name in self.__slots__:
            setattr(changed, name, getattr(self, name))
        changed.bearer = bearer
        changed.renewed = True
        return changed

    def pack(self) -> None:
        """Make ready to be kept and shared, and work out the bytes that it takes: its `size`."""
        claims = self.claims()
        names = "".join(claims)
        usual = len(claims) <= _MOST_PLAIN and len(names) <= _MOST_NAMES and names.isascii()
        if usual and _PLAIN.issuperset(map(type, claims.values())):
            plain = dict(zip(map(sys.intern, claims), claims.values(), strict=True))
            self.claims = plain.copy
            self.size = sys.getsizeof(plain) + sum(map(sys.getsizeof, plain.values()))
        else:
            packed = marshal.dumps(claims)
            # It never left this process, so that reading it is safe.
            self.claims = partial(marshal.loads, packed)
            self.size = len(packed)
        self.size += len(self.bearer) + _RECORD_BYTES
