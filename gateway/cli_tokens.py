"""The `gateway token` commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from gateway import jws
from gateway.claims import is_time, uid_claim
from gateway.cli_claims import claim_option, claims_given
from gateway.cli_completion import uids
from gateway.cli_group import REFUSED, Group, examples
from gateway.cli_output import as_json, moment, print_fact, print_json, utc
from gateway.cli_verdicts import judge_of, print_verdict, token_given, uid_of, verdict_document
from gateway.errors import InvalidTokenError, TokenError
from gateway.rejections import Rejection
from gateway.settings import Settings
from gateway.tokens import TokenCreator

_DATES = range(253_402_300_800)  # seconds from 1970 to the end of the year 9999


class _Minutes(click.IntRange):
    name = "whole number of minutes"


@click.group(
    cls=Group,
    epilog=examples(
        "gateway token create --uid 12",
        "gateway token create --uid 12 | gateway token inspect",
    ),
)
def token() -> None:
    """Make a token, or look into one."""


@token.command(
    "create",
    epilog=examples(
        "gateway token create --uid 12",
        "gateway token create --uid 12 --claim role=editor --claim 'teams=[\"blue\"]'",
        "gateway token create --uid 12 --age 20   # one that is due for renewal",
        "TOKEN=$(gateway token create --uid anna)",
    ),
)
@click.option("--uid", required=True, shell_complete=uids, help="Whose token: an integer or text.")
@claim_option
@click.option(
    "--age", type=_Minutes(0, 10**9), default=0, metavar="MINUTES", help="As if issued so long ago."
)
@as_json
def token_create(uid: str, claims: tuple[str, ...], age: int, json_: bool) -> None:
    """Print a token that begins a session.

    An age shows renewal and expiry without waiting.
    """
    extra = claims_given(claims)
    creator = _AgedTokenCreator(Settings.from_env(), age * 60)
    made = creator.create(uid_claim(uid), extra)
    if json_:
        print_json({"token": made, "claims": jws.peek(made)[1]})
    else:
        click.echo(made)


class _AgedTokenCreator(TokenCreator):
    """Makes tokens as if so many seconds ago."""

    def __init__(self, settings: Settings, age: int) -> None:
        super().__init__(settings)
        self._age = age

    def now(self) -> float:
        return super().now() - self._age


@token.command(
    "inspect",
    short_help="Show a token, and what would be answered.",
    epilog=examples(
        'gateway token inspect "$TOKEN"',
        'echo "Bearer $TOKEN" | gateway token inspect',
        'gateway token inspect "$TOKEN" --json',
    ),
)
@click.argument("text", metavar="[TOKEN]", default="-")
@as_json
def token_inspect(text: str, json_: bool) -> None:
    """Show a token's claims, its minutes left, and what the gateway would answer.

    Without TOKEN, it is read from standard input. The exit code is 1 for one that would be refused.
    """
    text = token_given(text)
    settings = Settings.from_env()
    creator = TokenCreator(settings)
    read = _read(creator, text)
    if not json_:
        _show(creator, read)
    verdict = judge_of(settings, creator).identify(f"Bearer {text}", uid_of(creator, text))
    if json_:
        print_json({**verdict_document(verdict), **_document(creator, read)})
    else:
        print_verdict(verdict)
    if isinstance(verdict, Rejection):
        raise click.exceptions.Exit(REFUSED)


class _Read(NamedTuple):
    """The claims that stand in a token, whether its signature is right, and whether they can be read."""

    claims: Mapping[str, Any]
    verified: bool
    readable: bool = True


def _read(creator: TokenCreator, text: str) -> _Read:
    try:
        return _Read(creator.decode_token(text), True)
    except TokenError as error:
        if error.claims is not None:
            return _Read(error.claims, True)
    try:
        return _Read(jws.peek(text)[1], False)
    except InvalidTokenError:
        return _Read({}, False, False)


def _document(creator: TokenCreator, read: _Read) -> dict[str, Any]:
    exp = read.claims.get("exp")
    expires, left = None, None
    if is_time(exp) and int(exp) in _DATES:
        expires, left = moment(exp), round((exp - creator.now()) / 60, 1)
    claims = read.claims if read.readable else None
    return {"verified": read.verified, "claims": claims, "expires": expires, "minutes_left": left}


def _show(creator: TokenCreator, read: _Read) -> None:
    note = "" if read.verified else "not verified: anyone may have written them"
    print_fact("claims", note if read.readable else "cannot be read")
    print_json(read.claims)
    _show_time_left(creator, read.claims)


def _show_time_left(creator: TokenCreator, claims: Mapping[str, Any]) -> None:
    exp = claims.get("exp")
    if not is_time(exp):
        return
    left = (exp - creator.now()) / 60
    when = utc(exp) if int(exp) in _DATES else exp
    how_long = f"in {left:.1f} minutes" if left > 0 else f"{-left:.1f} minutes ago"
    print_fact("expires", f"{how_long}, {when}")
