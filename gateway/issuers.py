"""The public keys of other issuers, fetched in the background and read without waiting."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import jwt

from gateway import forks
from gateway.errors import KeysUnavailableError
from gateway.keys import PRIVATE_MEMBERS, Key, KeyRing, UnfitKeyError, fits
from gateway.policyfile import IssuerRules

REFRESH_SEC = 300  # how old a set of keys gets before it is fetched again
COOLDOWN_SEC = 30  # after a fetch that failed or was asked for, until the next
TIMEOUT_SEC = 5

_log = logging.getLogger("gateway")


class FetchedKeys:
    """The keys of one issuer: an immutable ring that a thread of each process swaps.

    The thread begins with the first request of a process, or when that is told to `keep_up`, so that none
    is lost in a fork. It fetches the set at once, then before it grows old, and when a token names an
    unknown key.

    Args:
        rules: the issuer.
        clock: tells the time, in seconds since 1970.
        changed: is called after the keys have changed.
    """

    def __init__(self, rules: IssuerRules, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._rules = rules
        self._clock = clock
        self._changed = changed
        self._failing = False
        self._known: dict[tuple[object, ...], Key] = {}
        self.ring = KeyRing((), good_until=-math.inf)
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Wait for the first request, as in a process that has no thread yet."""
        self._started = False
        self._starting = threading.Lock()
        self._asked = threading.Event()
        self._tried = threading.Event()
        self._first = threading.Lock()  # whoever takes it is the first, and keeps it

    def keep_up(self, now: float) -> None:
        """Have a thread of this process keep the keys up to date."""
        if not self._started:
            with self._starting:
                if not self._started:
                    self._start()

    def _start(self) -> None:
        asked = self._asked
        alive = weakref.ref(self, lambda _: asked.set())
        # So often that the set of an issuer that is up never grows too old, with a cooldown between.
        refresh_sec = min(REFRESH_SEC, self._rules.max_stale_min * 20)
        name = f"keys of {self._rules.issuer}"
        thread = threading.Thread(target=_keep_up, args=(alive, asked, refresh_sec), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # this machine has no room for it; the next request tries again
            _log.warning("the keys of %r cannot be fetched: %s", self._rules.issuer, error)
        else:
            self._started = True

    def candidates(self, kid: str | None, alg: str) -> tuple[Key, ...]:
        """Return the keys that may have signed a token; an unknown name has the set fetched.

        Only the first of all calls waits, for the first set.

        Raises:
            KeysUnavailableError: there is no set, or it is too old.
        """
        if alg not in self._rules.algorithms:
            return ()
        self.keep_up(self._clock())
        is_first = not self._is_fresh() and self._first.acquire(blocking=False)
        if is_first and self._started:
            self._tried.wait(TIMEOUT_SEC)
        if not self._is_fresh():
            self._asked.set()
            raise KeysUnavailableError(f"the keys of {self._rules.issuer!r} are missing or too old")
        found = self.ring.candidates(kid, alg)
        if not found and kid is not None and not is_first:
            self._asked.set()
        return found

    def _is_fresh(self) -> bool:
        return self._clock() < self.ring.good_until

    def refresh(self) -> bool:
        """Fetch the keys, and tell whether that went well; if not, those of before stay."""
        try:
            self._take(_fetched(self._rules.jwks_url))
        except Exception as error:  # noqa: BLE001 - whatever a server sends, the thread goes on
            self._report(error)
        else:
            self._failing = False
        self._asked.clear()
        self._tried.set()
        return not self._failing

    def _take(self, jwk_set: Mapping[str, Any]) -> None:
        known = dict(_usable(jwk_set, self._rules.algorithms, self._known))
        if not known:
            raise UnfitKeyError(f"no key for {', '.join(self._rules.algorithms)} in the set")
        self._known = known
        self.ring = KeyRing(known.values(), self._clock() + self._rules.max_stale_min * 60)
        self._changed()

    def _report(self, error: Exception) -> None:
        if not self._failing:
            # What a server says must not pass for a line of the log.
            reason = str(error) if str(error).isprintable() else repr(str(error))
            _log.warning("the keys of %r cannot be fetched: %s", self._rules.issuer, reason)
        self._failing = True


def _keep_up(keys_alive: weakref.ref[FetchedKeys], asked: threading.Event, refresh_sec: float) -> None:
    """Refresh the keys for as long as somebody has them: the one thread of one issuer."""
    was_asked = False
    while (keys := keys_alive()) is not None:
        went_well = keys.refresh()
        del keys
        if was_asked or not went_well:
            time.sleep(COOLDOWN_SEC)
        was_asked = asked.wait(refresh_sec if went_well else 0)


def _fetched(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "http" and getproxies().get("http") and not proxy_bypass(parts.netloc):
        raise ConnectionError(f"plain HTTP to {parts.netloc} would go through a proxy; name it in no_proxy")
    headers = {"User-Agent": "wsgi-auth-gateway"}
    client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT_SEC, headers=headers)
    found: dict[str, Any] = client.fetch_data()
    return found


def _usable(
    jwk_set: Mapping[str, Any], algorithms: Iterable[str], known: Mapping[tuple[object, ...], Key]
) -> Iterator[tuple[tuple[object, ...], Key]]:
    """Yield the keys of a set that are public, sign, and are for one of these algorithms.

    Those that were known before stay the same objects. Others, symmetric ones above all, are passed over.
    """
    jwks = jwk_set.get("keys")
    for jwk in jwks if isinstance(jwks, list) else []:
        if not isinstance(jwk, dict) or not _verifies(jwk):
            continue
        for alg in algorithms:
            if fits(jwk, alg) and jwk.get("alg", alg) == alg:
                try:
                    key = Key.public(jwk, alg=alg, kid=jwk.get("kid"))
                except UnfitKeyError:
                    continue
                identity = (alg, *sorted(key.public_jwk().items()))
                yield identity, known.get(identity, key)


def _verifies(jwk: Mapping[str, Any]) -> bool:
    """RFC 7517 sections 4.2 and 4.3: whether it is for signatures. One with a private part is everybody's."""
    for_signatures = jwk.get("use", "sig") == "sig"
    operations = jwk.get("key_ops", ["verify"])
    may_verify = isinstance(operations, list) and "verify" in operations
    named = isinstance(jwk.get("kid"), str | None)
    return for_signatures and may_verify and named and PRIVATE_MEMBERS.isdisjoint(jwk)
