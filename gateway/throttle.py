"""How often a login may be tried: failures are counted in the state store, across all workers."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from gateway.errors import StateUnavailableError
from gateway.proxies import throttled_as
from gateway.settings import Settings
from gateway.stores import Store


class Attempt(NamedTuple):
    """An attempt to log in: the keys under which it is counted, and its own name."""

    pair: str
    address: str
    hit: str


class Throttle:
    """Counts logins that are tried and do not succeed, for a uid from an address and for the address.

    They are counted before the password is looked at, so that many at once are not more than are allowed.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float]) -> None:
        self._tries = settings.login_tries
        self._tries_per_address = settings.login_tries_per_address
        self._window = settings.login_window_min * 60
        self._store = store
        self._clock = clock

    def attempt(self, uid: str, address: str) -> Attempt:
        """Return an attempt to log in, not counted yet."""
        address = throttled_as(address)
        return Attempt(_key("pair", uid, address), _key("address", address), secrets.token_hex(8))

    def count(self, attempt: Attempt) -> float:
        """Count an attempt as a failure until it succeeds; return the seconds to wait if there were too many.

        Raises:
            StateUnavailableError: it cannot be counted.
        """
        limits = {attempt.pair: self._tries, attempt.address: self._tries_per_address}
        wait = self._store.admit(limits, attempt.hit, self._window, self._clock())
        return min(wait, self._window)  # more only where a clock was set back

    def take_back(self, attempt: Attempt) -> None:
        """Do not count an attempt of which nobody knows whether it would have failed."""
        with suppress(StateUnavailableError):
            self._store.forgive(attempt.hit, [attempt.pair, attempt.address], [])

    def succeeded(self, attempt: Attempt) -> None:
        """Forget the failures of the pair, and do not count this attempt to the address."""
        with suppress(StateUnavailableError):
            self._store.forgive(attempt.hit, [attempt.address], [attempt.pair])


def _key(*parts: str) -> str:
    """Return a key that is short and that nobody can choose."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
