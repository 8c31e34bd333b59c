"""The `gateway token` commands, and the judge for commands that ask what would be answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from gateway import jws
from gateway.authentication import Authenticator
from gateway.claims import is_time, uid_claim
from gateway.cli_users import claim
from gateway.errors import ConfigError, InvalidTokenError, KeysUnavailableError, TokenError
from gateway.rejections import Rejection, status_line
from gateway.revocations import revocations_in_force
from gateway.settings import Settings
from gateway.tokens import TokenCreator

_DATES = range(253_402_300_800)  # seconds from 1970 to the end of the year 9999


@click.group()
def token() -> None:
    """Make a token, or look into one."""


@token.command("create")
@click.option("--uid", required=True, help="Whose token: an integer or text.")
@click.option(
    "--claim", "claims", multiple=True, metavar="NAME=VALUE", help="An extra claim; VALUE is JSON, else text."
)
@click.option(
    "--age", type=click.IntRange(0, 10**9), default=0, metavar="MINUTES", help="As if issued so long ago."
)
def token_create(uid: str, claims: tuple[str, ...], age: int) -> None:
    """Print a token that begins a session.

    An age shows renewal and expiry without waiting: gateway token create --uid 12 --age 20
    """
    extra = dict(map(claim, claims))
    if len(extra) < len(claims):
        raise ConfigError("a claim is given twice")
    creator = _AgedTokenCreator(Settings.from_env(), age * 60)
    click.echo(creator.create(uid_claim(uid), extra))


class _AgedTokenCreator(TokenCreator):
    """Makes tokens as if so many seconds ago."""

    def __init__(self, settings: Settings, age: int) -> None:
        super().__init__(settings)
        self._age = age

    def now(self) -> float:
        return super().now() - self._age


@token.command("inspect")
@click.argument("text", metavar="[TOKEN]", default="-")
def token_inspect(text: str) -> None:
    """Show a token's claims, its minutes left, and what the gateway would answer.

    Without TOKEN, it is read from standard input. The exit code is 1 for one that would be refused.
    """
    text = token_given(text)
    settings = Settings.from_env()
    creator = TokenCreator(settings)
    claims = _show_claims(creator, text)
    _show_time_left(creator, claims)
    uid = uid_of(creator, text)
    verdict = judge_of(settings, creator).identify(f"Bearer {text}", uid)
    if isinstance(verdict, Rejection):
        click.echo(f"answer   {answer_line(verdict)}")
        raise click.exceptions.Exit(1)
    click.echo(f"answer   the app's own, for uid {uid}{', and a renewed token' if verdict.renewed else ''}")


def token_given(text: str) -> str:
    """Return a token as it was given: itself, behind `Bearer`, or by standard input for `-`.

    Raises:
        ConfigError: there is none.
    """
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    text = text.strip().removeprefix("Bearer ")
    if not text:
        raise ConfigError("no token was given; it must be an argument, or come by standard input")
    return text


def judge_of(settings: Settings, creator: TokenCreator) -> Authenticator:
    """Return the judge of these settings, who has asked which sessions were ended."""
    revocations = revocations_in_force(settings, creator)
    if revocations is not None:
        revocations.start()
    return Authenticator(settings, creator, revocations)


def answer_line(rejection: Rejection) -> str:
    """Return how a refusal is answered."""
    return f"{status_line(rejection.status)}: {rejection.error} ({rejection.code})"


def uid_of(creator: TokenCreator, text: str) -> str:
    """Return the uid of a good token; of another it is never asked."""
    try:
        return creator.verify(text, creator.now()).uid
    except (TokenError, KeysUnavailableError):
        return "-"


def _show_claims(creator: TokenCreator, text: str) -> Mapping[str, Any]:
    note = ""
    try:
        claims: Mapping[str, Any] | None = creator.decode_token(text)
    except TokenError as error:
        claims = error.claims
    if claims is None:
        note = "   not verified: anyone may have written them"
        try:
            claims = jws.peek(text)[1]
        except InvalidTokenError:
            claims, note = {}, "   cannot be read"
    click.echo(f"claims{note}")
    click.echo(json.dumps(claims, indent=2))
    return claims


def _show_time_left(creator: TokenCreator, claims: Mapping[str, Any]) -> None:
    exp = claims.get("exp")
    if not is_time(exp):
        return
    left = (exp - creator.now()) / 60
    when = datetime.fromtimestamp(exp, UTC).isoformat(" ", "seconds") if int(exp) in _DATES else exp
    click.echo(f"expires  {f'in {left:.1f} minutes' if left > 0 else f'{-left:.1f} minutes ago'}, {when}")
