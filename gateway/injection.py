"""What the gateway tells the app of who sends a request, and what therefore no client may send."""

from __future__ import annotations

from wsgiref.types import WSGIEnvironment

from gateway.claimheaders import ClaimHeaders
from gateway.headers import INJECTED_KEYS, UID_KEY, Firewall, environ_key
from gateway.identity import TOKEN_PART, Identity
from gateway.settings import Settings


class Injection:
    """Puts an identity into environs. Its `firewall` keeps out what only it may put there."""

    def __init__(self, settings: Settings) -> None:
        self._token_key = environ_key(settings.token_header)
        claim_headers = ClaimHeaders(settings.claim_headers)
        self._claim_headers = claim_headers if claim_headers.keys else None
        self.firewall = Firewall((self._token_key, *INJECTED_KEYS, *claim_headers.keys))

    def put(self, identity: Identity, environ: WSGIEnvironment) -> None:
        """Tell the app who somebody is, whose claims can be the headers that they should."""
        environ[self._token_key] = identity.bearer[TOKEN_PART]  # its `token`, at half the cost
        environ[UID_KEY] = environ["REMOTE_USER"] = identity.uid
        environ["AUTH_TYPE"] = "Bearer"
        environ["gateway.claims"] = identity.claims()
        if identity.issuer is not None:
            environ["gateway.issuer"] = identity.issuer
        if self._claim_headers is not None:
            for header, value in self._claim_headers.values(environ["gateway.claims"]):
                environ[header.key] = value
