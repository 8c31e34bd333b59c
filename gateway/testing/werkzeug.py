"""Werkzeug's client as somebody."""

from __future__ import annotations

from typing import Any
from wsgiref.types import WSGIEnvironment

from werkzeug.test import Client

from gateway.testing.credentials import SendsCredentials


class WerkzeugClient(SendsCredentials, Client):
    """A `werkzeug.test.Client` that can be somebody."""

    sent_always = "environ_base"

    def __init__(self, *args: Any, **options: Any) -> None:
        self.environ_base: dict[str, str] = {}  # Flask's client has its own
        super().__init__(*args, **options)

    def run_wsgi_app(self, environ: WSGIEnvironment, buffered: bool = False) -> Any:
        """Send a request in a new environ, as each comes from a server.

        A redirect is followed with the environ of the request before it, in which the gateway has made its
        changes.
        """
        return super().run_wsgi_app({**self.environ_base, **environ}, buffered)
