"""Decisions by a table of many routes."""

from __future__ import annotations

from itertools import cycle, islice
from time import perf_counter
from typing import Final

from bench.caller import Timer
from gateway.policy import Policy, policy_of
from gateway.policyfile import RouteRules

_EACH: Final = 500  # exact paths, and as many prefixes
_PATHS: Final = 3 * Policy.REMEMBERED  # so that none is remembered until its next turn


def decisions(pattern: str) -> Timer:
    """Time what a thousand routes say of paths: one after another, with two numbers put into a pattern."""
    rules = [
        RouteRules(path=path, access="protected", scopes=("read",))
        for number in range(_EACH)
        for path in (f"/page{number}", f"/team{number}/files/*")
    ]
    policy = policy_of((), rules, None)
    if policy is None:
        raise RuntimeError("with routes there is a table")
    find = policy.find
    paths = cycle([pattern.format(number % _EACH, number) for number in range(_PATHS)])

    def timed(loops: int) -> float:
        began = perf_counter()
        for path in islice(paths, loops):
            find("GET", path)
        return perf_counter() - began

    return timed
