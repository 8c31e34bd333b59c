"""How many sessions a gateway begins and ends in a second, in this process and without a server."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from threading import Barrier
from time import perf_counter
from typing import Any, Final

from bench.caller import AUTHORIZATION, Sent, post
from bench.cases import SQLITE, STORES
from bench.copies import Copy, copy
from bench.mint import minted
from bench.state import is_there
from bench.stores import gateway_on
from gateway import AuthGateway
from gateway.users import Users

THREADS: Final = os.cpu_count() or 1
_TOKENS: Final = 50_000  # more than are revoked in the time; where it is not, that ends earlier
_Call = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sessions:
    """What beginning, ending and remembering sessions costs; by store where it hangs on that.

    Args:
        live: the revocations in a store that has many.
        redis: the version of Redis, None where it is missing.
        hashed: logins a second, with one thread and with `THREADS`, of users with passwords in SQLite.
        logins: the same where a function lets everybody in.
        revocations: revocations a second, one after another.
        copies: what a worker's copy costs with none live, and with many.
    """

    live: int
    redis: str | None
    hashed: tuple[float, float]
    logins: Mapping[str, tuple[float, float]]
    revocations: Mapping[str, float]
    copies: Mapping[str, tuple[Copy, Copy]]


def sessions(
    live: int, redis: str | None, seconds: float, folder: Path, say: Callable[[str], None]
) -> Sessions:
    """Measure with all stores that there are.

    Args:
        live: how many revocations are in a store that has many.
        redis: the version of Redis, None where it is missing.
        seconds: how long each rate is measured.
        folder: where the users are kept.
        say: is told what begins.
    """
    there = tuple(filter(is_there, STORES))
    say("logins a second")
    hashed = _logins(SQLITE, "users", {"users_url": _users(folder)}, seconds)
    anybody = {"login": f"{__name__}:anybody"}
    logins = {store: _logins(store, "logins", anybody, seconds) for store in there}
    say("revocations a second")
    revocations = {store: _revocations(store, seconds) for store in there}
    say(f"a worker's copy of {live:,} revocations")
    copies = {store: (copy(store, 0), copy(store, live)) for store in there}
    return Sessions(live, redis, hashed, logins, revocations, copies)


def anybody(_uid: int | str, _password: str) -> dict[str, Any]:
    """Let everybody in, at no cost: a function as `GATEWAY_LOGIN` names it."""
    return {}


_PASSWORD: Final = secrets.token_urlsafe()


def _users(folder: Path) -> str:
    """Make a database of one user for each thread, and return its address."""
    url = f"sqlite:///{folder}/users.db"
    users = Users(url)
    for uid in range(THREADS):
        users.add(str(uid), _PASSWORD)
    users.close()
    return url


def _logins(store: str, name: str, options: Mapping[str, Any], seconds: float) -> tuple[float, float]:
    """Return the logins a second, with one thread and with many."""
    gateway, _ = gateway_on(store, name, options)
    gateway.start()
    logins = [_logins_of(gateway, uid) for uid in range(THREADS)]
    return _rate(logins[:1], seconds), _rate(logins, seconds)


def _logins_of(gateway: AuthGateway, uid: int) -> Iterator[_Call]:
    """Return the logins of one user, from an address that nobody else is at."""
    body = json.dumps({"uid": uid, "password": _PASSWORD}).encode("ascii")
    address = {"REMOTE_ADDR": f"10.0.{uid // 256}.{uid % 256}"}

    def login() -> None:
        post(gateway, "/auth", 200, body=body, extra=address)

    login()  # what is made once is not counted
    return repeat(login)


def _revocations(store: str, seconds: float) -> float:
    """Return the revocations a second, each of another session, one after another."""
    gateway, key = gateway_on(store, "revocations", {})
    gateway.start()
    tokens = minted(key, _TOKENS).in_turn()
    revocations = (_revocation(gateway, sent) for sent in islice(tokens, _TOKENS))
    next(revocations)()  # what is made once is not counted
    return _rate([revocations], seconds)


def _revocation(gateway: AuthGateway, sent: Sent) -> _Call:
    headers = {AUTHORIZATION: sent[0].decode("ascii"), "HTTP_UID": sent[1].decode("ascii")}
    return lambda: post(gateway, "/auth/revoke", 204, extra=headers)


def _rate(sources: Sequence[Iterator[_Call]], seconds: float) -> float:
    """Return the calls a second of all sources together, each in a thread of its own."""
    together = Barrier(len(sources))

    def called(calls: Iterator[_Call]) -> float:
        together.wait()
        return _rate_of(calls, seconds)

    with ThreadPoolExecutor(len(sources)) as threads:
        return sum(threads.map(called, sources))


def _rate_of(calls: Iterator[_Call], seconds: float) -> float:
    """Make one call after the other until the time is over, and return how many a second that were."""
    count, began = 0, perf_counter()
    for call in calls:
        call()
        count += 1
        if perf_counter() - began >= seconds:
            break
    return count / (perf_counter() - began)
