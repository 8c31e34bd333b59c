"""What is promised about the cost of the gateway, and whether a run kept it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench import cases
from bench.figures import number
from bench.results import Results

CACHE_SIZE: Final = 10_000  # the default of GATEWAY_TOKEN_CACHE_SIZE
MEGABYTE: Final = 1e6
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Target:
    """One promise.

    Args:
        text: what is promised, with the bound.
        bound: the most that is allowed, or the least.
        measure: what was measured, None where it was not.
        unit: what stands behind both figures.
        at_least: whether the bound is the least.
    """

    text: str
    bound: float
    measure: Callable[[Results], float | None]
    unit: str = "times"
    at_least: bool = False

    def row(self, results: Results) -> tuple[str, str, str, str]:
        """Return what is promised, the bound, what was measured, and the verdict."""
        bound = f"{'≥' if self.at_least else '≤'} {number(self.bound, _DIGITS)} {self.unit}"
        measured = self.measure(results)
        if measured is None:
            return self.text, bound, "", "not measured"
        kept = measured >= self.bound if self.at_least else measured <= self.bound
        return (
            self.text,
            bound,
            f"{number(measured, _DIGITS)} {self.unit}",
            "reached" if kept else "**missed**",
        )


def _warm(results: Results) -> float:
    return results.timings.added(cases.KNOWN).value / results.timings.whole(cases.BARE).value


def _cold(results: Results) -> float:
    return results.timings.added(cases.COLD).value / results.timings.whole(cases.DECODE).value


def _renewal(results: Results) -> float:
    return results.timings.added(cases.RENEWAL).value / results.timings.whole(cases.ENCODE).value


def _added(name: str) -> Callable[[Results], float]:
    return lambda results: results.timings.added(name).value


def _jwt_extended(results: Results) -> float:
    return results.added_ratio(cases.JWT_EXTENDED, cases.KNOWN)


def _whole(name: str) -> Callable[[Results], float]:
    return lambda results: results.timings.whole(name).value


def _rejection(name: str) -> Target:
    what = name.removeprefix("rejected: ")
    return Target(
        f"a rejection ({what}) costs no more than a token met for the first time",
        1,
        lambda results: results.added_ratio(name, cases.COLD),
    )


def _flat(results: Results, *, cached: bool, most: int) -> float | None:
    """Return the highest cost with more tokens met, in terms of that with one."""
    if most not in results.counts():
        return None
    first, *more = (count for count in results.counts() if count <= most)
    names = [cases.met(count, cached=cached) for count in more]
    return max(results.added_ratio(name, cases.met(first, cached=cached)) for name in names)


def _flat_hits(results: Results) -> float | None:
    return _flat(results, cached=True, most=CACHE_SIZE)


def _flat_cold(results: Results) -> float | None:
    return _flat(results, cached=False, most=cases.MOST)


def _flat_misses(results: Results) -> float | None:
    """Return the highest cost with still more tokens than are remembered, in terms of that with some more."""
    if cases.MOST not in results.counts():
        return None
    first, *more = (count for count in results.counts() if count > CACHE_SIZE)
    names = [cases.met(count, cached=True) for count in more]
    return max(results.added_ratio(name, cases.met(first, cached=True)) for name in names)


def _asking(live: int) -> Callable[[Results], float | None]:
    """Return what measures the most that asking adds, in any store."""
    names = [cases.asking(store, live) for store in cases.STORES]

    def measure(results: Results) -> float | None:
        has_all = all(map(results.timings.has, names))
        return max(results.timings.added(name).value for name in names) if has_all else None

    return measure


def _memory(results: Results) -> float:
    full, _ = results.memory
    return max(full.traced, full.resident) / MEGABYTE


def _served(name: str) -> Callable[[Results], float | None]:
    return lambda results: results.served[name].ratio if name in results.served else None


TARGETS: Final = (
    Target(
        "a known token adds at most 2 µs where the app alone takes 0.65 µs", 2 / 0.65, _warm, "times the app"
    ),
    Target(
        "Flask-JWT-Extended adds to a Flask view at least 150 times what a known token adds to the app",
        150,
        _jwt_extended,
        at_least=True,
    ),
    Target(
        "a token met for the first time adds at most half a `jwt.decode` of it",
        0.5,
        _cold,
        "times `jwt.decode`",
    ),
    *map(_rejection, (cases.MALFORMED, cases.TAMPERED, cases.EXPIRED)),
    Target("a rejection for want of the header adds less than 5 µs", 5, _added(cases.MISSING), "µs"),
    Target("a renewal of a known token adds at most two `jwt.encode`", 2, _renewal, "times `jwt.encode`"),
    Target("a known token costs the same with 10,000 tokens met as with one", 1.25, _flat_hits),
    Target("without a cache, a token costs the same with 1,000,000 met as with one", 1.25, _flat_cold),
    Target(
        "a token that the cache has no room for costs the same with 1,000,000 met as with 100,000",
        1.25,
        _flat_misses,
    ),
    Target("10,000 remembered tokens take less than 12 MB", 12, _memory, "MB"),
    *(
        Target(
            "asking whether a session was ended adds less than 1 µs to a known token, in each store, with"
            f" {f'{live:,}' if live else 'no'} others ended",
            1,
            _asking(live),
            "µs",
        )
        for live in (0, cases.LIVE)
    ),
    *(Target(f"{name}, takes less than 2 µs", 2, _whole(name), "µs") for name in (cases.EXACT, cases.PREFIX)),
    Target("an audit line adds less than 15 µs", 15, _added(cases.AUDITED), "µs"),
    Target(
        "one gunicorn worker (sync) serves as many requests as the app alone",
        0.97,
        _served("sync"),
        at_least=True,
    ),
    Target(
        "one gunicorn worker (gthread, keep-alive) serves as many requests as the app alone",
        0.97,
        _served("gthread, keep-alive"),
        at_least=True,
    ),
)
