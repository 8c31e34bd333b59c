"""The `gateway users` commands, which keep the table of those who may log in."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from gateway import cli_csv, kinds
from gateway.claims import uid_claim
from gateway.cli_claims import claim_option, claims_given, scope_option, with_changes
from gateway.cli_completion import uids
from gateway.cli_csv import Row
from gateway.cli_group import REFUSED, UNSOUND, Faults, Group, examples
from gateway.cli_output import Column, as_json, is_terminal, moment, print_json, print_table, utc, warn
from gateway.cli_sessions import end_sessions
from gateway.errors import ConfigError, GatewayError, StoreError
from gateway.nearest import question
from gateway.settings import TABLE, Settings, faults_of
from gateway.sources import Found
from gateway.tokens import TokenCreator

if TYPE_CHECKING:
    from gateway.users import User, Users

T = TypeVar("T")

SHORT: Final = 8  # characters under which a password is warned of (NIST SP 800-63B section 3.1.1)

_SHORT_PASSWORD = f"the password has fewer than {SHORT} characters"
_STATE = "GATEWAY_STATE_URL"
_RANDOM_BYTES = 12  # of a password that is made here
_TO_LINE_START = "\r\x1b[K"
_MOST_COMPARED = 10_000  # uids among which one is looked for that may have been meant
_COLUMNS: Final = (
    Column("UID"),
    Column("STATE"),
    Column("ADDED"),
    Column("CLAIMS"),
)


@dataclass
class _Directory:
    """The users, and who tells what may go into a token."""

    settings: Settings
    users: Users
    tokens: TokenCreator

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[_Directory]:
        """Yield the one that the settings name.

        Raises:
            ConfigError: a setting is missing or wrong, or the extra is not installed.
        """
        settings = _settings()
        if settings.users_url is None:
            raise ConfigError(f"GATEWAY_USERS_URL is not set; it must be {kinds.USERS_URL.must}")
        from gateway.users import Users  # noqa: PLC0415 - of an extra, which the settings have asked for

        users = Users(settings.users_url)
        try:
            yield cls(settings, users, TokenCreator(settings))
        finally:
            users.close()

    def user(self, uid: str) -> User:
        """Return a user.

        Raises:
            GatewayError: there is no such.
        """
        return self.known(self.users.get(uid), uid)

    def known(self, found: T | None, uid: str) -> T:
        """Return what was found of a user.

        Raises:
            GatewayError: nothing was.
        """
        if not found:
            known = (user.uid for user in islice(self.users.all(), _MOST_COMPARED))
            meant = question(uid, known) or "; gateway users list shows all"
            raise GatewayError(f"there is no user {uid!r}{meant}")
        return found

    def check_claims(self, uid: str, claims: Mapping[str, Any]) -> None:
        """Make a token with these claims, and throw it away.

        Raises:
            InvalidClaimsError: no token could be made at a login.
        """
        self.tokens.create(uid_claim(uid), claims)

    def changed(self, uid: str, change: str) -> None:
        """End the sessions that began before a user was changed, and only then say both.

        So they are ended also where nobody reads what is said.

        Raises:
            Faults: they live on.
        """
        try:
            ended = end_sessions(self.settings, uid)
            click.echo(f"{uid} {change}\n{ended}")
        except GatewayError as error:
            click.echo(f"{uid} {change}")
            command = f"gateway sessions revoke --uid {shlex.quote(uid)}"
            line = f"{uid} {change}, but the sessions of {uid} live on: {error}"
            raise Faults(f"{line}; {command} ends them", code=UNSOUND) from error


def _settings() -> Settings:
    """Read the settings, whether or not there is a state store, without which nobody logs in yet.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    found = Found.in_environment(TABLE, os.environ)
    wrong = [fault for fault in faults_of(found) if not (fault.variable == _STATE and fault.missing)]
    if wrong:
        raise ConfigError(*(fault.line for fault in wrong))
    return Settings(**{"state_url": "memory://", **found.given})


@click.group(
    cls=Group,
    short_help="Keep those who may log in.",
    epilog=examples(
        "gateway users add anna --scope read",
        "gateway users list",
        "gateway users disable anna   # and end every session of hers",
    ),
)
def users() -> None:
    """Keep those who may log in, in the database of GATEWAY_USERS_URL.

    No password is ever an argument: it is asked for, or is the first line of standard input.
    """


_generate = click.option("--generate", is_flag=True, help="Make a random password, and print it once.")


@users.command(
    "add",
    epilog=examples(
        "gateway users add anna   # asks for the password",
        "gateway users add 12 --scope read --scope write --generate",
        "gateway users add bob --claim role=editor < password.txt",
    ),
)
@click.argument("uid")
@claim_option
@scope_option
@_generate
def add(uid: str, claims: tuple[str, ...], scopes: tuple[str, ...], generate: bool) -> None:
    """Add a user, who can log in at once."""
    with _Directory.opened() as directory:
        extra = claims_given(claims, scopes)
        directory.check_claims(uid, extra)
        password = _new_password(generate)
        directory.users.add(uid, password, extra)
    click.echo(f"{uid} added")
    _show_generated(generate, password)


@users.command("list", epilog=examples("gateway users list", "gateway users list --json"))
@as_json
def list_(json_: bool) -> None:
    """List the users, and the extra claims that go into their tokens."""
    with _Directory.opened() as directory:
        found = list(directory.users.all())
    if json_:
        print_json({"users": [_document(user) for user in found]})
        return
    rows = [
        (user.uid, "disabled" if user.disabled else "enabled", utc(user.created), json.dumps(user.claims))
        for user in found
    ]
    print_table(_COLUMNS, rows)


def _document(user: User) -> dict[str, Any]:
    times = {"added": moment(user.created), "changed": moment(user.changed)}
    return {"uid": user.uid, "disabled": user.disabled, **times, "claims": user.claims}


@users.command("passwd", epilog=examples("gateway users passwd anna", "gateway users passwd anna --generate"))
@click.argument("uid", shell_complete=uids)
@_generate
def passwd(uid: str, generate: bool) -> None:
    """Give a user another password, and end every session of that user."""
    with _Directory.opened() as directory:
        directory.user(uid)
        password = _new_password(generate)
        directory.known(directory.users.set_password(uid, password), uid)
        _show_generated(generate, password)
        directory.changed(uid, "has another password")


@users.command("disable", epilog=examples("gateway users disable anna"))
@click.argument("uid", shell_complete=uids)
def disable(uid: str) -> None:
    """Let a user log in no more, and end every session of that user."""
    with _Directory.opened() as directory:
        directory.known(directory.users.set_disabled(uid, True), uid)
        directory.changed(uid, "is disabled")


@users.command("enable", epilog=examples("gateway users enable anna"))
@click.argument("uid", shell_complete=uids)
def enable(uid: str) -> None:
    """Let a user log in again."""
    with _Directory.opened() as directory:
        directory.known(directory.users.set_disabled(uid, False), uid)
    click.echo(f"{uid} is enabled")


@users.command("remove", epilog=examples("gateway users remove anna"))
@click.argument("uid", shell_complete=uids)
def remove(uid: str) -> None:
    """Remove a user, and end every session of that user."""
    with _Directory.opened() as directory:
        directory.known(directory.users.remove(uid), uid)
        directory.changed(uid, "is removed")


@users.command(
    "claims",
    short_help="Show or change the extra claims of a user.",
    epilog=examples(
        "gateway users claims anna",
        "gateway users claims anna --claim role=editor --scope read --scope write",
        "gateway users claims anna --remove role",
        "gateway users claims anna --json",
    ),
)
@click.argument("uid", shell_complete=uids)
@claim_option
@scope_option
@click.option("--remove", "removed", multiple=True, metavar="NAME", help="Take a claim out.")
@as_json
def claims_(
    uid: str, claims: tuple[str, ...], scopes: tuple[str, ...], removed: tuple[str, ...], json_: bool
) -> None:
    """Change the extra claims of a user, and end every session of that user; alone, show them.

    A claim that is not named stays as it is; --scope replaces all scopes.
    """
    changes = bool(claims or scopes or removed)
    if changes and json_:
        raise click.UsageError("--json shows claims, and changes none; leave it or the changes out")
    with _Directory.opened() as directory:
        known = directory.user(uid).claims
        if changes:
            changed = with_changes(known, claims_given(claims, scopes), removed)
            directory.check_claims(uid, changed)
            directory.known(directory.users.set_claims(uid, changed), uid)
            directory.changed(uid, "has other claims")
        else:
            print_json({"uid": uid, "claims": known} if json_ else known)


@users.command(
    "import",
    epilog=examples(
        "gateway users import people.csv",
        "gateway users import - < people.csv",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
def import_(file: Path) -> None:
    """Add the users of a CSV file, or of standard input for -.

    Its header names the columns uid, password and, where wanted, scope (separated by spaces) and claims (a
    JSON object). What is wrong with a row is told, by its line, and keeps no other from being added.
    """
    with _Directory.opened() as directory:
        columns, rows = cli_csv.read(file)
        done = _Import(directory, columns)
        with _progress(rows) as shown_rows:
            done.run(shown_rows)
    click.echo(f"{done.added} added, {done.refused} not")
    if done.refused:
        raise click.exceptions.Exit(REFUSED)


@dataclass
class _Import:
    """Adds rows, and counts those that were added and those that were not."""

    directory: _Directory
    columns: Sequence[str]
    added: int = 0
    refused: int = 0
    lines: dict[str, int] = field(default_factory=dict)  # on which those stand who were added

    def run(self, rows: Iterable[Row]) -> None:
        """Add all rows.

        Raises:
            StoreError: the database can be asked no more; how far it came was told.
        """
        for row in rows:
            try:
                self._add(row)
            except StoreError:
                _tell(f"{self.added} added, {self.refused} not, before line {row.line}")
                raise
            except GatewayError as error:
                self.refused += 1
                _tell(f"line {row.line}: {error}")

    def _add(self, row: Row) -> None:
        who = row.newcomer(self.columns)
        if who.uid in self.lines:
            raise GatewayError(f"{who.uid!r} stands on line {self.lines[who.uid]} already; one must go")
        self.directory.check_claims(who.uid, who.claims)
        self.directory.users.add(*who)
        self.lines[who.uid] = row.line
        self.added += 1
        if _is_short(who.password):
            _clear_bar()
            warn(f"line {row.line}: {_SHORT_PASSWORD}")


@contextmanager
def _progress(rows: Sequence[Row]) -> Iterator[Iterable[Row]]:
    """Yield the rows, and show on a terminal how many of them are done."""
    if not is_terminal(sys.stderr):
        yield rows
        return
    with click.progressbar(rows, label="Adding users", file=sys.stderr) as bar:
        yield bar


def _tell(line: str) -> None:
    """Print a line to standard error, over the progress bar if there is one."""
    _clear_bar()
    click.echo(line, err=True)


def _clear_bar() -> None:
    if is_terminal(sys.stderr):
        click.echo(_TO_LINE_START, err=True, nl=False)


def _new_password(generate: bool) -> str:
    """Return a random password, or the one that is typed or comes by standard input.

    Raises:
        GatewayError: none came.
    """
    if generate:
        return secrets.token_urlsafe(_RANDOM_BYTES)
    password = _typed() if is_terminal(sys.stdin) else _first_line()
    if _is_short(password):
        warn(_SHORT_PASSWORD)
    return password


def _typed() -> str:
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed


def _first_line() -> str:
    line = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        must = "it must be the first line of standard input, or be made by --generate"
        raise GatewayError(f"no password was given; {must}")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise GatewayError("the password is not UTF-8; it must be text in UTF-8") from None


def _is_short(password: str) -> bool:
    return len(password) < SHORT


def _show_generated(generate: bool, password: str) -> None:
    if generate:
        click.echo(f"password  {password}")
