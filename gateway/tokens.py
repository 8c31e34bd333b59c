"""Tokens: made, renewed and verified."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from typing import Any

from gateway import jws
from gateway.claims import ClaimRules, VerifiedToken
from gateway.errors import InvalidClaimsError, InvalidTokenError
from gateway.keys import Key
from gateway.settings import Settings


class TokenCreator:
    """Makes tokens, renews those that near their end, and tells good ones from bad.

        tokens = TokenCreator(token_key=..., exp_time_min=30, refresh_time_min=15)
        token = tokens.create(uid=12, role="editor")

    Args:
        settings: the settings; instead of them, each can be given as a keyword argument.

    Raises:
        ConfigError: a setting is missing or wrong.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        if settings is not None and options:
            raise TypeError("give either settings or keyword arguments, not both")
        settings = settings if settings is not None else Settings(**options)
        if not isinstance(settings, Settings):
            raise TypeError(f"settings must be Settings, not {type(settings).__name__}")
        self._key = Key(settings.token_key)
        self._rules = ClaimRules(settings)
        self._uid_claim = settings.uid_claim
        self._lifetime = settings.exp_time_min * 60
        self._refresh = settings.refresh_time_min * 60
        self._max_session = settings.max_session_min * 60
        self._longest = settings.max_token_bytes
        source = {"iss": settings.issuer, "aud": settings.audience}
        self._source = {name: value for name, value in source.items() if value is not None}
        self._issued = {"uid", "iat", "exp", "auth_time", "sid", "iss", "aud", self._uid_claim}

    def now(self) -> float:
        """Return the time, in seconds since 1970. All that happens here goes by it."""
        return time.time()

    def create(self, uid: int | str, claims: Mapping[str, Any] | None = None, **more_claims: Any) -> str:
        """Return a token that begins a session of `uid`.

        Args:
            uid: an integer, or 1 to 255 visible ASCII characters without a comma.
            claims: extra claims, JSON values by name, kept through every renewal.
            more_claims: the same as keyword arguments.

        Raises:
            InvalidClaimsError: the uid or a claim would be refused in a token, a claim is named like one
                that is issued, or the token would be longer than `max_token_bytes`.
        """
        extra = {**(claims or {}), **more_claims}
        taken = sorted(self._issued.intersection(extra))
        if taken:
            raise InvalidClaimsError(f"{', '.join(taken)}: issued by the gateway, so no extra claim")
        if len(extra) < len(claims or {}) + len(more_claims):
            raise InvalidClaimsError("a claim is given twice")
        now = self.now()
        issued = {
            self._uid_claim: uid,
            **self._source,
            "iat": int(now),
            "exp": int(now) + self._lifetime,
            "auth_time": round(now, 6),
            "sid": secrets.token_urlsafe(16),
        }
        return self._minted({**issued, **extra})

    def refresh(self, token: str) -> str:
        """Return the token to use next: a renewed one if `token` is due, else `token` itself.

        Raises:
            TokenError: as `decode_token`.
        """
        now = self.now()
        return self.next_token(self.verify(token, now), now)

    def decode_token(self, token: str) -> dict[str, Any]:
        """Return the claims of a good token; a new dict on each call.

        Raises:
            InvalidTokenError: it is no token of ours.
            ExpiredTokenError: it was, and its time is over.
            InvalidClaimsError: it is ours, and a claim in it is not acceptable.
        """
        return self.verify(token, self.now()).claims

    def verify(self, token: str, now: float) -> VerifiedToken:
        """Return the facts of a token that is good at `now`, in seconds since 1970.

        Raises:
            TokenError: as `decode_token`.
        """
        if not isinstance(token, str) or len(token) > self._longest:
            raise InvalidTokenError("not text, or longer than max_token_bytes")
        return self._rules.judge(token, jws.decode(token, self._key), now)

    def next_token(self, verified: VerifiedToken, now: float) -> str:
        """Return the token to use after a verified one: that one, or its renewal if it is due.

        A renewal keeps every claim but `iat` and `exp`, and never outlives the session. None is made
        that would end no later than the token that came, or be too long to be looked at.
        """
        if not self._refresh or verified.began is None or verified.exp - now >= self._refresh:
            return verified.token
        iat = int(now)
        exp = min(iat + self._lifetime, math.floor(verified.began + self._max_session))
        if exp <= verified.exp:
            return verified.token
        renewed = {"auth_time": verified.began, **verified.claims, "iat": iat, "exp": exp}
        token = jws.encode(renewed, self._key)
        return token if len(token) <= self._longest else verified.token

    def _minted(self, claims: dict[str, Any]) -> str:
        """Sign the claims, and read them back as a verifier will, so that none is made in vain."""
        try:
            token = jws.encode(claims, self._key)
            written = jws.decode(token, self._key)
            self._rules.check_form(written)
        except InvalidClaimsError:
            raise
        except (InvalidTokenError, TypeError, ValueError, RecursionError):
            raise InvalidClaimsError(
                "a claim is not plain JSON: strings, numbers, booleans, null, and lists and objects of them"
            ) from None
        if written.keys() != claims.keys():
            raise InvalidClaimsError("the name of a claim must be text")
        if len(token) > self._longest:
            raise InvalidClaimsError(
                f"the token would be {len(token)} bytes, and none over {self._longest} is looked at"
            )
        return token
