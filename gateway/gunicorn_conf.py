"""How gunicorn serves the gateway: `gunicorn -c python:gateway.gunicorn_conf gateway.wsgi:application`.

What is given on gunicorn's own command line goes before what stands here. The settings are checked in
gunicorn's master before a worker starts, when `--chdir` and `--env` have been heeded; just `PORT` and
`WEB_CONCURRENCY` are read earlier, from the environment and the folder in which gunicorn was started.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gateway.errors import ConfigError
from gateway.loading import faults_of_app
from gateway.settings import TABLE
from gateway.sources import Found
from gateway.startup import renew_settings, settings_at_start
from gateway.table import checked

__all__ = [
    "bind",
    "control_socket_disable",
    "forwarder_headers",
    "on_reload",
    "on_starting",
    "workers",
    "wsgi_app",
]

# A faulty one is reported by `on_starting`, before anything is bound.
_values, _ = checked(TABLE, Found.in_environment(TABLE, os.environ).given)
_address = "0.0.0.0" if os.environ.get("PORT") else "127.0.0.1"  # noqa: S104

wsgi_app = "gateway.wsgi:application"
bind = f"{_address}:{_values.get('port', 8000)}"
workers = _values.get("web_concurrency", 1)
# Otherwise a client on loopback or on a unix socket may move SCRIPT_NAME, and with it the path judged.
forwarder_headers = ""
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Check the settings and the import of the app; one that is bad ends the start with one line."""
    faults = _faults()
    if faults:
        if server.pidfile is not None:
            server.pidfile.unlink()
        sys.exit("\n".join(faults))


def _faults() -> list[str]:
    try:
        app = settings_at_start().app
    except ConfigError as error:
        return list(error.faults)
    return faults_of_app(app) if app is not None else []


def on_reload(server: Any) -> None:
    """On SIGHUP take the settings anew, and go on with those in force where a new one is faulty."""
    try:
        renew_settings()
    except ConfigError as error:
        for fault in error.faults:
            server.log.error("%s; the settings of before stay in force", fault)
