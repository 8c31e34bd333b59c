"""What the claims of a rightly signed token must say (RFC 7519 section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from gateway.errors import ExpiredTokenError, InvalidClaimsError
from gateway.settings import Settings

CLOCK_SKEW_SEC = 10  # two machines' clocks differ by so much, whatever the leeway

_NUMBER_BOUND = 10**15  # NumericDates of more than 15 digits are no times
_UID = re.compile(r"[!-+\--~]{1,255}")  # visible ASCII; no comma, by which servers join two headers
_TIMES = ("nbf", "iat", "auth_time")
_STRINGS = ("sid", "jti", "iss")


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that passed, and the facts that were read from it.

    `exp` and `began` (when the session began, None if the token does not say) are in seconds since
    1970; `uid` is the uid claim in its canonical text.
    """

    token: str = field(repr=False)
    claims: dict[str, Any]
    uid: str
    exp: float
    began: float | None


def uid_text(value: object) -> str | None:
    """Return the canonical text of a uid, or None if it is none.

    A uid is an integer or a string, and its text 1 to 255 visible ASCII characters without a comma.
    """
    if type(value) is int:
        value = str(value)
    return value if isinstance(value, str) and _UID.fullmatch(value) else None


def is_time(value: object) -> TypeGuard[float]:
    """Tell whether a claim is a NumericDate: a number, no boolean, of at most 15 digits before the point."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_NUMBER_BOUND < value < _NUMBER_BOUND
    )


class ClaimRules:
    """The rules of one gateway for the claims of its own tokens."""

    def __init__(self, settings: Settings) -> None:
        self._uid_claim = settings.uid_claim
        self._issuer = settings.issuer
        self._audience = settings.audience
        self._leeway = settings.leeway_sec
        self._skew = max(settings.leeway_sec, CLOCK_SKEW_SEC)
        self._max_session = settings.max_session_min * 60

    def judge(self, token: str, claims: dict[str, Any], now: float) -> VerifiedToken:
        """Return the facts of a token that is good at `now`, in seconds since 1970.

        Raises:
            ExpiredTokenError: its `exp` is now or past.
            InvalidClaimsError: another claim is missing, of the wrong type, or not acceptable.
        """
        exp: Any = claims.get("exp")
        if is_time(exp) and exp + self._leeway <= now:
            raise ExpiredTokenError("the token is expired", claims)
        uid = self.check_form(claims)
        for name in _TIMES:
            if claims.get(name, now) > now + self._skew:
                raise InvalidClaimsError(f"{name} lies in the future", claims)
        self._check_source(claims)
        began = claims.get("auth_time", claims.get("iat"))
        if (now - began if began is not None else exp - now) > self._max_session:
            raise InvalidClaimsError("the session is too old", claims)
        return VerifiedToken(token, claims, uid, exp, began)

    def check_form(self, claims: dict[str, Any]) -> str:
        """Return the uid's text, where each claim that has a meaning here is of its type.

        Raises:
            InvalidClaimsError: one is not, or `exp` or the uid is missing.
        """
        uid = uid_text(claims.get(self._uid_claim))
        if uid is None:
            must = "an integer, or 1 to 255 visible ASCII characters without a comma"
            raise InvalidClaimsError(f"the uid must be {must}", claims)
        if not is_time(claims.get("exp")):
            raise InvalidClaimsError("exp must be a number of at most 15 digits", claims)
        for name in _TIMES:
            if name in claims and not is_time(claims[name]):
                raise InvalidClaimsError(f"{name} must be a number of at most 15 digits", claims)
        for name in _STRINGS:
            if name in claims and not isinstance(claims[name], str):
                raise InvalidClaimsError(f"{name} must be a string", claims)
        return uid

    def _check_source(self, claims: dict[str, Any]) -> None:
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise InvalidClaimsError("iss is not the configured issuer", claims)
        if self._audience is None:
            # RFC 7519 section 4.1.3: an audience that does not name us is somebody else.
            if "aud" in claims:
                raise InvalidClaimsError("aud names an audience, and none is configured", claims)
        elif not _names(claims.get("aud"), self._audience):
            raise InvalidClaimsError("aud does not name the configured audience", claims)


def _names(aud: object, audience: str) -> bool:
    if isinstance(aud, list):
        return audience in aud and all(isinstance(item, str) for item in aud)
    return aud == audience
