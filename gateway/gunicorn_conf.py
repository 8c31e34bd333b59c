"""How gunicorn serves the gateway: `gunicorn -c python:gateway.gunicorn_conf gateway.wsgi:application`.

What is given on gunicorn's own command line goes before what stands here. Settings and app are checked
in gunicorn's master before a worker starts: on import, or where an argument of gunicorn's changes folder,
environment or import path, after it did. `PORT` and `WEB_CONCURRENCY` are read on import in any case.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gateway import forks
from gateway.errors import ConfigError
from gateway.loading import faults_of_imports
from gateway.metricsfolder import MetricsFolder
from gateway.middleware import AuthGateway
from gateway.settings import TABLE
from gateway.sources import Found
from gateway.startup import doubts_about_state, faults_of_sharing, renew_settings, settings_at_start
from gateway.stores import urls
from gateway.table import checked

__all__ = [
    "bind",
    "child_exit",
    "control_socket_disable",
    "forwarder_headers",
    "nworkers_changed",
    "on_reload",
    "on_starting",
    "post_worker_init",
    "workers",
    "wsgi_app",
]

# A faulty one ends the start before anything is bound.
_sound, _ = checked(TABLE, Found.in_environment(TABLE, os.environ).given)
_values = {row.keyword: row.default for row in TABLE} | _sound
_address = "0.0.0.0" if os.environ.get("PORT") else "127.0.0.1"  # noqa: S104

wsgi_app = "gateway.wsgi:application"
bind = f"{_address}:{_values['port']}"
workers = _values["web_concurrency"]
# Otherwise a client on loopback or on a unix socket may move SCRIPT_NAME, and with it the path judged.
forwarder_headers = ""
control_socket_disable = True


def _faults() -> list[str]:
    try:
        return faults_of_imports(settings_at_start())
    except ConfigError as error:
        return list(error.faults)


def _changes_place() -> bool:
    """Tell whether gunicorn is told to go to another folder, environment or import path."""
    arguments = [*sys.argv[1:], *os.environ.get("GUNICORN_CMD_ARGS", "").split()]
    return any(argument.startswith(("--chdir", "--env", "-e", "--pythonpath")) for argument in arguments)


def _end_on_faults() -> None:
    faults = _faults()
    if faults:
        sys.exit("\n".join(faults))


_checked_on_import = not _changes_place()
if _checked_on_import:
    _end_on_faults()

_metrics = MetricsFolder()
if _values["metrics_from"]:
    _metrics.prepare()  # before an app is loaded, which with --preload is before anything starts


def on_starting(server: Any) -> None:
    """Check what could not be checked on import; what is bad ends the start with one line."""
    try:
        if not _checked_on_import:
            _end_on_faults()
        for fault in faults_of_sharing(settings_at_start(), server.cfg.workers):
            sys.exit(fault)
        _share_metrics(server)
    except SystemExit:
        if server.pidfile is not None:
            server.pidfile.unlink()
        raise
    # A file is left to the workers, which may be another user's.
    if urls.is_redis(settings_at_start().state_url or ""):
        for doubt in doubts_about_state(settings_at_start()):
            server.log.warning("%s", doubt)


def _share_metrics(server: Any) -> None:
    """Have what workers count from now on be counted together, if the settings want it shown."""
    if settings_at_start().metrics_from:
        _metrics.prepare()
        try:
            _metrics.begin(server.cfg.uid, server.cfg.gid)
        except ConfigError as error:
            sys.exit(str(error))


def child_exit(_server: Any, worker: Any) -> None:
    """Take out of the metrics what is true of a living worker alone; what it counted stays."""
    if settings_at_start().metrics_from:
        from prometheus_client import multiprocess  # noqa: PLC0415 - of an extra, and not before the app

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    """Say what is wrong with more workers, which gunicorn starts all the same."""
    if old_value is not None:
        for fault in faults_of_sharing(settings_at_start(), new_value):
            server.log.error("%s", fault)


def post_worker_init(worker: Any) -> None:
    """Have a worker fetch keys and revocations before its first request needs them."""
    if isinstance(worker.wsgi, AuthGateway):
        forks.begin_anew()  # with --preload, locks were made before gevent put its own in their place
        worker.wsgi.start()


def on_reload(server: Any) -> None:
    """On SIGHUP take the settings anew, and go on with those in force where one is bad."""
    if server.cfg.preload_app:
        server.log.error("with --preload changed settings take a restart; those of before stay in force")
        return
    try:
        with _metrics.aside():
            renew_settings(server.cfg.workers)
        if settings_at_start().metrics_from:
            _metrics.prepare()
            _metrics.grant(server.cfg.uid, server.cfg.gid)
    except ConfigError as error:
        for fault in error.faults:
            server.log.error("%s; the settings of before stay in force", fault)
