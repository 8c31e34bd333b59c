"""The stores of revocations: made ready once for a run, and gateways that keep their state in them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from bench.caller import app
from bench.cases import REDIS, SQLITE
from bench.redis_server import redis_server
from bench.state import ADDRESS, FOLDER, is_there, named, url
from gateway import AuthGateway, Settings
from gateway.revocations import Revocations
from gateway.stores import SID, Revocation, Store
from gateway.stores.bounded import open_store

_PART: Final = 5_000  # revocations appended at once
_LIFE_SEC: Final = 86_400
_PATIENCE_SEC: Final = 60  # also on a busy machine the run shall come to its end


@contextmanager
def stores(live: int, folder: Path, redis: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Have stores meanwhile, and so many live revocations in each of those that processes share.

    Args:
        live: how many there are under the name for as many.
        folder: where files are kept.
        redis: whether Redis is one of them.
        say: is told what begins.
    """
    os.environ[FOLDER] = str(folder)
    try:
        with _redis(folder) if redis else nullcontext():
            for store in filter(is_there, (SQLITE, REDIS)):
                say(f"{live:,} revocations are put into {store}")
                _fill_shared(store, live)
            os.sync()  # so that nothing is left to be written while something is timed
            yield
    finally:
        del os.environ[FOLDER]


def gateway_on(store: str, name: str, options: Mapping[str, Any]) -> tuple[AuthGateway, str]:
    """Return a gateway around the app that keeps its state in a store, not started yet, and its key."""
    key = secrets.token_urlsafe(48)
    place: dict[str, Any] = {"state_url": url(store, name), "state_timeout_sec": _PATIENCE_SEC}
    return AuthGateway(app, Settings(token_key=key, **place, **options)), key


def fill_own(gateway: AuthGateway, live: int) -> None:
    """Put so many live revocations into the store of a gateway, which is in the memory of this process."""
    _fill(_revocations(gateway)._store, live)


def known_to(gateway: AuthGateway) -> int:
    """Return of how many ended sessions a gateway knows in this process."""
    return sum(len(ended.sessions) for ended in _revocations(gateway)._ended.values())


def _fill_shared(store: str, live: int) -> None:
    shared = open_store(url(store, named(live)), _PATIENCE_SEC)
    _fill(shared, live)
    shared.close()


def _fill(store: Store, live: int) -> None:
    for first in range(0, live, _PART):
        now = time.time()
        store.append([_another(now) for _ in range(min(_PART, live - first))], now)


def _another(now: float) -> Revocation:
    """Return the revocation of a session that nobody asks about, named as the gateway names sessions."""
    return Revocation("", SID, secrets.token_urlsafe(16), now, now + _LIFE_SEC)


def _revocations(gateway: AuthGateway) -> Revocations:
    """Return what a gateway knows, of which nothing but a benchmark needs to have hold."""
    revocations = gateway._revocations
    if revocations is None:
        raise TypeError("the gateway has no store")
    return revocations


@contextmanager
def _redis(folder: Path) -> Iterator[None]:
    with redis_server(folder) as address:
        os.environ[ADDRESS] = address
        try:
            yield
        finally:
            del os.environ[ADDRESS]
