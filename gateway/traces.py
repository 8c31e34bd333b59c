"""OpenTelemetry spans, by the tracer provider that the app or its server has set."""

from __future__ import annotations

import time
from wsgiref.types import WSGIEnvironment

from opentelemetry import trace
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, StatusCode, TracerProvider

from gateway.events import KeysTaken, LoginTried, Revoked, Verdict

SPAN = "gateway.authenticate"
_SERVER_ERROR = 500


def provider_in_force() -> TracerProvider | None:
    """Return the tracer provider that was set, or None if none was that makes anything of a span."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider) else provider


class Traces:
    """Makes a span of each verdict, within the span that is current.

    Who was meant stands in none: traces go further than an audit log does.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("gateway")

    def judged(self, environ: WSGIEnvironment, verdict: Verdict) -> None:
        """Make the span of a verdict, which has just fallen."""
        ended = time.time_ns()
        attributes: dict[str, str | bool] = {"gateway.code": verdict.code, "gateway.renewed": verdict.renewed}
        if verdict.cached is not None:
            attributes["gateway.cached"] = verdict.cached
        if verdict.identity is not None and verdict.identity.issuer is not None:
            attributes["gateway.issuer"] = verdict.identity.issuer
        began = ended - int(verdict.seconds * 1e9)
        span = self._tracer.start_span(SPAN, start_time=began, attributes=attributes)
        # A request that is refused is no error of the server's.
        if verdict.status is not None and verdict.status >= _SERVER_ERROR:
            span.set_status(StatusCode.ERROR, verdict.code)
        span.end(ended)

    def login_tried(self, environ: WSGIEnvironment, tried: LoginTried) -> None:
        """Make none: the server's own span tells of it."""

    def revoked(self, environ: WSGIEnvironment | None, revoked: Revoked) -> None:
        """Make none."""

    def keys_taken(self, taken: KeysTaken) -> None:
        """Make none: no request did it."""
