"""Django's client as somebody, with the gateway that it would pass by."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase, ResponseHeaders
from django.test.client import Client, ClientHandler
from werkzeug.test import run_wsgi_app

from gateway.middleware import AuthGateway
from gateway.testing.credentials import SendsCredentials

_ANSWERS = "gateway.testing.answers"  # in the environ: a list for Django's response, if it gives one


class DjangoClient(SendsCredentials, Client):  # type: ignore[misc]
    """A `django.test.Client` that can be somebody, and whose requests pass through a gateway.

    Args:
        gateway: the gateway, around `Answering`.
        options: what `SendsCredentials` and `django.test.Client` take.
    """

    sent_always = "defaults"

    def __init__(self, gateway: AuthGateway, **options: Any) -> None:
        super().__init__(**options)
        self.handler = _GatewayHandler(gateway)


class Answering:
    """Django as its own test client sees it, as a WSGI app that hands each response to that client."""

    def __init__(self, *, enforce_csrf_checks: bool) -> None:
        self._handler = ClientHandler(enforce_csrf_checks)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        answers = environ.pop(_ANSWERS)
        answer = self._handler(environ)
        answers.append(answer)
        start_response(f"{answer.status_code} {answer.reason_phrase}", list(answer.items()))
        return ()


class _GatewayHandler:
    """Sends a request through a gateway, and returns a response of Django's, whoever answered."""

    def __init__(self, gateway: AuthGateway) -> None:
        self._gateway = gateway

    def __call__(self, environ: WSGIEnvironment) -> HttpResponseBase:
        answers: list[HttpResponseBase] = []
        # Django's client says that there are several processes, which a state in memory is not for.
        sent = {**environ, "wsgi.multiprocess": False, _ANSWERS: answers}
        body, status, headers = run_wsgi_app(self._gateway, sent, buffered=True)
        answer = answers[0] if answers else _refusal(b"".join(body), status, environ)
        answer.headers = ResponseHeaders(dict(headers))
        return answer


def _refusal(body: bytes, status: str, environ: WSGIEnvironment) -> HttpResponseBase:
    code, _, reason = status.partition(" ")
    response = HttpResponse(body, status=int(code), reason=reason)
    response.wsgi_request = WSGIRequest(environ)  # as Django's handler for tests does
    return response


def around(gateway: AuthGateway, app: WSGIApplication) -> AuthGateway:
    """Return the same gateway, with its tokens and its sessions, around another app."""
    other = copy.copy(gateway)
    other._app = app
    return other
