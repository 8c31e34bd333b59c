"""Finds the app that the settings name, and puts the gateway around it."""

from __future__ import annotations

import importlib
import os
import tempfile
import traceback
from contextlib import suppress
from typing import IO, NoReturn
from wsgiref.types import WSGIApplication

from gateway import demo
from gateway.errors import ConfigError
from gateway.middleware import AuthGateway
from gateway.settings import Settings

_IMPORTS = "imports"  # what a child process says of a good app; one that ends early says nothing


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
    if module_name == "gateway.wsgi":
        raise ConfigError(f"GATEWAY_APP is {spec!r}, the gateway itself; it must be the app to wrap")
    try:
        found = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"GATEWAY_APP is {spec!r}, which does not import: {_with_place(error)};"
            " it must be module:callable, importable from the working directory or an installed package"
        ) from error
    if not callable(found):
        raise ConfigError(
            f"GATEWAY_APP is {spec!r}, which is {type(found).__name__}; it must be a WSGI callable"
        )
    app: WSGIApplication = found
    return app


def faults_of_app(spec: str | None) -> list[str]:
    """Import an app in a child process, so that nothing it opens or changes is left in this one.

    Returns what is wrong with it, one thing a line; with the demo, which None stands for, nothing is.
    """
    if spec is None:
        return []
    with tempfile.TemporaryFile() as report:
        child = os.fork()
        if child == 0:
            _report_and_exit(spec, report)
        os.waitpid(child, 0)
        report.seek(0)
        said = report.read().decode()
    ended = f"GATEWAY_APP is {spec!r}, whose import ended the process; it must be module:callable"
    return [] if said == _IMPORTS else [said or ended]


def _report_and_exit(spec: str, report: IO[bytes]) -> NoReturn:
    said = ""
    try:
        load_app(spec)
        said = _IMPORTS
    except ConfigError as error:
        said = str(error)
    finally:
        report.write(said.encode("utf-8", "backslashreplace"))
        report.flush()
        os._exit(0)


def in_one_line(error: BaseException) -> str:
    """Describe an error of somebody else's code, whatever its text, in one line with its type."""
    message = ""
    with suppress(Exception):  # even its text is of their making
        message = str(error)
    return " ".join(f"{type(error).__name__}: {message}".split())


def _with_place(error: BaseException) -> str:
    """Describe an error and, unless it happened here, the place where it was raised."""
    text = in_one_line(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_the_apps(f.filename)]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _is_the_apps(filename: str) -> bool:
    return not filename.startswith("<") and filename not in (__file__, importlib.__file__)
