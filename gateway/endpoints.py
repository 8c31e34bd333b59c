"""The gateway's own endpoints, all under one prefix."""

from __future__ import annotations

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug import Response
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from gateway.keyfolder import LAG_SEC
from gateway.keys import ASYMMETRIC
from gateway.rejections import Rejection
from gateway.settings import Settings
from gateway.tokens import TokenCreator

_NOT_FOUND = Rejection("not_found", 404, "Not Found")


class Endpoints:
    """A WSGI app of the endpoints under the prefix; with an empty one there are none."""

    # Seconds for which others may keep the key set, if keys take as long as that to be used.
    LONGEST_KEPT = 300

    def __init__(self, settings: Settings, tokens: TokenCreator) -> None:
        prefix = settings.prefix
        self._prefix = prefix or None
        self._below = f"{prefix}/" if prefix else ()
        self._tokens = tokens
        self._kept = max(0, min(self.LONGEST_KEPT, settings.key_activation_sec - LAG_SEC))
        rules = [Rule(f"{prefix}/health", methods=["GET"], endpoint=_health)]
        if settings.signs and settings.algorithm in ASYMMETRIC:
            rules.append(Rule(f"{prefix}/jwks.json", methods=["GET"], endpoint=self._jwks))
        self._routes = Map(rules, merge_slashes=False).bind("gateway")

    def owns(self, path: str) -> bool:
        """Tell whether a path is answered here, so that the wrapped app never sees it."""
        return path.startswith(self._below) or path == self._prefix

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request whose path is owned."""
        return self._find(environ)(environ, start_response)

    def _find(self, environ: WSGIEnvironment) -> WSGIApplication:
        try:
            endpoint, _ = self._routes.match(environ["PATH_INFO"], environ["REQUEST_METHOD"])
        except NotFound:
            return _NOT_FOUND
        except MethodNotAllowed as error:
            allowed = ", ".join(sorted(error.valid_methods or ()))
            return Rejection("method_not_allowed", 405, "Method Not Allowed", [("Allow", allowed)])
        answer: WSGIApplication = endpoint
        return answer

    def _jwks(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = json.dumps(self._tokens.public_keys())
        # RFC 7517 section 8.5.1
        response = Response(body, mimetype="application/jwk-set+json")
        response.cache_control.public = True
        response.cache_control.max_age = self._kept
        response.add_etag()
        return response.make_conditional(environ)(environ, start_response)


def _health(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    response = Response(
        '{"status": "ok"}', mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
    return response(environ, start_response)
