"""What the claims of a rightly signed token must say (RFC 7519 section 4)."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeGuard

from gateway.errors import ExpiredTokenError, InvalidClaimsError
from gateway.kinds import UID_CHARACTER
from gateway.policyfile import IssuerRules
from gateway.settings import Settings

CLOCK_SKEW_SEC = 10  # two machines' clocks differ by so much, whatever the leeway
SHORTEST_SEC = 1e-6  # between two moments that auth_time tells apart
NEVER = math.inf

_NUMBERS = (int, float)  # and not bool, which is an int
_NUMBER_BOUND = 10**15  # NumericDates of more than 15 digits are no times
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,253}")
_UID_BOUND = 10**255
_UID = re.compile(UID_CHARACTER + "{1,255}")
_TIMES = ("nbf", "iat", "auth_time")
_STRINGS = ("sid", "jti", "iss")


# What names a session: its `sid`, or else `jti` and its value.
Session = str | tuple[str, str]


class Facts(NamedTuple):
    """What the claims of a token say: whose it is, and when it is good.

    `uid` is the canonical text of the uid. `issuer` is None for a token of our own, and `began` (when the
    session began) and `session` are None if the token does not say.

    All times are in seconds since 1970. It is expired at `expires`; before `earliest` and after `latest` it
    is not acceptable; after `due` the next token is a renewed one.
    """

    uid: str
    issuer: str | None
    exp: float
    began: float | None
    earliest: float
    expires: float
    latest: float
    due: float
    session: Session | None


def uid_text(value: object) -> str | None:
    """Return the canonical text of a uid, or None if it is none.

    A uid is an integer or a string, and its text 1 to 255 visible ASCII characters without a comma.
    """
    if type(value) is int and -_UID_BOUND < value < _UID_BOUND:  # Python writes no number of any length
        value = str(value)
    return value if isinstance(value, str) and _UID.fullmatch(value) else None


def uid_claim(uid: str) -> int | str:
    """Return what stands in a token for a uid: an integer where the text is the canonical one of it."""
    return int(uid) if _INTEGER.fullmatch(uid) else uid


def is_time(value: object) -> TypeGuard[float]:
    """Tell whether a claim is a NumericDate: a number, no boolean, of at most 15 digits before the point."""
    return type(value) in _NUMBERS and -_NUMBER_BOUND < value < _NUMBER_BOUND  # type: ignore[operator]


class ClaimRules(ABC):
    """The rules for the claims of one source of tokens.

    Args:
        name: the issuer's name; None for us.
        uid_claim: the claim that holds the uid.
        uid_prefix: what is put before it.
        issuer: what `iss` must be; None for any.
        audience: what `aud` must name; None for no `aud` at all.
        leeway: clock skew allowed, in seconds.
        others: prefixes of other sources' uids, with which no uid of this one may begin.
    """

    def __init__(
        self,
        *,
        name: str | None,
        uid_claim: str,
        uid_prefix: str,
        issuer: str | None,
        audience: str | None,
        leeway: int,
        others: Iterable[str],
    ) -> None:
        self.name = name
        self._uid_claim = uid_claim
        self._uid_prefix = uid_prefix
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._skew = max(leeway, CLOCK_SKEW_SEC)
        self._others = tuple(
            other for other in others if other != uid_prefix and other.startswith(uid_prefix)
        )

    def judge(self, claims: dict[str, Any], now: float) -> Facts:
        """Return what the claims of a token say that is good at `now`, in seconds since 1970.

        Raises:
            ExpiredTokenError: its `exp` is now or past.
            InvalidClaimsError: another claim is missing, of the wrong type, or not acceptable.
        """
        exp = claims.get("exp")
        if is_time(exp) and now >= exp + self._leeway:
            raise ExpiredTokenError("the token is expired", claims)
        facts = self.facts(claims)
        if not facts.earliest <= now <= facts.latest:
            raise InvalidClaimsError("a time lies in the future, or the session is too old", claims)
        return facts

    def facts(self, claims: dict[str, Any]) -> Facts:
        """Return what the claims say, whenever that is asked.

        Raises:
            InvalidClaimsError: a claim is missing, of the wrong type, or never acceptable.
        """
        uid = self.check_form(claims)
        self._check_source(claims)
        exp: float = claims["exp"]
        began: float | None = claims.get("auth_time", claims.get("iat"))
        times = [claims[name] for name in _TIMES if name in claims]
        earliest = max(times) - self._skew if times else -NEVER
        earliest, latest, due = self._bounds(earliest, exp, began)
        session = _session(claims)
        return Facts(uid, self.name, exp, began, earliest, exp + self._leeway, latest, due, session)

    def whose(self, claims: dict[str, Any]) -> tuple[str | None, Session | None]:
        """Return the uid and the session that claims name, acceptable or not; None for what is malformed."""
        named = [claims.get(name, "") for name in ("sid", "jti")]
        session = _session(claims) if all(isinstance(name, str) for name in named) else None
        try:
            return self._uid(claims), session
        except InvalidClaimsError:
            return None, session

    def check_form(self, claims: dict[str, Any]) -> str:
        """Return the uid's text, where each claim that has a meaning here is of its type.

        Raises:
            InvalidClaimsError: one is not, or `exp` or the uid is missing.
        """
        uid = self._uid(claims)
        if not is_time(claims.get("exp")):
            raise InvalidClaimsError("exp must be a number of at most 15 digits", claims)
        for name in _TIMES:
            if name in claims and not is_time(claims[name]):
                raise InvalidClaimsError(f"{name} must be a number of at most 15 digits", claims)
        for name in _STRINGS:
            if name in claims and not isinstance(claims[name], str):
                raise InvalidClaimsError(f"{name} must be a string", claims)
        return uid

    @abstractmethod
    def _bounds(self, earliest: float, exp: float, began: float | None) -> tuple[float, float, float]:
        """Return `earliest`, `latest` and `due` of a token whose times allow it from `earliest` on."""

    def _uid(self, claims: dict[str, Any]) -> str:
        claimed = uid_text(claims.get(self._uid_claim))
        uid = None if claimed is None else uid_text(self._uid_prefix + claimed)
        if uid is None:
            must = "an integer, or 1 to 255 visible ASCII characters without a comma"
            raise InvalidClaimsError(f"the uid must be {must}", claims)
        if self._others and uid.startswith(self._others):
            raise InvalidClaimsError(
                "the uid begins as those of another issuer do; it must begin otherwise", claims
            )
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


class OwnRules(ClaimRules):
    """The rules for tokens of our own: their sessions end, and they are renewed until then."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            name=None,
            uid_claim=settings.uid_claim,
            uid_prefix="",
            issuer=settings.issuer,
            audience=settings.audience,
            leeway=settings.leeway_sec,
            others=[rules.uid_prefix for rules in settings.issuers],
        )
        self._refresh = settings.refresh_time_min * 60
        self._max_session = settings.max_session_min * 60

    def session_end(self, began: float) -> float:
        """Return the last moment of a session, in seconds since 1970."""
        return began + self._max_session

    def _bounds(self, earliest: float, exp: float, began: float | None) -> tuple[float, float, float]:
        if began is None:
            return max(earliest, exp - self._max_session), NEVER, NEVER
        latest = self.session_end(began)
        # No renewal ends later than the session, so there is none of a token that does.
        renewable = self._refresh and math.floor(latest) > exp
        return earliest, latest, exp - self._refresh if renewable else NEVER


class ForeignRules(ClaimRules):
    """The rules for the tokens of one issuer: they must not live long, and are never renewed."""

    def __init__(self, rules: IssuerRules, all_issuers: Iterable[IssuerRules]) -> None:
        super().__init__(
            name=rules.issuer,
            uid_claim=rules.uid_claim,
            uid_prefix=rules.uid_prefix,
            issuer=rules.issuer,
            audience=rules.audience,
            leeway=rules.leeway_sec,
            others=[other.uid_prefix for other in all_issuers],
        )
        self._longest = rules.max_token_min * 60 + CLOCK_SKEW_SEC

    def _bounds(self, earliest: float, exp: float, began: float | None) -> tuple[float, float, float]:
        return max(earliest, exp - self._longest), NEVER, NEVER


def _session(claims: dict[str, Any]) -> Session | None:
    """Return what names the session; an empty name is none, since it would be that of many."""
    sid = claims.get("sid")
    if sid:
        return str(sid)
    jti = claims.get("jti")
    return ("jti", jti) if jti else None


def _names(aud: object, audience: str) -> bool:
    if isinstance(aud, list):
        return audience in aud and all(isinstance(item, str) for item in aud)
    return aud == audience
