"""The `gateway token` commands, and the judge for commands that ask what would be answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from gateway import jws
from gateway.authentication import Authenticator
from gateway.claims import is_time, uid_claim
from gateway.cli_claims import claim_option, claims_given
from gateway.cli_completion import uids
from gateway.cli_group import REFUSED, Faults, Group, examples
from gateway.cli_output import as_json, moment, print_json, styled
from gateway.errors import InvalidTokenError, KeysUnavailableError, TokenError
from gateway.identity import Identity
from gateway.rejections import Rejection, status_line
from gateway.revocations import revocations_in_force
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
        answer(verdict)
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


def verdict_document(verdict: Identity | Rejection | None) -> dict[str, Any]:
    """Return whether somebody, or nobody in particular, passes, and else what is answered, for a script."""
    who = verdict if isinstance(verdict, Identity) else None
    refusal = verdict if isinstance(verdict, Rejection) else None
    return {
        "ok": refusal is None,
        "uid": who and who.uid,
        "issuer": who and who.issuer,
        "renewed": who is not None and who.renewed,
        "status": refusal and refusal.status,
        "error": refusal and refusal.error,
        "code": refusal and refusal.code,
    }


def _document(creator: TokenCreator, read: _Read) -> dict[str, Any]:
    exp = read.claims.get("exp")
    expires, left = None, None
    if is_time(exp) and int(exp) in _DATES:
        expires, left = moment(exp), round((exp - creator.now()) / 60, 1)
    claims = read.claims if read.readable else None
    return {"verified": read.verified, "claims": claims, "expires": expires, "minutes_left": left}


def _show(creator: TokenCreator, read: _Read) -> None:
    note = "" if read.verified else "   not verified: anyone may have written them"
    click.echo(f"{label('claims')}{note if read.readable else '   cannot be read'}")
    click.echo(json.dumps(read.claims, indent=2))
    _show_time_left(creator, read.claims)


def label(text: str, width: int = 0) -> str:
    """Return what stands before a line that tells something."""
    return styled(f"{text:<{width}}", bold=True)


def answer(verdict: Identity | Rejection) -> None:
    """Print what is answered to whoever sends a token."""
    if isinstance(verdict, Rejection):
        line, colour = f"{status_line(verdict.status)}: {verdict.error} ({verdict.code})", "red"
    else:
        renewed = ", and a renewed token" if verdict.renewed else ""
        line, colour = f"the app's own, for uid {verdict.uid}{renewed}", "green"
    click.echo(f"{label('answer', 8)} {styled(line, fg=colour)}")


def token_given(text: str) -> str:
    """Return a token as it was given: itself, behind `Bearer`, or by standard input for `-`.

    Raises:
        ConfigError: there is none.
    """
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    text = text.strip().removeprefix("Bearer ")
    if not text:
        raise Faults("no token was given; it must be an argument, or come by standard input")
    return text


def judge_of(settings: Settings, creator: TokenCreator) -> Authenticator:
    """Return the judge of these settings, who has asked which sessions were ended."""
    revocations = revocations_in_force(settings, creator)
    if revocations is not None:
        revocations.start()
    return Authenticator(settings, creator, revocations)


def uid_of(creator: TokenCreator, text: str) -> str:
    """Return the uid of a good token; of another it is never asked."""
    try:
        return creator.verify(text, creator.now()).uid
    except (TokenError, KeysUnavailableError):
        return "-"


def _show_time_left(creator: TokenCreator, claims: Mapping[str, Any]) -> None:
    exp = claims.get("exp")
    if not is_time(exp):
        return
    left = (exp - creator.now()) / 60
    when = datetime.fromtimestamp(exp, UTC).isoformat(" ", "seconds") if int(exp) in _DATES else exp
    how_long = f"in {left:.1f} minutes" if left > 0 else f"{-left:.1f} minutes ago"
    click.echo(f"{label('expires', 8)} {how_long}, {when}")
