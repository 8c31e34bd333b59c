"""Flask's client as somebody."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from gateway.middleware import AuthGateway
from gateway.settings import Settings
from gateway.testing.guarding import guarded
from gateway.testing.tokens import Tokens
from gateway.testing.werkzeug import WerkzeugClient


class GatewayFlaskClient(WerkzeugClient, FlaskClient):
    """A `FlaskClient` that can be somebody."""


def client_of(
    app: Flask, settings: Settings | None, gateway: AuthGateway | None, options: Mapping[str, Any]
) -> GatewayFlaskClient:
    """Return a client of an app, of the app's own `test_client_class` if it has one."""
    wsgi_app, gateway = guarded(app.wsgi_app, settings, gateway, options)
    if wsgi_app != app.wsgi_app:
        app = copy.copy(app)  # so that the app itself stays without a gateway
        app.wsgi_app = wsgi_app  # type: ignore[assignment,method-assign]
    return _kind(app.test_client_class)(app, app.response_class, tokens=Tokens(gateway.tokens))


def _kind(own: type[FlaskClient] | None) -> type[GatewayFlaskClient]:
    if own is None or issubclass(GatewayFlaskClient, own):
        return GatewayFlaskClient
    return type(own.__name__, (WerkzeugClient, own), {})
