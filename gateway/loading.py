"""Finds the app that the settings name, and puts the gateway around it."""

from __future__ import annotations

import importlib
import traceback
from wsgiref.types import WSGIApplication

from gateway import demo
from gateway.errors import ConfigError
from gateway.middleware import AuthGateway
from gateway.settings import Settings


def build(settings: Settings) -> AuthGateway:
    """Return the gateway around the app that the settings name, or around the demo.

    Raises:
        ConfigError: the app does not import.
    """
    if settings.app is not None:
        return AuthGateway(load_app(settings.app), settings)
    public_paths = (*settings.public_paths, *demo.PUBLIC_PATHS)
    return AuthGateway(demo.Demo(settings.token_header), settings.with_public_paths(public_paths))


def load_app(spec: str) -> WSGIApplication:
    """Return the WSGI app named `module:callable`, where the callable may be an attribute path.

    Raises:
        ConfigError: the module does not import, or there is no such callable in it.
    """
    module_name, _, attributes = spec.partition(":")
    try:
        found = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"GATEWAY_APP is {spec!r}, which does not import: {_in_one_line(error)};"
            " it must be module:callable, importable from the working directory or an installed package"
        ) from error
    if not callable(found):
        raise ConfigError(
            f"GATEWAY_APP is {spec!r}, which is {type(found).__name__}; it must be a WSGI callable"
        )
    app: WSGIApplication = found
    return app


def _in_one_line(error: BaseException) -> str:
    """The error with its type and, unless it happened here, the place where it was raised."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_the_apps(f.filename)]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _is_the_apps(filename: str) -> bool:
    return not filename.startswith("<") and filename not in (__file__, importlib.__file__)
