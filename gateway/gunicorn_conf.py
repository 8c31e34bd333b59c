"""How gunicorn serves the gateway: `gunicorn -c python:gateway.gunicorn_conf gateway.wsgi:application`.

Importing it checks the settings, in gunicorn's master: one bad setting ends the start with one line. What
is given on gunicorn's own command line goes before what stands here.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import IO, Any, NoReturn

from gateway.errors import ConfigError
from gateway.loading import load_app
from gateway.settings import Settings
from gateway.startup import renew_settings, settings_at_start

__all__ = [
    "bind",
    "control_socket_disable",
    "forwarder_headers",
    "on_reload",
    "on_starting",
    "workers",
    "wsgi_app",
]


def _settings_or_exit() -> Settings:
    try:
        return settings_at_start()
    except ConfigError as error:
        sys.exit(str(error))


_IMPORTS = "imports"  # what the child says of a good app; it may also end without a word


def _fault_of_app(spec: str) -> str:
    """Import the app in a child process, so that nothing it opens is shared with the workers.

    Returns what is wrong with it in one line, or nothing.
    """
    with tempfile.TemporaryFile() as report:
        child = os.fork()
        if child == 0:
            _report_and_exit(spec, report)
        os.waitpid(child, 0)
        report.seek(0)
        said = report.read().decode()
    if said == _IMPORTS:
        return ""
    return said or f"GATEWAY_APP is {spec!r}, whose import ended the process; it must be module:callable"


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


_settings = _settings_or_exit()

wsgi_app = "gateway.wsgi:application"
bind = f"{'0.0.0.0' if os.environ.get('PORT') else '127.0.0.1'}:{_settings.port}"  # noqa: S104
workers = _settings.web_concurrency
# Otherwise a client on loopback or on a unix socket may move SCRIPT_NAME, and with it the path judged.
forwarder_headers = ""
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Check, before any worker starts, that the app to wrap imports."""
    fault = _fault_of_app(_settings.app) if _settings.app is not None else ""
    if fault:
        if server.pidfile is not None:
            server.pidfile.unlink()
        sys.exit(fault)


def on_reload(server: Any) -> None:
    """On SIGHUP take the settings anew, and go on with those in force where a new one is faulty."""
    try:
        renew_settings()
    except ConfigError as error:
        for fault in error.faults:
            server.log.error("%s; the settings of before stay in force", fault)
