"""The `gateway explain` command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from gateway.authentication import Anonymous
from gateway.claimheaders import ClaimHeaders
from gateway.cli_completion import methods, uids
from gateway.cli_group import REFUSED, Command, examples
from gateway.cli_output import as_json, print_fact, print_json
from gateway.cli_verdicts import judge_of, print_verdict, token_given, uid_of, verdict_document
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

_MEANING: Final = {rule.code: rule.description for rule in RULES}


@dataclass
class _Told:
    """What is told of a request: a line for each fact, and the same for a script.

    `route` and `besides` describe the routes that it meets, if any, and `answer` what is answered where
    there is no verdict on somebody.
    """

    method: str
    path: str
    route: str | None = None
    besides: str | None = None
    answered_by: str = "app"
    answer: str = "the app's own, for nobody in particular"
    verdict: Identity | Rejection | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    why: Sequence[str] = ()

    def show(self) -> None:
        """Print the lines."""
        print_fact("request", f"{self.method} {self.path}")
        if self.route is not None:
            print_fact("route", self.route)
        if self.besides is not None:
            print_fact("and", f"{self.besides}: an app may take both for the same path")
        if self.verdict is None:
            print_fact("answer", self.answer)
        else:
            print_verdict(self.verdict)
        for reason in self.why:
            print_fact("why", reason)
        for name, value in self.headers.items():
            print_fact("header", f"{name}: {value}")

    def document(self) -> dict[str, Any]:
        """Return the same, for a script."""
        told = {name: getattr(self, name) for name in ("method", "path", "route", "besides", "answered_by")}
        return {
            **told,
            **verdict_document(self.verdict),
            "headers": dict(self.headers),
            "why": list(self.why),
        }


@click.command(
    cls=Command,
    short_help="Tell what a request would be answered, and why.",
    epilog=examples(
        "gateway explain GET /reports/2026",
        'gateway explain GET /admin/x --token "$TOKEN"',
        "gateway token create --uid 12 | gateway explain POST /reports --token -",
        'gateway explain GET /admin/x --token "$TOKEN" --json',
    ),
)
@click.argument("method", shell_complete=methods)
@click.argument("target", metavar="PATH")
@click.option("--token", "text", help="The token that is sent; - reads it from standard input.")
@click.option(
    "--uid", shell_complete=uids, help="The uid header that is sent; the token's own uid, unless given."
)
@as_json
def explain(method: str, target: str, text: str | None, uid: str | None, json_: bool) -> None:
    """Tell which route a request meets, what would be answered, and why.

    The path is as a client writes it, percent-encoded. The exit code is 1 for a request that is refused.
    """
    told = _told(as_served(Settings.from_env()), method, _path(target), text, uid)
    if json_:
        print_json(told.document())
    else:
        told.show()
    if isinstance(told.verdict, Rejection):
        raise click.exceptions.Exit(REFUSED)


def _told(settings: Settings, method: str, path: str, text: str | None, uid: str | None) -> _Told:
    """Return what there is to tell of a request."""
    if settings.prefix and f"{path}/".startswith(f"{settings.prefix}/"):
        own = f"the gateway's own: it is at or under GATEWAY_PREFIX, {settings.prefix}"
        return _Told(method, _text_of(path), answered_by="gateway", answer=own)
    creator = TokenCreator(settings)
    authorization, uid = _credentials(creator, text, uid)
    judge = judge_of(settings, creator)
    route = judge.find(method, path) if judge.find is not None else None
    told = _Told(method, _text_of(path), _described(route), _besides(route))
    verdict = judge.authenticate(method, path, authorization, uid)
    if isinstance(verdict, Anonymous):
        is_public = route is not None and route.access == PUBLIC
        told.why = ["nobody is asked there" if is_public else "no credentials were sent"]
    elif isinstance(verdict, Identity):
        told.verdict, told.headers = verdict, _headers(verdict, settings)
    else:
        told.verdict, told.answered_by = verdict, "gateway"
        told.why = [_MEANING[verdict.code], *_lacking(judge.identify(authorization, uid), route, settings)]
    return told


def _credentials(creator: TokenCreator, text: str | None, uid: str | None) -> tuple[str | None, str | None]:
    """Return the headers Authorization and uid; of a token whose uid is not said, its own."""
    if text is None:
        return None, uid
    token = token_given(text)
    return f"Bearer {token}", uid_of(creator, token) if uid is None else uid


def _headers(identity: Identity, settings: Settings) -> dict[str, str]:
    values = ClaimHeaders(settings.claim_headers).values(identity.claims())
    return {header.name: value for header, value in values}


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


def _text_of(path: str) -> str:
    return path.encode("latin-1").decode("utf-8", "replace")


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


def _besides(route: Route | None) -> str | None:
    """Describe what is asked besides, by a route for what an app may take for the same path."""
    return _described(Route(rules=route.besides)) if route is not None and route.besides else None


def _written(asked: Iterable[Any]) -> str:
    return " ".join(f"{each[0]}={each[1]!r}" if isinstance(each, tuple) else each or '""' for each in asked)
