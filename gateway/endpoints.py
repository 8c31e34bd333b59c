"""The gateway's own endpoints, all under one prefix."""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug import Response
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from gateway.paths import is_at_or_under
from gateway.rejections import Rejection

_NOT_FOUND = Rejection("not_found", 404, "Not Found")


class Endpoints:
    """A WSGI app of the endpoints under `prefix`; with an empty prefix there are none."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        routes = Map([Rule(f"{prefix}/health", methods=["GET"], endpoint=_health)], merge_slashes=False)
        self._routes = routes.bind("gateway")

    def owns(self, path: str) -> bool:
        """Tell whether a path is answered here, so that the wrapped app never sees it."""
        return self._prefix != "" and is_at_or_under(path, self._prefix)

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


def _health(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    response = Response(
        '{"status": "ok"}', mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
    return response(environ, start_response)
