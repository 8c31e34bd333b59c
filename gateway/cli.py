"""The `gateway` command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import runpy
import secrets
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gateway import describe, extras, loading
from gateway.claims import uid_text
from gateway.cli_explain import explain
from gateway.cli_keys import keys
from gateway.cli_sessions import sessions
from gateway.cli_tokens import token
from gateway.cli_users import users
from gateway.envfile import EnvFileError, blanked, read_text, shown
from gateway.errors import ConfigError, GatewayError
from gateway.importing import in_one_line
from gateway.keys import SYMMETRIC
from gateway.loading import as_served
from gateway.settings import TABLE, Settings, faults_of
from gateway.sources import CONFIG_FILE, CONFIG_VARIABLE, Found
from gateway.startup import doubts_about_state, doubts_about_users, faults_of_sharing
from gateway.table import checked

GUNICORN_COMMAND = ("-m", "gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.wsgi:application")
GUNICORN_DEFAULT = "SCRIPT_NAME,PATH_INFO"  # of its forwarder_headers

_DATES = range(253_402_300_800)  # seconds from 1970 to the end of the year 9999


class Faults(click.ClickException):
    """What is wrong, one thing a line."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines

    def show(self, file: Any = None) -> None:
        """Print each line to standard error."""
        for line in self.lines:
            click.echo(f"error: {line}", err=True)


class Group(click.Group):
    """A command whose faults and warnings are lines for a person, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except ConfigError as error:
                raise Faults(*error.faults) from error
            except (GatewayError, EnvFileError) as error:
                raise Faults(str(error)) from error


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {message}", err=True)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wsgi-auth-gateway", message="%(package)s %(version)s")
def main() -> None:
    """An authentication gateway in front of a WSGI app."""


_FILE = click.Path(dir_okay=False, path_type=Path)


@main.command()
@click.option("--file", "path", type=_FILE, default=CONFIG_FILE, envvar=CONFIG_VARIABLE, show_default=True)
@click.option("--uid", default="admin", show_default=True, help="The first user, if the extra users is here.")
def init(path: Path, uid: str) -> None:
    """Write a settings file with a random TOKEN_KEY, readable by you alone; never over a file.

    Revocations and users are kept in SQLite files beside it. The first user's password is random, and shown
    just then.
    """
    if uid_text(uid) != uid:
        raise Faults(f"--uid is {uid!r}; it must be 1 to 255 visible ASCII characters without a comma")
    folder = "" if path.parent == Path() else f"{path.parent.absolute()}/"
    values = {
        "TOKEN_KEY": secrets.token_urlsafe(48),
        "GATEWAY_STATE_URL": f"sqlite:///{folder}gateway-state.db",
    }
    with_users = extras.is_installed("users")
    if with_users:
        values["GATEWAY_USERS_URL"] = f"sqlite:///{folder}gateway-users.db"
    faults = checked(TABLE, {row.keyword: values.get(row.variable) for row in TABLE})[1]
    if faults:
        raise Faults(*(fault.line for fault in faults))
    try:
        _write_new(path, describe.example(values))
    except FileExistsError:
        raise Faults(f"{shown(path)} is there already, and stays as it is") from None
    except OSError as error:
        raise Faults(f"{shown(path)} cannot be written: {error.strerror}") from error
    click.echo(f"{shown(path)} written, with a new TOKEN_KEY in it: keep it secret")
    if with_users:
        _add_first_user(values["GATEWAY_USERS_URL"], uid)
    else:
        click.echo("no user yet: pip install 'wsgi-auth-gateway[users]', then set GATEWAY_USERS_URL")


def _add_first_user(url: str, uid: str) -> None:
    from gateway.users import DuplicateUserError, Users  # noqa: PLC0415 - of an extra

    password = secrets.token_urlsafe(15)
    users = Users(url)
    try:
        users.add(uid, password)
    except DuplicateUserError:
        click.echo(f"the user {uid} is there already, and keeps the password")
    else:
        click.echo(f"the user {uid} is added, with the password {password}, which is shown only now")
    finally:
        users.close()


def _write_new(path: Path, text: str) -> None:
    """Write a file for its owner alone, whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        path.unlink()
        raise


@main.command()
@click.option(
    "-c",
    "--gunicorn-config",
    "location",
    metavar="FILE",
    help="A gunicorn configuration of your own, if it is not the one gunicorn finds by itself.",
)
def check(location: str | None) -> None:
    """Check every setting, import the app, and show what is in effect, secrets masked."""
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
    warned = [
        *_exposed_file(found),
        *_unused_secrets(settings),
        *_movable_path(location),
        *_public_for_proxies(settings),
        *doubts_about_state(settings),
        *doubts_about_users(settings),
    ]
    for line in describe.effective(settings, found):
        click.echo(line)
    click.echo("All settings are sound, and the app imports.")
    for warning in warned:
        _show_warning(warning)


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
        raise Faults(f"GUNICORN_CMD_ARGS cannot be read: {error}") from error


def _default_configuration() -> str | None:
    return "gunicorn.conf.py" if Path("gunicorn.conf.py").exists() else None


def _run_configuration(location: str) -> Mapping[str, Any]:
    """Run a configuration as gunicorn does: a file, or `python:` and a module."""
    try:
        if location.startswith("python:"):
            return vars(importlib.import_module(location.removeprefix("python:")))
        return runpy.run_path(location.removeprefix("file:"))
    except (Exception, SystemExit) as error:
        raise Faults(f"{location} does not run: {in_one_line(error)}") from error


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, metavar="[GUNICORN OPTIONS]", type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve with gunicorn, rightly configured, as in: gateway serve --threads 4.

    A gunicorn.conf.py of your own is not read.
    """
    if importlib.util.find_spec("gunicorn") is None:
        raise Faults("gunicorn is not installed; pip install 'wsgi-auth-gateway[server]'")
    _keep_from_gunicorn("WEB_CONCURRENCY")
    os.execv(sys.executable, [sys.executable, *GUNICORN_COMMAND, *arguments])  # noqa: S606


def _keep_from_gunicorn(variable: str) -> None:
    """Check a variable that gunicorn reads from the environment before any code of ours can."""
    faults = faults_of(Found.in_environment(TABLE, os.environ))
    bad = [fault.line for fault in faults if fault.variable == variable]
    if bad:
        raise Faults(*bad)
    if not os.environ.get(variable):
        os.environ.pop(variable, None)


@main.command("env-example")
@click.argument("path", metavar="[FILE]", required=False, type=_FILE)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail where it is not up to date.")
def env_example(path: Path | None, only_check: bool) -> None:
    """Print a commented example of all settings; with FILE, write FILE.example.

    FILE.example is FILE with every value taken out.
    """
    target = Path(f"{path or CONFIG_FILE}.example")
    if path is not None and only_check and target.exists() and not path.exists():
        click.echo(f"{path} is not here, so {target} cannot be compared with it", err=True)
        return
    example = describe.example({})
    text = example if path is None else blanked(path, read_text(path), keep=example.splitlines())
    if only_check:
        if not target.exists() or read_text(target) != text:
            raise Faults(
                f"{target} is not up to date; gateway env-example {path or f'> {target}'} makes it so"
            )
    elif path is None:
        click.echo(text, nl=False)
    else:
        try:
            target.write_text(text, "utf-8")
        except OSError as error:
            raise Faults(f"{target} cannot be written: {error.strerror}") from error
        click.echo(f"{target} written")


main.add_command(keys)
main.add_command(users)
main.add_command(sessions)
main.add_command(token)
main.add_command(explain)
