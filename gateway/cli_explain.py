"""The `gateway explain` command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import click

from gateway.authentication import Anonymous
from gateway.claimheaders import ClaimHeaders
from gateway.cli_tokens import answer_line, judge_of, token_given, uid_of
from gateway.errors import InvalidClaimsError
from gateway.identity import Identity
from gateway.kinds import PUBLIC
from gateway.loading import as_served
from gateway.paths import decoded
from gateway.policy import Route
from gateway.policyfile import ROUTE_TABLE
from gateway.rejections import RULES, Rejection
from gateway.settings import Settings
from gateway.tokens import TokenCreator


@click.command()
@click.argument("method")
@click.argument("target", metavar="PATH")
@click.option("--token", "text", help="The token that is sent; - reads it from standard input.")
@click.option("--uid", help="The uid header that is sent; the token's own uid, unless given.")
def explain(method: str, target: str, text: str | None, uid: str | None) -> None:
    """Tell which route a request meets, what would be answered, and why.

    The path is as a client writes it, percent-encoded. The exit code is 1 for a request that is refused.
    For example: gateway explain GET /admin/x --token "$TOKEN"
    """
    settings = as_served(Settings.from_env())
    path = _path(target)
    _say("request", f"{method} {_shown(path)}")
    if settings.prefix and f"{path}/".startswith(f"{settings.prefix}/"):
        _say("answer", f"the gateway's own: it is at or under GATEWAY_PREFIX, {settings.prefix}")
        return
    creator = TokenCreator(settings)
    authorization = None
    if text is not None:
        token = token_given(text)
        authorization, uid = f"Bearer {token}", uid_of(creator, token) if uid is None else uid
    judge = judge_of(settings, creator)
    route = judge.find(method, path) if judge.find is not None else None
    _say("route", _described(route))
    if route is not None and route.besides is not None:
        _say("and", f"{_described(Route(rules=route.besides))}: an app may take both for the same path")
    verdict = judge.authenticate(method, path, authorization, uid)
    if isinstance(verdict, Identity):
        _explain_identity(verdict, settings)
    elif isinstance(verdict, Anonymous):
        _say("answer", "the app's own, for nobody in particular")
        _say(
            "why", "nobody is asked there" if route and route.access == PUBLIC else "no credentials were sent"
        )
    else:
        reasons = _lacking(judge.identify(authorization, uid), route, settings)
        _refuse(verdict, {rule.code: rule.description for rule in RULES}[verdict.code], *reasons)


def _say(label: str, text: str) -> None:
    click.echo(f"{label:<8} {text}")


def _refuse(rejection: Rejection, *reasons: str) -> NoReturn:
    """Tell of a refusal, and end."""
    _say("answer", answer_line(rejection))
    for reason in reasons:
        _say("why", reason)
    raise click.exceptions.Exit(1)


def _explain_identity(identity: Identity, settings: Settings) -> None:
    headers = ClaimHeaders(settings.claim_headers).values(identity.claims())
    renewed = ", and a renewed token" if identity.renewed else ""
    _say("answer", f"the app's own, for uid {identity.uid}{renewed}")
    for header, value in headers:
        _say("header", f"{header.name}: {value}")


def _lacking(verdict: Identity | Rejection, route: Route | None, settings: Settings) -> Iterator[str]:
    """Yield what is wrong with a good token here: what the route asks for, or cannot be a header."""
    if not isinstance(verdict, Identity):
        return
    try:
        ClaimHeaders(settings.claim_headers).values(verdict.claims())
    except InvalidClaimsError as error:
        yield str(error)
    for demands in route.demands if route is not None else ():
        for lacking in demands.unmet(verdict.issuer, verdict.claims()):
            yield f"the token lacks {lacking}"


def _path(target: str) -> str:
    """Return the path of a request target as a server hands it on."""
    return decoded(target.encode("utf-8", "surrogateescape").decode("latin-1"))


def _shown(path: str) -> str:
    text = path.encode("latin-1").decode("utf-8", "replace")
    return text if text.isprintable() else ascii(text)


def _described(route: Route | None) -> str:
    if route is None:
        return "none of its own: a good token, and no more"
    if route.rules is None:
        return "none" if route.refusal else "public, by its path alone"
    asked = [
        f"{row.keyword} {_written(getattr(route.rules, row.keyword))}"
        for row in ROUTE_TABLE
        if row.keyword not in ("path", "methods", "access") and getattr(route.rules, row.keyword) is not None
    ]
    return ", ".join((f"{route.rules}: {route.access}", *asked))


def _written(asked: Iterable[Any]) -> str:
    return " ".join(f"{each[0]}={each[1]!r}" if isinstance(each, tuple) else each or '""' for each in asked)
