"""The gateway under test: the one in front of an app, or one made for it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from wsgiref.types import WSGIApplication

from gateway.middleware import AuthGateway
from gateway.settings import Settings


def settings_for_tests(**options: Any) -> Settings:
    """Return settings with a random key; nothing of the environment is in them.

        settings_for_tests(exp_time_min=5, state_url="memory://")

    Args:
        options: other settings, as keyword arguments of `Settings`.

    Returns:
        The settings, with a key of their own on each call, unless they have a `token_key` or a `key_dir`.

    Raises:
        ConfigError: a setting is wrong.
    """
    key = {} if options.get("key_dir") else {"token_key": secrets.token_urlsafe(48)}
    return Settings(**{**key, **options})


def gateway_in(app: object) -> AuthGateway | None:
    """Return the gateway that an app is, or that is its `wsgi_app`, as in Flask; None if it is without."""
    for found in (app, getattr(app, "wsgi_app", None)):
        if isinstance(found, AuthGateway):
            return found
    return None


def guarded(
    app: WSGIApplication,
    settings: Settings | None,
    gateway: AuthGateway | None,
    options: Mapping[str, Any],
) -> tuple[WSGIApplication, AuthGateway]:
    """Return an app with the gateway in front of it, and that gateway.

    Args:
        app: the app.
        settings: those of a gateway that is made for it.
        gateway: the one that is there already, where the app hides it.
        options: instead of settings, each as a keyword argument.

    Raises:
        ConfigError: a setting is wrong.
        TypeError: settings are given and not needed, or both settings and keyword arguments.
    """
    known = gateway if gateway is not None else gateway_in(app)
    if known is None:
        made = AuthGateway(app, _chosen(settings, options))
        return made, made
    refuse_settings(settings, options)
    return app, known


def refuse_settings(settings: Settings | None, options: Mapping[str, Any]) -> None:
    """Check that no settings are given for a gateway that has its own.

    Raises:
        TypeError: some are.
    """
    if settings is not None or options:
        raise TypeError("the app is behind a gateway already, which goes by its own settings: give none here")


def _chosen(settings: Settings | None, options: Mapping[str, Any]) -> Settings:
    if settings is not None and options:
        raise TypeError("give either settings or keyword arguments, not both")
    return settings if settings is not None else settings_for_tests(**options)
