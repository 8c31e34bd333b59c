"""The table of all that is timed in one process; pyperf, the page and the chart read it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Final

from bench.caller import Timer

CACHE_OFF: Final = {"token_cache_size": 0}
COUNTS: Final = (1, 1_000, 10_000, 100_000)
MOST: Final = 1_000_000
# Where revocations are kept.
MEMORY: Final = "memory"
SQLITE: Final = "SQLite"
REDIS: Final = "Redis"
STORES: Final = (MEMORY, SQLITE, REDIS)
LIVE: Final = 1_000_000
FEWER_LIVE: Final = 100_000  # which are read in a tenth of the time


@dataclass(frozen=True, slots=True)
class Case:
    """Something timed.

    Args:
        name: what it is called, in the results as well.
        made_by: the function that makes its timer, as `module:function`; imported only where it is timed.
        args: the arguments of that function.
        base: the case that does the same without a guard: what is above it is what the guard adds.
        store: where it keeps revocations, so that it is left out where there is no such store.
    """

    name: str
    made_by: str
    args: tuple[Any, ...] = ()
    base: str | None = None
    store: str | None = None

    def timer(self) -> Timer:
        """Make ready for being timed."""
        make: Callable[..., Timer] = resolve_name(self.made_by)
        # What was only imported is not searched for garbage while calls are timed: that takes tens of
        # milliseconds, and befalls one value in many.
        gc.collect()
        gc.freeze()
        return make(*self.args)


def _ours(name: str, kind: str, options: Mapping[str, Any] | None = None) -> Case:
    return Case(name, "bench.ours:guarded", (kind, options or {}), BARE)


BARE: Final = "the app alone"
KNOWN: Final = "known token"
COLD: Final = "token met for the first time (cache off)"
RENEWAL: Final = "renewal of a known token"
COLD_RENEWAL: Final = "renewal (cache off)"
MISSING: Final = "rejected: no Authorization header"
MALFORMED: Final = "rejected: malformed token"
TAMPERED: Final = "rejected: bad signature"
EXPIRED: Final = "rejected: expired"
ANOTHER_UID: Final = "rejected: known token, another's uid"

OURS: Final = (
    Case(BARE, "bench.ours:bare"),
    _ours(KNOWN, "known"),
    _ours(COLD, "known", CACHE_OFF),
    _ours(RENEWAL, "due"),
    _ours(COLD_RENEWAL, "due", CACHE_OFF),
    _ours(MISSING, "missing"),
    _ours(MALFORMED, "malformed"),
    _ours(TAMPERED, "tampered"),
    _ours(EXPIRED, "expired"),
    _ours(ANOTHER_UID, "another uid"),
    Case("known token, RS256", "bench.ours:guarded_rsa", ({},), BARE),
    Case("token met for the first time, RS256 (cache off)", "bench.ours:guarded_rsa", (CACHE_OFF,), BARE),
)

EXACT: Final = "a decision over 1,000 routes, exact paths"
PREFIX: Final = "a decision over 1,000 routes, paths below a prefix that were not met lately"

AUDITED: Final = "the audit log, as JSON to a file"

EYES: Final = (
    Case(AUDITED, "bench.ours:audited", ("json",), KNOWN),
    Case("the audit log, for people", "bench.ours:audited", ("console",), KNOWN),
    Case("metrics of one process", "bench.ours:guarded", ("known", {"metrics_from": ["127.0.0.1"]}), KNOWN),
)

DECISIONS: Final = (
    Case(EXACT, "bench.routes:decisions", ("/page{0}",)),
    Case(PREFIX, "bench.routes:decisions", ("/team{0}/files/{1}",)),
)

ENCODE: Final = "jwt.encode, HS256"
DECODE: Final = "jwt.decode, HS256"

PYJWT: Final = (
    Case(ENCODE, "bench.pyjwt:encode"),
    Case(DECODE, "bench.pyjwt:decode"),
    Case("jwt.decode, RS256", "bench.pyjwt:decode_asymmetric", ("RS256",)),
    Case("jwt.decode, ES256", "bench.pyjwt:decode_asymmetric", ("ES256",)),
    Case("jwt.decode, EdDSA", "bench.pyjwt:decode_asymmetric", ("EdDSA",)),
)

FLASK: Final = "Flask view, unguarded"
FLASK_GATEWAY: Final = "Flask view, AuthGateway"
JWT_EXTENDED: Final = "Flask view, Flask-JWT-Extended"
AUTHLIB: Final = "Flask view, Authlib"
DRF: Final = "REST framework view, unguarded"
DRF_GATEWAY: Final = "REST framework view, AuthGateway"
SIMPLEJWT: Final = "REST framework view, simplejwt"

PEERS: Final = (
    Case(FLASK, "bench.flask_peers:plain"),
    Case(FLASK_GATEWAY, "bench.flask_peers:behind_gateway", base=FLASK),
    Case(JWT_EXTENDED, "bench.flask_peers:jwt_extended", base=FLASK),
    Case(AUTHLIB, "bench.flask_peers:authlib", base=FLASK),
    Case(DRF, "bench.django_peers:plain"),
    Case(DRF_GATEWAY, "bench.django_peers:behind_gateway", base=DRF),
    Case(SIMPLEJWT, "bench.django_peers:simplejwt", base=DRF),
)


def sent(count: int) -> str:
    """Return the name of the case of the app alone, sent so many tokens."""
    return f"the app alone, {count:,} tokens"


def met(count: int, *, cached: bool) -> str:
    """Return the name of the case of a gateway that has met so many tokens."""
    return f"{count:,} tokens met, cache {'on' if cached else 'off'}"


def _met(count: int) -> tuple[Case, ...]:
    return (
        Case(sent(count), "bench.ours:unmet", (count,)),
        Case(met(count, cached=True), "bench.ours:met", ({}, count), sent(count)),
        Case(met(count, cached=False), "bench.ours:met", (CACHE_OFF, count), sent(count)),
    )


def asking(store: str | None, live: int) -> str:
    """Return the name of the case of a known token, with revocation off (None) or so many live in a store."""
    return f"known token, revocation {store or 'off'}, {live:,} live"


def _asking(live: int) -> tuple[Case, ...]:
    off = asking(None, live)
    return (
        Case(off, "bench.ours:guarded", ("known", {})),
        *(Case(asking(store, live), "bench.revoking:guarded", (store, live), off, store) for store in STORES),
    )


# What is timed together, by name.
TABLES: Final[Mapping[str, tuple[Case, ...]]] = {
    "single": (*OURS, *EYES, *DECISIONS, *PYJWT, *PEERS),
    "many": tuple(case for count in COUNTS for case in _met(count)),
    "most": _met(MOST),
    "revocation": _asking(0),
    "live": _asking(LIVE),
    "fewer live": _asking(FEWER_LIVE),
}
