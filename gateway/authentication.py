"""The judge: who sends a request, or why it is refused. It takes plain strings and knows no server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from wsgiref.types import WSGIEnvironment

from gateway.claimheaders import ClaimHeaders
from gateway.errors import InvalidClaimsError, KeysUnavailableError, TokenError
from gateway.identity import Identity
from gateway.kinds import OPTIONAL, PUBLIC
from gateway.policy import Route, policy_of
from gateway.rejections import Rejection, rejections
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.tokens import TokenCreator

# RFC 6750 section 2.1; the scheme in any case (RFC 9110 section 11.1).
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9\-._~+/=]+)")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody, on a path where nobody needs to be somebody."""


ANONYMOUS: Final = Anonymous()


class Authenticator:
    """Decides on requests, by the rules of one gateway.

    Args:
        settings: the settings.
        tokens: verifies and renews.
        revocations: tells which sessions were ended; None where none can be.
        profile: by which refusals get their status; that of the settings unless given.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenCreator,
        revocations: Revocations | None = None,
        profile: str | None = None,
    ) -> None:
        self._tokens = tokens
        # Returns the code by which an identity is refused whose session was ended.
        self._refusal = revocations.refusal if revocations is not None else None
        self._now = tokens.now
        self._known = tokens.known
        self._keep_up = tokens.keep_up if tokens.keys_change else None
        policy = policy_of(settings.public_paths, settings.routes, settings.issuer)
        # Returns what is asked of a request, None for a good token and no more.
        self.find = policy.find if policy is not None else None
        self._claim_headers = ClaimHeaders(settings.claim_headers) if settings.claim_headers else None
        self._require_uid = settings.require_uid
        self._rejections = rejections(profile or settings.status_profile)

    def authenticate(
        self, method: str, path: str, authorization: str | None, uid: str | None
    ) -> Identity | Anonymous | Rejection:
        """Return who sends a request, or the answer that refuses it.

        Args:
            method: the request's method.
            path: the path that the app routes on, decoded, as in `PATH_INFO`.
            authorization: the value of the `Authorization` header, None where there is none.
            uid: the value of the `uid` header, None where there is none.
        """
        route = None if self.find is None else self.find(method, path)
        if route is not None:
            if route.refusal is not None:
                return self._rejections[route.refusal]
            if route.access == PUBLIC or (route.access == OPTIONAL and not (authorization or uid)):
                return ANONYMOUS
        verdict = self.identify(authorization, uid)
        return self._permitted(route, verdict) if isinstance(verdict, Identity) else verdict

    def refuses_preflight(self, environ: WSGIEnvironment, path: str) -> Rejection | None:
        """Return why a preflight is refused: there are routes, and none for what is asked about."""
        method = environ["HTTP_ACCESS_CONTROL_REQUEST_METHOD"]
        route = None if self.find is None else self.find(method, path)
        refusal = route.refusal if route is not None else None
        return None if refusal is None else self._rejections[refusal]

    @property
    def asks_for_no_more(self) -> bool:
        """Whether `identify` tells all there is to tell, whatever is requested."""
        return self.find is None and self._claim_headers is None

    def identify(self, authorization: str | None, uid: str | None) -> Identity | Rejection:
        """Return who sends a request to where somebody must be known, whatever the routes say."""
        if self._keep_up is not None:
            self._keep_up()
        now = self._now()
        known = self._known(authorization)
        if (
            known is not None
            and known.earliest <= now < known.settled_until
            and (uid == known.uid or not (uid or self._require_uid))
        ):
            if self._refusal is not None and (refusal := self._refusal(known)) is not None:
                return self._rejections[refusal]
            return known
        return self._judge(authorization, uid, now)

    def _permitted(self, route: Route | None, identity: Identity) -> Identity | Rejection:
        try:
            if self._claim_headers is not None:
                self._claim_headers.values(identity.claims())
        except InvalidClaimsError as error:
            return self._rejections[error.code]
        demands = route.demands if route is not None else ()
        if all(each.met_by(identity.issuer, identity.claims()) for each in demands):
            return identity
        return self._rejections["insufficient_scope"]

    def _judge(self, authorization: str | None, uid: str | None, now: float) -> Identity | Rejection:
        if not authorization or (self._require_uid and not uid):
            return self._rejections["missing_credentials"]
        bearer = _BEARER.fullmatch(authorization)
        if bearer is None:
            return self._rejections["malformed_credentials"]
        try:
            identity = self._tokens.verify(bearer[1], now)
        except (TokenError, KeysUnavailableError) as error:
            return self._rejections[error.code]
        refusal = self._refusal(identity) if self._refusal is not None else None
        if refusal is not None:
            return self._rejections[refusal]
        if uid and uid != identity.uid:
            return self._rejections["uid_mismatch"]
        return self._tokens.renew(identity, now)
