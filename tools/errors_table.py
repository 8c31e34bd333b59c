"""Writes the table of `docs/errors.md`: every code that a client can meet, and its status in each profile."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway import forwarding, upstream
from gateway.rejections import FORWARD, NOT_FORWARDED, RULES, Rejection, every_rejection


def table() -> str:
    """Return every answer that refuses a request, with its status in each profile, as a Markdown table."""
    registered, forward = every_rejection("rfc6750"), every_rejection(FORWARD)
    to_proxies = {NOT_FORWARDED.code, *(rule.code for rule in RULES)}
    rows = [
        f"| [`{code}`](#{code}) | {each.status} | {registered.get(code, each).status}"
        f" | {forward[code].status if code in to_proxies else ''} | `{each.error}` | {_description(each)} |\n"
        for code, each in refusals().items()
    ]
    head = "| `code` | status | `rfc6750` | to a proxy | `error` | `error_description` |\n"
    return f"{head}|---|---|---|---|---|---|\n" + "".join(rows)


def refusals() -> Mapping[str, Rejection]:
    """Return every answer that refuses a request by its code: the gateway's, and those about an upstream."""
    named = (vars(forwarding) | vars(upstream)).values()
    return every_rejection("classic") | {each.code: each for each in named if isinstance(each, Rejection)}


def _description(rejection: Rejection) -> str:
    """Return what a challenge says, which programs show to people."""
    said = re.search('error_description="([^"]*)"', rejection.headers.get("WWW-Authenticate", ""))
    return said[1] if said else ""
