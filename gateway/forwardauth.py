"""Forward-auth: a proxy asks of each request whether it may pass (nginx `auth_request` and its like)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gateway.authentication import Anonymous, Authenticator
from gateway.claimheaders import ClaimHeaders
from gateway.crossorigin import is_preflight
from gateway.headers import UID_KEY, is_legal
from gateway.identity import Identity
from gateway.paths import decoded
from gateway.proxies import TrustedProxies
from gateway.rejections import FORWARD, NOT_FORWARDED, NOT_FOUND, Rejection
from gateway.responses import without_body
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.tokens import TokenCreator
from gateway.watch import Watch

RENEWED = "X-Renewed-Token"
# The app of a gateway that answers proxies alone: GATEWAY_APP=gateway.forwardauth:nothing. The demo has
# public paths, which would be public in the app behind the proxy too.
nothing = NOT_FOUND
# Under which a proxy says what it was asked: all write one pair of them.
_FORWARDED = ("HTTP_X_FORWARDED_METHOD", "HTTP_X_FORWARDED_URI")
_ORIGINAL = ("HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URI")
# As it stands in a request line. What was sent twice, servers join with a comma; a fragment is never sent.
_TARGET = re.compile(r"(?!.*,(?:/|\Z))/[!\"$-~\x80-\xff]*")


class Original(NamedTuple):
    """The request that a proxy asks about."""

    method: str
    path: str


class ForwardAuth:
    """Tells a trusted proxy whether a request may pass, and who sends it.

    Args:
        settings: the settings.
        tokens: verifies and renews.
        watch: in whose sight that is done.
        revocations: tells which sessions were ended; None where none can be.
    """

    def __init__(
        self, settings: Settings, tokens: TokenCreator, watch: Watch, revocations: Revocations | None
    ) -> None:
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._authenticator = Authenticator(settings, tokens, revocations, FORWARD)
        self._watch = watch
        self._claim_headers = ClaimHeaders(settings.claim_headers)
        self._allow_preflight = settings.allow_preflight
        self._token_header = settings.token_header
        self._tells_client = settings.token_in_response

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a proxy's question."""
        return self._answer(environ)(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> WSGIApplication:
        original = self.original(environ)
        if original is None:
            self._watch.refused(environ, environ["REQUEST_METHOD"], environ["PATH_INFO"], NOT_FORWARDED)
            return NOT_FORWARDED
        if self._allow_preflight and is_preflight(original.method, environ):
            return self._preflight(original, environ)
        authorization, uid = environ.get("HTTP_AUTHORIZATION"), environ.get(UID_KEY)
        judge = self._authenticator.authenticate
        verdict = self._watch.judge(judge, environ, *original, authorization, uid)
        if isinstance(verdict, Rejection):
            return verdict
        return _passing([]) if isinstance(verdict, Anonymous) else self._known(verdict)

    def _preflight(self, original: Original, environ: WSGIEnvironment) -> WSGIApplication:
        refusal = self._authenticator.refuses_preflight(environ, original.path)
        if refusal is None:
            return _passing([])
        self._watch.refused(environ, *original, refusal)
        return refusal

    def original(self, environ: WSGIEnvironment) -> Original | None:
        """Return which request a proxy asks about, or None if that is not to be believed.

        Of the two pairs of headers there must be one alone: the other could only be the client's.
        """
        if not self._proxies.trusts(environ):
            return None
        present = [pair for pair in (_FORWARDED, _ORIGINAL) if any(key in environ for key in pair)]
        if len(present) != 1:
            return None
        method, target = (environ.get(key, "") for key in present[0])
        if not is_legal(method) or _TARGET.fullmatch(target) is None:
            return None
        return Original(method, decoded(target))

    def _known(self, identity: Identity) -> WSGIApplication:
        headers = [("uid", identity.uid), (self._token_header, identity.token)]
        claimed = self._claim_headers.values(identity.claims())
        headers += [(header.name, value) for header, value in claimed]
        if identity.renewed and self._tells_client:
            headers.append((RENEWED, identity.token))
        return _passing(headers)


def _passing(headers: list[tuple[str, str]]) -> WSGIApplication:
    """Return the answer that lets a request pass, with these headers for the proxy to hand on."""
    return without_body("200 OK", [*headers, ("Content-Length", "0")])
