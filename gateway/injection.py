"""What the gateway tells the app of who sends a request, and what therefore no client may send."""

from __future__ import annotations

from wsgiref.types import WSGIEnvironment

from gateway.claimheaders import ClaimHeaders
from gateway.errors import InvalidClaimsError
from gateway.headers import INJECTED_KEYS, UID_KEY, Firewall, environ_key
from gateway.identity import TOKEN_PART, Identity
from gateway.rejections import Rejection, rejections
from gateway.settings import Settings


class Injection:
    """Puts an identity into environs. Its `firewall` keeps out what only it may put there."""

    def __init__(self, settings: Settings) -> None:
        self._token_key = environ_key(settings.token_header)
        self._claim_headers = ClaimHeaders(settings.claim_headers) if settings.claim_headers else None
        self._illegal_header = rejections(settings.status_profile)[InvalidClaimsError.code]
        claim_keys = self._claim_headers.keys if self._claim_headers is not None else ()
        self.firewall = Firewall((self._token_key, *INJECTED_KEYS, *claim_keys))

    def put(self, identity: Identity, environ: WSGIEnvironment) -> Rejection | None:
        """Tell the app who somebody is; return a refusal if a claim cannot be the header that it should."""
        environ[self._token_key] = identity.bearer[TOKEN_PART]  # its `token`, at half the cost
        environ[UID_KEY] = environ["REMOTE_USER"] = identity.uid
        environ["AUTH_TYPE"] = "Bearer"
        environ["gateway.claims"] = identity.claims()
        if identity.issuer is not None:
            environ["gateway.issuer"] = identity.issuer
        return None if self._claim_headers is None else self._put_headers(self._claim_headers, environ)

    def _put_headers(self, claim_headers: ClaimHeaders, environ: WSGIEnvironment) -> Rejection | None:
        try:
            for header, value in claim_headers.values(environ["gateway.claims"]):
                environ[header.key] = value
        except InvalidClaimsError:
            return self._illegal_header
        return None
