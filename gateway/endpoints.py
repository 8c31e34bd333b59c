"""The gateway's own endpoints, all under one prefix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug import Request, Response
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from gateway import jws, openapi
from gateway.breaker import sharing
from gateway.crossorigin import CrossOrigin, is_preflight
from gateway.errors import StateUnavailableError
from gateway.forwardauth import ForwardAuth
from gateway.headers import UID_KEY
from gateway.identity import Identity
from gateway.keyfolder import LAG_SEC
from gateway.keys import ASYMMETRIC
from gateway.login import Login
from gateway.proxies import TrustedProxies
from gateway.rejections import (
    BODY_TOO_LARGE,
    INVALID_BODY,
    MALFORMED_BODY,
    NOT_FOUND,
    NOT_REVOCABLE,
    PRECONDITION_FAILED,
    Rejection,
    method_not_allowed,
    not_ready,
    rejections,
)
from gateway.responses import without_body
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.tokens import TokenCreator
from gateway.watch import Watch

MOST_BODY_BYTES = 64 * 1024


class Endpoints:
    """The endpoints under the prefix, each a WSGI app; with an empty one there are none.

    Args:
        settings: the settings.
        tokens: makes tokens, and knows the public keys.
        watch: judges the credentials of those who end their session, and tells of what happens here.
        revocations: where sessions are ended; None where none can be.
        login: where tokens are to be had; None where nowhere.
        cross_origin: which pages of other origins may ask; None where none may.
    """

    # Seconds for which others may keep the key set, if keys take as long as that to be used.
    LONGEST_KEPT = 300

    def __init__(
        self,
        settings: Settings,
        tokens: TokenCreator,
        watch: Watch,
        revocations: Revocations | None = None,
        login: Login | None = None,
        *,
        cross_origin: CrossOrigin | None = None,
    ) -> None:
        prefix = settings.prefix
        self._prefix = prefix or None
        self._below = f"{prefix}/" if prefix else ()
        self._tokens = tokens
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._timeout = settings.state_timeout_sec
        self._rejections = rejections(settings.status_profile)
        self._watch = watch
        self._cross_origin = cross_origin
        self._kept = max(0, min(self.LONGEST_KEPT, settings.key_activation_sec - LAG_SEC))
        self._parts = {"state store": revocations, "users database": login}
        rules = tuple(self._rules(settings, revocations, login)) if prefix else ()
        self._describe = cache(partial(_described, settings, rules))
        self._routes = Map(rules, merge_slashes=False).bind("gateway")

    def _rules(
        self, settings: Settings, revocations: Revocations | None, login: Login | None
    ) -> Iterator[Rule]:
        prefix = settings.prefix
        yield _rule(f"{prefix}/health", "GET", _health)
        yield _rule(f"{prefix}/ready", "GET", self._ready)
        yield _rule(f"{prefix}/verify", "GET", ForwardAuth(settings, self._tokens, self._watch, revocations))
        yield _rule(f"{prefix}/openapi.json", "GET", self._openapi)
        if settings.signs and settings.algorithm in ASYMMETRIC:
            yield _rule(f"{prefix}/jwks.json", "GET", self._jwks)
        if revocations is not None:
            yield _rule(f"{prefix}/revoke", "POST", partial(self._revoke, revocations))
        if self._watch.page is not None:
            yield Rule(f"{prefix}/metrics", endpoint=self._watch.page)
        if login is not None:
            yield _rule(prefix, "POST", partial(self._log_in, login))

    def owns(self, path: str) -> bool:
        """Tell whether a path is answered here, so that the wrapped app never sees it."""
        return path.startswith(self._below) or path == self._prefix

    def answering(self, environ: WSGIEnvironment, uid: str | None = None) -> WSGIApplication:
        """Return what answers a request whose path is owned; `uid` is its header of that name."""
        if uid is not None:
            environ[UID_KEY] = uid
        try:
            endpoint, _ = self._routes.match(environ["PATH_INFO"], environ["REQUEST_METHOD"])
        except NotFound:
            return NOT_FOUND
        except MethodNotAllowed as error:
            return self._without(error.valid_methods or (), environ)
        answer: WSGIApplication = endpoint
        return answer

    def _without(self, allowed: Iterable[str], environ: WSGIEnvironment) -> WSGIApplication:
        """Return the answer to a method that is none of those of an endpoint: a preflight, or a wrong one."""
        cross_origin = self._cross_origin
        asks = is_preflight(environ["REQUEST_METHOD"], environ)
        if asks and cross_origin is not None and cross_origin.allows(environ):
            return cross_origin.preflight(allowed)
        return method_not_allowed(allowed)

    def _jwks(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = json.dumps(self._tokens.public_keys())
        # RFC 7517 section 8.5.1
        response = Response(body, mimetype="application/jwk-set+json")
        response.cache_control.public = True
        response.cache_control.max_age = self._kept
        return _conditional(response, environ)(environ, start_response)

    def _openapi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = Response(self._describe(), mimetype="application/json")
        response.cache_control.no_cache = True  # it is another after a start with other settings
        return _conditional(response, environ)(environ, start_response)

    def _ready(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        down = [name for name, part in self._parts.items() if part is not None and not part.is_up]
        down += [f"keys of {issuer}" for issuer in self._tokens.issuers_without_keys()]
        answer = not_ready(down) if down else _answer({"status": "ok"})
        return answer(environ, start_response)

    def _log_in(
        self, login: Login, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self._logged_in(login, environ)(environ, start_response)

    def _logged_in(self, login: Login, environ: WSGIEnvironment) -> WSGIApplication:
        body = _object_in(environ)
        if isinstance(body, Rejection):
            return body
        uid, password = body.get("uid"), body.get("password")
        if not isinstance(uid, int | str) or isinstance(uid, bool) or not isinstance(password, str):
            return INVALID_BODY
        granted = login.attempt(uid, password, self._proxies.client(environ))
        self._watch.login_tried(environ, login, uid, granted)
        if isinstance(granted, Rejection):
            return granted
        return _answer({"token": granted.token, "token_type": "Bearer", "expires_in": granted.expires_in})

    def _revoke(
        self, revocations: Revocations, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        with sharing(self._timeout):
            answer = self._revoked(revocations, environ)
        return answer(environ, start_response)

    def _revoked(self, revocations: Revocations, environ: WSGIEnvironment) -> WSGIApplication:
        # Read first: whoever sends it slowly is judged by what holds when it is there.
        body = _object_in(environ, empty={})
        verdict = self._watch.identify(environ, environ.get("HTTP_AUTHORIZATION"), environ.get(UID_KEY))
        if isinstance(verdict, Rejection):
            return verdict
        if isinstance(body, Rejection):
            return body
        everything = body.get("all", False)
        if not isinstance(everything, bool) or body.keys() - {"all"}:
            return INVALID_BODY
        return self._ended(revocations, environ, verdict, everything)

    def _ended(
        self, revocations: Revocations, environ: WSGIEnvironment, identity: Identity, everything: bool
    ) -> WSGIApplication:
        if not everything and identity.session is None:
            return NOT_REVOCABLE
        try:
            if everything:
                revocations.end_all_of(identity)
            else:
                revocations.end_session(identity)
        except StateUnavailableError as error:
            return self._rejections[error.code]
        self._watch.revoked(environ, identity, everything)
        return without_body("204 No Content")


def _rule(path: str, method: str, endpoint: WSGIApplication) -> Rule:
    return Rule(path, methods=[method], endpoint=endpoint)


def _object_in(environ: WSGIEnvironment, empty: dict[str, Any] | None = None) -> dict[str, Any] | Rejection:
    """Return the JSON object that is the body, `empty` for none at all, or why it is not to be read."""
    if _has_no_end(environ):
        return MALFORMED_BODY
    request = Request(environ)
    if (request.content_length or 0) > MOST_BODY_BYTES:
        return BODY_TOO_LARGE
    request.max_content_length = MOST_BODY_BYTES + 1  # at which a stream is cut without a word
    try:
        body = request.get_data()
    except Exception:  # noqa: BLE001 - the client has gone or sends no body, and each server says so in its way
        return MALFORMED_BODY
    return _object_of(body) if body.strip() or empty is None else empty


def _object_of(body: bytes) -> dict[str, Any] | Rejection:
    if len(body) > MOST_BODY_BYTES:
        return BODY_TOO_LARGE
    try:
        found = jws.STRICT_JSON.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return MALFORMED_BODY
    return found if isinstance(found, dict) else MALFORMED_BODY


def _has_no_end(environ: WSGIEnvironment) -> bool:
    """Tell whether there is a body of which nobody can tell where it ends: it would count as none."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return not (length.isascii() and length.isdigit())
    return bool(environ.get("HTTP_TRANSFER_ENCODING")) and not environ.get("wsgi.input_terminated")


def _answer(content: Mapping[str, Any]) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(content), mimetype="application/json", headers=headers)


def _conditional(response: Response, environ: WSGIEnvironment) -> WSGIApplication:
    """Return the answer to a request that may be conditional (RFC 9110 section 13.1)."""
    response.add_etag()
    response.make_conditional(environ)
    return PRECONDITION_FAILED if response.status_code == PRECONDITION_FAILED.status else response


def _described(settings: Settings, rules: Iterable[Rule]) -> str:
    served = ((rule.rule, method) for rule in rules for method in (rule.methods or {"GET"}) - {"HEAD"})
    return json.dumps(openapi.document(settings, served))


def _health(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return _answer({"status": "ok"})(environ, start_response)
