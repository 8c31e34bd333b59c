"""A store that is asked in bounded time, and left alone while it is down."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from gateway.breaker import Breaker
from gateway.errors import StateUnavailableError
from gateway.settings import Settings
from gateway.stores import Batch, Revocation, Store, urls


def open_store(url: str, timeout: float) -> Store:
    """Return the store at an address, not yet connected.

    Args:
        url: as in `GATEWAY_STATE_URL`, checked before.
        timeout: seconds that one call to it may take, as far as it can be told to heed them.
    """
    if urls.is_memory(url):
        from gateway.stores.memory import MemoryStore  # noqa: PLC0415 - each only where it is asked for

        return MemoryStore()
    path = urls.sqlite_path(url)
    if path is not None:
        from gateway.stores.sqlite import SQLiteStore  # noqa: PLC0415

        return SQLiteStore(path, timeout)
    from gateway.stores.redis import RedisStore  # noqa: PLC0415

    return RedisStore(urls.redis_url(url), timeout)


def bounded_store(settings: Settings) -> BoundedStore:
    """Return the store that the settings name, which must name one."""
    store = open_store(str(settings.state_url), settings.state_timeout_sec)
    pause = min(settings.state_sync_sec, 1)
    return BoundedStore(store, settings.state_timeout_sec, pause, settings.state_max_stale_sec)


class BoundedStore(Store):
    """Another store, asked through two breakers: one that cannot be written may still be read.

    Args:
        store: the store.
        timeout: seconds that a call may take.
        pause: seconds between two calls while it fails.
        patience: seconds after which it is asked less often.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(
        self,
        store: Store,
        timeout: float,
        pause: float,
        patience: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        make = partial(
            Breaker,
            timeout=timeout,
            pause=pause,
            patience=patience,
            error=StateUnavailableError,
            monotonic=monotonic,
        )
        self._reading = make("reading the state store")
        self._writing = make("writing the state store")

    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        """Append revocations."""
        self._writing.call(lambda: self._store.append(revocations, now))

    def read(self, position: Hashable | None, limit: int) -> Batch:
        """Return revocations after a position."""
        return self._reading.call(lambda: self._store.read(position, limit))

    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        """Count a hit under every key, or under none."""
        return self._writing.call(lambda: self._store.admit(limits, hit, window, now))

    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        """Take a hit back under some keys, and all hits under others."""
        self._writing.call(lambda: self._store.forgive(hit, keys, cleared))

    def doubts(self) -> Iterator[str]:
        """Yield why what it keeps might be lost."""
        return iter(self._reading.call(lambda: list(self._store.doubts())))

    def close(self) -> None:
        """Let go of the connections."""
        self._store.close()
