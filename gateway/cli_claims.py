"""Claims on the command line: the options that give them, and what they say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import click

from gateway import jws
from gateway.errors import GatewayError
from gateway.nearest import question

_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 section 3.3

claim_option = click.option(
    "--claim", "claims", multiple=True, metavar="NAME=VALUE", help="An extra claim; VALUE is JSON, else text."
)
scope_option = click.option(
    "--scope", "scopes", multiple=True, help="A scope; all of them make up the claim `scope`."
)


def claims_given(texts: Iterable[str], scopes: Iterable[str] = ()) -> dict[str, Any]:
    """Return the claims of the options.

    Raises:
        GatewayError: one is given twice, or is no scope.
    """
    claims: dict[str, Any] = {}
    for name, value in map(_claim, texts):
        if name in claims:
            raise GatewayError(f"the claim {name!r} is given twice; one must go")
        claims[name] = value
    return with_scopes(claims, scopes)


def _claim(text: str) -> tuple[str, Any]:
    """Read an extra claim from an argument: NAME=VALUE, where VALUE is JSON or else text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} must be NAME=VALUE, such as role=editor", param_hint="--claim")
    try:
        return name, jws.STRICT_JSON.decode(value)
    except (ValueError, RecursionError):
        return name, value


def with_scopes(claims: dict[str, Any], scopes: Iterable[str]) -> dict[str, Any]:
    """Return the claims with these scopes as one of them (RFC 8693 section 4.2).

    Raises:
        GatewayError: one is no scope, or they are among the claims already.
    """
    scopes = list(dict.fromkeys(scopes))
    if not scopes:
        return claims
    if "scope" in claims:
        raise GatewayError("the claim scope is given twice, as a claim and by scopes; one must go")
    if not all(map(_SCOPE.fullmatch, scopes)):
        raise GatewayError('a scope must be visible ASCII characters without " and \\')
    return {**claims, "scope": " ".join(scopes)}


def with_changes(
    known: Mapping[str, Any], given: Mapping[str, Any], removed: Iterable[str]
) -> dict[str, Any]:
    """Return the known claims without those removed, and with those given.

    Raises:
        GatewayError: one that is to be removed is not known, or is given.
    """
    for name in removed:
        if name in given:
            raise GatewayError(f"the claim {name!r} is both given and removed; one must go")
        if name not in known:
            there = ", ".join(known) or "none"
            raise GatewayError(f"there is no claim {name!r}; there is {there}{question(name, known)}")
    return {**{name: value for name, value in known.items() if name not in removed}, **given}


def json_object(text: str) -> dict[str, Any]:
    """Return the claims that are written as one JSON object.

    Raises:
        GatewayError: they are not.
    """
    with suppress(ValueError, RecursionError):
        found = jws.STRICT_JSON.decode(text)
        if isinstance(found, dict):
            return found
    raise GatewayError('claims must be a JSON object, such as {"role": "editor"}')
