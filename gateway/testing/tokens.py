"""Tokens by the answer that they get, each made by the gateway's own code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.kinds import MOST_MINUTES, is_scope
from gateway.tokens import TokenCreator

Scopes = Iterable[str] | None
Claims = Mapping[str, Any] | None

_LONG_SEC: Final = 3600  # longer than any leeway
_LONGEST_SESSION_SEC: Final = MOST_MINUTES * 60


class Tokens:
    """Makes tokens for tests, good ones and others; each client has one, as `client.tokens`.

        client.tokens.expired(12)
        Tokens(gateway.tokens).good("anna", scopes=["reports:read"], claims={"team": "blue"})

    `scopes` become the claim `scope`, one text with spaces between them (RFC 8693 section 4.2); without a
    name there is no such claim.

    Args:
        creator: what makes the tokens of the gateway under test: its `tokens`.
    """

    def __init__(self, creator: TokenCreator) -> None:
        self._creator = creator

    def good(self, uid: int | str, scopes: Scopes = None, claims: Claims = None) -> str:
        """Return a token that is good.

        Args:
            uid: whose.
            scopes: a list of names, for the claim `scope`.
            claims: extra claims by name.

        Raises:
            TypeError, ValueError: the scopes are no list of names.
            InvalidClaimsError, KeysUnavailableError, ConfigError: as `TokenCreator.create`.
        """
        return self._creator.create(uid, claims, **_scope_claim(scopes))

    def near_expiry(self, uid: int | str, scopes: Scopes = None, claims: Claims = None) -> str:
        """Return a token that is good, and renewed at the next request.

        Args:
            uid: whose.
            scopes: a list of names, for the claim `scope`.
            claims: extra claims by name.

        Raises:
            ConfigError: no token is renewed here.
            TypeError, ValueError, InvalidClaimsError, KeysUnavailableError: as `good`.
        """
        now = self._creator.now()
        fresh = self._creator.verify(self.good(uid, scopes, claims), now)
        if math.isinf(fresh.due):
            raise ConfigError(
                "no token is renewed here: REFRESH_TIME_MIN must be over 0,"
                " and GATEWAY_MAX_SESSION_MIN more than EXP_TIME_MIN"
            )
        midway = (fresh.due + fresh.exp) / 2
        return Tokens(_Earlier(self._creator, midway - now)).good(uid, scopes, claims)

    def expired(self, uid: int | str, scopes: Scopes = None, claims: Claims = None) -> str:
        """Return a token whose time is over: 401, `token_expired`.

        Args:
            uid: whose.
            scopes: a list of names, for the claim `scope`.
            claims: extra claims by name.

        Raises:
            TypeError, ValueError, InvalidClaimsError, KeysUnavailableError, ConfigError: as `good`.
        """
        now = self._creator.now()
        fresh = self._creator.verify(self.good(uid, scopes, claims), now)
        return Tokens(_Earlier(self._creator, fresh.exp - now + _LONG_SEC)).good(uid, scopes, claims)

    def session_over(self, uid: int | str, scopes: Scopes = None, claims: Claims = None) -> str:
        """Return a token of a session that began too long ago: 401, `invalid_claims`.

        Args:
            uid: whose.
            scopes: a list of names, for the claim `scope`.
            claims: extra claims by name.

        Raises:
            TypeError, ValueError, InvalidClaimsError, KeysUnavailableError, ConfigError: as `good`.
        """
        began = self._creator.now() - _LONGEST_SESSION_SEC - _LONG_SEC
        return self._creator.begin(uid, {**(claims or {}), **_scope_claim(scopes)}, began)

    def tampered(self, uid: int | str, scopes: Scopes = None, claims: Claims = None) -> str:
        """Return a token with a signature that is not its own: 498, `invalid_token`.

        Args:
            uid: whose.
            scopes: a list of names, for the claim `scope`.
            claims: extra claims by name.

        Raises:
            TypeError, ValueError, InvalidClaimsError, KeysUnavailableError, ConfigError: as `good`.
        """
        signed, _, signature = self.good(uid, scopes, claims).rpartition(".")
        return f"{signed}.{'B' if signature.startswith('A') else 'A'}{signature[1:]}"


class _Earlier(TokenCreator):
    """Makes tokens as another creator does, by its settings and its keys, but some seconds ago."""

    def __init__(self, creator: TokenCreator, seconds: float) -> None:
        vars(self).update(vars(creator))
        self._now = creator.now
        self._seconds = seconds

    def now(self) -> float:
        return self._now() - self._seconds


def _scope_claim(scopes: Scopes) -> dict[str, str]:
    if isinstance(scopes, str):
        raise TypeError(f"scopes must be a list of names, as {scopes.split()!r}, and not text")
    names = list(scopes or ())
    for name in names:
        if not (isinstance(name, str) and is_scope(name)):
            must = "visible ASCII characters without a space, a double quote or a backslash"
            raise ValueError(f"{name!r} is no scope; it must be {must} (RFC 6749 section 3.3)")
    return {"scope": " ".join(names)} if names else {}
