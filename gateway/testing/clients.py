"""Test clients of apps behind the gateway, one for each library."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication

from gateway.middleware import AuthGateway
from gateway.settings import Settings
from gateway.testing.guarding import gateway_in, guarded, refuse_settings
from gateway.testing.tokens import Tokens

if TYPE_CHECKING:
    from flask import Flask

    from gateway.testing.django import DjangoClient
    from gateway.testing.flask import GatewayFlaskClient
    from gateway.testing.webtest import WebTestClient
    from gateway.testing.werkzeug import WerkzeugClient


def webtest_client(
    app: WSGIApplication,
    settings: Settings | None = None,
    *,
    gateway: AuthGateway | None = None,
    **options: Any,
) -> WebTestClient:
    """Return a `webtest.TestApp` of an app behind the gateway, with `as_user` and `with_token`.

        client = webtest_client(app, public_paths=["/health"])
        client.as_user(12, scopes=["reports:read"]).get("/reports", status=200)

    The app is wrapped in an `AuthGateway`, unless it is one, or its `wsgi_app` is.

    Args:
        app: the app.
        settings: those of the gateway that is made; `settings_for_tests` unless given.
        gateway: where the app has one further within, that one, so that its tokens are used.
        options: instead of settings, each as a keyword argument.

    Returns:
        The client, which is nobody until `as_user` or `with_token`.

    Raises:
        ModuleNotFoundError: WebTest is not installed.
        ConfigError: a setting is wrong.
        TypeError: settings are given for an app that is behind a gateway.
    """
    _require("webtest", "WebTest")
    from gateway.testing.webtest import WebTestClient  # noqa: PLC0415 - of its library's

    app, gateway = guarded(app, settings, gateway, options)
    return WebTestClient(app, tokens=Tokens(gateway.tokens))


def werkzeug_client(
    app: WSGIApplication,
    settings: Settings | None = None,
    *,
    gateway: AuthGateway | None = None,
    **options: Any,
) -> WerkzeugClient:
    """Return a `werkzeug.test.Client` of an app behind the gateway, with `as_user` and `with_token`.

        answer = werkzeug_client(app).as_user("anna").get("/reports")

    The app is wrapped in an `AuthGateway`, unless it is one, or its `wsgi_app` is.

    Args:
        app: the app.
        settings: those of the gateway that is made; `settings_for_tests` unless given.
        gateway: where the app has one further within, that one, so that its tokens are used.
        options: instead of settings, each as a keyword argument.

    Returns:
        The client, which is nobody until `as_user` or `with_token`.

    Raises:
        ConfigError: a setting is wrong.
        TypeError: settings are given for an app that is behind a gateway.
    """
    from gateway.testing.werkzeug import WerkzeugClient  # noqa: PLC0415 - no need of it for other clients

    app, gateway = guarded(app, settings, gateway, options)
    return WerkzeugClient(app, tokens=Tokens(gateway.tokens))


def flask_client(
    app: Flask,
    settings: Settings | None = None,
    *,
    gateway: AuthGateway | None = None,
    **options: Any,
) -> GatewayFlaskClient:
    """Return a `FlaskClient` of an app behind the gateway, with `as_user` and `with_token`.

        with flask_client(app).as_user("anna") as client:
            assert client.get("/reports").json["reader"] == "anna"

    The app itself is left as it is: where it has no gateway, the client's `application` is a copy that has.

    Args:
        app: the app.
        settings: those of the gateway that is made; `settings_for_tests` unless given.
        gateway: where the app has one further within, that one, so that its tokens are used.
        options: instead of settings, each as a keyword argument.

    Returns:
        The client, which is nobody until `as_user` or `with_token`.

    Raises:
        ModuleNotFoundError: Flask is not installed.
        ConfigError: a setting is wrong.
        TypeError: settings are given for an app that is behind a gateway.
    """
    _require("flask", "Flask")
    from gateway.testing.flask import client_of  # noqa: PLC0415 - of its library's

    return client_of(app, settings, gateway, options)


def django_client(
    app: WSGIApplication | None = None,
    settings: Settings | None = None,
    *,
    gateway: AuthGateway | None = None,
    enforce_csrf_checks: bool = False,
    **options: Any,
) -> DjangoClient:
    """Return a `django.test.Client` whose requests pass through the gateway, with `as_user` and `with_token`.

        client = django_client(application).as_user(12)
        assert client.get("/reports").json() == {"reader": "12"}

    Behind the gateway stands what stands behind Django's own client: its views and their middleware, and no
    WSGI middleware. What the gateway refuses is an `HttpResponse` too.

    Args:
        app: the project's WSGI application; its gateway is used, if it is one.
        settings: as for `webtest_client`.
        gateway: as for `webtest_client`.
        enforce_csrf_checks: as for `django.test.Client`.
        options: as for `webtest_client`.

    Returns:
        The client, which is nobody until `as_user` or `with_token`.

    Raises:
        ModuleNotFoundError: Django is not installed.
        ConfigError: a setting is wrong.
        TypeError: settings are given for an app that is behind a gateway.
    """
    _require("django", "Django")
    from gateway.testing.django import Answering, DjangoClient, around  # noqa: PLC0415 - of its library's

    views = Answering(enforce_csrf_checks=enforce_csrf_checks)
    known = gateway if gateway is not None else gateway_in(app)
    if known is None:
        _, known = guarded(views, settings, None, options)
    else:
        refuse_settings(settings, options)
    return DjangoClient(around(known, views), tokens=Tokens(known.tokens))


def _require(module: str, name: str) -> None:
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"this client is {name}'s: pip install {name.lower()}", name=module)
