"""The `gateway check` command."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from gateway import describe, loading
from gateway.cli_completion import files
from gateway.cli_group import REFUSED, Command, Faults, examples
from gateway.cli_output import Column, as_json, done, print_json, print_table, warn
from gateway.envfile import shown
from gateway.importing import in_one_line
from gateway.keys import SYMMETRIC
from gateway.loading import as_served
from gateway.nearest import nearest
from gateway.settings import TABLE, Settings, faults_of
from gateway.sources import CONFIG_VARIABLE, Found
from gateway.startup import doubts_about_state, doubts_about_users, faults_of_sharing

GUNICORN_DEFAULT = "SCRIPT_NAME,PATH_INFO"  # of its forwarder_headers

_COLUMNS: Final = (
    Column("SETTING"),
    Column("VALUE", ragged=True),
    Column("FROM", plain="({})"),
)
_PREFIX = "GATEWAY_"
# What Kubernetes sets for services called gateway or gateway-…, as Docker did for links.
_OF_SERVICE = re.compile(r"\w+_(SERVICE_HOST|(SERVICE_)?PORT(_\w+)?)")
_LIKE = 0.8  # what a name that begins as ours must have in common with one of ours behind that
_VERY_LIKE = 0.88  # and any other, which may be of another program


@click.command(
    cls=Command,
    short_help="Check every setting and the app, and show them.",
    epilog=examples(
        "gateway check",
        "gateway check -c python:gateway.gunicorn_conf",
        "gateway check --json",
        "GATEWAY_CONFIG=staging.env gateway check",
    ),
)
@click.option(
    "-c",
    "--gunicorn-config",
    "location",
    metavar="FILE",
    shell_complete=files,
    help="A gunicorn configuration of your own, if it is not the one gunicorn finds by itself.",
)
@as_json
def check(location: str | None, json_: bool) -> None:
    """Check every setting, import the app, and show what is in effect, secrets masked.

    The exit code is 1 where something is wrong; what is but doubtful is a warning.
    """
    if json_:
        _print_document(location)
        return
    for line in misnamed(os.environ):
        warn(line)
    settings, found = _sound_settings()
    warned = list(_warnings(settings, found, location))
    print_table(_COLUMNS, describe.effective(settings, found))
    done("All settings are sound, and the app imports.")
    for line in warned:
        warn(line)


def _print_document(location: str | None) -> None:
    """Print what is in effect and what is to be warned of, or what is wrong."""
    warned = list(misnamed(os.environ))
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        try:
            settings, found = _sound_settings()
            warned += _warnings(settings, found, location)
        except Faults as fault:
            print_json({"ok": False, "faults": fault.lines, "warnings": warned})
            raise click.exceptions.Exit(REFUSED) from fault
    effective = {
        name: {"value": value, "from": source} for name, value, source in describe.effective(settings, found)
    }
    warned += (str(each.message) for each in raised)
    print_json({"ok": True, "faults": [], "warnings": warned, "settings": effective})


def _sound_settings() -> tuple[Settings, Found]:
    """Return the settings, and where they were found.

    Raises:
        Faults: they, the app or the login function are not as they must be.
    """
    sys.path.insert(0, str(Path.cwd()))  # as gunicorn does
    found = Found.in_environment(TABLE, os.environ)
    faults = faults_of(found)
    lines = [fault.line for fault in faults]
    bad = {fault.variable for fault in faults}
    for variable, keyword in {"GATEWAY_APP": "app", "GATEWAY_LOGIN": "login"}.items():
        if keyword in found.given and variable not in bad:
            lines += loading.faults_of_import(variable, found.given[keyword])
    if lines:
        raise Faults(*lines)
    settings = Settings(**found.given)
    unshared = list(faults_of_sharing(settings, settings.web_concurrency))
    if unshared:
        raise Faults(*unshared)
    return settings, found


def _warnings(settings: Settings, found: Found, location: str | None) -> Iterator[str]:
    yield from _exposed_file(found)
    yield from _unused_secrets(settings)
    yield from _movable_path(location)
    yield from _public_for_proxies(settings)
    yield from doubts_about_state(settings)
    yield from doubts_about_users(settings)


def misnamed(names: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each name in the environment that is no setting, but very like one.

    Other programs name theirs there too. So those that CGI and Kubernetes set are passed over, and so is
    what might be PORT, which is too short to be told from others.
    """
    known = {row.variable for row in TABLE} | {CONFIG_VARIABLE}
    for name in sorted(set(names) - known):
        meant = _meant(name.upper(), known - {"PORT"})
        if meant is not None:
            yield f"{name} in the environment is no setting; did you mean {meant}?"


def _meant(name: str, known: Iterable[str]) -> str | None:
    if not name.startswith(_PREFIX):
        return nearest(name, [each for each in known if not each.startswith(_PREFIX)], _VERY_LIKE)
    if _OF_SERVICE.fullmatch(name):
        return None
    by_rest = {each.removeprefix(_PREFIX): each for each in known}
    found = nearest(name.removeprefix(_PREFIX), by_rest, _LIKE)
    return None if found is None else by_rest[found]


def _exposed_file(found: Found) -> Iterator[str]:
    path = found.path
    secret = {"token_key", "previous_keys"}.intersection(found.sources)
    if (
        path is not None
        and any(found.sources[keyword] == str(path) for keyword in secret)
        and path.stat().st_mode & 0o077
    ):
        name = shown(path)
        yield f"{name} holds a secret that others on this machine may read; chmod 600 {name}"


def _unused_secrets(settings: Settings) -> Iterator[str]:
    given = {"TOKEN_KEY": settings.token_key, "GATEWAY_PREVIOUS_KEYS": settings.previous_keys}
    if settings.algorithm not in SYMMETRIC:
        for variable in [variable for variable, value in given.items() if value]:
            yield f"{variable} is not used with {settings.algorithm}"
    elif settings.previous_keys and settings.token_key is None:
        yield "GATEWAY_PREVIOUS_KEYS is not used without TOKEN_KEY"


def _movable_path(location: str | None) -> Iterator[str]:
    """Warn of a gunicorn configuration by which a client header may move the path that is judged."""
    arguments = _gunicorn_arguments()
    location = location or arguments.config or _default_configuration()
    source, left = "GUNICORN_CMD_ARGS", arguments.forwarder_headers
    if left is None and location is not None:
        source, left = location, _run_configuration(location).get("forwarder_headers", GUNICORN_DEFAULT)
    if left:
        yield (
            f"{source} leaves forwarder_headers at {left!r}, by which a client header may move SCRIPT_NAME"
            ' and PATH_INFO; set forwarder_headers = ""'
        )


def _public_for_proxies(settings: Settings) -> Iterator[str]:
    """Warn of paths that the demo makes public, and so, for a proxy that asks, in the app behind it too."""
    if settings.trusted_proxies and as_served(settings) is not settings:
        yield (
            "GATEWAY_APP is not set, so that the demo's public paths are public for the proxies as well that"
            " ask at GET /auth/verify; for a gateway that answers them alone, set it to"
            " gateway.forwardauth:nothing"
        )


def _gunicorn_arguments() -> argparse.Namespace:
    """Read the arguments that gunicorn takes from the environment."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-c", "--config")
    parser.add_argument("--forwarder-headers")
    try:
        return parser.parse_known_args(shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")))[0]
    except (ValueError, argparse.ArgumentError) as error:
        must = "it must be options of gunicorn, quoted as for a shell"
        raise Faults(f"GUNICORN_CMD_ARGS cannot be read: {error}; {must}") from error


def _default_configuration() -> str | None:
    return "gunicorn.conf.py" if Path("gunicorn.conf.py").exists() else None


def _run_configuration(location: str) -> Mapping[str, Any]:
    """Run a configuration as gunicorn does: a file, or `python:` and a module."""
    try:
        if location.startswith("python:"):
            return vars(importlib.import_module(location.removeprefix("python:")))
        return runpy.run_path(location.removeprefix("file:"))
    except (Exception, SystemExit) as error:
        must = "it must be a gunicorn configuration, and -c names another"
        raise Faults(f"{location} does not run: {in_one_line(error)}; {must}") from error
