"""Pages of other origins: what they may read of the gateway's own answers (Fetch standard, CORS protocol)."""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gateway.responses import without_body
from gateway.settings import Settings

_SENT = "Authorization, uid, Content-Type"
_KEPT_SEC = 600  # for which a browser may remember what a preflight was answered


def is_preflight(method: str, environ: WSGIEnvironment) -> bool:
    """Tell whether a browser asks what another origin's page may send."""
    return (
        method == "OPTIONS"
        and bool(environ.get("HTTP_ORIGIN"))
        and bool(environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD"))
    )


class CrossOrigin:
    """Lets the pages of some origins read answers."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(settings.cors_origins)
        # What a page could not see of an answer else.
        self._exposed = f"{settings.token_header}, WWW-Authenticate, Retry-After"

    def wrap(self, environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
        """Return a `start_response` that says who may read the answer, if it is whoever asks."""
        added = [("Vary", "Origin")]
        if self.allows(environ):
            added += [
                ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]),
                ("Access-Control-Expose-Headers", self._exposed),
            ]

        def readable(status, headers, *exc_info):  # type: ignore[no-untyped-def]
            return start_response(status, [*headers, *added], *exc_info)

        return readable

    def allows(self, environ: WSGIEnvironment) -> bool:
        """Tell whether the page that asks is one of those."""
        return environ.get("HTTP_ORIGIN") in self._origins

    def preflight(self, methods: Iterable[str]) -> WSGIApplication:
        """Return the answer to a preflight where a page may use these methods."""
        headers = {
            "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
            "Access-Control-Allow-Headers": _SENT,
            "Access-Control-Max-Age": str(_KEPT_SEC),
        }
        return without_body("204 No Content", headers.items())
