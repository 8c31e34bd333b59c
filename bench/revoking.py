"""The cases of a gateway that asks whether a session was ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.caller import Timer, bearer, must_answer, same, timer
from bench.cases import MEMORY
from bench.state import named
from bench.stores import fill_own, gateway_on, known_to
from gateway import AuthGateway, TokenCreator


def guarded(store: str, live: int) -> Timer:
    """Time requests with a known token, while so many other sessions are ended."""
    gateway, token = filled(store, live, {})
    gateway.start()
    return known(gateway, token, live)


def filled(store: str, live: int, options: Mapping[str, Any]) -> tuple[AuthGateway, str]:
    """Return a gateway whose store has so many live revocations, of which it has read none, and a token."""
    gateway, key = gateway_on(store, named(live), options)
    if store == MEMORY:
        fill_own(gateway, live)
    return gateway, TokenCreator(token_key=key).create(uid=12)


def known(gateway: AuthGateway, token: str, live: int) -> Timer:
    """Time requests with a known token to a gateway that knows of so many revocations.

    Raises:
        RuntimeError: it has not read them all.
    """
    if known_to(gateway) != live:
        raise RuntimeError(f"the gateway knows of {known_to(gateway):,} revocations, not of {live:,}")
    must_answer(gateway, bearer(token), 200, path="/auth/ready")
    return timer(gateway, same(bearer(token)))
