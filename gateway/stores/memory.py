"""State in the memory of one process, for development and for servers of one worker."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence

from gateway import forks
from gateway.stores import MOST_AHEAD_SEC, Batch, Revocation, Store


class MemoryStore(Store):
    """Forgets everything when its process ends. A process forked from it has a copy of its own."""

    SWEEP_SEC = 60

    def __init__(self) -> None:
        self._first = 0  # the position of the first that is left
        self._revocations: list[Revocation] = []
        self._hits: dict[str, dict[str, tuple[float, float]]] = {}  # until when each counts, and when it was
        self._swept = 0.0
        self.begin_anew()
        forks.begin_anew_after(self)

    def begin_anew(self) -> None:
        """Forget who was at it when this process was forked."""
        self._lock = threading.Lock()

    def append(self, revocations: Sequence[Revocation], now: float) -> None:
        """Append revocations."""
        with self._lock:
            expired = 0
            while expired < len(self._revocations) and self._revocations[expired].expires <= now:
                expired += 1
            del self._revocations[:expired]
            self._first += expired
            self._revocations.extend(revocations)

    def read(self, position: Hashable | None, limit: int) -> Batch:
        """Return revocations after a position."""
        with self._lock:
            begin = max(position if isinstance(position, int) else 0, self._first)
            found = self._revocations[begin - self._first : begin - self._first + limit]
            more = begin + len(found) < self._first + len(self._revocations)
        return Batch(found, begin + len(found), more, anew=False)

    def admit(self, limits: Mapping[str, int], hit: str, window: float, now: float) -> float:
        """Count a hit under every key, or under none."""
        with self._lock:
            self._forget_hits(limits, now)
            full = [key for key, limit in limits.items() if len(self._hits.get(key, ())) >= limit]
            if full:
                return max(min(self._hits[key].values())[0] for key in full) - now
            for key in limits:
                self._hits.setdefault(key, {})[hit] = (now + window, now)
        return 0.0

    def forgive(self, hit: str, keys: Iterable[str], cleared: Iterable[str]) -> None:
        """Take a hit back under some keys, and all hits under others."""
        with self._lock:
            for key in keys:
                self._hits.get(key, {}).pop(hit, None)
            for key in cleared:
                self._hits.pop(key, None)

    def _forget_hits(self, keys: Iterable[str], now: float) -> None:
        if not 0 <= now - self._swept < self.SWEEP_SEC:  # now and then, those of everybody
            keys, self._swept = tuple(self._hits), now
        for key in keys:
            hits = self._hits.get(key, {}).items()
            live = {hit: (until, at) for hit, (until, at) in hits if at - MOST_AHEAD_SEC <= now < until}
            if live:
                self._hits[key] = live
            else:
                self._hits.pop(key, None)
