"""Finds the app that the settings name, and puts the gateway around it."""

from __future__ import annotations

import inspect
import os
import tempfile
from typing import IO, NoReturn
from wsgiref.types import WSGIApplication

from gateway import demo
from gateway.directory import load_login
from gateway.errors import ConfigError
from gateway.importing import imported
from gateway.middleware import AuthGateway
from gateway.proxies import TrustedProxies
from gateway.settings import Settings

_IMPORTS = "imports"  # what a child process says of a good app; one that ends early says nothing


def build(settings: Settings) -> AuthGateway:
    """Return the gateway around the app or the server that the settings name, or around the demo.

    Raises:
        ConfigError: the app does not import.
    """
    if settings.app is not None:
        return AuthGateway(load_app(settings.app), settings)
    if settings.upstream is not None:
        return AuthGateway(_upstream(settings, settings.upstream), settings)
    return AuthGateway(demo.Demo(settings), as_served(settings))


def as_served(settings: Settings) -> Settings:
    """Return the settings with the demo's public paths, if that is what is served, and by no routes."""
    if settings.app is not None or settings.upstream is not None or settings.routes is not None:
        return settings
    return settings.with_public_paths((*settings.public_paths, *demo.PUBLIC_PATHS))


def _upstream(settings: Settings, url: str) -> WSGIApplication:
    from gateway.upstream import Upstream  # noqa: PLC0415 - of an extra

    return Upstream(
        url,
        timeout=settings.upstream_timeout_sec,
        injected=("uid", settings.token_header, *dict(settings.claim_headers)),
        proxies=TrustedProxies(settings.trusted_proxies),
    )


def load_app(spec: str) -> WSGIApplication:
    """Return the WSGI app named `module:callable`, where the callable may be an attribute path.

    Raises:
        ConfigError: the module does not import, or there is no such callable in it, or none that a server
            could call.
    """
    if spec.partition(":")[0] == "gateway.wsgi":
        raise ConfigError(f"GATEWAY_APP is {spec!r}, the gateway itself; it must be the app to wrap")
    app: WSGIApplication = imported("GATEWAY_APP", spec, "a WSGI callable")
    if not _takes_two(app):
        raise ConfigError(
            f"GATEWAY_APP is {spec!r}, which cannot be called with environ and start_response; it must be a"
            " WSGI callable: name what a factory makes, not the factory (docs/wrapping.md), and set"
            " GATEWAY_UPSTREAM for an ASGI app"
        )
    return app


def _takes_two(app: object) -> bool:
    """Tell whether a server could call it; where nobody can say, it is left to the first request."""
    try:
        signature = inspect.signature(app)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - whatever a callable of theirs does when it is looked at
        return True
    try:
        signature.bind({}, None)
    except TypeError:
        return False
    return True


def faults_of_imports(settings: Settings) -> list[str]:
    """Import app and login in a child process, so that nothing they open or change is left in this one.

    Returns what is wrong with them, one thing a line; with the demo, which no app stands for, nothing is.
    """
    specs = {"GATEWAY_APP": settings.app, "GATEWAY_LOGIN": settings.login}
    return [
        line
        for variable, spec in specs.items()
        if isinstance(spec, str)
        for line in faults_of_import(variable, spec)
    ]


def faults_of_import(variable: str, spec: str) -> list[str]:
    """Import what one of the two names, in a child process, and return what is wrong with it."""
    with tempfile.TemporaryFile() as report:
        child = os.fork()
        if child == 0:
            _report_and_exit(variable, spec, report)
        os.waitpid(child, 0)
        report.seek(0)
        said = report.read().decode()
    ended = f"{variable} is {spec!r}, whose import ended the process; it must be module:callable"
    return [] if said == _IMPORTS else [said or ended]


def _report_and_exit(variable: str, spec: str, report: IO[bytes]) -> NoReturn:
    said = ""
    try:
        _LOADERS[variable](spec)
        said = _IMPORTS
    except ConfigError as error:
        said = str(error)
    finally:
        report.write(said.encode("utf-8", "backslashreplace"))
        report.flush()
        os._exit(0)


_LOADERS = {"GATEWAY_APP": load_app, "GATEWAY_LOGIN": load_login}
