"""The `gateway` command."""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from pathlib import Path

import click

from gateway import describe, extras
from gateway.claims import uid_text
from gateway.cli_check import check, misnamed
from gateway.cli_completion import completion
from gateway.cli_explain import explain
from gateway.cli_group import EXIT_CODES, UNSOUND, Faults, Gateway, examples
from gateway.cli_keys import keys
from gateway.cli_output import done, one_line, warn
from gateway.cli_sessions import sessions
from gateway.cli_tokens import token
from gateway.cli_users import users
from gateway.envfile import blanked, read_text, shown
from gateway.settings import TABLE, faults_of
from gateway.sources import CONFIG_FILE, CONFIG_VARIABLE, Found
from gateway.table import checked

GUNICORN_COMMAND = ("-m", "gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.wsgi:application")
SECTIONS = {
    "Set up and serve": ("init", "check", "serve"),
    "Look into a request or a token": ("explain", "token"),
    "Keep users, sessions and keys": ("users", "sessions", "keys"),
    "Help for shells and repositories": ("completion", "env-example"),
}
_CODES = "".join(f"\n  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())


@click.group(
    cls=Gateway,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""{examples("gateway init", "gateway check", "gateway serve", "gateway users add --help")}

\b
Exit codes:{_CODES}

docs/command-line.md says more of all this, and of the output for scripts; docs/index.md leads to the rest.
""",
)
@click.version_option(package_name="wsgi-auth-gateway", message="%(package)s %(version)s")
def main() -> None:
    """An authentication gateway in front of a WSGI app.

    Settings come from the environment and from config.env in the working directory, or from the file that
    GATEWAY_CONFIG names.
    """


@main.command("help", hidden=True)
@click.argument("path", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(ctx: click.Context, path: tuple[str, ...]) -> None:
    """Show the help of a command, as --help behind it does."""
    main.main([*path, "--help"], prog_name=ctx.find_root().info_name, standalone_mode=False)


_FILE = click.Path(dir_okay=False, path_type=Path)


@main.command(
    short_help="Write a settings file with a random key.",
    epilog=examples("gateway init", "gateway init --file staging.env --uid anna"),
)
@click.option("--file", "path", type=_FILE, default=CONFIG_FILE, envvar=CONFIG_VARIABLE, show_default=True)
@click.option("--uid", default="admin", show_default=True, help="The first user, if the extra users is here.")
def init(path: Path, uid: str) -> None:
    """Write a settings file with a random TOKEN_KEY, readable by you alone; never over a file.

    Revocations and users are kept in SQLite files beside it. The first user's password is random, and shown
    just then.
    """
    if uid_text(uid) != uid:
        raise Faults(f"--uid is {uid!r}; it must be 1 to 255 visible ASCII characters without a comma")
    values = _first_values("" if path.parent == Path() else f"{path.parent.absolute()}/")
    try:
        _write_new(path, describe.example(values))
    except FileExistsError:
        raise Faults(f"{shown(path)} is there already, and stays as it is; --file names another") from None
    except OSError as error:
        reason = f"{shown(path)} cannot be written: {error.strerror}"
        raise Faults(f"{reason}; --file names another place") from error
    done(f"{shown(path)} written, with a new TOKEN_KEY in it: keep it secret")
    if "GATEWAY_USERS_URL" in values:
        _add_first_user(values["GATEWAY_USERS_URL"], uid)
    else:
        click.echo("no user yet: pip install 'wsgi-auth-gateway[users]', then set GATEWAY_USERS_URL")


def _first_values(folder: str) -> dict[str, str]:
    """Return what is set in a new file: a random key, and what is kept in a folder, the current one if empty.

    Raises:
        Faults: the folder is called what no setting can hold.
    """
    values = {
        "TOKEN_KEY": secrets.token_urlsafe(48),
        "GATEWAY_STATE_URL": f"sqlite:///{folder}gateway-state.db",
    }
    if extras.is_installed("users"):
        values["GATEWAY_USERS_URL"] = f"sqlite:///{folder}gateway-users.db"
    _, faults = checked(TABLE, {row.keyword: values.get(row.variable) for row in TABLE})
    if faults:
        raise Faults(*(fault.line for fault in faults))
    return values


def _add_first_user(url: str, uid: str) -> None:
    from gateway.users import DuplicateUserError, Users  # noqa: PLC0415 - of an extra

    password = secrets.token_urlsafe(15)
    users = Users(url)
    try:
        users.add(uid, password)
    except DuplicateUserError:
        click.echo(f"the user {uid} is there already, and keeps the password")
    else:
        click.echo(f"the user {uid} is added; the password, which is shown only now, is {password}")
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


@main.command(
    short_help="Serve with gunicorn, rightly configured.",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "gateway serve",
        "gateway serve --threads 4 --bind unix:gateway.sock",
        "PORT=9000 gateway serve",
    ),
)
@click.argument("arguments", nargs=-1, metavar="[GUNICORN OPTIONS]", type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve with gunicorn, rightly configured; the exit codes are gunicorn's.

    A gunicorn.conf.py of your own is not read.
    """
    if importlib.util.find_spec("gunicorn") is None:
        raise Faults("gunicorn is not installed; pip install 'wsgi-auth-gateway[server]'", code=UNSOUND)
    _keep_from_gunicorn("WEB_CONCURRENCY")
    for line in misnamed(os.environ):
        warn(line)
    os.execv(sys.executable, [sys.executable, *GUNICORN_COMMAND, *arguments])  # noqa: S606


def _keep_from_gunicorn(variable: str) -> None:
    """Check a variable that gunicorn reads from the environment before any code of ours can."""
    faults = faults_of(Found.in_environment(TABLE, os.environ))
    bad = [fault.line for fault in faults if fault.variable == variable]
    if bad:
        raise Faults(*bad, code=UNSOUND)
    if not os.environ.get(variable):
        os.environ.pop(variable, None)


@main.command(
    "env-example",
    short_help="Print a commented example of all settings.",
    epilog=examples(
        "gateway env-example > config.env.example",
        "gateway env-example config.env   # writes config.env.example",
        "gateway env-example config.env --check",
    ),
)
@click.argument("path", metavar="[FILE]", required=False, type=_FILE)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail where it is not up to date.")
def env_example(path: Path | None, only_check: bool) -> None:
    """Print a commented example of all settings; with FILE, write FILE.example.

    FILE.example is FILE with every value taken out.
    """
    target = Path(f"{path or CONFIG_FILE}.example")
    if path is not None and only_check and target.exists() and not path.exists():
        click.echo(one_line(f"{path} is not here, so {target} cannot be compared with it"), err=True)
        return
    example = describe.example({})
    text = example if path is None else blanked(path, read_text(path), keep=example.splitlines())
    if not only_check and path is None:
        click.echo(text, nl=False)
    elif not only_check:
        _write_example(target, text)
    elif not target.exists() or read_text(target) != text:
        raise Faults(f"{target} is not up to date; gateway env-example {path or f'> {target}'} makes it so")


def _write_example(target: Path, text: str) -> None:
    try:
        target.write_text(text, "utf-8")
    except OSError as error:
        must = "it must be a file that you may write"
        raise Faults(f"{target} cannot be written: {error.strerror}; {must}") from error
    click.echo(one_line(f"{target} written"))


for command in (check, completion, explain, keys, sessions, token, users):
    main.add_command(command)
